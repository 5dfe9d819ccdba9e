"""Built-in collections by name: where their files are, or how they are fetched once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lookalike.errors import CollectionError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Mirrors of the four original files, tried in turn (those that TensorFlow's and PyTorch's data sets use).
MNIST_MIRRORS = ("https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/")
#: SHA-256 of the gzip files as Yann LeCun published them.
MNIST_FILES = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
_MNIST_PARTS = {"train": "train", "test": "t10k"}
_CHECKOUT = Path(__file__).resolve().parents[2] / "datasets" / "mnist"


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
    images, labels = (f"{_MNIST_PARTS[part]}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
    if "LOOKALIKE_DATA" not in os.environ and (_CHECKOUT / images).is_file():
        return _CHECKOUT / images, _CHECKOUT / labels
    return _fetch(images, mirrors), _fetch(labels, mirrors)


def _fetch(name: str, mirrors: Sequence[str]) -> Path:
    import pooch

    folder = Path(os.environ.get("LOOKALIKE_DATA") or pooch.os_cache("lookalike"), "mnist")
    pooch.get_logger().setLevel("ERROR")  # its log goes to standard error in the middle of our progress
    failures = []
    for mirror in mirrors:
        try:
            with _Progress(name) as progress:
                return Path(
                    pooch.retrieve(
                        mirror + name,
                        known_hash=f"sha256:{MNIST_FILES[name]}",
                        fname=name,
                        path=folder,
                        downloader=pooch.HTTPDownloader(progressbar=progress, timeout=30),
                    )
                )
        except (OSError, ValueError) as e:  # requests' errors are OSError; a wrong hash is ValueError
            failures.append(f"{mirror}: {_first_line(e)}")
    raise CollectionError(
        f"mnist: {name} is not in {folder} and could not be fetched ({'; '.join(failures)}); "
        "put the file there by hand, or try again with a network"
    )


def _first_line(error: Exception) -> str:
    if isinstance(error, ValueError):
        return "the file it gave has another SHA-256"
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


class _Progress:
    """What pooch asks of a progress bar, drawn by rich on standard error."""

    def __init__(self, name: str) -> None:
        from rich.console import Console
        from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

        columns = ("fetching {task.description}", DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task(name, total=None)
        self.total = 0

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, size: int) -> None:
        self._bar.start()
        self._bar.update(self._task, advance=size, total=self.total)

    def reset(self) -> None:
        self._bar.reset(self._task, total=self.total)

    def close(self) -> None:
        self._bar.stop()
