"""One query of any make + an index -> a page of answers, and what they mean. The JSON of both: docs/searching.md.

Every door asks here: :meth:`lookalike.Index.ask`, the command line, REST and the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.collections.folder import id_of
from lookalike.encoders.keypoints import VERIFIED
from lookalike.errors import UsageError
from lookalike.imaging.resize import fit_to
from lookalike.index.artifacts import CALIBRATION, REJECTION
from lookalike.index.originals import originals_of
from lookalike.index.reopen import collection_now
from lookalike.neighbors.exact import Database
from lookalike.neighbors.grouping import group_near_duplicates
from lookalike.search import filters
from lookalike.search.calibration import DEPTH, SHALLOWEST, DistanceCalibration, PValue, gap_after
from lookalike.search.compose import blend, read_whole, show_example
from lookalike.search.engine import Match, similarity
from lookalike.search.keywords import Words
from lookalike.search.rejection import (
    WAYS,
    MatchConfidence,
    RejectionRates,
    assess_match,
    estimate_rejection_rates,
    show,
)
from lookalike.search.request import Query
from lookalike.search.rerank.geometric import DEPTH as CHECKED
from lookalike.search.rerank.geometric import WIDER, recognised
from lookalike.search.rerank.registry import rerank
from lookalike.search.restore import restore_queries
from lookalike.transforms.restorer import Restored

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader

Picture = Callable[[int], NDArray[np.uint8]]

#: Answers ranked at first; more are when a page or a group needs them.
FIRST = 256
#: Share of the collection's own images that must be verified when they hang in a scene, for it to count that none is.
MOST_VERIFIED = 0.9


@dataclass(frozen=True)
class Response:
    """A page of answers.

    Attributes
    ----------
    query : str
        What a person calls the query.
    matches : list of Match
        In their order; ranks count from the first page.
    total : int
        Images that pass the filter, the words and the threshold, folded or not.
    offset : int
        Answers on the pages before.
    next : int or None
        Offset of the next page, if there is one.
    gap_after : int or None
        The rank after which the answers are set apart from all others.
    nothing_like_it : bool
        Whether there seems to be nothing like the query here.
    message : str
        All that in a sentence.
    denoised : Restored or None
        The images that were searched with in the place of the query's, where that was asked for.
    how : str
        Whether they were found by ``exact`` or ``approximate`` search.
    """

    query: str
    matches: list[Match]
    total: int
    offset: int
    next: int | None
    gap_after: int | None
    nothing_like_it: bool
    message: str
    denoised: Restored | None = None
    how: str = "exact"

    def to_json(self) -> dict[str, Any]:
        """Return the documented JSON form."""
        denoised = {} if self.denoised is None else {"denoised": self.denoised.to_json()}
        return {
            "query": self.query,
            "search": self.how,
            "matches": [m.to_json() for m in self.matches],
            "total": self.total,
            "offset": self.offset,
            "next": self.next,
            "gap_after": self.gap_after,
            "nothing_like_it": self.nothing_like_it,
            "message": self.message,
            **denoised,
        }


def answer(
    index: IndexReader,
    query: Query | Mapping[str, Any],
    *,
    how: str = "auto",
    on_note: Callable[[str], None] | None = None,
) -> Response:
    """Answer one query.

    Parameters
    ----------
    index : IndexReader
        What is asked.
    query : Query or mapping
        A query, or its JSON.
    how : {"auto", "exact", "approximate"}
        As of :meth:`lookalike.index.reader.IndexReader.nearest`.
    on_note : callable, optional
        Called with a sentence before something that takes long, and with what a re-ranking by ``auto`` chose.

    Returns
    -------
    Response
        Empty, and saying so, where nothing passes the filter, the words or the threshold.

    Raises
    ------
    UsageError
        If something in the query can't be used: an unknown id or column, weights that cancel out, ...
    CollectionError, EncoderError
        If an image can't be read, or is of another size.
    IndexStoreError
        If the index is damaged, or was written over since it was opened.
    """
    query = Query.from_json(query)
    if query.encoder is not None:
        encoder = query.encoder
        index = index.cached(f"view through {encoder}", lambda: index.with_encoder(encoder))
    if query.denoise is not None and not query.images:
        raise UsageError("denoise takes the noise out of the query's images, and there is none; leave it out")
    if query.rerank is not None:
        _check_rerank(query)
    kept = _kept(index)
    rows, scores = _passing(index, query, kept)
    if query.by_image:
        return _by_image(index, query, kept, rows, how, on_note)
    return _by_facts(index, query, rows, scores)


def _check_rerank(query: Query) -> None:
    """Refuse what only an order by distance has."""
    if not query.by_image:
        raise UsageError("re-ranking needs an image, a like or text to rank by; add one, or leave rerank out")
    for name in ("group", "within"):
        if getattr(query, name) is not None:
            raise UsageError(f"{name} goes by distance, and re-ranked answers don't; leave one of the two out")


def prepare(index: IndexReader, on_note: Callable[[str], None] | None = None) -> None:
    """Make what the first query by image would wait for; without it, that query makes it.

    Parameters
    ----------
    index : IndexReader
        What will be asked, by its encoder's own distance.
    on_note : callable, optional
        Called with a sentence before what takes a while, if it wasn't done before.
    """
    kept, database = _kept(index), index.database()
    kept.closeness_of(index, database).chance(0.0)
    kept.silence_of(index, database, on_note)


def prepare_words(index: IndexReader) -> None:
    """Make what the first search by words would wait for.

    Parameters
    ----------
    index : IndexReader
        What will be asked.
    """
    _kept(index).words_of(index)


def silence_of(index: IndexReader) -> RejectionRates:
    """Return what views of an index's own images met with: how far it can be believed that nothing stands out.

    Parameters
    ----------
    index : IndexReader
        Looked at through an encoder, by that one's own distance.

    Returns
    -------
    RejectionRates
        Learnt at the first call, some dozens of images, and kept in the index.
    """
    return _kept(index).silence_of(index, index.database())


def shown(index: IndexReader, query: Query) -> list[NDArray[np.uint8]]:
    """Return the images that a query asks by, as a person would see them.

    Parameters
    ----------
    index : IndexReader
        What is asked.
    query : Query
        Any.

    Returns
    -------
    list of ndarray of uint8
        Of any shapes; one an image, not of likes and dislikes.
    """
    kept = _kept(index)
    return [show_example(index, example, partial(kept.row_of, index)) for example in query.images]


class _Kept:
    """What is made once of an index and serves all queries; of threads that need it at once, one makes it.

    What is made holds no index, or a closed one would stay in memory.
    """

    def words_of(self, index: IndexReader) -> Words:
        return index.cached("words", lambda: Words(index.fact_table))

    def row_of(self, index: IndexReader, name: str) -> int:
        row = index.row_of(name)
        if row is None:
            raise UsageError(f"{id_of(name)}: no image of {index.path} has that id; lookalike files lists all")
        return row

    def closeness_of(self, index: IndexReader, database: Database) -> DistanceCalibration:
        def make() -> DistanceCalibration:
            made = DistanceCalibration(
                lambda: index.descriptors,
                database,
                partial(CALIBRATION.cached, index.path, index.manifest, distance=database.distance),
            )
            made.chance(0.0)  # learnt now, and not by each thread that asks first
            return made

        return index.cached(f"closeness by {database.distance}", make)

    def silence_of(
        self, index: IndexReader, database: Database, on_note: Callable[[str], None] | None = None
    ) -> RejectionRates:
        def views(rows: list[int], way: str) -> NDArray[Any]:
            if on_note is not None and way == WAYS[0]:
                on_note("asking by views of some images here, once, whether it tells anything that none stands out")
            return _views(index, rows, way)

        def make() -> RejectionRates:
            return estimate_rejection_rates(
                views,
                lambda: index.descriptors,
                database,
                partial(REJECTION.cached, index.path, index.manifest, distance=database.distance),
            )

        return index.cached(f"silence by {database.distance}", make)


def _kept(index: IndexReader) -> _Kept:
    return index.cached("answers", _Kept)


def _views(index: IndexReader, rows: list[int], way: str) -> NDArray[Any]:
    """Return descriptors of some images of an index, shown otherwise; of the pictures themselves where they are there."""
    shape = tuple(index.manifest.shape)
    found: NDArray[Any] = index.encoder.encode(
        show(np.stack([fit_to(picture, shape) for picture in originals_of(index).read(rows)]), way)
    )
    return found


# Which ----------------------------------------------------------------------------------------------------------------


def _passing(index: IndexReader, query: Query, kept: _Kept) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Return the rows that pass filter, words and dislikes, ascending, and how well each fits the words."""
    passing = np.ones(len(index), np.bool_)
    scores = None
    if query.where is not None:
        passing &= filters.parse(query.where).true_of(index.fact_table)
    if query.words is not None:
        scores = kept.words_of(index).scores(query.words)
        passing &= scores > 0
    for name in query.dislikes:
        passing[kept.row_of(index, name)] = False
    rows = np.flatnonzero(passing)
    return rows, None if scores is None else scores[rows]


def _by_facts(
    index: IndexReader, query: Query, rows: NDArray[np.int64], scores: NDArray[np.float64] | None
) -> Response:
    """Answer by words, the best first, or by a filter alone, in the order of the collection."""
    total = len(rows)
    order = np.arange(total) if scores is None else np.argsort(-scores, kind="stable")
    page = order[query.offset : query.offset + query.k]
    matches = []
    for rank, (at, facts) in enumerate(zip(page, index.facts(rows[page].tolist()), strict=True), query.offset + 1):
        score = None if scores is None else float(scores[at])
        matches.append(Match(rank, facts["id"], math.nan, math.nan, facts["label"], int(rows[at]), score=score))
    message = _none_message(query) if not total else f"{_why(query)}: {total:,} of {len(index):,} images"
    return _response(query, matches, total, total, None, not total, message)


# In what order --------------------------------------------------------------------------------------------------------


class _Ranking:
    """The rows that pass, by distance from a query; as many of the first as are asked for."""

    def __init__(
        self, index: IndexReader, database: Database, asked: NDArray[Any], rows: NDArray[np.int64], how: str = "auto"
    ) -> None:
        self.index = index
        self.wanted = how
        self.how = "exact"
        self.inliers: dict[int, int] = {}
        self.asked = asked[None]
        self.rows = rows
        self.some = None if len(rows) == len(index) else rows
        self.database = database
        self._found = np.empty(0, np.int64), np.empty(0, np.float32)

    def first(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        count = min(count, len(self.rows))
        if count > len(self._found[0]):
            found, distances, self.how = self.index.nearest(
                self.asked, count, distance=self.database.distance, how=self.wanted, rows=self.some
            )
            self._found = found[0], distances[0]
        return self._found[0][:count], self._found[1][:count]

    def within(self, radius: float) -> int:
        """Count those at most so far."""
        found = self.database.within(self.asked, radius)[0][0]
        return len(found) if self.some is None else int(np.isin(found, self.some, assume_unique=True).sum())


class _Reranked(_Ranking):
    """The same in a second order; distances stay what they are, so that they need not rise."""

    def __init__(
        self,
        plain: _Ranking,
        index: IndexReader,
        query: Query,
        picture: Picture | None,
        on_note: Callable[[str], None] | None,
    ) -> None:
        self.asked, self.rows, self.database = plain.asked, plain.rows, plain.database
        self.inliers: dict[int, int] = {}
        self._rank = partial(
            rerank, index, query.rerank or "", self.asked, picture=picture, distance=query.distance, on_note=on_note
        )

    def first(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        count = min(count, len(self.rows))
        if not count:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        (found,) = self._rank(count, among=self.rows)
        self.inliers = found.inliers
        return found.rows, found.distances


class _Asked:
    """What a query by image asks with: one descriptor, made of all that it shows, likes, dislikes and says."""

    def __init__(self, index: IndexReader, query: Query, kept: _Kept) -> None:
        self._index, self._query = index, query
        self._find_row = partial(kept.row_of, index)
        self.restored: Restored | None = None
        self.descriptor = blend(
            index,
            query,
            index.database(query.distance).distance,
            self._find_row,
            self._read_stored,
            None if query.denoise is None else self._restore,
        )
        #: Rows that the query names: they are answers as well, but tell nothing of how near others are.
        self.own = {self._find_row(e.id) for e in query.images if e.id is not None}
        self.own |= {self._find_row(name) for name in query.likes}

    def picture(self, _: int) -> NDArray[np.uint8]:
        """Return the first image of the query, for re-rankings that look at it."""
        example = self._query.images[0]
        whole = example.id is not None and example.crop is None
        found: NDArray[np.uint8] = (
            self._read_stored(self._find_row(example.id or ""))
            if whole
            else show_example(self._index, example, self._find_row)
        )
        return found

    def _read_stored(self, row: int) -> Any:
        (facts,) = self._index.facts([row])
        (thumbnail,) = self._index.thumbnails([row])
        size = facts["width"], facts["height"]
        return read_whole(collection_now(self._index), facts["id"], thumbnail, size, facts["hash"] or "")

    def _restore(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        self.restored = restore_queries(self._index, images, self._query.denoise or "")
        return self.restored.images


def _by_image(
    index: IndexReader,
    query: Query,
    kept: _Kept,
    rows: NDArray[np.int64],
    how: str,
    on_note: Callable[[str], None] | None,
) -> Response:
    """Answer by distance: describe the query, rank, put a page together, and say what it means."""
    asked = _Asked(index, query, kept)
    plain = _Ranking(index, index.database(query.distance), asked.descriptor, rows, how)
    near_rows, near = plain.first(max(query.offset + query.k, DEPTH + len(asked.own)))
    total = len(rows) if query.within is None else plain.within(query.within)
    order = plain
    if query.rerank is not None:
        order = _Reranked(plain, index, query, asked.picture if query.images else None, on_note)
    page = _Page(index, query, order, total)
    calibration = None if query.text is not None else kept.closeness_of(index, plain.database)
    matches = _matches(index, page, plain.database, query.offset, calibration, order.inliers)
    if not total:
        return _response(query, matches, total, 0, None, True, _none_message(query))
    others = near[~np.isin(near_rows, list(asked.own))][:DEPTH]
    means = _Meaning(index, query, kept, plain, page, others, calibration, on_note)
    gap, nothing, message = means.of(asked, order.inliers)
    response = _response(query, matches, total, page.count, gap, nothing, message)
    return replace(response, denoised=asked.restored, how=plain.how)


class _Meaning:
    """What the distances of a page's answers mean in this collection."""

    def __init__(
        self,
        index: IndexReader,
        query: Query,
        kept: _Kept,
        ranking: _Ranking,
        page: _Page,
        others: NDArray[np.float32],
        calibration: DistanceCalibration | None,
        on_note: Callable[[str], None] | None,
    ) -> None:
        self._index, self._query, self._kept, self._ranking = index, query, kept, ranking
        self._page, self._others, self._on_note = page, others, on_note
        self._calibration = calibration if len(others) else None

    def of(self, asked: _Asked, inliers: dict[int, int]) -> tuple[int | None, bool, str]:
        """Return the rank of the gap, whether there is nothing like the query here, and both in a sentence."""
        gap = gap_after(self._others)
        edge = None if gap is None else float(self._others[gap - 1])
        gap_rank = None if edge is None or self._query.rerank is not None else self._page.answers_until(edge)
        verified = sum(count >= VERIFIED for count in inliers.values())
        if verified:  # seen detail by detail: no share of distances speaks against that
            return gap_rank, False, _verified_message(verified)
        confidence = self._confidence(asked)
        if inliers:
            confidence = _looked_at(self._index, inliers, len(self._ranking.rows), self._on_note) or confidence
        if confidence.nothing:
            return gap_rank, True, confidence.message
        chance = None
        if self._calibration is not None:
            chance = self._calibration.chance(float(self._others[0]) if edge is None or gap_rank is None else edge)
        return gap_rank, False, _gap_message(gap_rank, self._why_none(), chance, confidence.message)

    def _confidence(self, asked: _Asked) -> MatchConfidence:
        """Assess whether the nearest answers are matches at all."""
        if self._calibration is None:
            return MatchConfidence()
        database = self._ranking.database
        return assess_match(
            self._others,
            lambda: np.delete(database.distances(asked.descriptor[None])[0], list(asked.own)),
            len(self._ranking.rows),
            self._calibration,
            partial(self._kept.silence_of, self._index, database, self._on_note),
        )

    def _why_none(self) -> str:
        """Say why no answers stand out from the rest, for the case that none do."""
        if self._query.rerank is not None:
            return _REORDERED
        return _TOO_FEW if len(self._others) < SHALLOWEST else _FADING


def _matches(
    index: IndexReader,
    page: _Page,
    database: Database,
    offset: int,
    closeness: DistanceCalibration | None,
    inliers: dict[int, int],
) -> list[Match]:
    """Put what is known of each answer of a page together."""
    matches = []
    facts = index.facts([*page.rows, *(row for group in page.groups for row in group)])
    folded = iter(facts[len(page.rows) :])
    for i, (row, distance) in enumerate(zip(page.rows, page.distances, strict=True)):
        group = tuple(next(folded)["id"] for _ in page.groups[i])
        chance = None if closeness is None else closeness.chance(distance)
        close = similarity(distance, database.distance, 8 * database.dimension)
        found = facts[i]["id"], distance, close, facts[i]["label"], row
        matches.append(Match(offset + i + 1, *found, inliers=inliers.get(row), chance=chance, group=group))
    return matches


class _Page:
    """The answers of one page, near-equal ones folded."""

    def __init__(self, index: IndexReader, query: Query, ranking: _Ranking, total: int) -> None:
        wanted = query.offset + query.k
        self.wanted = wanted
        self.leaders: NDArray[np.int64]
        if query.group is None:
            rows, distances = ranking.first(min(total, max(wanted, DEPTH)))
            leaders, owner = np.arange(len(rows)), np.arange(len(rows))
            self.count = total
        else:
            depth = min(total, max(FIRST, 4 * wanted))
            while True:
                rows, distances = ranking.first(depth)
                leaders, owner = group_near_duplicates(
                    index.descriptors_of(rows), ranking.database.distance, query.group, wanted + 1
                )
                full = len(leaders) > wanted
                last = float(distances[leaders[wanted - 1]]) if full else math.inf
                if depth == total or (
                    full and distances[-1] > ranking.database.measure.grouping_radius(last, query.group)
                ):
                    break
                depth = min(total, 4 * depth)
            self.count = len(leaders)
        self._until = distances[leaders]
        shown = leaders[query.offset : wanted]
        self.rows: list[int] = rows[shown].tolist()
        self.distances: list[float] = distances[shown].tolist()
        self.groups: list[list[int]] = [[] for _ in shown]
        if query.group is not None:
            place = {int(leader): i for i, leader in enumerate(shown)}
            for at, leader in enumerate(owner.tolist()):
                if leader != at and leader in place:
                    self.groups[place[leader]].append(int(rows[at]))

    def answers_until(self, distance: float) -> int | None:
        """Count the answers at most so far; None if that may be beyond what was ranked."""
        found = int(np.searchsorted(self._until, np.float32(distance), "right"))
        return found if 0 < found < max(len(self._until), 1) or found == self.count else None


# What is said ---------------------------------------------------------------------------------------------------------


def _response(
    query: Query, matches: list[Match], total: int, answers: int, gap: int | None, nothing: bool, message: str
) -> Response:
    """Put a page together; ``answers`` are those there are, or at least one more than this page's end."""
    end = query.offset + len(matches)
    if total and not matches:
        message = (
            f"No answer stands at offset {query.offset:,}, as there are {answers:,}; {message[0].lower()}{message[1:]}"
        )
    elif total and query.by_image and query.offset == 0 and answers < query.k:
        message += f"; these are all {answers:,} there are, of {query.k:,} asked for"
    return Response(
        query.title,
        matches,
        total,
        query.offset,
        end if matches and end < answers else None,
        gap,
        nothing,
        f"{message}.",
    )


def _looked_at(
    index: IndexReader, inliers: dict[int, int], count: int, on_note: Callable[[str], None] | None
) -> MatchConfidence | None:
    """Say that none of the pictures looked at, of so many, shows the same thing, where that can be believed."""
    if max(inliers.values()) >= VERIFIED or len(inliers) < min(count, WIDER * CHECKED):
        return None
    share = recognised(index, on_note=on_note)
    if share < MOST_VERIFIED:
        return None
    return MatchConfidence(
        True,
        f"Nothing here shows the same thing: none of the {len(inliers):,} pictures looked at has the query's details in the "
        f"same arrangement, by which {share:.0%} of images here are known again in a scene",
    )


#: Why no answers stand out from the rest: a gap was looked for, or can't be.
_FADING = "The answers fade out without a gap"
_REORDERED = "In a second order no gap is looked for"
_TOO_FEW = "There are too few images to tell whether some stand out"


def _gap_message(gap: int | None, why_none: str, chance: PValue | None, doubt: str) -> str:
    if gap is None:
        rare = "" if chance is None else f"; {chance.clause('as close as the nearest')}"
        return f"{why_none}{rare}{doubt and f'; {doubt}'}"
    rare = "" if chance is None else f"; {chance.clause('this close')}"
    return f"The first {'answer stands' if gap == 1 else f'{gap:,} answers stand'} out from the rest{rare}"


def _verified_message(count: int) -> str:
    answers = "The first answer shows" if count == 1 else f"The first {count:,} answers show"
    return f"{answers} the query's own details in the same arrangement"


def _why(query: Query) -> str:
    parts = [f"Words {query.words!r}"] if query.words else []
    parts += [f"filter {query.where!r}"] if query.where else []
    text = ", ".join(parts)
    return text[:1].upper() + text[1:]


def _none_message(query: Query) -> str:
    """Say why there is no answer at all."""
    within = [] if query.within is None else [f"within a distance of {query.within:g}"]
    why = ", ".join([part for part in (_why(query), *within) if part])
    return f"{why[:1].upper()}{why[1:]}: no image" if why else "No image is left beside those that are disliked"
