"""The service's paths: each is a few lines over the functions of the other modules."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import sys
import tempfile
import threading
import time
import zipfile
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar
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
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.routing import Match

from lookalike import __version__
from lookalike.answers import answer
from lookalike.distances import DISTANCES
from lookalike.errors import CollectionError, EncoderError, ImageError, IndexStoreError, LookalikeError, UsageError
from lookalike.explanation import explain
from lookalike.heat import overlay
from lookalike.raster import fit_to, to_png
from lookalike.request import MOST_EXAMPLES, Example
from lookalike.request import Query as Asked
from lookalike.rerank import RERANKINGS
from lookalike.scorebook import kept_scores
from lookalike.server.fetching import Fetcher
from lookalike.server.guard import Guard, Rules
from lookalike.server.kept import ForgottenUploadError, Kept
from lookalike.server.live import LiveIndex, SharedIndex
from lookalike.server.mapping import NoMapError, StaleMapError, ids_of_rows, map_json
from lookalike.server.metrics import CONTENT_TYPE, Metrics
from lookalike.server.noise import add_denoise
from lookalike.server.originals import Originals, UnknownImageError
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
)
from lookalike.server.uploads import LIMITS, Decoder, Upload, raised
from lookalike.underway import read_underway

WEB = Path(__file__).parent.parent / "web"
#: Most images or files of one page of a listing.
PAGE = 1000
_THREADS = 128
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
        503: "The index, its images or the decoders can't be had now",
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
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _originals: tuple[SharedIndex, Originals] | None = None
    _abilities: tuple[SharedIndex, list[dict[str, Any]], bool] | None = None

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
        if self._abilities is None or self._abilities[0] is not index:
            columns = []
            for column in index.passport.columns:
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
            has_labels = bool(len(index)) and index.facts([0])[0]["label"] is not None
            self._abilities = index, columns, has_labels
        return self._abilities[1:]

    def retried(self, work: Callable[[], _T]) -> _T:
        """Do what reads the index; once more on the newest version if this one was swept away meanwhile."""
        try:
            return work()
        except IndexStoreError:
            self.live.reload()
            return work()

    def example(self, image: ImageModel) -> Example:
        """Return an image to ask by; what was sent is decoded on the leash."""
        source = image.source()
        crop = None if image.crop is None else (image.crop[0], image.crop[1], image.crop[2], image.crop[3])
        weight = float(image.weight)
        if source == "id":
            return Example(id=image.id, crop=crop, weight=weight)
        if source == "data":
            data = Example.from_json({"data": image.data}).data or b""
        elif source == "upload":
            data = self.kept.get(image.upload or "")
            if crop is None and (shown := self.kept.decoded(image.upload or "")) is not None:
                return Example(pixels=shown.pixels, weight=weight)
        elif self.fetcher is None:
            raise UsageError("this server fetches no URLs; send the image, or start it with --allow-urls")
        else:
            with self.metrics.stage("fetch"):
                data = self.fetcher.fetch(image.url or "")
        return Example(pixels=self.decode(data, crop).pixels, weight=weight)

    def decode(self, data: bytes, crop: tuple[int, int, int, int] | None = None, where: str = "the image") -> Upload:
        """Decode what was sent."""
        with self.metrics.stage("decode"):
            return self.decoder.decode(data, where, crop, self.live.current().limits)

    def pixels(self, image: ImageModel) -> NDArray[np.uint8]:
        """Return the pixels of an image that was sent, or of one of the index."""
        example = self.example(image)
        if example.pixels is not None:
            return example.pixels
        data, name = self.originals().read(example.id or "")
        return self.decode(data, example.crop, name).pixels

    def ask(self, model: QueryModel, examples: Sequence[Example], pictures: int = 0) -> dict[str, Any]:
        """Answer a query whose images have been decoded; the first matches bring their pictures along."""
        entry = model.model_dump(exclude_none=True, exclude={"images"})
        if model.denoise not in (None, "auto"):
            raise UsageError(
                "denoise is 'auto' here, or left out; other denoisers are folders, which a server doesn't open"
            )
        stand_in = [{"id": "an image"}] if examples else []  # while the rest is read
        query = replace(Asked.from_json(entry | {"images": stand_in, "resize": True}), images=tuple(examples))

        def found() -> dict[str, Any]:
            index = self.live.current(query.encoder)
            response = answer(index, replace(query, encoder=None))
            said, rows = response.to_json(), [match.row for match in response.matches]
            for match, facts in zip(said["matches"], index.facts(rows), strict=True):
                match["width"], match["height"] = facts["width"], facts["height"]
            shown = rows[:pictures]
            for match, file in zip(said["matches"], index.thumbnail_bytes(shown) if shown else [], strict=False):
                match["picture"] = f"data:{_kind_of(file)};base64,{b64encode(file).decode()}"
            return said

        with self.metrics.stage("answer"):
            return self.retried(found)


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

    def warm() -> None:
        with suppress(LookalikeError, OSError, RuntimeError):  # who sends the first picture is told what is wrong
            service.decoder.warm()

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        # A thread a request, so that requests that come together can be answered together.
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        # The threads hand over to each other several times a request; by default each may be kept waiting for 5 ms.
        before = sys.getswitchinterval()
        sys.setswitchinterval(0.0005)
        threading.Thread(target=warm, name="lookalike-warm", daemon=True).start()
        yield
        sys.setswitchinterval(before)
        service.decoder.close()

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
    _add_errors(app)
    _add_search(app, service)
    _add_explain(app, service)
    add_denoise(app, service)
    _add_images(app, service)
    _add_map(app, service)
    _add_facts(app, service)
    _add_unknown(app)
    app.mount("/", StaticFiles(directory=WEB, html=True), name="page")
    counted = _Counted(app, service.metrics)
    return Guard(counted, rules)


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


def _add_errors(app: FastAPI) -> None:
    def told(status: int, text: str, headers: Any = None) -> JSONResponse:
        return JSONResponse({"error": text}, status, headers)

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, LookalikeError)
        return told(status_of(error), str(error))

    async def theirs(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return told(error.status_code, str(error.detail), error.headers)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return told(422, "; ".join(said_of(one) for one in error.errors()[:3]))

    async def unexpected(_: Request, __: Exception) -> Response:
        return told(500, "unexpected: a fault of ours; the server's own output says where")

    app.add_exception_handler(LookalikeError, ours)
    app.add_exception_handler(HTTPException, theirs)
    app.add_exception_handler(RequestValidationError, invalid)
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


Pictures = Annotated[
    int, Query(ge=0, le=100, description="How many of the first matches bring their thumbnails along.")
]


def _add_search(app: FastAPI, service: Service) -> None:
    @app.post("/api/search", response_model=ResponseModel, tags=["search"])
    def search(query: QueryModel, pictures: Pictures = 0) -> dict[str, Any]:
        """Answer one query: images, likes and dislikes, words, a filter, all at once."""
        return service.ask(query, [service.example(image) for image in query.images], pictures)

    @app.post("/api/search/upload", response_model=ResponseModel, tags=["search"])
    def search_upload(
        images: Annotated[list[UploadFile], File(description="Image files to ask by.", max_length=MOST_EXAMPLES)],
        query: Annotated[str, Form(description="The rest of the query, as JSON.", examples=['{"k": 20}'])] = "{}",
        pictures: Pictures = 0,
    ) -> dict[str, Any]:
        """Answer one query whose images are sent as files; they are kept for a while, as by /api/uploads."""
        try:
            model = QueryModel.model_validate_json(query)
        except ValidationError as e:
            raise RequestValidationError([{**one, "loc": ("query", *one["loc"])} for one in e.errors()]) from e
        with service.metrics.stage("upload"):
            sent = [image.file.read() for image in images]
        decoded = [service.decode(data) for data in sent]
        uploads = [service.kept.add(data, shown) for data, shown in zip(sent, decoded, strict=True)]
        examples = [Example(pixels=shown.pixels) for shown in decoded]
        examples += [service.example(image) for image in model.images]
        return service.ask(model, examples, pictures) | {"uploads": uploads}

    @app.post("/api/uploads", response_model=UploadModel, tags=["search"])
    def uploads(image: Annotated[UploadFile, File(description="An image file.")]) -> dict[str, Any]:
        """Keep an image for a while, in memory only, to ask by it as often as one likes."""
        with service.metrics.stage("upload"):
            data = image.file.read()
        shown = service.decode(data)
        return {"upload": service.kept.add(data, shown), "width": shown.width, "height": shown.height}

    @app.get("/api/upload", response_class=Response, tags=["search"])
    def upload(request: Request, identity: Annotated[str, Query(alias="id", max_length=64)]) -> Response:
        """Show an image that was sent."""
        data = service.kept.get(identity)
        shown = service.kept.decoded(identity) or service.decode(data)
        answer_ = _picture(request, to_png(shown.pixels))
        answer_.headers["x-image-size"] = f"{shown.width}x{shown.height}"
        return answer_

    @app.post("/api/encode", response_model=DescriptorModel, tags=["search"])
    def encode(asked: EncodeModel) -> dict[str, Any]:
        """Return an image's descriptor by one of the index's encoders."""
        index = service.live.current(asked.encoder)
        view = index.passport.view
        pixels = service.pixels(asked.image)
        descriptor = index.encoder.encode(fit_to(pixels, tuple(view.shape))[None])[0]
        return {
            "encoder": view.column,
            "dimension": view.dimension,
            "dtype": view.dtype,
            "distance": view.distance,
            "descriptor": descriptor.tolist(),
        }


def _add_explain(app: FastAPI, service: Service) -> None:
    @app.post("/api/explain", response_model=ExplanationModel, tags=["search"])
    def explain_(asked: ExplainModel) -> dict[str, Any]:
        """Say which parts of two images account for their similarity."""
        query, match = (
            _pixels_or_thumbnail(service, image)
            for image in (asked.image, ImageModel.model_validate({"id": asked.match}))
        )

        def found() -> dict[str, Any]:
            explanation = explain(service.live.current(asked.encoder), query, match)
            said = explanation.to_json()
            sides = (("query", query, explanation.query_map), ("match", match, explanation.match_map))
            for name, image, values in sides:
                if not asked.maps:
                    del said[f"{name}_map"]
                said[name] = f"data:image/png;base64,{b64encode(to_png(overlay(image, values))).decode()}"
            return said

        with service.metrics.stage("explain"):
            return service.retried(found)


def _pixels_or_thumbnail(service: Service, image: ImageModel) -> NDArray[np.uint8]:
    """Return what :meth:`Service.pixels` does; of a whole image of the index that has gone or changed what the index keeps."""
    try:
        return service.pixels(image)
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
        headers = {"content-disposition": f"attachment; filename*=UTF-8''{quote(name)}"}
        return Response(data, media_type=safe, headers=headers)

    @app.post("/api/download", response_class=Response, tags=["images"])
    def download(asked: IdsModel) -> Response:
        """Return the files of some images in one ZIP archive."""
        file = tempfile.SpooledTemporaryFile(max_size=64 * 2**20)  # noqa: SIM115  (closed when it has been sent)
        with zipfile.ZipFile(file, "w") as zipped:
            for identity in dict.fromkeys(asked.ids):
                data, _ = service.retried(lambda wanted=identity: service.originals().read(wanted))  # type: ignore[misc]
                # A name that leads out of the folder it is unpacked in must not come from us.
                safe = "/".join(part for part in identity.split("/") if part not in ("", ".", ".."))
                zipped.writestr(safe or "image", data)
        size = file.tell()
        file.seek(0)
        headers = {"content-disposition": 'attachment; filename="selection.zip"', "content-length": str(size)}
        return StreamingResponse(
            iter(lambda: file.read(1 << 20), b""),
            media_type="application/zip",
            headers=headers,
            background=BackgroundTask(file.close),
        )


def _jpeg(pixels: Any, side: int) -> bytes:
    from lookalike.raster import to_thumbnail

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
    def collection_map(
        encoder: Annotated[
            str | None, Query(max_length=200, description="One of the index's; else its default.")
        ] = None,
    ) -> Response:
        """Return where every image lies in the plane, if ``lookalike map`` has been run."""
        # As it stands: going through a hundred thousand entries a second time would only cost.
        return JSONResponse(service.retried(lambda: map_json(service.live.current(encoder))))

    @app.post("/api/map/ids", response_model=RowIdsModel, tags=["map"])
    def map_ids(asked: RowsModel) -> dict[str, Any]:
        """Return the ids of some images of a map; 409 where the index has changed since."""
        index = service.live.current(asked.encoder)
        return service.retried(lambda: {"ids": ids_of_rows(index, asked.version, asked.rows)})


def _add_facts(app: FastAPI, service: Service) -> None:
    @app.get("/api/info", response_model=InfoModel, tags=["index"])
    def info() -> dict[str, Any]:
        """Return what the index holds and can do."""
        return _info(service)

    @app.get("/api/files", response_model=FilesModel, tags=["index"])
    def files(
        outcome: Annotated[
            str | None, Query(description="Only these; 'left out' for all that have no descriptor.")
        ] = None,
        offset: Annotated[int, Query(ge=0, le=2**62)] = 0,
        limit: Annotated[int, Query(ge=1, le=PAGE)] = 100,
    ) -> dict[str, Any]:
        """List the collection's files and what became of each."""

        def page() -> dict[str, Any]:
            index = service.live.current()
            rows = index.failures() if outcome == "left out" else index.files()
            if outcome not in (None, "left out"):
                rows = [row for row in rows if row["outcome"] == outcome]
            after = offset + limit if offset + limit < len(rows) else None
            return {
                "total": len(rows),
                "offset": offset,
                "next": after,
                "outcomes": index.passport.outcomes,
                "files": rows[offset : offset + limit],
            }

        return service.retried(page)

    @app.get("/api/reports", response_model=ReportsModel, tags=["index"])
    def reports() -> dict[str, Any]:
        """Return the score reports that ``lookalike score --keep`` left with the index."""
        version = service.live.current().passport.dataset_version
        found = []
        for report in kept_scores(service.live.path):
            with suppress(ValidationError):  # somebody else's file: nothing to show
                found.append(ReportModel.model_validate({**report, "current": report.get("version") == version}))
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
        """Tell that the index answers; 503 where it is gone."""
        service.live.current()
        if service.live.gone:
            raise IndexStoreError(f"{service.live.path}: the index is gone; what was opened of it still answers")
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
            while not service.stopping.is_set() and not await request.is_disconnected():
                state = json.dumps(await anyio.to_thread.run_sync(_state, service))
                if state != last or time.monotonic() - beat > 15:
                    yield f"event: index\ndata: {state}\n\n"
                    last, beat = state, time.monotonic()
                await asyncio.sleep(0.5)

        return StreamingResponse(stream(), media_type="text/event-stream")


def _info(service: Service) -> dict[str, Any]:
    index = service.live.current()
    passport = index.passport
    columns, has_labels = service.abilities()
    return {
        "lookalike": __version__,
        "name": Path(passport.collection).name or passport.collection,
        "images": len(index),
        "complete": passport.complete,
        "default": passport.default,
        "encoders": columns,
        "distances": sorted(DISTANCES),
        "reranks": sorted(RERANKINGS),
        "labels": has_labels,
        "outcomes": passport.outcomes,
        "version": passport.dataset_version,
        "urls": service.fetcher is not None,
        "trouble": service.live.trouble,
    }


def _state(service: Service) -> dict[str, Any]:
    index = service.live.current()
    newest = service.live.newest()
    underway = read_underway(service.live.path)
    return {
        "version": index.passport.dataset_version,
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
