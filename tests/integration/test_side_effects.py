"""A program that imports the library keeps its own settings; those of a whole process are set in our own processes only."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from lookalike.process import import_environment

#: What holds for a whole process, as a program that uses the library finds it.
STATE = """
import gc, json, locale, logging, os, signal, sys, threading, warnings
import numpy, PIL.Image, scipy.linalg, threadpoolctl

def state():
    return {
        "Pillow's limit": PIL.Image.MAX_IMAGE_PIXELS,
        "filters of warnings": [repr(item) for item in warnings.filters],
        "environment": dict(os.environ),
        "switch interval": sys.getswitchinterval(),
        "threads of BLAS": {item["filepath"]: item["num_threads"] for item in threadpoolctl.threadpool_info()},
        "garbage collector": gc.get_threshold(),
        "signals": [str(signal.getsignal(kind)) for kind in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
        "logging": [logging.root.level, len(logging.root.handlers)],
        "hooks": [sys.excepthook is sys.__excepthook__, threading.excepthook is threading.__excepthook__],
        "locale": locale.setlocale(locale.LC_ALL),
        "random numbers": str(numpy.random.get_state()[1][:5]),
        "working directory": os.getcwd(),
        "floating point": numpy.geterr(),
    }
"""
AS_LIBRARY = (
    STATE
    + """
import lance, onnxruntime, pyarrow  # what these set themselves is theirs
before = state()
import lookalike
from lookalike.imaging.limits import Limits
from lookalike.imaging.decode import decode
from lookalike.search import engine
images = lookalike.open_collection(sys.argv[1])
decode(open(sys.argv[2], "rb").read(), "large", Limits(pixels=10**9))  # more than twice what Pillow allows
index = lookalike.build_index(images, sys.argv[4], sys.argv[3])
assert len(index.search(sys.argv[2], k=3)) == 3
assert len(engine.search(index, images, 3)) == 40  # by a product of matrices
after = state()
changed = {name: [before[name], after[name]] for name in before if before[name] != after[name]}
print(json.dumps(changed, default=str))
"""
)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for n, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{n:02}.png")
    return folder


def clean_environment():
    ours = ("ORT_", "HF_", "LANCE_", "RUST_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@pytest.mark.parametrize("encoder", ["hog", "neural"])
def test_importing_and_using_the_library_sets_nothing_of_the_process(photos, tmp_path, encoder):
    command = [sys.executable, "-c", AS_LIBRARY, photos, photos / "00.png", tmp_path / "index", encoder]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}


def test_the_command_line_sets_what_its_own_process_needs():
    code = (
        STATE
        + """
before = state()
from lookalike.process import own_process
own_process()
after = state()
print(json.dumps([sorted(set(after["environment"]) - set(before["environment"])), after["filters of warnings"][0]]))
"""
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=clean_environment(), capture_output=True, text=True, check=True
    )
    variables, first = json.loads(done.stdout)
    assert variables == ["HF_HUB_DISABLE_TELEMETRY", "LANCE_LOG", "ORT_DISABLE_TELEMETRY", "RUST_BACKTRACE"]
    assert "PIL" in first


def test_variables_are_set_for_an_import_and_taken_back_and_a_user_s_own_win(monkeypatch):
    monkeypatch.delenv("LOOKALIKE_A", raising=False)
    monkeypatch.setenv("LOOKALIKE_B", "own")
    with import_environment(LOOKALIKE_A="1", LOOKALIKE_B="1"):
        assert (os.environ["LOOKALIKE_A"], os.environ["LOOKALIKE_B"]) == ("1", "own")
    assert "LOOKALIKE_A" not in os.environ
    assert os.environ["LOOKALIKE_B"] == "own"


def test_what_nobody_takes_note_of_is_logged_and_not_printed(photos, tmp_path, caplog, capsys):
    import lookalike

    caplog.set_level("INFO", "lookalike")
    lookalike.build_index(photos, None, tmp_path / "index")  # says which encoder it chose, to whoever listens
    assert {record.name.partition(".")[0] for record in caplog.records} == {"lookalike"}
    assert any("--encoder" in record.getMessage() for record in caplog.records)
    assert capsys.readouterr() == ("", "")
