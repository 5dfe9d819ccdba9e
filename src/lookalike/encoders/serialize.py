"""An encoder <-> a folder: ``encoder.json`` (the card) and the files that it names by their hashes. No pickle."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lookalike.atomic import replace_file
from lookalike.encoders.onnx.known_models import KNOWN
from lookalike.encoders.postprocess import FILE as POST_FILE
from lookalike.encoders.postprocess import Projection
from lookalike.encoders.registry import TABLE, create, installed_encoders
from lookalike.errors import EncoderError, UsageError, unknown_name

if TYPE_CHECKING:
    from lookalike.encoders.base import Encoder

CARD = "encoder.json"
#: The state of a training, in the folder that its encoder will be saved to.
CHECKPOINT = "checkpoint.npz"
FORMAT = 1
#: What a killed ``save`` may leave: the temporary file of one of its own.
_PART = re.compile(r"\.(encoder\.json|checkpoint\.npz|.+-[0-9a-f]{12}\.\w+)\.[0-9a-f]{8}\.part")
# Parameters by the names that earlier versions wrote on cards; a card keeps its names, and with them its fingerprint.
_EARLIER_NAMES = {"damage": "families"}
_CARD_KEYS = {
    "encoder": str,
    "params": dict,
    "distance": str,
    "shape": list,
    "dimension": int,
    "files": dict,
    "fingerprint": str,
}


def load(folder: str | Path) -> Encoder:
    """Load an encoder from the folder ``save`` wrote.

    Parameters
    ----------
    folder : str or Path
        A folder with ``encoder.json``.

    Returns
    -------
    Encoder
        Fitted, ready to encode. Its files are checked against the hashes in ``encoder.json``.

    Raises
    ------
    EncoderError
        If it is no encoder folder, was made by a newer version, or a file was changed or cut short.
    """
    folder = Path(folder)
    names = [entry["file"] for entry in read_card(folder)["files"].values()]
    files = {name: (folder / name).read_bytes() for name in [CARD, *names] if (folder / name).is_file()}
    return from_files(files, folder)


def from_files(files: Mapping[str, bytes], folder: Path) -> Encoder:
    """Make an encoder of the files that ``to_files`` returned.

    Parameters
    ----------
    files : mapping of str to bytes
        File name -> content, ``encoder.json`` among them.
    folder : Path
        Where they come from, as the errors say it.

    Returns
    -------
    Encoder
        Fitted, ready to encode.

    Raises
    ------
    EncoderError
        If they are no encoder's, were made by a newer version, or one was changed or cut short.
    """
    card = _parse_card(files[CARD], folder / CARD)
    try:
        params = {_EARLIER_NAMES.get(name, name): name for name in card["params"]}
        encoder = create(card["encoder"], **{p: card["params"][name] for p, name in params.items()})
    except UsageError as e:
        raise EncoderError(f"{folder / CARD}: {e}; upgrade lookalike, or train again") from e
    contents = {}
    for name, entry in card["files"].items():
        path = folder / entry["file"]
        if entry["file"] not in files:
            raise EncoderError(f"{path}: named in {CARD} but missing; copy the whole folder again, or train again")
        contents[name] = files[entry["file"]]
        if hashlib.sha256(contents[name]).hexdigest() != entry["sha256"]:
            raise EncoderError(
                f"{path}: not the file that was saved (its SHA-256 differs); copy it again, or train again"
            )
    encoder.distance = card["distance"]
    encoder.shape_ = tuple(card["shape"])
    encoder.dimension_ = card["dimension"]
    if "post" in card:
        try:
            encoder.post_ = Projection.from_files(card["post"], contents)
        except EncoderError as e:
            raise EncoderError(f"{folder / CARD}: {e}") from e
        contents.pop(POST_FILE)
    encoder._set_weights(contents)
    encoder._carded = params
    if encoder.fingerprint != card["fingerprint"]:
        raise EncoderError(
            f"{folder / CARD}: edited since it was saved (its fingerprint differs); restore it from a copy, or train again"
        )
    return encoder


def write_files(folder: str | Path, files: Mapping[str, bytes]) -> Path:
    """Write an encoder's files to a folder; the work of :meth:`lookalike.encoders.base.Encoder.save`.

    Parameters
    ----------
    folder : str or Path
        Made if it does not exist.
    files : mapping of str to bytes
        As :meth:`lookalike.encoders.base.Encoder.to_files` returns them, the card last.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    EncoderError
        If the folder holds other things and no encoder, or the disk refuses.
    """
    folder = Path(folder)
    try:
        before = check_folder(folder, files)
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():  # the card comes last
            if file == CARD or not _holds(folder / file, content):
                with replace_file(folder / file) as f:
                    f.write(content)
        for old in before - set(files):
            (folder / old).unlink(missing_ok=True)
    except OSError as e:
        reason = e.strerror or e
        raise EncoderError(
            f"{folder}: the encoder can't be written: {reason}; free space or pick another folder"
        ) from e
    return folder


def check_folder(folder: str | Path, files: Mapping[str, bytes] | None = None) -> set[str]:
    """Refuse a folder in which an encoder can't be saved without harm.

    Parameters
    ----------
    folder : str or Path
        Where it is to be; it needn't exist.
    files : mapping of str to bytes, optional
        What is to be written there, where that is known.

    Returns
    -------
    set of str
        The files of the encoder that is there, which a new one takes the place of, but for the card.

    Raises
    ------
    EncoderError
        If it is no folder, or holds other things and no encoder: only ``encoder.json`` of ours, a checkpoint of a training
        and what a killed ``save`` left may lie in it.
    OSError
        If it can't be looked into.
    """
    folder = Path(folder)
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not there.is_dir():
        raise EncoderError(f"{there}: a file; an encoder is a folder, so pick another name")
    if there != folder:
        return set()
    names = {child.name for child in folder.iterdir()}
    if CARD in names and not (folder / CARD).is_symlink():
        with suppress(EncoderError):
            card = _parse_card((folder / CARD).read_bytes(), folder / CARD)
            held = {entry["file"] for entry in card["files"].values()}
            _refuse_strangers(folder, names & set(files or ()) - held - {CARD}, files or {})
            return {name for name in held if (folder / name).is_file() and not (folder / name).is_symlink()}
    left = {name for name in names if name == CHECKPOINT or _PART.fullmatch(name)}
    _refuse_strangers(folder, names - left, files or {})
    return set()


def _holds(path: Path, content: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content


def _refuse_strangers(folder: Path, names: set[str], files: Mapping[str, bytes]) -> None:
    """Refuse files that lie there and aren't what is to be written anyway, to the byte: that a killed ``save`` left."""
    for name in sorted(names):
        path = folder / name
        same = name in files and name != CARD and path.is_file() and not path.is_symlink()
        if not same or path.read_bytes() != files[name]:
            raise EncoderError(
                f"{folder}: a folder that holds other things ({name}) and no encoder of lookalike's; pick an empty or a "
                "new one"
            )


def read_card(folder: str | Path) -> dict[str, Any]:
    """Read ``encoder.json`` of a saved encoder.

    Parameters
    ----------
    folder : str or Path
        A folder that ``save`` wrote.

    Returns
    -------
    dict
        Keys ``format``, ``encoder``, ``params``, ``distance``, ``shape``, ``dimension``, ``files``, ``fingerprint``.

    Raises
    ------
    EncoderError
        If there is no such file, it isn't one of ours, or a newer version wrote it.
    """
    folder = Path(folder)
    path = folder / CARD
    if not folder.exists() and folder.name == str(folder):
        hint = unknown_name("encoder", str(folder), TABLE | KNOWN | installed_encoders())
        raise UsageError(f"{hint}; and there is no folder of that name here")
    if not path.is_file():
        what = "a file, not a folder" if folder.is_file() else "without " + CARD if folder.is_dir() else "not there"
        raise EncoderError(
            f"{folder}: {what}; an encoder is a folder that 'lookalike train' wrote, or one of: {', '.join(sorted(TABLE))}"
        )
    return _parse_card(path.read_bytes(), path)


def _parse_card(content: bytes, path: Path) -> dict[str, Any]:
    try:
        card: dict[str, Any] = json.loads(content)
        version = card["format"]
        if version > FORMAT:
            raise EncoderError(
                f"{path}: written in format {version}, this version reads up to {FORMAT}; upgrade lookalike"
            )
        for key, kind in _CARD_KEYS.items():
            if not isinstance(card[key], kind):
                raise TypeError(key)
        if not isinstance(card.get("post", {}), dict):
            raise TypeError("post")
        for name, entry in card["files"].items():
            if Path(entry["file"]).name != entry["file"] or not isinstance(entry["sha256"], str):
                raise ValueError(f"{name} is not a file beside it")
    except (ValueError, KeyError, TypeError) as e:
        raise EncoderError(
            f"{path}: not a description of an encoder ({type(e).__name__}: {e}); train again, or restore it from a copy"
        ) from e
    return card
