"""What the manifests of an index name, and tidying: what none of them names goes, and nothing else.

What lies in the folder is lookalike's only where its inventory (:mod:`lookalike.atomic`) names it. All else is left alone.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.atomic import claim, claimed, dead_parts, disown
from lookalike.errors import LookalikeError, first_line
from lookalike.index.artifacts import KEYPOINTS, is_artifact, names_of_artifacts
from lookalike.index.dataset import open_dataset, reading
from lookalike.index.manifest import (
    DATASET_NAME,
    MANIFEST,
    PREVIOUS,
    REBUILDING,
    DamagedIndexError,
    Manifest,
    read_manifest,
)
from lookalike.index.plain_files import refuse_links

if TYPE_CHECKING:
    from lookalike.encoders.base import Encoder

_LATEST = 2**64 - 1  # a manifest's name is this less its version, so that the newest is listed first

#: How Lance names what it writes.
_LANCE_FILES = {
    "data": re.compile(r"[01]{24}[0-9a-f]{26}\.lance"),
    "_deletions": re.compile(r"\d+-\d+-\d+\.(arrow|bin)"),
    "_versions": re.compile(r"\d{20}\.manifest|latest_version_hint\.json"),
    "_transactions": re.compile(r"\d+-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.txn"),
}
_ENCODER = re.compile(r"encoder-[0-9a-f]+")
_KEYPOINT_FILE = re.compile(r"([0-9a-f]{64})-\d+\.npz")
#: Of files by their content: ``weights-0f3a….npz``.
_BY_CONTENT = re.compile(r".+-([0-9a-f]{12})\.\w+")
_log = logging.getLogger("lookalike.index")


def names_of(manifests: Sequence[Manifest]) -> set[str]:
    """Return the names of all that belongs to some manifests, whether it is there or not.

    Parameters
    ----------
    manifests : sequence of Manifest
        Of one index.

    Returns
    -------
    set of str
        In the index's folder.
    """
    kept: set[str] = set()
    for manifest in manifests:
        kept |= {manifest.dataset, *names_of_artifacts(manifest), *(c.encoder_folder for c in manifest.columns)}
    return kept


def sweep(path: Path) -> None:
    """Drop what no manifest names: versions, their files, and encoders. It never fails an index that was written.

    The manifest names one version, and ``previous.json`` that of the last complete run before; both stay. So does
    nothing else of what the inventory says is ours: what a killed or failed run wrote, and the steps of a run that has
    ended. Where a manifest can't be read nothing is dropped.

    Parameters
    ----------
    path : Path
        The index's folder, under its writer's lock.
    """
    with _going_on(path, "what no manifest names"):
        refuse_links(path)
        ours = claimed(path)
        if MANIFEST in ours and not os.path.lexists(path / MANIFEST):
            return  # it is lost, and what it named isn't
        named = named_manifests(path) if os.path.lexists(path / MANIFEST) else []
        named += all_manifests(path, REBUILDING)
        for name in sorted({p.dataset for p in named} & ours):
            with _going_on(path, f"what is old in {name}"):
                _drop_versions(path, name, named)
        stale = {name for name in ours - names_of(named) if is_swept(name)}
        for name in sorted(stale):
            with _going_on(path, name):
                remove(path / name)
        disown(path, [name for name in stale if not os.path.lexists(path / name)])
        for part in dead_parts(path):
            part.unlink(missing_ok=True)
        _sweep_keypoints(path, ours, named)


@contextmanager
def _going_on(path: Path, what: str) -> Iterator[None]:
    """Note what couldn't be dropped, and go on: the next run tries again."""
    try:
        yield
    except (LookalikeError, OSError) as e:
        _log.warning("%s: %s is left until the next run: %s", path, what, first_line(e))


def is_swept(name: str) -> bool:
    """Tell by its name what is only kept as long as a manifest names it.

    Parameters
    ----------
    name : str
        Of something in an index's folder.

    Returns
    -------
    bool
        False of the manifests themselves, the inventory, the lock, and what is kept by the hash of pictures.
    """
    return bool(DATASET_NAME.fullmatch(name) or _ENCODER.fullmatch(name)) or is_artifact(name)


def _drop_versions(path: Path, name: str, named: Sequence[Manifest]) -> None:
    """Drop the versions of a dataset that no manifest names, and the files that no version does."""
    those = [p for p in named if p.dataset == name]
    kept = {p.dataset_version for p in those}
    forget_unnamed_versions(path, *those)
    dataset = open_dataset(path, those[0])
    with reading(path):
        old = [v["version"] for v in dataset.versions() if v["version"] not in kept]
        if old:
            dataset.cleanup_old_versions(versions=old)
    # Under the lock nobody else is writing, so that a file without a version is a dead run's, however young.
    written = {file for manifest in those for file in manifest.files}
    for file in (path / name).glob("*/*") if all(manifest.files for manifest in those) else ():
        folder = file.parent.name
        if folder in ("data", "_deletions") and f"{folder}/{file.name}" not in written and _is_of_lance(file):
            file.unlink()


def remove(path: Path) -> None:
    """Remove what the inventory names; what a person has put there meanwhile stays, and the folder around it.

    Parameters
    ----------
    path : Path
        A file, or a dataset's or an encoder's folder; it needn't be there.
    """
    mode = path.lstat().st_mode if os.path.lexists(path) else 0
    if stat.S_ISREG(mode):
        path.unlink()
    elif stat.S_ISDIR(mode):
        is_ours = _is_of_lance if DATASET_NAME.fullmatch(path.name) else is_by_content
        for folder, _, files in os.walk(path, topdown=False):
            for name in files:
                file = Path(folder, name)
                if not file.is_symlink() and is_ours(file):
                    file.unlink()
            with suppress(OSError):  # something else is in it
                os.rmdir(folder)


def save_encoder(path: Path, encoder: Encoder) -> None:
    """Put an encoder into an index's folder, in place of what is left there of the same one.

    Parameters
    ----------
    path : Path
        The index's folder, under its writer's lock.
    encoder : Encoder
        Fitted.

    Raises
    ------
    EncoderError, OSError
        If the disk refuses, or something that isn't ours lies there.
    """
    name = f"encoder-{encoder.fingerprint}"
    claim(path, name)
    remove(path / name)
    encoder.save(path / name)


def _is_of_lance(file: Path) -> bool:
    form = _LANCE_FILES.get(file.parent.name)
    return form is not None and form.fullmatch(file.name) is not None


def is_by_content(file: Path) -> bool:
    """Tell a file of an encoder by its name, which holds the hash of its content; or it is the card.

    Parameters
    ----------
    file : Path
        In a folder that holds an encoder.

    Returns
    -------
    bool
        False of anything that lookalike didn't write there, and of what was changed since.
    """
    match = _BY_CONTENT.fullmatch(file.name)
    if match is None:
        return file.name == "encoder.json"
    with suppress(OSError):
        return hashlib.sha256(file.read_bytes()).hexdigest().startswith(match[1])
    return False


def _sweep_keypoints(path: Path, ours: set[str], named: list[Manifest]) -> None:
    """Drop the keypoints (:mod:`lookalike.index.originals`) of pictures that no manifest's rows hold; they are filed by hash."""
    folders = [path / name for name in ours if name.startswith(f"{KEYPOINTS.name}-")]
    files = [file for folder in folders for file in folder.glob("*/*.npz") if _KEYPOINT_FILE.fullmatch(file.name)]
    if not files:
        return
    held: set[str] = set()
    for manifest in named:
        dataset = open_dataset(path, manifest)
        with reading(path):
            held.update(filter(None, dataset.to_table(["hash"])["hash"].to_pylist()))
    for file in files:
        if file.name.partition("-")[0] not in held and not file.is_symlink() and not file.parent.is_symlink():
            file.unlink(missing_ok=True)


def named_manifests(path: Path) -> list[Manifest]:
    """Read the manifest of an index, and that of the run before where there is one that isn't damaged.

    Parameters
    ----------
    path : Path
        The index's folder.

    Returns
    -------
    list of Manifest
        The newest first.

    Raises
    ------
    IndexStoreError
        If the newest is damaged, or one can't be read.
    """
    return [read_manifest(path), *all_manifests(path, PREVIOUS)]


def all_manifests(path: Path, *names: str) -> list[Manifest]:
    """Read the manifests that name a version; one that is damaged names none.

    Parameters
    ----------
    path : Path
        The index's folder.
    *names : str
        Which; by default that of the index, of the run before, and of a rebuilding.

    Returns
    -------
    list of Manifest
        Those that are there.

    Raises
    ------
    IndexStoreError
        If one can't be read.
    """
    manifests = []
    for name in names or (MANIFEST, PREVIOUS, REBUILDING):
        if os.path.lexists(path / name):
            with suppress(DamagedIndexError):
                manifests.append(read_manifest(path, name))
    return manifests


def forget_unnamed_versions(path: Path, *manifests: Manifest) -> None:
    """Remove the manifests of newer versions that a killed or failed run left: it needs no space on the disk.

    Parameters
    ----------
    path : Path
        The index's folder, under its writer's lock.
    *manifests : Manifest
        At least one; beside those in the folder they name versions that stay, of the first one's dataset.
    """
    named = [*manifests, *all_manifests(path)]
    dataset = manifests[0].dataset
    kept = {p.dataset_version for p in named if p.dataset == dataset}
    for manifest in sorted((path / dataset / "_versions").glob("*.manifest")):  # the newest first
        if not re.fullmatch(r"\d{20}", manifest.stem):
            continue
        if _LATEST - int(manifest.stem) in kept:
            return  # older ones are the sweep's, with their files
        manifest.unlink(missing_ok=True)
