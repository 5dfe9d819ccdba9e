"""Results -> the lines or the JSON that commands print."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from lookalike.terminal import one_line

if TYPE_CHECKING:
    from lookalike.index.sync import Summary
    from lookalike.search.engine import Match, Result
    from lookalike.search.response import Response


def print_json(value: object) -> None:
    """Print a result for other programs."""
    print(json.dumps(value, indent=2))


def print_json_list(values: Iterable[object]) -> None:
    """Print what :func:`print_json` prints of a list, holding one of its values at a time."""
    before = "[\n"
    for value in values:
        print(before + "  " + json.dumps(value, indent=2).replace("\n", "\n  "), end="")
        before = ",\n"
    print("[]" if before == "[\n" else "\n]")


def result_lines(result: Result | Response) -> Iterator[str]:
    """Yield the lines of one query's answer: the query, a line a match, a rule where the distances jump, a sentence."""
    yield one_line(result.query) + (f" ({result.denoised.to_text()})" if result.denoised else "")
    for match in result.matches:
        yield _match_line(match)
        if match.rank == getattr(result, "gap_after", None):
            yield "       ----"
    if sentence := getattr(result, "message", ""):
        yield sentence


def _match_line(match: Match) -> str:
    known = not math.isnan(match.distance)
    distance = f"  distance {match.distance:.4f}  similarity {match.similarity:.4f}" if known else ""
    label = "" if match.label is None else f"  label {one_line(match.label)}"
    inliers = "" if match.inliers is None else f"  inliers {match.inliers}"
    p_value = "" if match.p_value is None else f"  {match.p_value.in_short}"
    group = f"  and {len(match.group):,} nearly equal" if match.group else ""
    return f"{match.rank:>5}  {one_line(match.id)}{distance}{label}{inliers}{p_value}{group}"


def summary_line(summary: Summary) -> str:
    """Return what a run that wrote an index did, in a line."""
    from lookalike.index.schema import USED

    parts = [f"{summary.indexed:,} {'image' if summary.indexed == 1 else 'images'} indexed"]
    duplicates = "duplicate" if summary.duplicates == 1 else "duplicates"
    counts = {
        "unchanged": summary.unchanged,
        "renamed": summary.renamed,
        duplicates: summary.duplicates,
        "removed": summary.removed,
        "kept that can't be seen now": summary.unseen,
    }
    parts += [f"{n:,} {what}" for what, n in counts.items() if n]
    if summary.failed:
        kinds = ", ".join(f"{n:,} {outcome}" for outcome, n in summary.outcomes.items() if outcome not in USED)
        command = f"lookalike files --broken -i {shlex.quote(str(summary.path))}"
        parts.append(f"{summary.failed:,} left out ({kinds}: {command})")
    speed = f"{summary.seconds:.1f} s ({summary.images_per_second:,.0f} a second)"
    return f"{summary.path}: {', '.join(parts)}; {summary.encoder} {summary.dimension}-d, {speed}"


def in_words(value: object) -> str:
    """Write a value of the manifest as a person reads it: without JSON's brackets; true, false and null as words."""
    if value is None or value in ([], {}):
        return "none"
    match value:
        case bool():
            return "yes" if value else "no"
        case dict():
            items = ((k, f"({in_words(v)})" if isinstance(v, dict) and v else in_words(v)) for k, v in value.items())
            return ", ".join(f"{k} {text}" for k, text in items)
        case list() if all(isinstance(v, int) for v in value):
            return " x ".join(map(str, value))
        case list():
            return " ".join(map(in_words, value))
    return str(value)


def search_line(search: dict[str, Any]) -> str:
    """Say in a line whether searches are exact or approximate, and which recall was measured."""
    line = f"{search['auto']} ({search['why']})"
    for item in search.get("meter", []):
        low, high = item["low"], item["high"]
        note = "" if item["met"] else f", below {search['floor']}: exact"
        line += (
            f"; recall@{item['k']} {item['recall']:.3f} ({low:.3f} to {high:.3f}, {item['queries']} queries) in "
            f"{item['probes']:,} of {search['lists']:,} lists{note}"
        )
    return line
