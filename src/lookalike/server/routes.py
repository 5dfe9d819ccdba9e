"""The service's paths: each is a few lines over the functions of the other modules."""

from __future__ import annotations

import asyncio
import errno
import json
import math
import mimetypes
import re
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import quote

import anyio.to_thread
import numpy as np
from fastapi import FastAPI, File, Form, Query, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from numpy.typing import NDArray
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.routing import Match

from lookalike.errors import CollectionError, EncoderError, ImageError, IndexStoreError, LookalikeError, UsageError
from lookalike.imaging.encode import to_png
from lookalike.imaging.resize import fit_to
from lookalike.index.run_status import read_underway
from lookalike.neighbors.distances import DISTANCES
from lookalike.reports.heatmap import overlay
from lookalike.reports.saved_scores import saved_reports
from lookalike.search.compose import read_example
from lookalike.search.engine import describe
from lookalike.search.explain import explain
from lookalike.search.page import answer
from lookalike.search.request import MOST_EXAMPLES, Example
from lookalike.search.request import Query as RerankRequest
from lookalike.search.rerank import RERANKERS
from lookalike.server.admission import BusyError
from lookalike.server.downloads import MOST as MOST_PACKED
from lookalike.server.downloads import packed
from lookalike.server.fetching import Fetcher
from lookalike.server.guard import Guard, Rules
from lookalike.server.live import LiveIndex, SharedIndex
from lookalike.server.map_points import NoMapError, StaleMapError, ids_of_rows, map_json
from lookalike.server.noise import add_denoise
from lookalike.server.originals import Originals, UnknownImageError
from lookalike.server.pools import LIGHT, Pools, still_wanted
from lookalike.server.prometheus import CONTENT_TYPE, Metrics
from lookalike.server.schemas import (
    DescriptorModel,
    EncodeModel,
    ErrorModel,
    ExplainModel,
    ExplanationModel,
    FactsModel,
    FilesModel,
    IdsModel,
    ImageModel,
    InfoModel,
    MapModel,
    PageModel,
    QueryModel,
    ReportModel,
    ReportsModel,
    ResponseModel,
    RowIdsModel,
    RowsModel,
    StatusModel,
    SuggestModel,
    UploadModel,
    json_of,
)
from lookalike.server.upload_cache import ForgottenUploadError, Kept
from lookalike.server.uploads import LIMITS, Allowance, Decoder, Upload, raised
from lookalike.version import __version__

WEB = Path(__file__).parent.parent / "web"
#: Most images or files of one page of a listing.
PAGE = 1000
#: Images of a query that are encoded in one pass; no more are held as pixels.
AT_ONCE = 16
#: Pixels of all images of a query that are denoised, which have to be held together, in bytes.
DENOISED_BYTES = 64 * 2**20
#: Characters of an error's sentence.
LONGEST = 2000
#: Seconds between two looks at what streams of events tell, and between two signs of life of one.
LOOK, BEAT = 0.5, 15.0
_NOT_KEPT = np.zeros((1, 1), np.uint8)
_T = TypeVar("_T")

#: What an image's outcome means over HTTP; any other is 422.
_STATUS = {"unsupported": 415, "bomb": 413, "too large": 413, "gone": 404, "changed": 409}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorModel, "description": said}
    for status, said in {
        400: "The request can't be answered; the sentence says what to change",
        401: "A token is needed",
        403: "Not from that site",
        404: "There is no such image",
        408: "The body came too slowly",
        409: "The image has changed since it was indexed",
        413: "Too large",
        415: "Not an image in a format that is read",
        421: "Not this server's name",
        422: "Read, but wrong: a value of another kind, a damaged image",
        429: "Too many requests; see Retry-After",
        503: "The index, its images or the decoders can't be had now, or not in time",
    }.items()
}


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
    kept : Kept
        What was sent lately.
    fetcher : Fetcher or None
        For URLs, where they are allowed.
    """

    live: LiveIndex
    decoder: Decoder
    metrics: Metrics
    kept: Kept = field(default_factory=Kept)
    fetcher: Fetcher | None = None
    pools: Pools = field(default_factory=Pools)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _originals: tuple[SharedIndex, Originals] | None = None
    _abilities: tuple[SharedIndex, list[dict[str, Any]], bool] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    _state: tuple[float, dict[str, Any]] = (-math.inf, {})
    _before: tuple[float, int] | None = None

    def begin(self) -> None:
        """Set what the process that serves needs; :meth:`close` sets it back."""
        if self._before is None:
            self._before = sys.getswitchinterval(), MultiPartParser.spool_max_size
        # The threads hand over to each other several times a request; by default each may be kept waiting for 5 ms.
        sys.setswitchinterval(0.0005)
        # A body is in memory already, and no longer than this: no need for a folder that may be full or closed.
        MultiPartParser.spool_max_size = 2**30
        threading.Thread(target=self._warm, name="lookalike-warm", daemon=True).start()

    def _warm(self) -> None:
        with suppress(LookalikeError, OSError, RuntimeError):  # who sends the first picture is told what is wrong
            self.decoder.warm()

    def close(self) -> None:
        """End the decoders; may be called twice."""
        if self._before is not None:
            (interval, MultiPartParser.spool_max_size), self._before = self._before, None
            sys.setswitchinterval(interval)
        self.decoder.close()

    def originals(self) -> Originals:
        """Return the reader of images of the version that answers."""
        index = self.live.current()
        held = self._originals
        if held is None or held[0] is not index:
            held = self._originals = index, Originals(index, raised(LIMITS, index.limits))
        return held[1]

    def abilities(self) -> tuple[list[dict[str, Any]], bool]:
        """Return what each encoder of the version that answers can do, and whether images have labels."""
        index = self.live.current()
        with self._lock:
            if self._abilities is None or self._abilities[0] is not index:
                self._abilities = index, *self._abilities_of(index)
            return self._abilities[1:]

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
                    "complete": column.complete,
                    "count": column.count,
                    "can_read": bool(getattr(encoder, "can_read", False)),
                    "can_denoise": bool(getattr(encoder, "can_denoise", False)),
                }
            )
        return columns, bool(len(index)) and index.facts([0])[0]["label"] is not None

    def retried(self, work: Callable[[], _T]) -> _T:
        """Do what reads the index; once more on the newest version if this one was swept away meanwhile."""
        try:
            return work()
        except IndexStoreError:
            self.live.reload_if_newer()
            return work()

    async def index(self, encoder: str | None) -> SharedIndex:
        """Return the index to ask now, through one of its encoders."""
        return await self.pools.run("queries", lambda: self.live.current(encoder))

    def read(self, image: ImageModel, allowance: Allowance) -> NDArray[np.uint8] | None:
        """Return the pixels of an image, decoded on the leash; None for a whole image of the index, which is described."""
        source = image.source()
        crop = None if image.crop is None else (image.crop[0], image.crop[1], image.crop[2], image.crop[3])
        where = "the image"
        if source == "id":
            if crop is None:
                return None
            data, where = self.retried(lambda: self.originals().read(image.id or ""))
        elif source == "data":
            data = Example.from_json({"data": image.data}).data or b""
        elif source == "upload":
            data = self.kept.get(image.upload or "")
            if crop is None and (shown := self.kept.decoded(image.upload or "")) is not None:
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

    def pixels(self, image: ImageModel, allowance: Allowance) -> NDArray[np.uint8]:
        """Return the pixels of an image that was sent, or of one of the index."""
        pixels = self.read(image, allowance)
        if pixels is not None:
            return pixels
        data, name = self.retried(lambda: self.originals().read(image.id or ""))
        return self.decode(data, None, name, allowance).pixels

    def examples(
        self,
        index: SharedIndex,
        query: QueryModel,
        images: Iterable[ImageModel | NDArray[np.uint8]],
        allowance: Allowance,
    ) -> list[Example]:
        """Turn the images of a query into descriptors, a few at a time, so that no more than these are held as pixels."""
        found: list[Example] = []
        shown: list[tuple[int, NDArray[np.uint8]]] = []
        held = 0

        def settle() -> None:
            if shown:
                table, titles = np.stack([fitted for _, fitted in shown]), [found[at].title for at, _ in shown]
                described = describe(index, table, titles, query.distance or index.manifest.distance)
                for (at, _), descriptor in zip(shown, described, strict=True):
                    found[at] = replace(found[at], described=descriptor)
                shown.clear()

        for image in images:
            still_wanted()
            if isinstance(image, ImageModel):
                crop = None if image.crop is None else (image.crop[0], image.crop[1], image.crop[2], image.crop[3])
                pixels, weight, identity = self.read(image, allowance), float(image.weight), image.id
            else:
                crop, pixels, weight, identity = None, image, 1.0, None
            if pixels is None:
                self.originals().row(identity or "")
                found.append(Example(id=identity, weight=weight))
                continue
            fitted = read_example(index, Example(pixels=pixels), resize=True, stored=pixels)
            if query.denoise is not None:  # all together, later
                held += fitted.nbytes
                if held > DENOISED_BYTES:
                    raise ImageError(
                        f"{len(found) + 1} images to be denoised at once are too many; ask by fewer", "too large"
                    )
                found.append(Example(pixels=fitted, weight=weight))
                continue
            if identity is not None:
                found.append(Example(id=identity, crop=crop, weight=weight))
            else:  # a re-ranking looks at the first
                first = not found and query.rerank is not None
                found.append(Example(pixels=pixels if first else _NOT_KEPT, weight=weight))
            shown.append((len(found) - 1, fitted))
            if len(shown) == AT_ONCE:
                settle()
        settle()
        return found

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
                "denoise is 'auto' here, or left out; other denoisers are folders, which a server doesn't open"
            )
        allowance = allowance or Allowance()
        stand_in = [] if images is None else [{"id": "an image"}]  # while the rest is read
        asked = RerankRequest.from_json(entry | {"images": stand_in, "resize": True})
        for identity in (*model.likes, *model.dislikes):
            self.originals().row(identity)

        def found() -> dict[str, Any]:
            index = self.live.current(asked.encoder)
            examples = () if images is None else tuple(self.examples(index, model, images(), allowance))
            still_wanted()
            with self.metrics.stage("answer"):
                response = answer(index, replace(asked, images=examples, encoder=None))
            said, rows = response.to_json(), [match.row for match in response.matches]
            for match, facts in zip(said["matches"], index.facts(rows), strict=True):
                match["width"], match["height"] = facts["width"], facts["height"]
            shown = rows[:pictures]
            for match, file in zip(said["matches"], index.thumbnail_bytes(shown) if shown else [], strict=False):
                match["picture"] = f"data:{_kind_of(file)};base64,{b64encode(file).decode()}"
            return said

        return self.retried(found)

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
        async with self._looking:
            if self._state[0] < since:
                self._state = time.monotonic(), await anyio.to_thread.run_sync(_state, self)
            return self._state[1]

    def told(self, request: Request, text: str) -> str:
        """Return a sentence as a client may read it: another machine's reads nothing of where things lie on this one."""
        if len(text) > LONGEST:
            text = f"{text[: LONGEST - 3]}..."
        if not request.scope.get("lookalike.remote", True):
            return text
        manifest = self.live.current().manifest
        places = {self.live.path, self.live.path.resolve(), Path(manifest.source), Path(manifest.collection)}
        places |= {Path(tempfile.gettempdir()) if self.decoder.has_folder else self.live.path}
        for place in sorted(map(str, places), key=len, reverse=True):
            if len(place) > 1:
                text = text.replace(place, Path(place).name)
        return _PATH.sub(r"\1", text)


#: A path from the root of a disk, in a sentence; those of this service are no secret.
_PATH = re.compile(r"""(?<![\w./:~-])(?:/(?!api/)|[A-Za-z]:\\)(?:[^\s/\\:'",;]+[/\\])+([^\s/\\:'",;]*)""")


def make_app(live: LiveIndex, rules: Rules, *, allow_urls: bool = False, metrics: Metrics | None = None) -> Guard:
    """Make the ASGI application over one index.

    Parameters
    ----------
    live : LiveIndex
        What answers.
    rules : Rules
        Who may ask, and how much.
    allow_urls : bool
        Whether images may be fetched by their addresses.
    metrics : Metrics, optional
        Where to count.

    Returns
    -------
    Guard
        The application.
    """
    service = Service(live, Decoder(), metrics or Metrics(), fetcher=Fetcher() if allow_urls else None)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = LIGHT
        service.begin()
        yield
        service.close()

    app = FastAPI(
        title="lookalike",
        version=__version__,
        description="Find images like this one: search of one index by image, words and filters.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=life,
        responses=_ERRORS,
    )
    app.state.service = service
    _add_errors(app, service)
    _add_search(app, service)
    _add_explain(app, service)
    add_denoise(app, service)
    _add_images(app, service)
    _add_map(app, service)
    _add_facts(app, service)
    _add_unknown(app)
    app.mount("/", StaticFiles(directory=WEB, html=True), name="page")
    counted = _Counted(app, service.metrics)
    return Guard(counted, rules, on_stop=service.stopping.set, on_close=service.close)


class _Counted:
    """Counts requests by their route and status."""

    def __init__(self, app: FastAPI, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500

        async def noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self.metrics.in_flight.track_inprogress():
            try:
                await self.app(scope, receive, noted)
            finally:
                route = scope.get("route")
                self.metrics.answered(getattr(route, "path", "") or "other", status)


def status_of(error: LookalikeError) -> int:
    """Return the HTTP status for an error.

    Parameters
    ----------
    error : LookalikeError
        What happened.

    Returns
    -------
    int
        400 to 422 where the request is at fault, 503 where the server is.
    """
    match error:
        case BusyError():
            return 429
        case UnknownImageError() | ForgottenUploadError() | NoMapError():
            return 404
        case StaleMapError():
            return 409
        case ImageError():
            return _STATUS.get(error.outcome, 422)
        case IndexStoreError() | CollectionError():  # an index that is away, images or decoders that are
            return 503
        case EncoderError():
            return 422
    return 400


def said_of(error: Mapping[str, Any]) -> str:
    """Say what pydantic found wrong, and where, in our words where its own leave open what to do.

    Parameters
    ----------
    error : mapping
        One of ``errors()`` of its exceptions; its ``loc`` begins with the part of the request.

    Returns
    -------
    str

    Examples
    --------
    >>> said_of({"loc": ("body", "kk"), "type": "extra_forbidden", "msg": "Extra inputs are not permitted"})
    'kk: not known; /api/openapi.json lists what a request may hold'
    """
    place = ".".join(str(part) for part in error["loc"][1:]) or "the body"
    words = {"extra_forbidden": "not known; /api/openapi.json lists what a request may hold", "missing": "missing"}
    return f"{place}: {words.get(error['type'], error['msg'])}"


#: What makes no sense in a request although it is of the right kind, and what the system refuses, in words.
_BEYOND = "something in the request is too large a number, nested too deeply, or no text; change it"
_REFUSED = {
    errno.ENOSPC: "a disk of the server is full; free space there",
    errno.EDQUOT: "the server may not write more to its disk; free space there",
    errno.EROFS: "a disk of the server can't be written to",
    errno.EMFILE: "the server has too many files open; come again",
    errno.ENFILE: "the server's machine has too many files open; come again",
    errno.ENOMEM: "the server has too little memory now; come again",
}


def _add_errors(app: FastAPI, service: Service) -> None:
    def told(request: Request, status: int, text: str, headers: Any = None) -> Response:
        said = json.dumps({"error": service.told(request, text)})
        return Response(said, status, headers, media_type="application/json")

    async def ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, LookalikeError)
        again = {"retry-after": str(error.seconds)} if isinstance(error, BusyError) else None
        return told(request, status_of(error), str(error), again)

    async def theirs(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return told(request, error.status_code, str(error.detail), error.headers)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return told(request, 422, "; ".join(said_of(one) for one in error.errors()[:3]))

    async def beyond(request: Request, _: Exception) -> Response:
        return told(request, 400, _BEYOND)

    async def refused(request: Request, error: Exception) -> Response:
        number = errno.ENOMEM if isinstance(error, MemoryError) else cast(OSError, error).errno or 0
        said = _REFUSED.get(number, f"the server's system refuses: {getattr(error, 'strerror', None) or error}")
        return told(request, 503, said, {"retry-after": "10"})

    async def unexpected(request: Request, __: Exception) -> Response:
        return told(request, 500, "unexpected: a fault of ours; the server's own output says where")

    app.add_exception_handler(LookalikeError, ours)
    app.add_exception_handler(HTTPException, theirs)
    app.add_exception_handler(RequestValidationError, invalid)
    for kind in (OverflowError, RecursionError, UnicodeError):
        app.add_exception_handler(kind, beyond)
    app.add_exception_handler(OSError, refused)
    app.add_exception_handler(MemoryError, refused)
    app.add_exception_handler(Exception, unexpected)


def _add_unknown(app: FastAPI) -> None:
    """Answer for what no path above has; without it the page's files would be looked through."""
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

    @app.api_route("/api/{rest:path}", methods=methods, include_in_schema=False)
    async def unknown(request: Request) -> Response:
        scope = {**request.scope, "path": request.url.path}
        others = [
            route for route in app.routes if isinstance(route, APIRoute) and "{rest" not in route.path
            and route.matches(scope)[0] == Match.PARTIAL
        ]  # fmt: skip
        if others:
            allowed = ", ".join(sorted({method for route in others for method in route.methods or ()}))
            raise HTTPException(405, f"{request.method} isn't answered here; ask by {allowed}", {"allow": allowed})
        raise HTTPException(404, "there is no such path; /api/openapi.json lists those there are")


Brought = Annotated[int, Query(ge=0, le=100, description="How many of the first matches bring their thumbnails along.")]


def _add_search(app: FastAPI, service: Service) -> None:
    @app.post("/api/search", response_model=ResponseModel, tags=["search"])
    async def search(query: QueryModel, pictures: Brought = 0) -> Response:
        """Answer one query: images, likes and dislikes, words, a filter, all at once."""
        images = (lambda: query.images) if query.images else None
        return await service.answered(
            query, images is not None, lambda: json_of(ResponseModel, service.ask(query, images, pictures))
        )

    @app.post("/api/search/upload", response_model=ResponseModel, tags=["search"])
    async def search_upload(
        images: Annotated[list[UploadFile], File(description="Image files to ask by.", max_length=MOST_EXAMPLES)],
        query: Annotated[str, Form(description="The rest of the query, as JSON.", examples=['{"k": 20}'])] = "{}",
        pictures: Brought = 0,
    ) -> Response:
        """Answer one query whose images are sent as files; they are kept for a while, as by /api/uploads."""
        try:
            model = QueryModel.model_validate_json(query)
        except ValidationError as e:
            raise RequestValidationError([{**one, "loc": ("query", *one["loc"])} for one in e.errors()]) from e

        def found() -> Response:
            allowance = Allowance()
            uploads: list[str] = []

            def sent() -> Iterable[ImageModel | NDArray[np.uint8]]:
                uploads.clear()
                for image in images:
                    with service.metrics.stage("upload"):
                        image.file.seek(0)
                        data = image.file.read()
                    shown = service.decode(data, allowance=allowance)
                    uploads.append(service.kept.add(data, shown))
                    yield shown.pixels
                yield from model.images

            return json_of(ResponseModel, service.ask(model, sent, pictures, allowance) | {"uploads": uploads})

        return await service.answered(model, True, found)

    @app.post("/api/uploads", response_model=UploadModel, tags=["search"])
    async def uploads(image: Annotated[UploadFile, File(description="An image file.")]) -> dict[str, Any]:
        """Keep an image for a while, in memory only, to ask by it as often as one likes."""

        def kept() -> dict[str, Any]:
            with service.metrics.stage("upload"):
                data = image.file.read()
            shown = service.decode(data)
            return {"upload": service.kept.add(data, shown), "width": shown.width, "height": shown.height}

        return await service.pools.run("queries", kept)

    @app.get("/api/upload", response_class=Response, tags=["search"])
    def upload(request: Request, identity: Annotated[str, Query(alias="id", max_length=64)]) -> Response:
        """Show an image that was sent."""
        data = service.kept.get(identity)
        shown = service.kept.decoded(identity) or service.decode(data)
        answer_ = _picture(request, to_png(shown.pixels))
        answer_.headers["x-image-size"] = f"{shown.width}x{shown.height}"
        return answer_

    @app.post("/api/encode", response_model=DescriptorModel, tags=["search"])
    async def encode(asked: EncodeModel) -> Response:
        """Return an image's descriptor by one of the index's encoders."""

        def made() -> Response:
            index = service.live.current(asked.encoder)
            view = index.manifest.view
            pixels = service.pixels(asked.image, Allowance())
            descriptor = index.encoder.encode(fit_to(pixels, tuple(view.shape))[None])[0]
            found = {
                "encoder": view.column,
                "dimension": view.dimension,
                "dtype": view.dtype,
                "distance": view.distance,
                "descriptor": descriptor.tolist(),
            }
            return json_of(DescriptorModel, found)

        return await service.pools.run("queries", made)


def _add_explain(app: FastAPI, service: Service) -> None:
    @app.post("/api/explain", response_model=ExplanationModel, tags=["search"])
    async def explain_(asked: ExplainModel) -> Response:
        """Say which parts of two images account for their similarity."""

        def found() -> dict[str, Any]:
            allowance = Allowance()
            query, match = (
                _pixels_or_thumbnail(service, image, allowance)
                for image in (asked.image, ImageModel.model_validate({"id": asked.match}))
            )
            still_wanted()
            explanation = service.retried(lambda: explain(service.live.current(asked.encoder), query, match))
            said = explanation.to_json()
            sides = (("query", query, explanation.query_map), ("match", match, explanation.match_map))
            for name, image, values in sides:
                if not asked.maps:
                    del said[f"{name}_map"]
                said[name] = f"data:image/png;base64,{b64encode(to_png(overlay(image, values))).decode()}"
            return said

        def made() -> Response:
            with service.metrics.stage("explain"):
                return json_of(ExplanationModel, found())

        return await service.pools.run("costly", made)


def _pixels_or_thumbnail(service: Service, image: ImageModel, allowance: Allowance) -> NDArray[np.uint8]:
    """Return what :meth:`Service.pixels` does; of a whole image of the index that has gone or changed what the index keeps."""
    try:
        return service.pixels(image, allowance)
    except ImageError as e:
        if image.id is None or image.crop is not None or e.outcome not in ("gone", "changed"):
            raise
        row = service.originals().row(image.id)
        return service.retried(lambda: service.live.current().thumbnails([row])[0])


Identity = Annotated[str, Query(alias="id", description="As in search results.", examples=["cats/tom.jpg"])]


def _add_images(app: FastAPI, service: Service) -> None:
    @app.get("/api/images", response_model=PageModel, tags=["images"])
    def images(
        offset: Annotated[int, Query(ge=0, le=2**62)] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE)] = 100,
        spread: Annotated[
            bool, Query(description="Evenly from the whole collection instead of from offset on.")
        ] = False,
    ) -> dict[str, Any]:
        """List the index's images in its order."""

        def page() -> dict[str, Any]:
            index = service.live.current()
            total = len(index)
            rows = range(min(offset, total), min(offset + limit, total))
            some = np.linspace(0, total - 1, min(limit, total)).astype(int).tolist() if spread and total else list(rows)
            after = None if spread or rows.stop >= total else rows.stop
            return {"total": total, "offset": offset, "next": after, "images": index.facts(some)}

        return service.retried(page)

    @app.get("/api/image", response_model=FactsModel, tags=["images"])
    def image(identity: Identity) -> dict[str, Any]:
        """Return what is stored of one image."""
        return service.retried(lambda: service.live.current().facts([service.originals().row(identity)])[0])

    @app.get("/api/thumbnail", response_class=Response, tags=["images"])
    def thumbnail(request: Request, identity: Identity) -> Response:
        """Return an image's thumbnail, from the index: a PNG or a JPEG, no side over 128 pixels."""
        data = service.retried(lambda: service.live.current().thumbnail_bytes([service.originals().row(identity)])[0])
        return _picture(request, data)

    @app.get("/api/picture", response_class=Response, tags=["images"])
    def picture(request: Request, identity: Identity, side: Annotated[int, Query(ge=16, le=1024)] = 1024) -> Response:
        """Return an image as browsers show it: decoded here, upright, without what its file says besides."""

        def made() -> bytes:
            try:
                data, name = service.originals().read(identity)
                pixels = service.decode(data, where=name).pixels
            except ImageError as e:
                if e.outcome not in ("gone", "changed"):
                    raise
                index = service.live.current()
                return index.thumbnail_bytes([service.originals().row(identity)])[0]
            return to_png(pixels, side) if pixels.shape[0] * pixels.shape[1] < 10_000 else _jpeg(pixels, side)

        return _picture(request, service.retried(made))

    @app.get("/api/original", response_class=Response, tags=["images"])
    def original(identity: Identity) -> Response:
        """Return the very file that was indexed, to be saved and not shown; if it has changed since, nothing."""
        data, name = service.retried(lambda: service.originals().read(identity))
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        safe = kind if kind.startswith("image/") and "svg" not in kind else "application/octet-stream"
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name, errors='replace')}"}
        return Response(data, media_type=safe, headers=headers)

    @app.post("/api/download", response_class=Response, tags=["images"])
    async def download(asked: IdsModel) -> Response:
        """Return the files of some images in one ZIP archive."""
        ids = list(dict.fromkeys(asked.ids))

        def read(identity: str) -> bytes:
            still_wanted()
            return service.retried(lambda: service.originals().read(identity))[0]

        def check() -> None:
            size = 0
            for identity in ids:
                size += len(read(identity))
                if size > MOST_PACKED:
                    raise ImageError(f"these files have over {MOST_PACKED / 2**20:g} MB; choose fewer", "too large")

        # All of them once before the first is sent, so that what is wrong can be said; then each when it is its turn.
        await service.pools.run("costly", check)
        headers = {"content-disposition": 'attachment; filename="selection.zip"'}
        return StreamingResponse(packed(ids, read), media_type="application/zip", headers=headers)


def _jpeg(pixels: Any, side: int) -> bytes:
    from lookalike.imaging.encode import to_thumbnail

    return to_thumbnail(pixels, side)


def _picture(request: Request, data: bytes) -> Response:
    import zlib

    tag = f'"{zlib.crc32(data):08x}"'
    headers = {"etag": tag, "cache-control": "private, max-age=300"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=_kind_of(data), headers=headers)


def _kind_of(file: bytes) -> str:
    return "image/png" if file.startswith(b"\x89PNG") else "image/jpeg"


def _add_map(app: FastAPI, service: Service) -> None:
    @app.get("/api/map", response_model=MapModel, tags=["map"])
    async def collection_map(
        encoder: Annotated[
            str | None, Query(max_length=200, description="One of the index's; else its default.")
        ] = None,
    ) -> Response:
        """Return where every image lies in the plane, if ``lookalike map`` has been run."""
        # As it stands: going through a hundred thousand entries a second time would only cost.
        return await service.pools.run(
            "costly", lambda: JSONResponse(service.retried(lambda: map_json(service.live.current(encoder))))
        )

    @app.post("/api/map/ids", response_model=RowIdsModel, tags=["map"])
    async def map_ids(asked: RowsModel) -> Response:
        """Return the ids of some images of a map; 409 where the index has changed since."""

        def made() -> dict[str, Any]:
            return {"ids": ids_of_rows(service.live.current(asked.encoder), asked.version, asked.rows)}

        return await service.pools.run("queries", lambda: json_of(RowIdsModel, service.retried(made)))


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/api/info", response_model=InfoModel, tags=["index"])
    def info(request: Request) -> dict[str, Any]:
        """Return what the index holds and can do."""
        found = service.retried(lambda: _info(service))
        return found | {"trouble": found["trouble"] and service.told(request, found["trouble"])}

    @app.get("/api/files", response_model=FilesModel, tags=["index"])
    async def files(
        request: Request,
        outcome: Annotated[
            str | None, Query(description="Only these; 'left out' for all that have no descriptor.")
        ] = None,
        offset: Annotated[int, Query(ge=0, le=2**62)] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE)] = 100,
    ) -> Response:
        """List the collection's files and what became of each."""
        index = await service.index(None)

        def page() -> Response:
            rows = service.retried(lambda: service.live.current().listed(outcome))
            after = offset + limit if offset + limit < len(rows) else None
            some = [
                row | {"reason": row["reason"] and service.told(request, row["reason"])}
                for row in rows[offset : offset + limit]
            ]
            found = {"total": len(rows), "offset": offset, "next": after, "outcomes": index.manifest.outcomes}
            return json_of(FilesModel, found | {"files": some})

        return await service.pools.learnt(index, "files", page, first="costly")

    @app.get("/api/reports", response_model=ReportsModel, tags=["index"])
    def reports(request: Request) -> dict[str, Any]:
        """Return the score reports that ``lookalike score --keep`` left with the index."""
        version = service.live.current().manifest.dataset_version
        found = []
        for report in saved_reports(service.live.path):
            with suppress(ValidationError):  # somebody else's file: nothing to show
                told = {"current": report.get("version") == version, "title": service.told(request, report["title"])}
                found.append(ReportModel.model_validate({**report, **told}))
        return {"reports": found}

    @app.get("/api/suggest", response_model=SuggestModel, tags=["index"])
    def suggest(q: Annotated[str, Query(max_length=200)] = "") -> dict[str, Any]:
        """Return column names and values of the metadata that hold some letters, for filters and words."""
        return service.retried(lambda: _suggestions(service.live.current(), q))

    @app.get("/api/health", response_model=StatusModel, tags=["service"])
    async def health() -> dict[str, str]:
        """Tell that the server lives."""
        return {"status": "ok"}

    @app.get("/api/ready", response_model=StatusModel, tags=["service"])
    def ready() -> dict[str, str]:
        """Tell that the index can be read; 503 where it is gone or damaged, also while what was opened of it answers."""
        service.live.current()
        service.live.check()
        return {"status": "ready"}

    @app.get("/metrics", response_class=Response, tags=["service"])
    def metrics() -> Response:
        """Return what was counted and timed, for Prometheus."""
        service.metrics.images.set(len(service.live.current()))
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @app.get("/api/events", response_class=StreamingResponse, tags=["service"])
    async def events(request: Request) -> StreamingResponse:
        """Send the index's state now and whenever it changes, as server-sent events named ``index``."""

        async def stream() -> AsyncIterator[str]:
            last, beat = "", time.monotonic()
            since = beat  # a new one begins with what is true now; later it is no more than half a look old
            while not service.stopping.is_set():
                state = await service.state(since)
                state = state | {"trouble": state["trouble"] and service.told(request, state["trouble"])}
                text = json.dumps(_finite(state), allow_nan=False)
                if text != last or time.monotonic() - beat > BEAT:
                    yield f"event: index\ndata: {text}\n\n"
                    last, beat = text, time.monotonic()
                with suppress(TimeoutError):
                    await asyncio.wait_for(service.stopping.wait(), LOOK)
                since = time.monotonic() - LOOK / 2

        return StreamingResponse(stream(), media_type="text/event-stream")


def _info(service: Service) -> dict[str, Any]:
    index = service.live.current()
    manifest = index.manifest
    columns, has_labels = service.abilities()
    return {
        "lookalike": __version__,
        "name": Path(manifest.collection).name or manifest.collection,
        "images": len(index),
        "complete": manifest.complete,
        "default": manifest.default,
        "encoders": columns,
        "distances": sorted(DISTANCES),
        "reranks": sorted(name for name in RERANKERS if name != "auto"),
        "labels": has_labels,
        "outcomes": manifest.outcomes,
        "version": manifest.dataset_version,
        "urls": service.fetcher is not None,
        "trouble": service.live.trouble,
    }


def _finite(value: Any) -> Any:
    """Return what JSON can hold of a value: of a number that is infinite, or none, nothing."""
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _state(service: Service) -> dict[str, Any]:
    index = service.live.current()
    newest = service.live.newest()
    underway = read_underway(service.live.path)
    return {
        "version": index.manifest.dataset_version,
        "images": len(index),
        "complete": newest.complete if newest else False,
        "committed": newest.count if newest else 0,
        "outcomes": newest.outcomes if newest else {},
        "run": underway and underway.to_json(),
        "gone": newest is None,
        "trouble": service.live.trouble,
    }


def _suggestions(index: SharedIndex, text: str, most: int = 12) -> dict[str, Any]:
    wanted = text.casefold()
    columns: dict[str, None] = dict.fromkeys(("id", "label", "caption", "width", "height", "size"))
    values: dict[str, None] = {}
    rows = np.linspace(0, len(index) - 1, min(len(index), 2000)).astype(int).tolist() if len(index) else []
    for facts in index.facts(rows):
        metadata = facts["metadata"] or {}
        columns.update(dict.fromkeys(metadata))
        for value in (facts["label"], *metadata.values()):
            if isinstance(value, str) and wanted in value.casefold():
                values[value] = None
    return {
        "columns": [name for name in columns if wanted in name.casefold()][:most],
        "values": sorted(values, key=lambda v: (not v.casefold().startswith(wanted), v))[:most],
    }
