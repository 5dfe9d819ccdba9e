"""One query of any make + an index -> a page of answers, and what they mean. The JSON of both: docs/searching.md.

Every door asks here: :meth:`lookalike.Index.ask`, the command line, REST and the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lookalike.encoders.keypoints import VERIFIED
from lookalike.errors import UsageError
from lookalike.index.reopen import collection_now
from lookalike.neighbors.exact import Database
from lookalike.neighbors.grouping import group_near_duplicates
from lookalike.search import filters
from lookalike.search.calibration import DEPTH, SHALLOWEST, DistanceCalibration, gap_after
from lookalike.search.compose import blend, read_whole, show_example
from lookalike.search.engine import Match, match_of, similarity
from lookalike.search.learnt import calibration_of, rejection_rates_of, row_of, words_of
from lookalike.search.rejection import (
    MatchConfidence,
    assess_match,
)
from lookalike.search.request import Query
from lookalike.search.rerank.geometric import DEPTH as CHECKED
from lookalike.search.rerank.geometric import WIDER, recognised
from lookalike.search.rerank.registry import rerank
from lookalike.search.response import (
    FADING,
    REORDERED,
    TOO_FEW,
    Response,
    gap_message,
    none_message,
    response_of,
    title_of,
    verified_message,
)
from lookalike.search.restore import restore_queries
from lookalike.transforms.restorer import RestoredImages

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader

Picture = Callable[[int], NDArray[np.uint8]]

#: Answers ranked at first; more are when a page or a group needs them.
FIRST = 256
#: Share of the collection's own images that must be verified when they hang in a scene, for it to count that none is.
MAX_VERIFIED = 0.9


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
    rows, scores = _passing(index, query)
    if query.by_image:
        return _by_image(index, query, rows, how, on_note)
    return _by_facts(index, query, rows, scores)


def _check_rerank(query: Query) -> None:
    """Refuse what only an order by distance has."""
    if not query.by_image:
        raise UsageError("re-ranking needs an image, a like or text to rank by; add one, or leave rerank out")
    for name in ("group", "within"):
        if getattr(query, name) is not None:
            raise UsageError(f"{name} goes by distance, and re-ranked answers don't; leave one of the two out")


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
    return [show_example(index, example, partial(row_of, index)) for example in query.images]


# Which ----------------------------------------------------------------------------------------------------------------


def _passing(index: IndexReader, query: Query) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Return the rows that pass filter, words and dislikes, ascending, and how well each fits the words."""
    passing = np.ones(len(index), np.bool_)
    scores = None
    if query.where is not None:
        passing &= filters.parse(query.where).true_of(index.fact_table)
    if query.words is not None:
        scores = words_of(index).scores(query.words)
        passing &= scores > 0
    for name in query.dislikes:
        passing[row_of(index, name)] = False
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
        matches.append(match_of(facts, rank, int(rows[at]), score=score))
    message = none_message(query) if not total else f"{title_of(query)}: {total:,} of {len(index):,} images"
    return response_of(query, matches, total, total, None, not total, message)


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

    def __init__(self, index: IndexReader, query: Query) -> None:
        self._index, self._query = index, query
        self._find_row = partial(row_of, index)
        self.restored: RestoredImages | None = None
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
    rows: NDArray[np.int64],
    how: str,
    on_note: Callable[[str], None] | None,
) -> Response:
    """Answer by distance: describe the query, rank, put a page together, and say what it means."""
    asked = _Asked(index, query)
    plain = _Ranking(index, index.database(query.distance), asked.descriptor, rows, how)
    near_rows, near = plain.first(max(query.offset + query.k, DEPTH + len(asked.own)))
    total = len(rows) if query.within is None else plain.within(query.within)
    order = plain
    if query.rerank is not None:
        order = _Reranked(plain, index, query, asked.picture if query.images else None, on_note)
    page = _Page(index, query, order, total)
    calibration = None if query.text is not None else calibration_of(index, plain.database)
    matches = _matches(index, page, plain.database, query.offset, calibration, order.inliers)
    if not total:
        return response_of(query, matches, total, 0, None, True, none_message(query))
    others = near[~np.isin(near_rows, list(asked.own))][:DEPTH]
    means = _Meaning(index, query, plain, page, others, calibration, on_note)
    gap, nothing, message = means.of(asked, order.inliers)
    response = response_of(query, matches, total, page.count, gap, nothing, message)
    return replace(response, denoised=asked.restored, how=plain.how)


class _Meaning:
    """What the distances of a page's answers mean in this collection."""

    def __init__(
        self,
        index: IndexReader,
        query: Query,
        ranking: _Ranking,
        page: _Page,
        others: NDArray[np.float32],
        calibration: DistanceCalibration | None,
        on_note: Callable[[str], None] | None,
    ) -> None:
        self._index, self._query, self._ranking = index, query, ranking
        self._page, self._others, self._on_note = page, others, on_note
        self._calibration = calibration if len(others) else None

    def of(self, asked: _Asked, inliers: dict[int, int]) -> tuple[int | None, bool, str]:
        """Return the rank of the gap, whether there is nothing like the query here, and both in a sentence."""
        gap = gap_after(self._others)
        edge = None if gap is None else float(self._others[gap - 1])
        gap_rank = None if edge is None or self._query.rerank is not None else self._page.answers_until(edge)
        verified = sum(count >= VERIFIED for count in inliers.values())
        if verified:  # seen detail by detail: no share of distances speaks against that
            return gap_rank, False, verified_message(verified)
        confidence = self._confidence(asked)
        if inliers:
            confidence = _looked_at(self._index, inliers, len(self._ranking.rows), self._on_note) or confidence
        if confidence.nothing:
            return gap_rank, True, confidence.message
        p_value = None
        if self._calibration is not None:
            p_value = self._calibration.p_value(float(self._others[0]) if edge is None or gap_rank is None else edge)
        return gap_rank, False, gap_message(gap_rank, self._why_none(), p_value, confidence.message)

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
            partial(rejection_rates_of, self._index, database, self._on_note),
        )

    def _why_none(self) -> str:
        """Say why no answers stand out from the rest, for the case that none do."""
        if self._query.rerank is not None:
            return REORDERED
        return TOO_FEW if len(self._others) < SHALLOWEST else FADING


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
        p_value = None if closeness is None else closeness.p_value(distance)
        close = similarity(distance, database.distance, 8 * database.dimension)
        rest = {"inliers": inliers.get(row), "p_value": p_value, "group": group}
        matches.append(match_of(facts[i], offset + i + 1, row, distance, close, **rest))
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


def _looked_at(
    index: IndexReader, inliers: dict[int, int], count: int, on_note: Callable[[str], None] | None
) -> MatchConfidence | None:
    """Say that none of the pictures looked at, of so many, shows the same thing, where that can be believed."""
    if max(inliers.values()) >= VERIFIED or len(inliers) < min(count, WIDER * CHECKED):
        return None
    share = recognised(index, on_note=on_note)
    if share < MAX_VERIFIED:
        return None
    return MatchConfidence(
        True,
        f"Nothing here shows the same thing: none of the {len(inliers):,} pictures looked at has the query's details in the "
        f"same arrangement, by which {share:.0%} of images here are known again in a scene",
    )
