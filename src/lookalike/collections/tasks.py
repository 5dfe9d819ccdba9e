"""An entry of a collection -> its hash and its pictures, or an outcome. What runs in the sandbox, and both ends of it.

:func:`to_task` says what is wanted of one entry; :func:`read_task` does it in a worker process, where no file can harm
the run; :func:`from_answer` takes the result apart again. What goes between is numbers, text and bytes, never objects.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from lookalike.collections import archive
from lookalike.collections.columns import Entry
from lookalike.collections.folder import changed_at
from lookalike.errors import ImageError, first_line
from lookalike.imaging.decode import Picture, header_shape, pictures
from lookalike.imaging.decode_errors import too_many_bytes
from lookalike.imaging.formats import NO_IMAGE, SUFFIXES
from lookalike.imaging.limits import Limits

if TYPE_CHECKING:
    from lookalike.imaging.sandbox.api import Answer

#: A caption is a few sentences; of a longer text only so much is kept.
CAPTION_BYTES = 1 << 16

_LIMITS = Limits()


@dataclass(frozen=True)
class Reading:
    """What reading one entry gave.

    Attributes
    ----------
    hash : str or None
        SHA-256 of the file's bytes, 64 hex digits; None where they could not be read.
    size, mtime_ns : int or None
        Of the file as it was read; of an archive's member the time is the archive's.
    hashed : bool
        Whether only the hash was asked for, so that nothing was decoded.
    pictures : list of Picture
        The first frame, or each; none where there is an outcome.
    shape : tuple of int or None
        What a measuring task found.
    outcome, stage, reason : str or None
        What kept it from being used, at which stage (``read``, ``decode``), and why; None where nothing did.
    """

    hash: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    hashed: bool = False
    pictures: list[Picture] = field(default_factory=list, repr=False)
    shape: tuple[int, ...] | None = None
    outcome: str | None = None
    stage: str | None = None
    reason: str | None = None


# The asking side ------------------------------------------------------------------------------------------------------


def to_task(
    entry: Entry,
    where: str,
    shapes: Sequence[tuple[int, ...]] = (),
    *,
    each: bool = False,
    hash_only: bool = False,
    limits: Limits = _LIMITS,
    measure: bool = False,
) -> dict[str, Any]:
    """Say what is wanted of one entry, as :func:`read_task` takes it.

    Parameters
    ----------
    entry : Entry
        Which; one without an outcome.
    where : str
        What it is called in reasons.
    shapes : sequence of tuple of int
        What its pictures are fitted to, ``(h, w)`` or ``(h, w, 3)``.
    each : bool
        Every frame or page, not the first only.
    hash_only : bool
        Read and hash it, and decode nothing.
    limits : Limits
        What it may cost.
    measure : bool
        Only find the shape, from the header.

    Returns
    -------
    dict
        Fit for JSON.
    """
    return {
        "source": list(entry.source),
        "where": where,
        "shapes": [list(shape) for shape in shapes],
        "each": each,
        "hash_only": hash_only,
        "limits": _as_dict(limits),
        "measure": measure,
    }


@cache
def _as_dict(limits: Limits) -> dict[str, Any]:
    """Take limits apart once for all tasks."""
    return asdict(limits)


def from_answer(answer: Answer, shapes: Sequence[tuple[int, ...]] | None = None) -> Reading:
    """Take apart what a worker answered to a task.

    Parameters
    ----------
    answer : Answer
        Of :func:`read_task`, from the sandbox.
    shapes : sequence of tuple of int, optional
        Those of the task; pictures of others make no sense.

    Returns
    -------
    Reading
        With the outcome ``crashed`` where the answer makes no sense: a decoder gone wild may have written it.
    """
    facts = answer.facts
    try:
        outcome, hashed, shape = _text(facts, "outcome"), facts.get("hashed") is True, facts.get("shape")
        frames = [] if outcome else list(_pictures_of(facts.get("pictures", []), answer.blobs, shapes))
        if not (outcome or hashed or shape or frames):
            raise ValueError("nothing at all")
        return Reading(
            hash=_text(facts, "hash"),
            size=_number(facts, "size"),
            mtime_ns=_number(facts, "mtime_ns"),
            hashed=hashed,
            pictures=frames,
            shape=None if shape is None else tuple(int(n) for n in shape),
            outcome=outcome,
            stage=_text(facts, "stage"),
            reason=_text(facts, "reason"),
        )
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as e:
        return Reading(outcome="crashed", stage="decode", reason=f"its decoder answered nonsense ({first_line(e)})")


def _text(facts: dict[str, Any], name: str) -> str | None:
    value = facts.get(name)
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def _number(facts: dict[str, Any], name: str) -> int | None:
    value = facts.get(name)
    if value is not None and (not isinstance(value, int) or abs(value) >= 1 << 63):
        raise TypeError(f"{name} is no number of 64 bits")
    return value


def _pictures_of(
    facts: list[dict[str, Any]], blobs: list[bytes], shapes: Sequence[tuple[int, ...]] | None
) -> Iterator[Picture]:
    rest = deque(blobs)
    for picture in facts:
        fitted = [np.frombuffer(rest.popleft(), np.uint8).reshape(shape) for shape in picture["shapes"]]
        if shapes is not None and [array.shape for array in fitted] != [tuple(shape) for shape in shapes]:
            raise ValueError("pictures of other shapes")
        thumbnail = bytes(rest.popleft()) if picture["thumbnail"] else b""
        yield Picture(int(picture["width"]), int(picture["height"]), fitted, thumbnail)
    if rest:
        raise ValueError("more pixels than pictures")


# The worker's side ----------------------------------------------------------------------------------------------------


def read_task(task: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    """Read, hash and decode one entry.

    Parameters
    ----------
    task : dict
        From :func:`to_task`.

    Yields
    ------
    (dict, list of bytes)
        First the ``hash``, ``size`` and ``mtime_ns``, with ``hashed`` where no more was asked for; then an item a picture, of its
        fitted pixels in the order of the shapes and its thumbnail; last the facts of all ``pictures``. When something
        is wrong with the file, ``outcome``, ``stage`` and ``reason`` end it. A measuring task gives a ``shape`` only.
    """
    limits, where, stage = Limits(**task["limits"]), task["where"], "read"
    try:
        source = tuple(task["source"])
        if task["measure"] and source[0] == "file":
            with _opened(source[1], where) as file:  # of a large file only the beginning is needed
                yield {"shape": list(header_shape(file, where, limits))}, []
            return
        data, changed = _read(source, where, limits.bytes)
        if task["measure"]:
            yield {"shape": list(header_shape(data, where, limits))}, []
            return
        digest = hashlib.sha256(data).hexdigest()
        only = {"hashed": True} if task["hash_only"] else {}
        yield {"hash": digest, "size": len(data), "mtime_ns": changed, **only}, []
        if only:
            return
        stage, facts = "decode", []
        shapes = [tuple(shape) for shape in task["shapes"]]
        for picture in pictures(data, where, shapes, limits=limits, each=task["each"]):
            blobs = [np.ascontiguousarray(fitted).tobytes() for fitted in picture.fitted]
            facts.append(
                {
                    "width": picture.width,
                    "height": picture.height,
                    "thumbnail": bool(picture.thumbnail),
                    "shapes": [list(fitted.shape) for fitted in picture.fitted],
                }
            )
            yield {}, [*blobs, picture.thumbnail] if picture.thumbnail else blobs
        yield {"pictures": facts}, []
    except ImageError as e:
        # Of what isn't even called an image, and is no format that is known, no more needs to be said.
        is_named = os.path.splitext(where)[1].lower() in SUFFIXES or NO_IMAGE not in str(e)
        yield {"outcome": e.outcome, "stage": stage, "reason": str(e) if is_named else f"{where}: not an image"}, []


def read_entry(entry: Entry, where: str, limits: Limits = _LIMITS) -> bytes:
    """Read all bytes of one entry in this process; nothing is decoded.

    Parameters
    ----------
    entry : Entry
        Which.
    where : str
        What it is called in errors.
    limits : Limits
        Of which ``bytes`` counts here.

    Returns
    -------
    bytes
        The file.

    Raises
    ------
    ImageError
        If it can't be read, or is over the limit.
    """
    if entry.outcome is not None and entry.outcome != "caption":
        raise ImageError(entry.reason or entry.outcome, entry.outcome)
    return _read(entry.source, where, limits.bytes)[0]


def read_head(entry: Entry, length: int) -> bytes:
    """Read the first bytes of one entry.

    Parameters
    ----------
    entry : Entry
        Which.
    length : int
        How many bytes.

    Returns
    -------
    bytes
        Fewer where the file is shorter.

    Raises
    ------
    ImageError, OSError
        If it can't be read.
    """
    if entry.source[0] != "file":
        return archive.read_member(entry.source, length, entry.id, cut=True)
    with _opened(entry.source[1], entry.id) as file:
        return file.read(length)


def read_caption(entry: Entry) -> str | None:
    """Read the sidecar text of an entry.

    Parameters
    ----------
    entry : Entry
        Any.

    Returns
    -------
    str or None
        The text without white space around it, at most 64 KiB of it; None where there is none, or it is damaged.
        Taken as UTF-8 (or UTF-16 where it says so); what is neither as Windows-1252.

    Raises
    ------
    ImageError
        If it is there and can't be read now, which says nothing of what is in it.
    """
    if entry.caption is None:
        return None
    text_of = replace(entry, source=(*entry.source[:-1], entry.caption[0]))
    try:
        data = read_head(text_of, CAPTION_BYTES)
    except OSError as e:
        raise _unreadable(entry.id, e) from e
    except ImageError as e:
        if e.outcome == "unreadable" and not isinstance(e.__cause__, NotImplementedError | RuntimeError):
            raise
        return None  # damaged, or packed in a way that isn't read, as it will be the next time
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return unicodedata.normalize("NFC", data.decode("utf-16", "replace")).strip() or None
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(data, final=len(data) < CAPTION_BYTES)
    except UnicodeDecodeError:
        text = data.decode("cp1252", "replace")
    return unicodedata.normalize("NFC", text).strip() or None


def _read(source: tuple[str, ...], where: str, limit: int) -> tuple[bytes, int]:
    """Return all bytes of a source and the time of its last change."""
    if source[0] != "file":
        try:
            changed = changed_at(os.stat(source[1]))
        except OSError as e:
            raise _unreadable(where, e) from e
        return archive.read_member(source, limit, where), changed
    for _ in range(2):
        try:
            with _opened(source[1], where) as file:
                before = os.fstat(file.fileno())
                if before.st_size > limit:
                    raise too_many_bytes(where, before.st_size, limit)
                data = file.read(before.st_size + 1)
                after = os.fstat(file.fileno())
        except OSError as e:
            raise _unreadable(where, e) from e
        if (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) and len(data) == after.st_size:
            return data, changed_at(after)
    raise ImageError(f"{where}: kept changing while it was read; run again when it is complete", "unreadable")


def _opened(path: str, where: str) -> BinaryIO:
    """Open a file that is one: a pipe would block for ever, and opening a device may do things."""
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, socket or device"
            raise ImageError(f"{where}: {kind} where an image file was expected; leave it out", "unsupported")
        # It may have been swapped for a pipe since: that opens without waiting, and gives no bytes.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        return os.fdopen(os.open(path, flags), "rb")
    except (OSError, ValueError) as e:
        raise _unreadable(where, e) from e


def _unreadable(where: str, error: OSError | ValueError) -> ImageError:
    gone = isinstance(error, (FileNotFoundError, NotADirectoryError))
    reason = getattr(error, "strerror", None) or first_line(error)
    return ImageError(f"{where}: can't be read: {reason}", "gone" if gone else "unreadable")
