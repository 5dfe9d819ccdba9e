"""What the routes share: the index that answers, the pictures that were sent, and the pools that do the work."""

from __future__ import annotations

import asyncio
import math
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import anyio.to_thread
import numpy as np
from fastapi import Depends, Request
from fastapi.responses import Response
from numpy.typing import NDArray
from starlette.formparsers import MultiPartParser

from lookalike.errors import ImageError, IndexStoreError, LookalikeError, UsageError
from lookalike.index.run_status import read_underway
from lookalike.search.compose import read_example
from lookalike.search.example import Example
from lookalike.search.page import answer
from lookalike.search.query_descriptors import describe
from lookalike.search.request import Query
from lookalike.server.fetching import Fetcher
from lookalike.server.live import LiveIndex
from lookalike.server.originals import Originals
from lookalike.server.pictures import data_url
from lookalike.server.pools import Pools, still_wanted
from lookalike.server.prometheus import Metrics
from lookalike.server.schemas import ImageModel, QueryModel
from lookalike.server.shared_index import SharedIndex
from lookalike.server.upload_cache import UploadCache
from lookalike.server.uploads import LIMITS, Allowance, Decoder, Upload, raised

#: Images of a query that are encoded in one pass; no more are held as pixels.
BATCH_SIZE = 16
#: Bytes of pixels of all images of a query that are denoised, which have to be held together.
MAX_DENOISED_BYTES = 64 * 2**20
#: Characters of an error's sentence.
MAX_MESSAGE = 2000
#: A path from the root of a disk, in a sentence; those of this service are no secret.
_PATH = re.compile(r"""(?<![\w./:~-])(?:/(?!api/)|[A-Za-z]:\\)(?:[^\s/\\:'",;]+[/\\])+([^\s/\\:'",;]*)""")
_NOT_KEPT = np.zeros((1, 1), np.uint8)
_T = TypeVar("_T")


@dataclass
class Service:
    """What the paths share.

    Attributes
    ----------
    live : LiveIndex
        The newest version of the index.
    decoder : Decoder
        For what is sent.
    metrics : Metrics
        What is counted.
    uploads : UploadCache
        What was sent lately.
    fetcher : Fetcher or None
        For URLs, where they are allowed.
    """

    live: LiveIndex
    decoder: Decoder
    metrics: Metrics
    uploads: UploadCache = field(default_factory=UploadCache)
    fetcher: Fetcher | None = None
    pools: Pools = field(default_factory=Pools)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _originals: Originals | None = None
    _state_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _state: tuple[float, dict[str, Any]] = (-math.inf, {})
    _spool_before: int | None = None

    def begin(self) -> None:
        """Keep forms in memory, and start the decoders; :meth:`close` undoes both."""
        if self._spool_before is None:
            self._spool_before = MultiPartParser.spool_max_size
        # A body is in memory already, and no longer than this: no need for a folder that may be full or closed.
        MultiPartParser.spool_max_size = 2**30
        threading.Thread(target=self._warm, name="lookalike-warm", daemon=True).start()

    def _warm(self) -> None:
        with suppress(LookalikeError, OSError, RuntimeError):  # who sends the first picture is told what is wrong
            self.decoder.warm()

    def close(self) -> None:
        """End the decoders; may be called twice."""
        if self._spool_before is not None:
            MultiPartParser.spool_max_size, self._spool_before = self._spool_before, None
        self.decoder.close()

    def originals(self) -> Originals:
        """Return the reader of images of the version that answers."""
        index = self.live.current()
        held = self._originals
        if held is None or held.index is not index:
            held = self._originals = Originals(index, raised(LIMITS, index.limits))
        return held

    def abilities(self) -> tuple[list[dict[str, Any]], bool]:
        """Return what each encoder of the version that answers can do, and whether images have labels."""
        index = self.live.current()
        return index.cached("abilities", lambda: self._abilities_of(index))

    def _abilities_of(self, index: SharedIndex) -> tuple[list[dict[str, Any]], bool]:
        columns = []
        for column in index.manifest.columns:
            encoder = self.live.current(column.column).encoder if column.complete else None
            columns.append(
                {
                    "name": column.column,
                    "encoder": column.encoder,
                    "distance": column.distance,
                    "dimension": column.dimension,
                    "post": column.post,
                    "provider": column.provider,
                    "aim": column.aim,
                    "verdict": column.verdict,
                    "complete": column.complete,
                    "count": column.count,
                    "can_read": bool(getattr(encoder, "can_read", False)),
                    "can_denoise": bool(getattr(encoder, "can_denoise", False)),
                }
            )
        return columns, bool(len(index)) and index.facts([0])[0]["label"] is not None

    def ask_index(self, work: Callable[[SharedIndex], _T], encoder: str | None = None) -> _T:
        """Do what reads the index; once more on the newest version if this one was swept away meanwhile."""
        try:
            return work(self.live.current(encoder))
        except IndexStoreError:
            self.live.reload_if_newer()
            return work(self.live.current(encoder))

    def row(self, identity: str) -> int:
        """Return the row of an image of the index."""
        return self.originals().row(identity)

    def original(self, identity: str) -> tuple[bytes, str]:
        """Return the file of an image of the index, and its name."""
        return self.ask_index(lambda _: self.originals().read(identity))

    async def index(self, encoder: str | None) -> SharedIndex:
        """Return the index to ask now, through one of its encoders."""
        return await self.pools.run("queries", lambda: self.live.current(encoder))

    def pixels(self, image: ImageModel, allowance: Allowance) -> NDArray[np.uint8]:
        """Return the pixels of an image that was sent, or of one of the index, decoded in the sandbox."""
        source = image.source()
        crop = _crop(image)
        where = "the image"
        if source == "id":
            data, where = self.original(image.id or "")
        elif source == "data":
            data = Example.from_json({"data": image.data}).data or b""
        elif source == "upload":
            data = self.uploads.get(image.upload or "")
            if crop is None and (shown := self.uploads.decoded(image.upload or "")) is not None:
                return shown.pixels
        elif self.fetcher is None:
            raise UsageError("this server fetches no URLs; send the image, or start it with --allow-urls")
        else:
            with self.metrics.stage("fetch"):
                data = self.fetcher.fetch(image.url or "", allowance.seconds(), still_wanted)
        return self.decode(data, crop, where, allowance).pixels

    def decode(
        self,
        data: bytes,
        crop: tuple[int, int, int, int] | None = None,
        where: str = "the image",
        allowance: Allowance | None = None,
    ) -> Upload:
        """Decode what was sent, if it is still wanted."""
        still_wanted()
        with self.metrics.stage("decode"):
            return self.decoder.decode(data, where, crop, allowance, self.live.current().limits)

    def examples(
        self,
        index: SharedIndex,
        query: QueryModel,
        images: Iterable[ImageModel | NDArray[np.uint8]],
        allowance: Allowance,
    ) -> list[Example]:
        """Turn the images of a query into descriptors, :data:`BATCH_SIZE` at a time: no more are held as pixels."""
        examples: list[Example] = []
        waiting: dict[int, NDArray[np.uint8]] = {}  # place among the examples -> fitted pixels
        denoised_bytes = 0
        for image in images:
            still_wanted()
            if isinstance(image, ImageModel):
                identity, crop, weight = image.id, _crop(image), float(image.weight)
                if image.source() == "id" and crop is None:  # its descriptor is stored
                    self.row(identity or "")
                    examples.append(Example(id=identity, weight=weight))
                    continue
                pixels = self.pixels(image, allowance)
            else:
                identity, crop, weight, pixels = None, None, 1.0, image
            fitted = read_example(index, Example(pixels=pixels), resize=True)
            if query.denoise is not None:  # described later, all together
                denoised_bytes += fitted.nbytes
                if denoised_bytes > MAX_DENOISED_BYTES:
                    raise ImageError(
                        f"{len(examples) + 1} images are too many to denoise in one query; send fewer", "too large"
                    )
                examples.append(Example(pixels=fitted, weight=weight))
                continue
            waiting[len(examples)] = fitted
            if identity is not None:
                examples.append(Example(id=identity, crop=crop, weight=weight))
            else:  # a re-ranker looks at the first
                keep = not examples and query.rerank is not None
                examples.append(Example(pixels=pixels if keep else _NOT_KEPT, weight=weight))
            if len(waiting) == BATCH_SIZE:
                _describe(index, query, examples, waiting)
        _describe(index, query, examples, waiting)
        return examples

    def ask(
        self,
        model: QueryModel,
        images: Callable[[], Iterable[ImageModel | NDArray[np.uint8]]] | None,
        pictures: int = 0,
        allowance: Allowance | None = None,
    ) -> dict[str, Any]:
        """Answer a query, by its images if it has some; the first matches bring their pictures along."""
        entry = model.model_dump(exclude_none=True, exclude={"images"})
        if model.denoise not in (None, "auto"):
            raise UsageError(
                "denoise must be 'auto' or left out; other denoisers are folders, which a server doesn't open"
            )
        allowance = allowance or Allowance()
        stand_in = [] if images is None else [{"id": "an image"}]  # while the rest is read
        query = Query.from_json(entry | {"images": stand_in, "resize": True})
        for identity in (*model.likes, *model.dislikes, *model.without):
            self.row(identity)

        def work(index: SharedIndex) -> dict[str, Any]:
            examples = () if images is None else tuple(self.examples(index, model, images(), allowance))
            still_wanted()
            with self.metrics.stage("answer"):
                response = answer(index, replace(query, images=examples, encoder=None))
            content = response.to_json()
            shown = [match.row for match in response.matches[:pictures]]
            for match, file in zip(content["matches"], index.thumbnail_bytes(shown) if shown else [], strict=False):
                match["picture"] = data_url(file)
            return content

        return self.ask_index(work, query.encoder)

    async def answered(self, model: QueryModel, shows: bool, work: Callable[[], Response]) -> Response:
        """Answer a query where such are answered: beside others, or among the costly ones."""
        index = await self.index(model.encoder)
        if model.rerank is not None or model.denoise is not None:
            kind = "costly", model.rerank, model.denoise, model.distance
            return await self.pools.learnt(index, kind, work, first="learning", pool="costly")
        by_image = bool(shows or model.likes or model.text)
        return await self.pools.learnt(
            index, ("plain", model.distance, by_image, model.words is None, model.where is None), work
        )

    async def state(self, since: float) -> dict[str, Any]:
        """Return what streams of events tell, as it was at a time or later; looked up once for all of them."""
        async with self._state_lock:
            if self._state[0] < since:
                self._state = time.monotonic(), await anyio.to_thread.run_sync(_state, self)
            return self._state[1]

    def public_text(self, request: Request, text: str | None) -> str | None:
        """Return a sentence as a client may read it: another machine's reads nothing of where things lie on this one."""
        if text is None:
            return None
        if len(text) > MAX_MESSAGE:
            text = f"{text[: MAX_MESSAGE - 3]}..."
        if not request.scope.get("lookalike.remote", True):
            return text
        manifest = self.live.current().manifest
        folders = {self.live.path, self.live.path.resolve(), Path(manifest.source), Path(manifest.collection)}
        folders |= {Path(tempfile.gettempdir()) if self.decoder.has_folder else self.live.path}
        for folder in sorted(map(str, folders), key=len, reverse=True):
            if len(folder) > 1:
                text = text.replace(folder, Path(folder).name)
        return _PATH.sub(r"\1", text)


def _describe(
    index: SharedIndex, query: QueryModel, examples: list[Example], waiting: dict[int, NDArray[np.uint8]]
) -> None:
    """Give the examples that wait their descriptors."""
    if waiting:
        images, titles = np.stack(list(waiting.values())), [examples[at].title for at in waiting]
        described = describe(index, images, titles, query.distance or index.manifest.distance)
        for at, descriptor in zip(waiting, described, strict=True):
            examples[at] = replace(examples[at], described=descriptor)
        waiting.clear()


def _crop(image: ImageModel) -> tuple[int, int, int, int] | None:
    return None if image.crop is None else (image.crop[0], image.crop[1], image.crop[2], image.crop[3])


def _state(service: Service) -> dict[str, Any]:
    index = service.live.current()
    newest = service.live.newest()
    run = read_underway(service.live.path)
    return {
        "version": index.manifest.dataset_version,
        "images": len(index),
        "complete": newest.complete if newest else False,
        "committed": newest.count if newest else 0,
        "outcomes": newest.outcomes if newest else {},
        "run": run and run.to_json(),
        "gone": newest is None,
        "trouble": service.live.trouble,
    }


async def service_of(request: Request) -> Service:
    """Return the service of the application that answers a request; ``async``, as FastAPI runs others in a thread.

    Parameters
    ----------
    request : Request
        Any of it.

    Returns
    -------
    Service
    """
    service: Service = request.app.state.service
    return service


#: A route's parameter that is the service.
ServiceOf = Annotated[Service, Depends(service_of)]
