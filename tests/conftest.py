"""What every test file may use; and no test reaches the network."""

from __future__ import annotations

import gzip
import ipaddress
import os
import shutil
import signal
import socket
import tempfile
from pathlib import Path

# Of several processes side by side each gets one core: threads of linear algebra that wait spin, and would take the others'.
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

import numpy as np
import pytest

from paths import ROOT, TESTS

#: A file system in memory, and how many bytes of it must be free: an index flushes its files, which takes most of a test's
#: time on a disk. What a disk does is tests/torture's.
MEMORY, MIN_FREE = Path("/dev/shm"), 4 * 2**30
if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MIN_FREE:
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)

os.environ.setdefault("LANCE_LOG", "error")  # as our own processes have it; a library sets no such thing


def pytest_collection_modifyitems(items):
    """Mark each test by its folder; of the unit tests, ``make quick`` leaves out those that are marked ``slow``."""
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        if folder in ("unit", "integration", "browser", "train"):
            item.add_marker(folder)


def pytest_terminal_summary(terminalreporter):
    """Say in the last line what a machine without a browser leaves out."""
    browser = [r for r in terminalreporter.stats.get("skipped", []) if "tests/browser/" in r.nodeid]
    if browser and not (shutil.which("chromium") and shutil.which("chromedriver")):
        terminalreporter.write_line(
            f"{len(browser)} tests of the page were skipped for want of a browser; on Debian it comes by: "
            "apt-get install chromium chromium-driver"
        )


@pytest.fixture(autouse=True, scope="session")
def no_network():
    """Only this machine answers: a connection or a look-up beyond it fails the test that made it."""
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not _is_here(address[0]):
            pytest.fail(f"a test tried to reach {address[0]}")
        return connect(self, address)

    def guarded_look_up(host, *args, **kwargs):
        if host is not None and not _is_here(host) and not _is_number(host):
            pytest.fail(f"a test tried to look up {host}")
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        yield


def _is_here(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_number(host):
    """Tell an address, in whichever way it is written, from a name that somebody would have to be asked for."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        try:
            socket.inet_aton(host)
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def digits():
    """Read the first 200 test digits of MNIST and their labels, without a line of lookalike; read-only."""
    images, labels = (
        gzip.decompress((ROOT / "datasets" / "mnist" / f"t10k-{kind}-ubyte.gz").read_bytes())
        for kind in ("images-idx3", "labels-idx1")
    )
    pixels = np.frombuffer(images, np.uint8, 200 * 784, 16).reshape(200, 28, 28)
    return pixels, [str(label) for label in labels[8:208]]


@pytest.fixture(scope="session")
def shared():
    """Find a folder of the real images that lie beside a developer's checkout; elsewhere the test is skipped."""

    def find(name):
        folder = ROOT.parent / "shared" / "data" / name
        if not folder.is_dir():
            pytest.skip(f"{folder} isn't here: it is not part of the repository")
        return folder

    return find


@pytest.fixture(autouse=True, scope="session")
def _programs_hear_ctrl_c():
    """Let programs that tests start be interrupted, even where this one runs in a background that ignores Ctrl-C."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
