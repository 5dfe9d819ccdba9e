"""Nothing leaves the machine, and the home folder holds only what docs/privacy.md names."""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import lookalike
from lookalike.encoders.neural import FAST
from paths import ROOT

SOURCE = Path(lookalike.__file__).parent
#: What a continuous integration sets: some programs are silent there that aren't at home.
OF_CI = (
    "CI",
    "GITHUB_ACTIONS",
    "TF_BUILD",
    "BUILD_ID",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "MPLCONFIGDIR",
    "KERAS_HOME",
)
#: What is set by us, which a test must not set for us.
OURS = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY")

SERVED = """
import json, signal, subprocess, sys, urllib.request
served = subprocess.Popen([sys.executable, "-m", "lookalike", "serve", "-i", sys.argv[1], "--port", "0"],
                          stdout=subprocess.PIPE, text=True)
address = served.stdout.readline().strip().rstrip("/")
body = json.dumps({"images": [{"id": "0.png"}], "k": 2}).encode()
asked = urllib.request.Request(address + "/api/search", body, {"Content-Type": "application/json"})
try:
    print(urllib.request.urlopen(asked).read()[:80])
finally:
    served.send_signal(signal.SIGINT)
    served.wait()
"""
AS_LIBRARY = """
import sys, lookalike
print(lookalike.open_index(sys.argv[1]).search("photos/1.png", k=2))
"""


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(12):
        Image.effect_mandelbrot((48, 48), (-2 + i / 10, -1, 1, 1), 40).save(folder / f"{i}.png")
    return folder


def at_home(tmp_path):
    """Return an environment with an empty home folder, and nothing by which a program knows a test."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name not in (*OF_CI, *OURS)}
    return kept | {"HOME": str(home)}, home


def left_in(home):
    return sorted(f"~/{path.relative_to(home).as_posix()}" for path in home.rglob("*") if path.is_file())


def named_by_the_docs():
    table = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8").split("## Files in your home folder")[1]
    rows = re.findall(r"^\| (`~.*?) \|", table.split("\n## ")[0], re.MULTILINE)
    return [pattern for row in rows for pattern in re.findall(r"`(~/[^`]+)`", row)]


def can_be_alone():
    done = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False)
    return done.returncode == 0 and shutil.which("ip") is not None


def commands(photos):
    index = photos / ".lookalike"
    program = [sys.executable, "-m", "lookalike"]
    yield [*program, "index", photos, "-e", f"neural:model={FAST}"]
    yield [*program, "search", photos / "3.png", "-i", index, "-o", "found.png"]
    yield [*program, "search", photos / "3.png", "-i", index, "--rerank", "geometric"]
    yield [*program, "train", "mnist:test[0:300]", "-o", "trained", "--epochs", "1"]
    yield [*program, "compare", photos, "--sample", "12", "--encoders", "pixels,neural"]
    yield [sys.executable, "-c", SERVED, index]
    yield [sys.executable, "-c", AS_LIBRARY, index]


def test_no_command_reaches_for_the_network_or_leaves_what_the_docs_do_not_name(photos, tmp_path):
    environment, home = at_home(tmp_path)
    alone = can_be_alone()
    for command in commands(photos):
        words = [str(word) for word in command]
        found = tmp_path / "found.json"
        before = (
            ["unshare", "--net", "--mount", sys.executable, str(ROOT / "tests" / "alone.py"), str(found)]
            if alone
            else []
        )
        done = subprocess.run(
            before + words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=240
        )
        assert done.returncode == 0, done.stderr[-2000:]
        if alone:
            assert json.loads(found.read_text()) == [], words
    strange = [file for file in left_in(home) if not any(fnmatch.fnmatch(file, name) for name in named_by_the_docs())]
    assert strange == []
    assert "~/.keras/keras.json" in left_in(home), "the home folder is looked at"


@pytest.mark.skipif(not can_be_alone(), reason="no network of its own can be made here (unshare, ip)")
def test_the_network_of_the_tests_sees_what_is_reached_for(tmp_path):
    code = """
import socket
for family, where in ((socket.AF_INET, "198.51.100.7"), (socket.AF_INET6, "2001:db8::7")):
    with socket.socket(family) as s:
        s.connect_ex((where, 443))
try:
    socket.getaddrinfo("collector.example", 443)
except OSError:
    pass
"""
    found = tmp_path / "found.json"
    command = [
        "unshare",
        "--net",
        "--mount",
        sys.executable,
        ROOT / "tests" / "alone.py",
        found,
        sys.executable,
        "-c",
        code,
    ]
    subprocess.run([str(word) for word in command], check=True)
    seen = json.loads(found.read_text())
    assert "address 198.51.100.7" in seen
    assert any("collector.example" in one for one in seen)


@pytest.mark.parametrize("own", ["0", "", "1"])
def test_a_user_s_own_setting_of_telemetry_wins(own, tmp_path):
    code = """
import os
from lookalike.encoders.onnx.runtime import onnx_runtime
onnx_runtime()
print(repr(os.environ["ORT_DISABLE_TELEMETRY"]))
"""
    environment, _ = at_home(tmp_path)
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", code] if can_be_alone() else [sys.executable, "-c", code],
        env=environment | {"ORT_DISABLE_TELEMETRY": own}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == f"{own!r}\n"


def test_onnx_runtime_is_imported_at_one_place():
    found = [
        (path.name, line)
        for path in SOURCE.rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(r"\s*(import|from) onnxruntime", line)
    ]
    assert found == [("runtime.py", "        import onnxruntime")]
