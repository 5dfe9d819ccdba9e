"""Which answers are right for each query, where labels don't say it: ground truth in JSON, CSV or TREC's qrels.

``.json``
    ``{"query.jpg": ["right.jpg", ...], ...}``, or a list with an entry a query in the order of the queries. A number
    stands for the image at that position of the index. An entry may be ``{"relevant": [...], "ignore": [...]}``: what
    is ignored is neither right nor wrong, and isn't ranked. -1, or an empty list: there is no right answer.
``.csv``
    A header with the columns ``query`` and ``relevant``, a line a pair.
``.qrels``, ``.txt``, ``.trec``
    TREC's: ``query 0 document relevance``, a line a pair; relevance above 0 is right. (NIST, trec_eval.) Blanks in names
    are written as ``%20``.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, unquote

from lookalike.atomic import new_file
from lookalike.collections.ids import id_of
from lookalike.errors import UsageError, first_line

#: A right answer: an image's id, or its position in the index.
Answer = str | int

_HOW = "give .json, .csv (columns query, relevant) or TREC's .qrels"
_SAFE = "/!#$&'()*+,:;=?@[]~"


@dataclass(frozen=True)
class Truth:
    """The right answers of one query.

    Attributes
    ----------
    relevant : tuple of str or int
        What is right: ids, or positions in the index.
    ignored : tuple of str or int
        What is neither right nor wrong.
    """

    relevant: tuple[Answer, ...]
    ignored: tuple[Answer, ...] = ()


@dataclass(frozen=True)
class GroundTruth:
    """The right answers of a set of queries.

    Attributes
    ----------
    name : str
        Where they are from.
    by_query : dict of str to Truth
        By the queries' ids, where the file names them.
    in_order : list of Truth or None
        In the order of the queries, where it doesn't.
    """

    name: str
    by_query: dict[str, Truth] = field(default_factory=dict)
    in_order: list[Truth] | None = None

    def rows(self, queries: Sequence[str], database: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        """Find the right and the ignored images of each query.

        Parameters
        ----------
        queries : sequence of str
            The queries' ids.
        database : sequence of str
            The index's ids, in the order of its descriptors.

        Returns
        -------
        list of (list of int, list of int)
            For each query the positions of its right and of its ignored images.

        Raises
        ------
        UsageError
            If a query has no entry, or an image isn't in the index.
        """
        places = {name: row for row, name in enumerate(database)}
        if self.in_order is not None:
            if len(self.in_order) != len(queries):
                raise UsageError(
                    f"{self.name}: {len(self.in_order):,} entries for {len(queries):,} queries; give one for each, in "
                    "their order, or name the queries"
                )
            entries = self.in_order
        else:
            entries = [self._entry(query) for query in queries]
        return [
            ([self._row(a, places) for a in entry.relevant], [self._row(a, places) for a in entry.ignored])
            for entry in entries
        ]

    def _entry(self, query: str) -> Truth:
        path = PurePosixPath(query)
        names = (query, path.name, path.stem)
        entry = next((self.by_query[name] for name in names if name in self.by_query), None)
        if entry is None and not query.isascii():
            composed = {id_of(name): entry for name, entry in self.by_query.items()}
            entry = next((composed[name] for name in names if name in composed), None)
        if entry is not None:
            return entry
        known = ", ".join(sorted(self.by_query)[:3])
        raise UsageError(f"{self.name}: says nothing of the query {query}; it knows {known}, ...")

    def _row(self, answer: Answer, places: Mapping[str, int]) -> int:
        if isinstance(answer, int):
            if 0 <= answer < len(places):
                return answer
            raise UsageError(f"{self.name}: position {answer} isn't in the index, which holds 0 to {len(places) - 1:,}")
        for name in (answer, id_of(answer)):
            if name in places:
                return places[name]
        raise UsageError(f"{self.name}: the image {answer} isn't in the index; index it, or take it out of the file")


def read_truth(path: str | Path) -> GroundTruth:
    """Read ground truth from a file; its ending says which kind.

    Parameters
    ----------
    path : str or Path
        ``.json``, ``.csv``, or one of TREC's.

    Returns
    -------
    GroundTruth

    Raises
    ------
    UsageError
        If it can't be read, or isn't of that kind; the message says where.
    """
    path = Path(path)
    kinds = {".json": _from_json, ".csv": _from_csv, ".qrels": _from_trec, ".txt": _from_trec, ".trec": _from_trec}
    read = kinds.get(path.suffix.lower())
    if read is None:
        raise UsageError(f"{path}: not a kind of ground truth that is read; {_HOW}")
    try:
        truth = read(str(path), path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{path}: can't be read: {getattr(e, 'strerror', None) or first_line(e)}; {_HOW}") from e
    if not truth.by_query and not truth.in_order:
        raise UsageError(f"{path}: holds no query; {_HOW}")
    return truth


def _from_json(name: str, text: str) -> GroundTruth:
    try:
        value = json.loads(text)
    except ValueError as e:
        raise UsageError(f"{name}: isn't JSON ({e}); {_HOW}") from e
    if isinstance(value, dict):
        return GroundTruth(name, {str(query): _entry(name, str(query), entry) for query, entry in value.items()})
    if isinstance(value, list):
        return GroundTruth(name, in_order=[_entry(name, f"number {i}", entry) for i, entry in enumerate(value)])
    raise UsageError(f"{name}: must be an object, query to right answers, or a list in the order of the queries")


def _entry(name: str, query: str, value: Any) -> Truth:
    if isinstance(value, dict) and set(value) <= {"relevant", "ignore"}:
        return Truth(_answers(name, query, value.get("relevant", [])), _answers(name, query, value.get("ignore", [])))
    return Truth(_answers(name, query, value))


def _answers(name: str, query: str, value: Any) -> tuple[Answer, ...]:
    flat: list[Answer] = []
    for item in value if isinstance(value, list) else [value]:
        for answer in item if isinstance(item, list) else [item]:  # several things in one picture, each with its list
            if isinstance(answer, bool) or not isinstance(answer, str | int):
                raise UsageError(f"{name}: the query {query} has {answer!r} for an answer; give ids or positions")
            if answer != -1:
                flat.append(answer)
    return tuple(dict.fromkeys(flat))


def _from_csv(name: str, text: str) -> GroundTruth:
    table = csv.DictReader(text.splitlines())
    if not {"query", "relevant"} <= set(table.fieldnames or ()):
        raise UsageError(f"{name}: has the columns {', '.join(table.fieldnames or ())}; it needs query and relevant")
    return _grouped(name, ((line["query"], line["relevant"], True) for line in table if line["query"]))


def _from_trec(name: str, text: str) -> GroundTruth:
    pairs = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        parts = line.split()
        try:
            query, _, answer, relevance = parts
            pairs.append((unquote(query), unquote(answer), float(relevance) > 0))
        except ValueError:
            raise UsageError(
                f"{name}: line {number} isn't 'query 0 document relevance': {line.strip()[:60]!r}; {_HOW}"
            ) from None
    return _grouped(name, pairs)


def _grouped(name: str, pairs: Iterable[tuple[str, str | None, bool]]) -> GroundTruth:
    answers_of: dict[str, list[Answer]] = {}
    for query, answer, is_right in pairs:
        answers = answers_of.setdefault(query, [])
        if answer and is_right:
            answers.append(answer)
    return GroundTruth(name, {query: Truth(tuple(dict.fromkeys(answers))) for query, answers in answers_of.items()})


# TREC's way out -------------------------------------------------------------------------------------------------------


def write_run(
    path: str | Path,
    rankings: Iterable[tuple[str, Sequence[str], Sequence[float]]],
    tag: str = "lookalike",
    *,
    overwrite: bool = False,
) -> None:
    """Write rankings as a TREC run: ``query Q0 document rank score tag``, for trec_eval, ranx and the like.

    Parameters
    ----------
    path : str or Path
        Where to; whole or not at all.
    rankings : iterable of (str, sequence of str, sequence of float)
        A query's id, its answers' ids, the nearest first, and their distances.
    tag : str
        The name of the run.
    overwrite : bool
        Whether a file that lies there may be replaced.

    Raises
    ------
    UsageError
        If it can't be written, or exists and may not be replaced.

    Notes
    -----
    The score is minus the distance, so that higher is better; where distances are equal it falls by the least step that
    a float has, since trec_eval orders by score and not by rank.
    """

    def lines() -> Iterable[str]:
        for query, answers, distances in rankings:
            last = math.inf
            for rank, (answer, distance) in enumerate(zip(answers, distances, strict=True), 1):
                last = min(-float(distance), math.nextafter(last, -math.inf))
                yield f"{_word(query)} Q0 {_word(answer)} {rank} {last!r} {_word(tag)}\n"

    _write(path, lines(), overwrite)


def write_qrels(path: str | Path, relevant: Iterable[tuple[str, Sequence[str]]], *, overwrite: bool = False) -> None:
    """Write right answers as TREC's qrels.

    Parameters
    ----------
    path : str or Path
        Where to; whole or not at all.
    relevant : iterable of (str, sequence of str)
        A query's id, and the ids of its right answers.
    overwrite : bool
        Whether a file that lies there may be replaced.

    Raises
    ------
    UsageError
        If it can't be written.
    """
    _write(
        path, (f"{_word(query)} 0 {_word(answer)} 1\n" for query, answers in relevant for answer in answers), overwrite
    )


def _word(text: str) -> str:
    """Spell out what a blank-separated file can't hold."""
    return quote(text, safe=_SAFE)


def _write(path: str | Path, lines: Iterable[str], overwrite: bool) -> None:
    try:
        with new_file(Path(path), overwrite=overwrite) as file:
            for line in lines:
                file.write(line.encode())
    except OSError as e:
        raise UsageError(f"{path}: can't be written: {e.strerror or e}; name another place") from e
