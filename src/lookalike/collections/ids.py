"""Names of files, as any system writes them -> ids: text in one form, unique in a collection."""

from __future__ import annotations

import re
import unicodedata

from lookalike.collections.columns import Entries

_FRAME = re.compile(r"(.+)#\d+", re.DOTALL)


def as_text(name: str) -> str:
    r"""Write bytes of a file name that are no UTF-8 as escapes, which every file and terminal takes.

    Parameters
    ----------
    name : str
        As the system gave it.

    Returns
    -------
    str
        Free of surrogates.

    Examples
    --------
    >>> import os
    >>> as_text(os.fsdecode(b"caf\xe9.png"))
    'caf\\udce9.png'
    """
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode()


def id_of(name: str) -> str:
    """Return a file's name as ids hold it, and as it is looked for: one form of accents, whatever system wrote it.

    Parameters
    ----------
    name : str
        As the system, a list or a person gives it.

    Returns
    -------
    str
        In Unicode's composed form (NFC).

    Examples
    --------
    >>> id_of("Mu\u0308ller.jpg") == "M\u00fcller.jpg"
    True
    """
    return name if name.isascii() else unicodedata.normalize("NFC", as_text(name))


def with_unique_ids(entries: Entries) -> Entries:
    """Mark ids that read as another's: of a name whose bytes were escaped, or that looks like a frame of another file.

    Parameters
    ----------
    entries : Entries
        Of one collection.

    Returns
    -------
    Entries
        In the same order. ``a.gif#1`` beside ``a.gif``, whose second frame that is, becomes ``a.gif#1~``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    held = entries.column("id")
    maybe = held.filter(pc.match_substring(held, "#"))  # most have none
    maybe = maybe.filter(pc.match_substring_regex(maybe, r"(?s).#\p{Nd}+$")).to_pylist()
    files = {name: match[1] for name in maybe if (match := _FRAME.fullmatch(name))}
    beside = pa.array(sorted(set(files.values())), held.type)
    there = set(held.filter(pc.is_in(held, value_set=beside)).to_pylist()) if files else set()
    frames = {name for name, file in files.items() if file in there}
    if not frames and pc.count_distinct(held).as_py() == len(entries):
        return entries
    ids, kinds, paths = (entries.column(name).to_pylist() for name in ("id", "kind", "path"))
    members = entries.column("member").to_pylist()
    seen = set(frames)

    def rank(row: int) -> tuple[bool, str, bytes, bytes]:
        return not paths[row].endswith(ids[row].encode()), kinds[row], paths[row], members[row] or b""

    for row in sorted(range(len(ids)), key=rank):
        while ids[row] in seen:
            ids[row] += "~"
        seen.add(ids[row])
    return entries.replace("id", ids)
