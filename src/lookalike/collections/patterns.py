"""Glob patterns, and the files of a collection that they take."""

from __future__ import annotations

import fnmatch
import re
import unicodedata
from collections.abc import Sequence

import numpy as np

from lookalike.collections.columns import Entries


def chosen(entries: Entries, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Entries:
    """Choose entries by the patterns that :func:`scan` takes, where they come from elsewhere than a folder.

    Parameters
    ----------
    entries : Entries
        Of an archive or a list.
    include, exclude : sequence of str
        As for :func:`scan`.

    Returns
    -------
    Entries
        In the order they came.
    """
    wanted, unwanted = matcher(include), matcher(exclude)
    if wanted is None and unwanted is None:
        return entries

    def is_left_out(identity: str) -> bool:
        parts = identity.split("/")
        return unwanted is not None and any(unwanted.match("/".join(parts[:i])) for i in range(1, len(parts) + 1))

    ids = entries.column("id").to_pylist()
    return entries.take(np.array([not (wanted and not wanted.match(i)) and not is_left_out(i) for i in ids], np.bool_))


def matcher(patterns: Sequence[str]) -> re.Pattern[str] | None:
    """Compile glob patterns into one that is matched against relative paths.

    Parameters
    ----------
    patterns : sequence of str
        As a person gives them; one without a ``/`` holds in every folder.

    Returns
    -------
    re.Pattern or None
        None of no patterns.
    """
    anywhere = "(?s:.*/)?"
    compiled = []
    for pattern in patterns:
        glob = pattern.rstrip("/")
        for form in {glob, unicodedata.normalize("NFC", glob), unicodedata.normalize("NFD", glob)}:
            compiled.append(("" if "/" in form else anywhere) + fnmatch.translate(form))
    return re.compile("|".join(compiled)) if compiled else None
