"""Tasks of a shard + the run's encoders -> answers that hold descriptors in place of pixels: what runs on a node."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lookalike.collections.objects import FetchingSandbox
from lookalike.collections.tasks import from_answer
from lookalike.encoders.base import Encoder
from lookalike.encoders.serialize import load as load_encoder
from lookalike.errors import UsageError
from lookalike.imaging.sandbox.api import Answer
from lookalike.version import __version__


@dataclass(frozen=True)
class SentEncoder:
    """An encoder on its way to a node.

    Attributes
    ----------
    fingerprint : str
        Of the encoder and its weights.
    shape : tuple of int
        Of the images that it takes.
    dtype : str
        Of its descriptors.
    files : tuple of (str, bytes)
        Its saved folder.
    """

    fingerprint: str
    shape: tuple[int, ...]
    dtype: str
    files: tuple[tuple[str, bytes], ...]


def here() -> tuple[str, str]:
    """Say which program runs here: its version, and that of Python without the last number."""
    return __version__, platform.python_version().rpartition(".")[0]


def check_version(driver: tuple[str, str]) -> str | None:
    """Say how the program of this node differs from the one that asks.

    Parameters
    ----------
    driver : (str, str)
        What :func:`here` gave there.

    Returns
    -------
    str or None
        A few words; None where both are the same.
    """
    if here() == driver:
        return None
    return (
        f"node {platform.node()} runs lookalike {here()[0]} on Python {here()[1]}, and this machine lookalike {driver[0]} on "
        f"Python {driver[1]}; install the same on all, since descriptors of two versions may differ"
    )


def read_shard(
    tasks: Sequence[dict[str, Any]], encoders: Sequence[SentEncoder], driver: tuple[str, str]
) -> list[Answer]:
    """Read, decode and encode the files of a shard. It changes nothing anywhere, so it may run twice.

    Parameters
    ----------
    tasks : sequence of dict
        Of :func:`lookalike.collections.tasks.to_task`.
    encoders : sequence of SentEncoder
        In the order of the index's columns.
    driver : (str, str)
        The asking program.

    Returns
    -------
    list of Answer
        One a task; each picture with a descriptor an encoder, as bytes, in place of its pixels.

    Raises
    ------
    UsageError
        If another version runs here.
    """
    if wrong := check_version(driver):
        raise UsageError(wrong)
    if not tasks:
        return []
    limits = tasks[0]["limits"]
    answers = list(_sandbox(limits["seconds"], limits["memory"]).map(tasks))
    return list(_encoded(tasks, answers, encoders))


def _encoded(
    tasks: Sequence[dict[str, Any]], answers: Sequence[Answer], encoders: Sequence[SentEncoder]
) -> Iterator[Answer]:
    """Put descriptors in place of pixels; what isn't whole goes back as it is."""
    shapes = [tuple(shape) for shape in tasks[0]["shapes"]]
    readings = [from_answer(answer, shapes) for answer in answers]
    pictures = [picture for reading in readings for picture in reading.pictures]
    rows: list[np.ndarray[Any, Any]] = []
    for sent in encoders if pictures else ():
        at = shapes.index(sent.shape)
        made = _encoder(sent).encode(np.stack([picture.fitted[at] for picture in pictures]))
        rows.append(np.ascontiguousarray(made, sent.dtype))
    done = 0
    for answer, reading in zip(answers, readings, strict=True):
        if not reading.pictures:
            nonsense = {"outcome": reading.outcome, "stage": reading.stage, "reason": reading.reason}
            yield Answer(answer.facts | (nonsense if reading.outcome else {}), [])
            continue
        facts, blobs = [], []
        for picture in reading.pictures:
            parts = [matrix[done].tobytes() for matrix in rows]
            done += 1
            facts.append(
                {
                    "width": picture.width,
                    "height": picture.height,
                    "thumbnail": bool(picture.thumbnail),
                    "shapes": [[len(part)] for part in parts],
                }
            )
            blobs += [*parts, picture.thumbnail] if picture.thumbnail else parts
        yield Answer(answer.facts | {"pictures": facts}, blobs)


@lru_cache(maxsize=1)
def _sandbox(seconds: float, memory: int) -> FetchingSandbox:
    """Keep this process's sandbox from shard to shard; a node has a process a core, so one decoder each is enough."""
    return FetchingSandbox(workers=1, seconds=seconds, memory=memory)


@lru_cache(maxsize=4)
def _encoder(sent: SentEncoder) -> Encoder:
    with tempfile.TemporaryDirectory(prefix="lookalike-encoder-") as folder:
        for name, content in sent.files:
            file = Path(folder) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        encoder = load_encoder(folder)
        if encoder.fingerprint != sent.fingerprint:
            raise UsageError(f"node {platform.node()}: the encoder that arrived isn't the one that was sent; run again")
        return encoder


def sent(folder: Path, fingerprint: str, shape: Sequence[int], dtype: str) -> SentEncoder:
    """Pack the saved folder of an encoder.

    Parameters
    ----------
    folder : Path
        As :meth:`lookalike.encoders.base.Encoder.save` left it.
    fingerprint, shape, dtype
        As of :class:`SentEncoder`.

    Returns
    -------
    SentEncoder
    """
    files = tuple((f.relative_to(folder).as_posix(), f.read_bytes()) for f in sorted(folder.rglob("*")) if f.is_file())
    return SentEncoder(fingerprint, tuple(shape), dtype, files)
