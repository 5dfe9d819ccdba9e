"""Score reports kept with an index: ``scores/NAME.json`` in its folder, one a kind of scoring, for the page to show."""

from __future__ import annotations

import datetime
import json
import re
import zlib
from pathlib import Path
from typing import Any

from lookalike.atomic import claim, replace_file
from lookalike.errors import UsageError
from lookalike.index.artifacts import SCORES
from lookalike.index.plain_files import read_plain
from lookalike.index.reader import IndexReader
from lookalike.reports.evaluate import IndexScore

#: Most reports that are looked at, and bytes of one: what is larger isn't one of ours.
MAX_REPORTS, REPORT_BYTES = 200, 2**20
#: What a kept report must hold to be shown.
_NEEDED = {"title": str, "when": str, "queries": int, "database": int, "metrics": dict, "intervals": dict, "lrap": list}


def save_report(index: IndexReader, report: IndexScore, queries: str) -> Path:
    """Keep a report with the index; one of the same encoder, distance, re-ranking and queries takes the last one's place.

    Parameters
    ----------
    index : IndexReader
        What was scored.
    report : IndexScore
        Its scores.
    queries : str
        What it was asked by, for a person.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UsageError
        If the index's folder can't be written to.
    """
    title = f"{report.title}, asked by {queries}"
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60]
    path = index.path / SCORES.name / f"{slug}-{zlib.crc32(title.encode()):08x}.json"
    kept = {
        "title": title,
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "version": index.manifest.dataset_version,
        "rerank": report.rerank,
        **report.to_json(),
    }
    try:
        claim(index.path, SCORES.name)
        path.parent.mkdir(exist_ok=True)
        with replace_file(path) as file:
            file.write(json.dumps(kept, indent=1).encode())
    except OSError as e:
        raise UsageError(f"{path}: the report can't be kept: {e.strerror or e}; leave out --keep") from e
    return path


def saved_reports(path: str | Path) -> list[dict[str, Any]]:
    """Return the reports kept with an index, the newest first; a file that isn't one is left out.

    Links, pipes and devices are left out without being opened.

    Parameters
    ----------
    path : str or Path
        The index's folder.

    Returns
    -------
    list of dict
        ``title``, ``when`` (ISO 8601, UTC), ``version`` (of the index's dataset that was scored) and the JSON of ``lookalike
        score``.
    """
    reports = []
    folder = Path(path, SCORES.name)
    if folder.is_symlink():  # leads to somebody else's files
        return []
    for file in sorted(folder.glob("*.json"))[:MAX_REPORTS]:
        try:
            data = read_plain(file, REPORT_BYTES + 1)
            report = json.loads(data) if len(data) <= REPORT_BYTES else None
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(report, dict) and all(isinstance(report.get(name), kind) for name, kind in _NEEDED.items()):
            reports.append(report)
    return sorted(reports, key=lambda report: str(report["when"]), reverse=True)
