"""What several files of these tests need and takes seconds to make: made once, whichever process needs it first."""

from __future__ import annotations

import pytest

from lookalike.cli.main import run


@pytest.fixture(scope="session")
def trained_network(tmp_path_factory):
    """A folder that ``lookalike train`` made of a few digits: the network and its checkpoint. Nobody may write to it."""
    pytest.importorskip("keras")
    shared = tmp_path_factory.getbasetemp()
    if shared.name.startswith("popen-"):  # of one of several processes side by side
        shared = shared.parent
    folder = shared / "trained" / "article"
    try:
        import fcntl
    except ImportError:  # Windows: each process makes its own
        folder = tmp_path_factory.mktemp("trained") / "article"
        _train(folder)
        return folder
    with (shared / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _train(folder)
    return folder


def _train(folder):
    arguments = ["train", "mnist:train[0:64]", "-o", str(folder), "--preset", "article", "--epochs", "1"]
    assert run([*arguments, "--precision", "float32", "--seed", "1"]) == 0
