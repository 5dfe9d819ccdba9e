"""What the server counts and times, in the form that Prometheus reads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: The type of what :meth:`Metrics.text` returns.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counters of one server: requests by path and status, and how long each stage of them took.

    Attributes
    ----------
    in_flight : Gauge
        Requests being worked on.
    images : Gauge
        Images of the index that answers.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("lookalike_requests", "Requests answered", ("path", "status"), registry=self._registry)
        self._stages = Histogram(
            "lookalike_stage_seconds",
            "Time of one stage of a request",
            ("stage",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge("lookalike_requests_in_flight", "Requests being worked on", registry=self._registry)
        self.images = Gauge("lookalike_images", "Images of the index that answers", registry=self._registry)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage: ``upload``, ``decode``, ``encode``, ``search``, ``rerank``.

        Parameters
        ----------
        name : str
            The stage.

        Yields
        ------
        None
        """
        begun = time.perf_counter()
        try:
            yield
        finally:
            self._stages.labels(name).observe(time.perf_counter() - begun)

    def answered(self, path: str, status: int) -> None:
        """Count a request.

        Parameters
        ----------
        path : str
            The route, never what a stranger typed, so that the number of series is bounded.
        status : int
            The HTTP status.
        """
        self._requests.labels(path, str(status)).inc()

    def text(self) -> bytes:
        """Return everything as Prometheus reads it."""
        return generate_latest(self._registry)
