"""Well-known models by name: asked for, fetched once from a hub played here, checked, and then never looked for again.

Their graphs have the inputs and outputs of the real exports, and can be computed in the head: the colour that is meant.
"""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lookalike.encoders.onnx.known_models import KNOWN, READ_ON
from lookalike.imaging.encode import save_image
from paths import ROOT
from small_models import MEANINGS, WORDS, model, node
from stand_in_hub import Hub, environment_of, played_hub

pytest.importorskip("huggingface_hub", reason="pip install 'lookalike[hub]'")
tokenizers = pytest.importorskip("tokenizers", reason="pip install 'lookalike[hub]'")

#: Runs the command line with a table whose hashes are those of the small models.
PROGRAM = """
import dataclasses, sys
from lookalike.encoders.onnx import known_models
for name, known in known_models.KNOWN.items():
    known_models.KNOWN[name] = dataclasses.replace(known, sha256={})
from lookalike.process import own_process
own_process()
"""
CLI = PROGRAM + "from lookalike.cli.main import run\nsys.exit(run(sys.argv[1:]))"
CLIP_CONFIG = {
    "crop_size": 224, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3, "size": 224,
    "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
}  # fmt: skip
SIGLIP_CONFIG = {
    "do_normalize": True, "do_rescale": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    "rescale_factor": 1 / 255, "resample": 2, "size": {"height": 224, "width": 224},
}  # fmt: skip
DINO_CONFIG = {
    "crop_size": {"height": 224, "width": 224}, "do_center_crop": True, "do_normalize": True, "do_resize": True,
    "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3,
    "size": {"shortest_edge": 256},
}  # fmt: skip


def image_tower(outputs, patch):
    """A vision transformer's side to the world: patches as tokens, the class's token first where the model has one."""
    side = 224 // patch
    with_class = "class" in outputs
    nodes = [
        node("Cast", "pixel_values", "half", to=10),  # as the exports in half precision do
        node("Cast", "half", "wide", to=1),
        node("AveragePool", "wide", "grid", kernel_shape=[patch, patch], strides=[patch, patch]),
        node("Reshape", "grid rows", "by_channel"),
        node("Transpose", "by_channel", "tokens", perm=[0, 2, 1]),
        node("ReduceMean", "tokens", "mean", axes=[1], keepdims=1),
        node("Concat", "mean tokens", "with_class", axis=1),
        node("Identity", "with_class" if with_class else "tokens", "last_hidden_state"),
        node("Squeeze", "mean one", "vector"),
    ]
    states = {"last_hidden_state": ("FLOAT", ["batch_size", side * side + with_class, 3])}
    vectors = {name: ("FLOAT", ["batch_size", 3]) for name in outputs if name != "class"}
    nodes += [node("Identity", "vector", name) for name in vectors]
    shape = ("FLOAT", ["batch_size", "num_channels", "height", "width"])
    rows = np.array([0, 3, side * side])
    return model(nodes, {"pixel_values": shape}, states | vectors, rows=rows, one=np.array([1]))


def text_tower(output):
    """Give the mean of the words' meanings over all tokens, those that fill up among them, which mean nothing."""
    nodes = [
        node("Gather", "meanings input_ids", "last_hidden_state"),
        node("ReduceMean", "last_hidden_state", output, axes=[1], keepdims=0),
    ]
    outputs = {"last_hidden_state": ("FLOAT", ["batch_size", "length", 3]), output: ("FLOAT", ["batch_size", 3])}
    return model(
        nodes,
        {"input_ids": ("INT64", ["batch_size", "length"])},
        outputs,
        meanings=np.vstack([MEANINGS[:4], np.zeros((1, 3), np.float32)]),
    )


def tokenizer():
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(WORDS, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return made.to_str().encode()


GRAPHS = {
    "siglip2": (["pooler_output"], 16, "pooler_output", SIGLIP_CONFIG),
    "siglip": (["pooler_output"], 16, "pooler_output", SIGLIP_CONFIG),
    "clip": (["image_embeds", "class"], 32, "text_embeds", CLIP_CONFIG),
    "mobileclip": (["image_embeds"], 32, "text_embeds", {"do_normalize": False, "size": {"shortest_edge": 224}}),
    "dinov2": (["class"], 14, None, DINO_CONFIG),
    "dinov2-base": (["class", "pooler_output"], 14, None, DINO_CONFIG),
}


def files_of(name):
    outputs, patch, text, config = GRAPHS[name]
    known = KNOWN[name]
    files = {known.image: image_tower(outputs, patch), "preprocessor_config.json": json.dumps(config).encode()}
    if text is not None:
        stated = {"model_max_length": 10**30, "pad_token": "[PAD]"}
        files |= {known.text: text_tower(text), "tokenizer.json": tokenizer()}
        files["tokenizer_config.json"] = json.dumps(stated).encode()
    return files


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Three photos of one colour each, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for n, name in enumerate(("red", "green", "blue")):
        image = rng.integers(0, 40, (300, 280, 3), np.uint8)
        image[..., n] += np.uint8(200)
        Path("photos").mkdir(exist_ok=True)
        save_image(image, f"photos/{name}.png")
    return tmp_path


@pytest.fixture
def hub(here):
    """Return what runs a program against the hub that is played here, or with none at all."""
    with played_hub() as address:
        for name in GRAPHS:
            Hub.repositories[KNOWN[name].repository] = files_of(name)

        def run(*arguments, up=True, code=CLI, **options):
            environment = environment_of(address if up else "http://127.0.0.1:9", here / "hf")
            command = [sys.executable, "-c", code, *map(str, arguments)]
            given = {"stdin": subprocess.DEVNULL} | options
            return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **given)

        yield run


def first_of(found):
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)["results"][0]["matches"][0]["id"]


def model_files(here, name):
    return next((here / "hf" / "hub").glob(f"models--{KNOWN[name].repository.replace('/', '--')}"))


# The table ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KNOWN)
def test_a_row_says_where_it_is_from_and_what_could_not_be_checked(name):
    known = KNOWN[name]
    assert len(known.revision) == 40
    assert all(source.startswith("https://huggingface.co/") for source in known.sources)
    assert known.good_for
    assert (known.license is not None and known.megabytes is not None) or known.unchecked
    assert set(known.sha256) <= set(known.files)
    words = "yes" if known.text else "no"
    row = f"| `{name}` | {known.good_for} | {words} | {known.megabytes} | {known.license or 'not stated'} |"
    page = (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8")
    assert row in page
    assert READ_ON in page


# The whole way --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPHS)
def test_a_name_is_fetched_once_and_then_the_hub_is_not_looked_for(name, here, hub):
    first = hub("index", "photos", "-e", name, "--yes")
    assert first.returncode == 0, first.stderr
    assert f"{name}: fetched from huggingface.co, once: {KNOWN[name]}" in first.stderr
    asked = [path for path, _ in Hub.asked]
    assert all(f"/{KNOWN[name].repository}/resolve/{KNOWN[name].revision}/" in path for path in asked)
    assert {path.partition(KNOWN[name].revision)[2].lstrip("/") for path in asked} == set(KNOWN[name].files)
    again = hub("index", "photos", "-e", f"{name}+color", "-o", "other", up=False)  # not even with a word
    assert again.returncode == 0, again.stderr
    assert [path for path, _ in Hub.asked] == asked
    (there,) = model_files(here, name).glob("lookalike-*.json")
    assert set(json.loads(there.read_text())) == set(KNOWN[name].files)
    found = hub("search", "photos/red.png", "-e", name, "-i", "photos", "--json", "--include-self", up=False)
    assert first_of(found) == "red.png"
    if KNOWN[name].text:
        for word in ("RED", "green", "Blue"):
            text = word if name.startswith("siglip") else word.lower()
            found = hub("search", "--text", text, "-i", "photos", "-e", name, "--json", up=False)
            assert first_of(found) == f"{word.lower()}.png"


@pytest.mark.slow
def test_texts_are_filled_up_as_siglip_was_trained_whatever_its_file_says(hub):
    code = PROGRAM + (
        "import numpy as np\nfrom lookalike import create_encoder\n"
        "e = create_encoder('siglip2', fetch=True).fit(np.zeros((1, 224, 224, 3), np.uint8))\n"
        "print(e.encode_text(['RED']).tolist(), e.settings_.output, e.params)"
    )
    done = hub(code=code)
    assert done.stdout.strip() == "[[0.015625, 0.0, 0.0]] pooler_output {'model': 'siglip2'}", done.stderr


@pytest.mark.slow
def test_it_stands_beside_the_other_encoders_of_an_index(hub):
    assert hub("index", "photos", "-e", "neural:model=fast").returncode == 0
    assert hub("index", "photos", "-e", "dinov2", "--yes").returncode == 0
    for name in ("neural", "dinov2"):
        found = hub("search", "photos/blue.png", "-i", "photos", "-e", name, "--json", up=False)
        assert found.returncode == 0, found.stderr
    refused = hub("search", "photos/blue.png", "-i", "photos", "-e", "clip", up=False)
    assert (refused.returncode, "not by clip" in refused.stderr) == (1, True)
    told = hub("compare", "photos", "--encoders", "pixels,clip")
    assert (told.returncode, "--yes" in told.stderr) == (2, True)


# Consent --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("named", ["clip", "clip+color", "neural:model=clip", "itq:base=clip"])
def test_without_a_word_and_without_a_terminal_nothing_is_fetched(named, hub):
    done = hub("index", "photos", "-e", named)
    assert done.returncode == 2
    assert "clip isn't on this machine yet" in done.stderr
    assert all(word in done.stderr for word in (KNOWN["clip"].repository, "608 MB", "--yes", "fetch=True"))
    assert not Hub.asked
    assert not Path("photos/.lookalike/manifest.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["y", "n"])
def test_on_a_terminal_it_asks(answer, hub):
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    done = hub("index", "photos", "-e", "dinov2", stdin=theirs)
    os.close(ours)
    os.close(theirs)
    assert "Fetch it? [y/N]" in done.stderr
    assert (done.returncode, bool(Hub.asked)) == ((0, True) if answer == "y" else (2, False)), done.stderr


@pytest.mark.slow
def test_a_saved_encoder_cannot_ask_for_the_network(here, hub):
    code = PROGRAM + (
        "import json, numpy as np\nfrom pathlib import Path\nfrom lookalike import create_encoder, load_encoder\n"
        "create_encoder('pixels').fit(np.zeros((1, 4, 4), np.uint8)).save('p')\n"
        "card = json.loads(Path('p/encoder.json').read_text()) | {'encoder': 'clip', 'params': {'fetch': True}}\n"
        "Path('p/encoder.json').write_text(json.dumps(card))\nload_encoder('p')"
    )
    assert "unknown neural parameter 'fetch'" in hub(code=code).stderr
    assert not Hub.asked


# What goes wrong ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_interrupted_download_goes_on(here, hub):
    Hub.broken.add(KNOWN["clip"].text)
    done = hub("index", "photos", "-e", "clip", "--yes")
    assert done.returncode == 1
    assert f"clip: {KNOWN['clip'].text} can't be downloaded" in done.stderr
    assert "try again" in done.stderr
    assert not list(model_files(here, "clip").glob("lookalike-*.json"))
    assert hub("index", "photos", "-e", "clip").returncode == 2  # it isn't there yet
    Hub.broken.clear()
    Hub.asked.clear()
    done = hub("index", "photos", "-e", "clip", "--yes")
    assert done.returncode == 0, done.stderr
    assert not any(KNOWN["clip"].image in path for path, _ in Hub.asked)  # that one had come


@pytest.mark.slow
def test_a_file_that_is_not_the_one_expected_is_refused(here, hub):
    Hub.altered.add(KNOWN["dinov2"].image)
    done = hub("index", "photos", "-e", "dinov2", "--yes")
    assert done.returncode == 1
    assert "not the file that is expected of Xenova/dinov2-small: its SHA-256 should be" in done.stderr
    assert f"delete {model_files(here, 'dinov2')}, and fetch the model again" in done.stderr
    assert "isn't on this machine yet" in hub("index", "photos", "-e", "dinov2").stderr
    by_table = hub("index", "photos", "-e", "siglip2", "--yes", code=CLI.replace("sha256={}", "sha256=known.sha256"))
    assert (by_table.returncode, KNOWN["siglip2"].sha256[KNOWN["siglip2"].image] in by_table.stderr) == (1, True)


@pytest.mark.slow
def test_a_file_that_has_changed_since_is_refused(here, hub):
    assert hub("index", "photos", "-e", "dinov2", "--yes").returncode == 0
    (cached,) = model_files(here, "dinov2").glob("snapshots/*/preprocessor_config.json")
    content = cached.read_bytes()
    cached.resolve().write_bytes(content.replace(b"0.485", b"0.484"))
    done = hub("index", "photos", "-e", "dinov2+color", "-o", "other", up=False)
    assert done.returncode == 1
    assert str(cached) in done.stderr
    assert "its SHA-256 should be" in done.stderr
    assert hub("index", "photos", "--rebuild", up=False).returncode == 0  # the index has its own
    (own,) = Path("photos/.lookalike").glob("encoder-*/model-*.onnx")
    own.write_bytes(own.read_bytes()[:-1] + b"\0")
    done = hub("search", "photos/red.png", "-i", "photos", up=False)
    assert (done.returncode, "not the file that was saved" in done.stderr) == (1, True)


@pytest.mark.slow
def test_what_cannot_be_fetched_says_why(hub):
    away = hub("index", "photos", "-e", "clip", "--yes", up=False)
    assert (away.returncode, "huggingface.co can't be reached; connect once" in away.stderr) == (1, True)
    del Hub.repositories[KNOWN["clip"].repository]["tokenizer.json"]
    gone = hub("index", "photos", "-e", "clip", "--yes")
    assert gone.returncode == 2
    assert "has no tokenizer.json at the commit" in gone.stderr


@pytest.mark.slow
def test_nothing_but_the_files_is_asked_for_and_no_version_is_told(hub):
    assert hub("index", "photos", "-e", "dinov2", "--yes").returncode == 0
    assert all("/resolve/" in path for path, _ in Hub.asked)
    assert not any("torch" in agent or "tensorflow" in agent or "lookalike" in agent for _, agent in Hub.asked)


@pytest.mark.slow
def test_for_photos_the_names_are_told_in_one_line_and_nothing_is_looked_for(hub):
    done = hub("index", "photos")
    (line,) = [line for line in done.stderr.splitlines() if "siglip2" in line]
    assert line.startswith("well-known models can be fetched by name: -e siglip2, ")
    assert not Hub.asked
    assert not any("siglip2" in line for line in hub("index", "photos").stderr.splitlines())


def test_an_unknown_name_gets_the_closest(hub):
    done = hub("index", "photos", "-e", "siglp2")
    assert (done.returncode, "unknown encoder 'siglp2' (did you mean 'siglip2'?)" in done.stderr) == (2, True)
