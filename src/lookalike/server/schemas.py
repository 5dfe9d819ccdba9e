"""The JSON of the service, as its OpenAPI shows it. What a query may hold is checked by :mod:`lookalike.search.request`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_args

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, create_model

from lookalike.errors import UsageError
from lookalike.index.schema import columns_in
from lookalike.search.request import MAX_EXAMPLES, MAX_K

#: More than any distance or weight means, and few enough digits for every step on the way.
_LARGE, _FAR = 1e30, 2**53
Number = (
    Annotated[StrictInt, Field(ge=0, le=_FAR)] | Annotated[StrictFloat, Field(ge=0, le=_LARGE, allow_inf_nan=False)]
)
Weight = (
    Annotated[StrictInt, Field(ge=-_FAR, le=_FAR)]
    | Annotated[StrictFloat, Field(ge=-_LARGE, le=_LARGE, allow_inf_nan=False)]
)
Pixels = Annotated[StrictInt, Field(ge=-(2**31), le=2**31)]
#: An id, which may be a long path; a name of an encoder or the like; what a person types.
Id = Annotated[StrictStr, Field(max_length=32_768)]
Name = Annotated[StrictStr, Field(max_length=1000)]
Typed = Annotated[StrictStr, Field(max_length=10_000)]


def json_of(model: type[BaseModel], content: Any) -> Response:
    """Return an answer as its JSON, made in the thread that answers and not in the one that all wait for.

    Parameters
    ----------
    model : type of BaseModel
        What the answer is by the OpenAPI.
    content : object
        What it is to hold.

    Returns
    -------
    Response
    """
    return Response(model.model_validate(content).model_dump_json(), media_type="application/json")


_Model = TypeVar("_Model", bound=BaseModel)


def with_columns(door: str) -> Callable[[type[_Model]], type[_Model]]:
    """Make a decorator that adds to a model the columns of the rows that a door shows.

    Parameters
    ----------
    door : str
        One of :data:`lookalike.index.schema.DOORS`.

    Returns
    -------
    callable
        A model -> the same with a field for each column that it lacks.
    """

    def decorate(model: type[_Model]) -> type[_Model]:
        fields: dict[str, Any] = {}
        for column in columns_in(door):
            if column.name not in model.model_fields:
                is_optional = type(None) in get_args(column.type)
                python_type = (
                    dict[str, Any] | None if column.name == "metadata" else column.type
                )  # it is stored as JSON
                description = Field(None if is_optional else ..., description=column.about.text)
                fields[column.name] = python_type, description
        return create_model(
            model.__name__, __base__=model, __module__=model.__module__, __doc__=model.__doc__, **fields
        )

    return decorate


class Strict(BaseModel):
    """A body: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class ImageModel(Strict):
    """An image to ask by: one of the index, or one that is sent. Exactly one of ``id``, ``upload``, ``data``, ``url``."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"id": "cats/tom.jpg"}]})

    id: Id | None = Field(None, description="An image of the index.")
    upload: Name | None = Field(None, description="What /api/uploads returned.")
    data: StrictStr | None = Field(None, description="A file's bytes in base64, or a data: URL.")
    url: Typed | None = Field(None, description="Where to fetch it; only if the server was started with --allow-urls.")
    crop: Annotated[list[Pixels], Field(min_length=4, max_length=4)] | None = Field(
        None, description="x, y, width, height in pixels of the upright image."
    )
    weight: Weight = Field(1.0, description="Its share; below 0 the query moves away from it.")

    def source(self) -> str:
        """Return which of the sources is given.

        Raises
        ------
        UsageError
            If not exactly one is.
        """
        given = [name for name in ("id", "upload", "data", "url") if getattr(self, name) is not None]
        if len(given) != 1:
            names = " and ".join(given) or "none of them"
            raise UsageError(f"an image needs exactly one of id, upload, data and url; this one has {names}")
        return given[0]


class QueryModel(Strict):
    """One query, whatever it is made of; docs/searching.md says what each key means."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"images": [{"id": "cats/tom.jpg"}], "k": 20}]}
    )

    images: list[ImageModel] = Field([], max_length=MAX_EXAMPLES)
    likes: list[Id] = Field([], max_length=MAX_EXAMPLES)
    dislikes: list[Id] = Field([], max_length=MAX_EXAMPLES)
    without: list[Id] = Field([], max_length=MAX_EXAMPLES, description="Not among the answers.")
    text: Typed | None = None
    words: Typed | None = None
    where: Typed | None = None
    k: StrictInt = Field(10, ge=1, le=MAX_K)
    offset: StrictInt = Field(0, ge=0, le=2**53)
    within: Number | None = None
    group: Number | None = None
    encoder: Name | None = None
    distance: Name | None = None
    rerank: Name | None = None
    denoise: Name | None = None


class ExplainModel(Strict):
    """Two images, to be told why they are alike."""

    image: ImageModel
    match: Id = Field(description="An image of the index.", examples=["cats/tom.jpg"])
    encoder: Name | None = None
    maps: StrictBool = Field(False, description="Whether to send the maps as numbers too.")


class ExplanationModel(BaseModel):
    """Which parts of two images account for their similarity."""

    query: str = Field(description="The query in grey under the heat of what counts: a PNG as a data: URL.")
    match: str = Field(description="The same of the match.")
    encoder: str
    distance: str
    similarity: float
    method: str = Field(description="exact, or hiding: places were hidden in turn.")
    shares: dict[str, float] = Field(description="Each encoder's share in the similarity.")
    colours: list[dict[str, Any]] = Field(description="Colours that account for most, as rgb and share.")
    points: list[list[list[float]]] | None = Field(
        None, description="Details in the same arrangement in both, by shares of width and height; of local features."
    )
    message: str
    query_map: list[list[float]] | None = Field(
        None, description="What each place of the query accounts for, row 0 at the top; only if asked for."
    )
    match_map: list[list[float]] | None = Field(None, description="The same of the match.")


@with_columns("matches")
class MatchModel(BaseModel):
    """One match."""

    rank: int
    id: str
    distance: float | None = None
    similarity: float | None = None
    p_value: float | None = Field(
        None, description="Share of random pairs of this collection that are at least as close."
    )
    p_value_is_bound: bool | None = Field(
        None, description="Whether it is rarer than that: nothing so close was drawn."
    )
    score: float | None = Field(None, description="How well it fits words, where nothing else was asked.")
    likeness: str | None = Field(
        None, description="same picture, very alike, alike or the rest, where that can be told."
    )
    group: list[str] | None = Field(None, description="Ids of the near-duplicates grouped with this match.")
    inliers: int | None = Field(None, description="Keypoints that the geometric check verified.")
    picture: str | None = Field(None, description="Its thumbnail as a data: URL, of as many as were asked for.")


class ResponseModel(BaseModel):
    """The answers to one query."""

    model_config = ConfigDict(extra="allow")

    query: str
    search: str
    matches: list[MatchModel]
    total: int
    offset: int
    next: int | None
    gap_after: int | None = None
    nothing_like_it: bool | None = None
    message: str | None = None
    uploads: list[str] | None = Field(
        None, description="What the files that were sent are asked by again, as of /api/uploads."
    )


class ErrorModel(BaseModel):
    """What went wrong, in a sentence with what to do."""

    error: str


#: What the OpenAPI says of each status.
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorModel, "description": description}
    for status, description in {
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


class TagModel(BaseModel):
    """A guess of what an image shows."""

    word: str
    share: Annotated[float, Field(description="How sure the shipped networks are, 0.7 to 1.")]


@with_columns("service")
class FactsModel(BaseModel):
    """What is stored of one image."""


class SeenModel(FactsModel):
    """What is stored of one image, and what the shipped networks see in it."""

    tags: list[TagModel]


class PageModel(BaseModel):
    """Some of the index's images."""

    total: int
    offset: int
    next: int | None
    images: list[FactsModel]


@with_columns("files")
class FileModel(BaseModel):
    """What became of one file."""

    path: str


class FilesModel(BaseModel):
    """What became of files."""

    total: int
    offset: int
    next: int | None
    outcomes: dict[str, int]
    files: list[FileModel]


class ColumnModel(BaseModel):
    """An encoder of the index."""

    name: str
    encoder: str
    distance: str
    dimension: int
    post: str | None
    provider: str | None
    aim: str | None
    verdict: str | None
    complete: bool
    count: int
    can_read: bool
    can_denoise: bool


class InfoModel(BaseModel):
    """The index that answers."""

    lookalike: str
    name: str
    images: int
    complete: bool
    default: str
    encoders: list[ColumnModel]
    distances: list[str]
    reranks: list[str]
    labels: bool
    outcomes: dict[str, int]
    version: int
    urls: bool
    trouble: str | None
    folder: str | None = Field(None, description="Where the files are, for this machine's own user.")
    small_thumbnails: bool = Field(
        False, description="Whether an older version made the thumbnails: indexing anew makes sharper ones."
    )


class EncodeModel(Strict):
    """An image to be encoded."""

    image: ImageModel
    encoder: Name | None = None


class DescriptorModel(BaseModel):
    """A descriptor."""

    encoder: str
    dimension: int
    dtype: str
    distance: str
    descriptor: list[float]


class SuggestModel(BaseModel):
    """What filters and words could say."""

    columns: list[str]
    values: list[str]


class StatusModel(BaseModel):
    """Whether the server lives, or is ready."""

    status: str


class PictureModel(BaseModel):
    """A picture and the images nearest to it."""

    picture: str = Field(description="A data: URL of a PNG.")
    matches: list[MatchModel]


class DenoisedModel(BaseModel):
    """An image with noise, and the same image after it was taken away."""

    noisy: PictureModel
    denoised: PictureModel
    message: str = Field(description="What removed the noise, in a sentence.")


class ReportModel(BaseModel):
    """A score report that ``lookalike score --keep`` left with the index."""

    title: str
    when: str = Field(description="ISO 8601, UTC.")
    current: bool = Field(description="Whether the version of the index that was scored is the one that answers.")
    queries: int
    database: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] = Field(description="95 % bootstrap, for every metric.")
    lrap: list[tuple[int, float]] = Field(description="n and LRAP@n.")


class ReportsModel(BaseModel):
    """The score reports there are, the newest first."""

    reports: list[ReportModel]
    shown: list[str] = Field(description="The metrics that a table shows, in order; the others are in each report.")


class UploadModel(BaseModel):
    """A picture that was sent and is kept a while."""

    upload: str
    width: int
    height: int


class IdsModel(Strict):
    """Some images of the index."""

    ids: list[Id] = Field(min_length=1, max_length=500)


class MapModel(BaseModel):
    """The collection in two dimensions; the arrays are little-endian, in base64, in the order of the descriptors."""

    version: str = Field(description="Of which descriptors it is; another after any change.")
    encoder: str
    count: int
    positions: str = Field(description="float32, x and y of each image in turn, from -1 to 1; y grows upwards.")
    clusters: str = Field(description="uint16, the density cluster of each image; 0 has most images.")
    labels: str | None = Field(description="uint16, each image's place in label_names; null where there are none.")
    label_names: list[str]


class RowsModel(Strict):
    """Some images of a map, by their places in its arrays."""

    version: StrictStr = Field(max_length=64, description="The map's.")
    encoder: Name | None = Field(None, description="The map's.")
    rows: list[Annotated[StrictInt, Field(ge=0, le=2**31)]] = Field(min_length=1, max_length=100_000)


class RowIdsModel(BaseModel):
    """Which images they are, in the order asked."""

    ids: list[str]
