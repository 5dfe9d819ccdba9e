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

from lookalike.encoders.keypoints import VERIFIED
from lookalike.errors import UsageError
from lookalike.neighbors.exact import Database
from lookalike.neighbors.grouping import group_near_duplicates
from lookalike.search import filters
from lookalike.search.calibration import COPY, DEPTH, SHALLOWEST, DistanceCalibration, gap_after
from lookalike.search.compose import ComposedQuery, compose, row_of, show_example, whole_picture
from lookalike.search.engine import Match, match_of
from lookalike.search.keywords import terms_of
from lookalike.search.learnt import calibration_of, rejection_rates_of, tags_of, words_of
from lookalike.search.likeness import likenesses
from lookalike.search.rejection import MatchConfidence, assess_match
from lookalike.search.request import Query
from lookalike.search.rerank.geometric import DEPTH as CHECKED
from lookalike.search.rerank.geometric import WIDER, recognised
from lookalike.search.rerank.registry import rerank
from lookalike.search.response import (
    FADING,
    REORDERED,
    TOO_FEW,
    UNTOLD,
    Response,
    gap_message,
    none_message,
    response_of,
    title_of,
    verified_message,
)
from lookalike.search.tags import FITS, FITS_BESIDE, note_on

if TYPE_CHECKING:
    from lookalike.index.reader import IndexReader

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


# Which ----------------------------------------------------------------------------------------------------------------


def _passing(index: IndexReader, query: Query) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Return the rows that pass filter, words and dislikes, ascending, and how well each fits the words."""
    passing = np.ones(len(index), np.bool_)
    scores = None
    if query.where is not None:
        passing &= filters.parse(query.where).true_of(index.fact_table)
    if query.words is not None:
        scores = words_of(index).scores(query.words, tags_of(index), FITS_BESIDE if query.by_image else FITS)
        passing &= scores > 0
    for name in (*query.dislikes, *query.without):
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
    if query.words is not None and (tags := tags_of(index)) is not None:
        note = note_on([" ".join(term.words) for term in terms_of(query.words, tags) if not term.is_excluded])
        message += note and f"; {note}"
    for word, taken in words_of(index).forgiven(query.words, tags_of(index)).items() if query.words else ():
        message += f"; no {word!r} is there, {', '.join(map(repr, taken))} was taken for it"
    return response_of(query, matches, total, total, None, not total, message)


# In what order --------------------------------------------------------------------------------------------------------


class _Ranking:
    """The rows that pass, by distance from a query; as many of the first as are asked for."""

    def __init__(
        self, index: IndexReader, database: Database, descriptor: NDArray[Any], rows: NDArray[np.int64], how: str
    ) -> None:
        self.database, self.rows = database, rows
        self.descriptors = descriptor[None]
        self.how = "exact"
        self._index, self._wanted_how = index, how
        self._only = None if len(rows) == len(index) else rows
        self._nearest = np.empty(0, np.int64), np.empty(0, np.float32)

    def first(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        count = min(count, len(self.rows))
        if count > len(self._nearest[0]):
            rows, distances, self.how = self._index.nearest(
                self.descriptors, count, distance=self.database.distance, how=self._wanted_how, rows=self._only
            )
            self._nearest = rows[0], distances[0]
        return self._nearest[0][:count], self._nearest[1][:count]

    def within(self, radius: float) -> int:
        """Count those at most so far."""
        rows = self.database.within(self.descriptors, radius)[0][0]
        return len(rows) if self._only is None else int(np.isin(rows, self._only, assume_unique=True).sum())


@dataclass(frozen=True, eq=False)
class _Page:
    """The answers of one page: their rows and distances, and of each the rows of the near-duplicates that it stands for.

    ``count`` answers there are, or at least one more than the page's end; ``ranked`` are the distances of all that were
    ranked.
    """

    rows: list[int]
    distances: list[float]
    groups: list[list[int]]
    count: int
    ranked: NDArray[np.float32]

    def answers_until(self, distance: float) -> int | None:
        """Count the answers at most so far; None if that may be beyond what was ranked."""
        count = int(np.searchsorted(self.ranked, np.float32(distance), "right"))
        return count if 0 < count < len(self.ranked) or count == self.count else None


def _plain_page(query: Query, rows: NDArray[np.int64], distances: NDArray[np.float32], count: int) -> _Page:
    page = slice(query.offset, query.offset + query.k)
    shown = rows[page].tolist()
    return _Page(shown, distances[page].tolist(), [[] for _ in shown], count, distances)


def _grouped_page(index: IndexReader, query: Query, radius: float, ranking: _Ranking, total: int) -> _Page:
    """Group near-duplicates of better answers: as many answers are ranked as it takes to know that the page is full."""
    wanted = query.offset + query.k
    depth = min(total, max(FIRST, 4 * wanted))
    while True:
        rows, distances = ranking.first(depth)
        leaders, owner = group_near_duplicates(
            index.descriptors_of(rows), ranking.database.distance, radius, wanted + 1
        )
        is_full = len(leaders) > wanted
        last = float(distances[leaders[wanted - 1]]) if is_full else math.inf
        if depth == total or (is_full and distances[-1] > ranking.database.measure.grouping_radius(last, radius)):
            break
        depth = min(total, 4 * depth)
    shown = leaders[query.offset : wanted].tolist()
    groups: dict[int, list[int]] = {leader: [] for leader in shown}
    for i, leader in enumerate(owner.tolist()):
        if leader != i and leader in groups:
            groups[leader].append(int(rows[i]))
    ranked = distances[leaders]
    return _Page(rows[shown].tolist(), distances[shown].tolist(), list(groups.values()), len(leaders), ranked)


def _by_image(
    index: IndexReader,
    query: Query,
    rows: NDArray[np.int64],
    how: str,
    on_note: Callable[[str], None] | None,
) -> Response:
    """Answer by distance: describe the query, rank, put a page together, and say what it means."""
    database = index.database(query.distance)
    composed = compose(index, query, database.distance)
    ranking = _Ranking(index, database, composed.descriptor, rows, how)
    wanted = query.offset + query.k
    near_rows, near = ranking.first(max(wanted, DEPTH + len(composed.rows)))
    total = len(rows) if query.within is None else ranking.within(query.within)
    inliers: dict[int, int] = {}
    if query.group is not None:
        page = _grouped_page(index, query, query.group, ranking, total)
    elif query.rerank is None or not total:
        page = _plain_page(query, *ranking.first(min(total, max(wanted, DEPTH))), total)
    else:
        (ranked,) = rerank(
            index,
            query.rerank,
            ranking.descriptors,
            min(total, max(wanted, DEPTH)),
            picture=(lambda _: _first_picture(index, query)) if query.images else None,
            distance=query.distance,
            among=rows,
            on_note=on_note,
        )
        page, inliers = _plain_page(query, ranked.rows, ranked.distances, total), ranked.inliers
    calibration = None if query.text is not None else calibration_of(index, database)
    matches = _matches(index, page, database, query.offset, calibration, inliers)
    if not total:
        return response_of(query, matches, total, 0, None, True, none_message(query))
    if query.within is not None:  # all that is asked is what lies so near
        if calibration is not None:
            matches = _in_words(matches, calibration, None, False)
        message = f"{total:,} {'image' if total == 1 else 'images'} within a distance of {query.within:g}"
        response = response_of(query, matches, total, page.count, None, False, message)
        return replace(response, denoised=composed.restored, how=ranking.how)
    others = near[~np.isin(near_rows, composed.rows)][:DEPTH]
    gap, nothing, message = _meaning(index, query, ranking, page, composed, others, calibration, inliers, on_note)
    if calibration is not None:
        matches = _in_words(matches, calibration, gap, nothing)
    response = response_of(query, matches, total, page.count, gap, nothing, message)
    return replace(response, denoised=composed.restored, how=ranking.how)


def _first_picture(index: IndexReader, query: Query) -> NDArray[np.uint8]:
    """Return the first image of a query, for re-rankings that look at it."""
    example = query.images[0]
    if example.id is not None and example.crop is None:
        return whole_picture(index, row_of(index, example.id))
    return show_example(index, example)


def _in_words(matches: list[Match], calibration: DistanceCalibration, gap: int | None, nothing: bool) -> list[Match]:
    """Say of each match how alike it is."""
    words = likenesses(
        [match.distance for match in matches],
        [match.p_value for match in matches],
        [(match.inliers or 0) >= VERIFIED for match in matches],
        calibration,
        before_gap=sum(match.rank <= (gap or 0) for match in matches),
        nothing=nothing,
    )
    return [replace(match, likeness=word) for match, word in zip(matches, words, strict=True)]


# What it means --------------------------------------------------------------------------------------------------------


def _meaning(
    index: IndexReader,
    query: Query,
    ranking: _Ranking,
    page: _Page,
    composed: ComposedQuery,
    others: NDArray[np.float32],
    calibration: DistanceCalibration | None,
    inliers: dict[int, int],
    on_note: Callable[[str], None] | None,
) -> tuple[int | None, bool, str]:
    """Return the rank of the gap, whether there is nothing like the query here, and both in a sentence."""
    rates = None if calibration is None else partial(rejection_rates_of, index, ranking.database, on_note)
    gap = None if query.rerank is not None else gap_after(others)
    copies = gap is not None and float(others[gap - 1]) <= COPY * float(others[-1])  # these stand out anywhere
    untold = gap is not None and not copies and rates is not None and not rates().shows_gaps
    if untold:
        gap = None
    edge = None if gap is None else float(others[gap - 1])
    gap_rank = None if edge is None else page.answers_until(edge)
    verified = sum(count >= VERIFIED for count in inliers.values())
    if verified:  # seen detail by detail: no share of distances speaks against that
        return gap_rank, False, verified_message(verified)
    if not len(others):
        calibration = None
    confidence = MatchConfidence()
    alone = query.images and not (query.likes or query.dislikes or query.text or query.words or query.where)
    if calibration is not None and rates is not None and alone:  # are the nearest answers matches at all?
        confidence = assess_match(
            others,
            lambda: np.delete(ranking.database.distances(ranking.descriptors)[0], composed.rows),
            len(ranking.rows),
            calibration,
            rates,
        )
    if inliers:
        confidence = _looked_at(index, inliers, len(ranking.rows), on_note) or confidence
    if confidence.nothing:
        return gap_rank, True, confidence.message
    why_none = (
        REORDERED if query.rerank is not None else TOO_FEW if len(others) < SHALLOWEST else UNTOLD if untold else FADING
    )
    p_value = None
    if calibration is not None:
        p_value = calibration.p_value(float(others[0]) if edge is None or gap_rank is None else edge)
    return gap_rank, False, gap_message(gap_rank, why_none, p_value, confidence.message)


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


def _matches(
    index: IndexReader,
    page: _Page,
    database: Database,
    offset: int,
    calibration: DistanceCalibration | None,
    inliers: dict[int, int],
) -> list[Match]:
    """Put what is known of each answer of a page together."""
    matches = []
    facts = index.facts([*page.rows, *(row for group in page.groups for row in group)])
    grouped = iter(facts[len(page.rows) :])
    for i, (row, distance) in enumerate(zip(page.rows, page.distances, strict=True)):
        group = tuple(next(grouped)["id"] for _ in page.groups[i])
        p_value = None if calibration is None else calibration.p_value(distance)
        close = database.measure.similarity(distance, 8 * database.dimension)
        rest = {"inliers": inliers.get(row), "p_value": p_value, "group": group}
        matches.append(match_of(facts[i], offset + i + 1, row, distance, close, **rest))
    return matches
