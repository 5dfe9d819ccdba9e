"""Built-in collections by name: where their files are, or how they are fetched once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike import progress
from lookalike.errors import CollectionError, first_line, unknown_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Mirrors of the four original files, tried in turn (those that TensorFlow's and PyTorch's data sets use).
MNIST_MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
#: SHA-256 of the gzip files: as Yann LeCun published them (so the mirrors have them), and as datasets/mnist has them,
#: the same bytes zipped anew.
MNIST_FILES = {
    "train-images-idx3-ubyte.gz": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "0b367032e93c5d0cea0925647cfdb18614af8ee15f83e6f2fc2ad904a6835971",
    ),
    "train-labels-idx1-ubyte.gz": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "1787548bbe0bff1ec2ecdc0ef292b02df999e2d1a6002d27500982c652b17203",
    ),
    "t10k-images-idx3-ubyte.gz": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "1a1a05eab793c14bb050b398624a11b0ffd1a2953baed553b1b9bd079e2a20be",
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "b91679a0acfe4ba0e50a2437a903084cba1f5f92592b016a25a7dfd00455798b",
    ),
}
_MNIST_PARTS = {"train": "train", "test": "t10k"}
_TIMEOUT = 30  # seconds without a byte
_CHUNK = 1 << 18  # bytes between two looks at the progress
_CHECKOUT = Path(__file__).resolve().parents[3] / "datasets" / "mnist"


def mnist_files(part: str = "train", mirrors: Sequence[str] = MNIST_MIRRORS) -> tuple[Path, Path]:
    """Find the image and label files of MNIST; fetch them once where there is no checkout.

    Parameters
    ----------
    part : {"train", "test"}
        60,000 or 10,000 digits.
    mirrors : sequence of str
        Addresses that end in ``/``, tried in turn.

    Returns
    -------
    (Path, Path)
        The IDX files with the images and with the labels, gzipped. They are looked for in a checkout's
        ``datasets/mnist``, then in the cache folder (``LOOKALIKE_DATA``, or the system's own), where pooch puts them
        after checking their SHA-256.

    Raises
    ------
    UsageError
        If the part isn't known.
    CollectionError
        If they aren't here and no mirror gave them.
    """
    if part not in _MNIST_PARTS:
        raise unknown_name("part of mnist", part, _MNIST_PARTS)
    names = [f"{_MNIST_PARTS[part]}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")]
    if not os.environ.get("LOOKALIKE_DATA") and all((_CHECKOUT / name).is_file() for name in names):
        return _CHECKOUT / names[0], _CHECKOUT / names[1]
    return _fetch(names[0], mirrors), _fetch(names[1], mirrors)


def _fetch(name: str, mirrors: Sequence[str]) -> Path:
    import pooch

    folder = Path(os.environ.get("LOOKALIKE_DATA") or pooch.os_cache("lookalike"), "mnist")
    path = folder / name
    if path.is_file() and pooch.file_hash(path) in MNIST_FILES[name]:
        return path
    pooch.get_logger().setLevel("ERROR")  # we say ourselves what is fetched
    failures = []
    for mirror in mirrors:
        try:
            # The file is put in its place when it is whole and has the hash.
            pooch.retrieve(mirror + name, MNIST_FILES[name][0], fname=name, path=folder, downloader=_download)
            return path
        except (OSError, ValueError) as e:  # requests' errors are OSError; a wrong hash is ValueError
            wrong = isinstance(e, ValueError) and "hash" in str(e)
            failures.append(f"{mirror}: {'the file it gave has another SHA-256' if wrong else first_line(e)}")
    raise CollectionError(
        f"mnist: {name} is not in {folder} and could not be fetched ({'; '.join(failures)}); "
        "put the file there by hand, or try again with a network"
    )


def _download(url: str, output_file: object, caller: object) -> None:
    """Fetch a file the way pooch asks its downloaders to, and show how far it is."""
    import pooch

    progress.say(f"fetching {url} (once)")
    with progress.counting("bytes fetched:") as show:
        fetch = pooch.HTTPDownloader(progressbar=_Bar(show), timeout=_TIMEOUT, chunk_size=_CHUNK)
        fetch(url, output_file, caller)


class _Bar:
    """What pooch asks of a progress bar; ``total`` is 0 where the server doesn't say."""

    total = 0

    def __init__(self, show: Callable[[int, int], None]) -> None:
        self._show = show
        self._done = 0

    def update(self, size: int) -> None:
        self._done = min(self._done + size, self.total)
        self._show(self._done, self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        pass
