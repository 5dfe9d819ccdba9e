"""What is learnt from an index once and kept beside it: graph, inverted file, map, calibration, ... All of it by one mechanism.

An artifact is a copy or a summary of what the rows say. It belongs to no commit: one that is missing, stale or damaged is made
again, and a disk that refuses is no error. Its file is named after its kind and its key. The key holds what it was made of
and the versions of its own format and of those that it depends on, so that what another version made is never taken for
its own. :data:`ARTIFACTS` lists all kinds: whoever checks, tidies or documents an index reads them there.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray

from lookalike.atomic import claimed
from lookalike.index.manifest import Manifest
from lookalike.mapped import ChecksumError, MappedArrays, writing_mapped
from lookalike.neighbors.distances import DISTANCES
from lookalike.transforms import AUGMENTATIONS_VERSION, VIEWS_VERSION

#: How the file of an artifact ends, but for those that are a folder.
ENDING = ".mapped"
#: What an artifact can be that isn't what was written: it is read as if there were none.
UNSOUND = (OSError, ChecksumError, ValueError, KeyError, TypeError, OverflowError)
#: What is learnt: facts, as JSON takes them, and arrays.
Learnt = tuple[Mapping[str, Any], Mapping[str, NDArray[Any]]]


@dataclass(frozen=True)
class Artifact:
    """One kind of what is kept beside an index.

    Attributes
    ----------
    name : str
        How its files begin.
    about : str
        What it is, as docs/storage.md says it.
    version : int
        Of its format and of how it is made; another one is made again.
    needs : tuple of Artifact
        Others that it is made of: a new version of one is a new version of this.
    uses : tuple of int
        Versions of the code whose output it is learnt from.
    follows : {"content", "encoder", "pictures", "index"}
        What it goes by: the very descriptors; the encoder, so that it outlives a change of the collection and says itself
        what it is of; the pictures' bytes, in a folder; or nothing but the index, in a folder.
    by_distance : bool
        Whether there is one for each distance.
    remade_by : str
        What makes it again, for a person.
    """

    name: str
    about: str
    version: int = 1
    needs: tuple[Artifact, ...] = ()
    uses: tuple[int, ...] = ()
    follows: Literal["content", "encoder", "pictures", "index"] = "content"
    by_distance: bool = False
    remade_by: str = "the next query that needs it makes it again"

    @property
    def is_file(self) -> bool:
        """Whether it is one file of mapped arrays, rather than a folder of small files."""
        return self.follows in ("content", "encoder")

    @property
    def pattern(self) -> str:
        """The names of its files, for a person."""
        if not self.is_file:
            return f"{self.name}{'-SIDE-POINTS' if self.follows == 'pictures' else ''}/"
        key = "CONTENT" if self.follows == "content" else "COLUMN-ENCODER"
        return f"{self.name}-{'DISTANCE-' if self.by_distance else ''}{key}{ENDING}"

    def _versions(self) -> list[Any]:
        return [self.version, *self.uses, *(need._versions() for need in self.needs)]

    def file_name(self, manifest: Manifest, distance: str | None = None) -> str:
        """Return the name of its file for an index, seen through one encoder, and by one distance where there is one each."""
        view = manifest.view
        encoder_key = _crc32([self._versions(), view.column, view.fingerprint, view.dimension, view.dtype])
        parts = [self.name, *([distance.replace(" ", "_")] if self.by_distance and distance else [])]
        if self.follows == "encoder":
            return "-".join([*parts, view.column, encoder_key]) + ENDING
        rows = [manifest.dataset_version, manifest.files, manifest.keys_crc32, manifest.rows, view.count]
        return "-".join([*parts, _crc32(rows) + encoder_key]) + ENDING

    def file(self, path: Path, manifest: Manifest, distance: str | None = None) -> Path:
        """Return where its file is, or would be, in an index's folder."""
        return path / self.file_name(manifest, distance)

    def read(self, path: Path, manifest: Manifest, distance: str | None = None) -> MappedArrays | None:
        """Open its file; None where there is none, or its head isn't what was written. Blocks are checked as they are read."""
        with suppress(*UNSOUND):
            return MappedArrays(self.file(path, manifest, distance))
        return None

    def keep(
        self,
        path: Path,
        manifest: Manifest,
        facts: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        distance: str | None = None,
    ) -> bool:
        """Write its file from arrays in memory, and tell whether it is there; a disk that refuses is no error."""
        shapes = {name: (array.dtype, array.shape) for name, array in arrays.items()}
        if all(array.size for array in arrays.values()):
            with suppress(OSError), writing_mapped(self.file(path, manifest, distance), facts, shapes) as kept:
                for name, array in arrays.items():
                    kept[name][:] = array
                return True
        return False

    def cached(
        self,
        path: Path,
        manifest: Manifest,
        terms: Mapping[str, Any],
        learn: Callable[[], Learnt],
        *,
        distance: str | None = None,
    ) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return what was learnt, as it was kept, or learnt now and kept.

        Parameters
        ----------
        path : Path
            The index's folder.
        manifest : Manifest
            Looking through the encoder.
        terms : mapping
            All else that it depends on, as JSON takes it: sizes of samples, seeds. Kept under other terms it is learnt anew.
        learn : callable
            Returns facts, as JSON takes them, and arrays.
        distance : str, optional
            Where there is one for each.

        Returns
        -------
        facts : dict
        arrays : dict of ndarray
            Read-only and mapped where they were kept; checked to the last byte.
        """
        kept = self.read(path, manifest, distance)
        with suppress(*UNSOUND):
            if kept is not None and kept.facts["terms"] == terms:
                kept.check()
                return kept.facts["learnt"], {name: kept.array(name) for name in kept.names}
        facts, arrays = learn()
        self.keep(path, manifest, {"terms": dict(terms), "learnt": dict(facts)}, arrays, distance)
        return dict(facts), dict(arrays)

    def others(self, path: Path, manifest: Manifest) -> Iterator[MappedArrays]:
        """Yield sound ones of other states of the collection, of the encoder that is looked through."""
        own = self.file_name(manifest)
        for file in sorted(path.glob(f"{self.name}-*{ENDING}")):
            with suppress(*UNSOUND):
                if file.name != own and (kept := MappedArrays(file)).facts["fingerprint"] == manifest.fingerprint:
                    yield kept

    def drop(self, path: Path, manifest: Manifest) -> None:
        """Remove those of the encoder that is looked through, of whatever state, as far as they are lookalike's own."""
        ours = claimed(path)
        for file in [self.file(path, manifest), *(kept.path for kept in self.others(path, manifest))]:
            if file.name in ours:
                file.unlink(missing_ok=True)


def _crc32(value: object) -> str:
    return f"{zlib.crc32(json.dumps(value, sort_keys=True).encode()):08x}"


VECTORS = Artifact(
    "vectors", "descriptors in the order of the index, mapped into memory; of 16 MB and more", remade_by="index again"
)
IVF = Artifact(
    "ivf", "the inverted file for approximate search: descriptors sorted into lists", remade_by="index again"
)
GRAPH = Artifact(
    "graph",
    "each image's nearest neighbours, for diffusion and the map",
    remade_by="lookalike index COLLECTION --graph",
)
MAP = Artifact(
    "map",
    "the map: each image's position and density cluster",
    version=2,
    needs=(GRAPH,),
    follows="encoder",
    remade_by="make it again: lookalike map",
)
CALIBRATION = Artifact(
    "calibration",
    "how far pairs of images are apart, so that an answer can say how rare its distance is",
    by_distance=True,
)
REJECTION = Artifact(
    "rejection",
    "how often views of own images are rejected, with their originals there and taken away",
    needs=(CALIBRATION,),
    uses=(VIEWS_VERSION,),
    by_distance=True,
)
WORDS = Artifact("words", "the words of ids, captions, metadata and labels, for keyword search")
TAGS = Artifact("tags", "what the shipped networks see in photos, from their descriptors, for words that nobody wrote")
KEYPOINTS = Artifact("keypoints", "keypoints of pictures, filed by the hash of their bytes", follows="pictures")
GEOMETRIC = Artifact("geometric", "inliers of own images shown in a scene", needs=(KEYPOINTS,), uses=(VIEWS_VERSION,))
RESTORER = Artifact("restorer", "what clean images look like, for `--denoise auto`", version=2)
RERANK_AUTO = Artifact(
    "rerank-auto",
    "which re-ranking `auto` chose, and its figures",
    version=5,
    needs=(GRAPH, KEYPOINTS),
    uses=(AUGMENTATIONS_VERSION, VIEWS_VERSION),
    follows="encoder",
)
SCORES = Artifact("scores", "reports of `lookalike score --keep`, which the page shows", follows="index")

#: All kinds, as docs/storage.md lists them.
ARTIFACTS = (
    VECTORS, IVF, GRAPH, MAP, CALIBRATION, REJECTION, WORDS, TAGS, GEOMETRIC, KEYPOINTS, RESTORER, RERANK_AUTO, SCORES,
)  # fmt: skip


def names_of_artifacts(manifest: Manifest) -> set[str]:
    """Return the names of all artifacts that belong to a manifest, through each of its encoders.

    Parameters
    ----------
    manifest : Manifest
        Any.

    Returns
    -------
    set of str
        Whether they are there or not; without the folders of those that are filed by pictures.
    """
    names = {kind.name for kind in ARTIFACTS if kind.follows == "index"}
    for column in manifest.columns:
        view = replace(manifest, chosen=column.column)
        for kind in ARTIFACTS:
            if kind.is_file and (column.complete or kind.follows == "encoder"):
                names |= {kind.file_name(view, distance) for distance in (DISTANCES if kind.by_distance else (None,))}
    return names


def is_artifact(name: str) -> bool:
    """Tell by its name a file that is only kept as long as a manifest's artifacts have that name.

    Parameters
    ----------
    name : str
        Of something in an index's folder.

    Returns
    -------
    bool
        False of folders.
    """
    kinds = "|".join(re.escape(kind.name) for kind in ARTIFACTS if kind.is_file)
    return re.fullmatch(rf"({kinds})-.+{re.escape(ENDING)}", name) is not None


def unsound_artifacts(path: Path, manifest: Manifest) -> list[str]:
    """Check all artifacts of an index to the last byte.

    Parameters
    ----------
    path : Path
        The index's folder.
    manifest : Manifest
        What they belong to.

    Returns
    -------
    list of str
        A sentence for each that isn't what was written: it answers nothing, and is made again.
    """
    problems = []
    for name in sorted(names_of_artifacts(manifest)):
        kind = next(kind for kind in ARTIFACTS if name.startswith(kind.name))
        if kind.is_file and (path / name).exists():
            try:
                MappedArrays(path / name).check()
            except UNSOUND:
                problems.append(f"{name} isn't what was written; it is only a copy: delete it, and {kind.remade_by}")
    return problems


__all__ = ["ARTIFACTS", "ENDING", "Artifact", "is_artifact", "names_of_artifacts", "unsound_artifacts"]
