"""What computes networks, chosen among stand-ins: a session here always runs on the processor and says what it was asked."""

import logging
import pickle

import numpy as np
import onnxruntime
import pytest

from lookalike.encoders.neural import FAST, PAIR, SHIPPED
from lookalike.encoders.onnx.runtime import VARIABLE, OnnxModel, use_provider
from lookalike.encoders.registry import create
from lookalike.errors import EncoderError, UsageError
from providers import COREML, CPU, CUDA, played
from small_models import mean_colour

FLOAT, IN_8_BITS = mean_colour(), SHIPPED[FAST][0].read_bytes()
IMAGES = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)


@pytest.fixture
def here(monkeypatch):
    return played(monkeypatch)


# What is taken --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "model", "expected"),
    [
        ([CPU], FLOAT, "cpu"),
        ([CPU], IN_8_BITS, "cpu"),
        ([CUDA, CPU], FLOAT, "cuda"),
        ([CUDA, CPU], IN_8_BITS, "cuda"),
        ([COREML, CPU], FLOAT, "coreml"),
        ([COREML, CPU], IN_8_BITS, "cpu"),  # it has no operator of theirs
        ([COREML, CUDA, CPU], FLOAT, "cuda"),
    ],
)
@pytest.mark.parametrize("asked", ["", "auto"])
def test_auto_takes_the_first_that_is_there(here, monkeypatch, asked, there, model, expected):
    monkeypatch.setenv(VARIABLE, asked)
    here.there = there
    opened = OnnxModel(model)
    assert opened.provider == expected
    wanted = {"cpu": [CPU], "cuda": [CUDA, CPU], "coreml": [COREML, CPU]}[expected]
    assert here.asked == [wanted]
    assert here.options.intra_op_num_threads == 1


@pytest.mark.parametrize(("name", "wanted"), [("cpu", [CPU]), ("cuda", [CUDA, CPU]), ("coreml", [COREML, CPU])])
@pytest.mark.parametrize("model", [FLOAT, IN_8_BITS], ids=["float", "8 bits"])
def test_one_that_is_named_is_taken_whatever_the_network(here, name, wanted, model):
    here.there = [CUDA, COREML, CPU]
    use_provider(name)
    assert OnnxModel(model).provider == name
    assert here.asked == [wanted]


def test_cuda_computes_in_full_precision_and_the_same_each_time(here):
    here.there = [CUDA, CPU]
    OnnxModel(FLOAT).provider  # noqa: B018
    assert here.given[0] == (CUDA, {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"})
    assert here.preloaded == 1


def test_nothing_is_preloaded_for_the_processor_and_standard_output_stays_clean(here, capsys):
    OnnxModel(FLOAT).provider  # noqa: B018
    assert here.preloaded == 0
    here.there = [CUDA, CPU]
    OnnxModel(FLOAT).provider  # noqa: B018
    assert capsys.readouterr().out == ""


def test_onnx_runtime_s_own_fallback_is_off(here):
    """It prints to standard output, and would change the provider in the middle of a run."""
    OnnxModel(FLOAT).provider  # noqa: B018
    assert here.more == {"enable_fallback": 0}
    assert OnnxModel(FLOAT).session._enable_fallback is False


def test_a_network_that_is_open_stays_and_its_copy_goes_by_what_is_chosen_then(here):
    here.there = [CUDA, CPU]
    model = OnnxModel(FLOAT)
    assert model.provider == "cuda"
    use_provider("cpu")
    assert model.provider == "cuda"
    assert pickle.loads(pickle.dumps(model)).provider == "cpu"


# What isn't there -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "fix"), [("cuda", "onnxruntime-gpu[cuda,cudnn]"), ("coreml", "macOS")])
def test_one_that_is_named_and_is_not_there_is_an_error(here, monkeypatch, name, fix):
    expected = (
        rf"provider {name}: the installed ONNX Runtime has cpu; .*{fix.replace('[', '.').replace(']', '.')}.*auto"
    )
    with pytest.raises(UsageError, match=expected):
        use_provider(name)
    monkeypatch.setenv(VARIABLE, name)
    with pytest.raises(UsageError, match=expected):
        OnnxModel(FLOAT).session  # noqa: B018
    assert here.asked == []


def test_those_that_are_there_are_named(here):
    here.there = [COREML, CPU]
    with pytest.raises(UsageError, match="has cpu, coreml;"):
        use_provider("cuda")


def test_a_name_that_nobody_has_lists_those_that_are_known(here, monkeypatch):
    with pytest.raises(UsageError, match="unknown provider 'gpu'.*known: auto, coreml, cpu, cuda"):
        use_provider("gpu")
    monkeypatch.setenv(VARIABLE, "CUDA")
    with pytest.raises(UsageError, match="unknown provider 'CUDA'"):
        OnnxModel(FLOAT).session  # noqa: B018


def test_auto_goes_on_without_one_that_lacks_its_libraries_and_says_so_once(here, caplog):
    """As onnxruntime-gpu is without CUDA: it lists the provider, and leaves it out of each session without an error."""
    here.there, here.left_out = [CUDA, CPU], {CUDA}
    with caplog.at_level(logging.WARNING, "lookalike"):
        assert [OnnxModel(FLOAT).provider for _ in range(3)] == ["cpu"] * 3
    (said,) = caplog.messages
    assert said.startswith("provider cuda: it can't be used (its libraries or its device are missing; ")
    assert said.endswith("LOOKALIKE_PROVIDER=cpu leaves it out")
    assert here.asked == [[CUDA, CPU], [CPU], [CPU], [CPU]]


def test_auto_goes_on_where_one_cannot_open_a_model_and_tries_it_with_the_next(here, caplog):
    here.there, here.fails = [CUDA, CPU], {CUDA}
    assert OnnxModel(FLOAT).provider == "cpu"
    assert "provider cuda: it can't be used (out of memory on the device);" in caplog.text
    here.fails = set()
    assert OnnxModel(FLOAT).provider == "cuda"


@pytest.mark.parametrize(
    ("trouble", "reason"), [("left_out", "its libraries or its device are missing"), ("fails", "out of memory")]
)
def test_one_that_is_named_and_cannot_be_used_is_an_error(here, trouble, reason):
    """Of the call, and not of the encoder: an index whose encoder can't be opened so isn't damaged."""
    here.there = [CUDA, CPU]
    setattr(here, trouble, {CUDA})
    use_provider("cuda")
    with pytest.raises(UsageError, match=f"provider cuda: ONNX Runtime can't open the model by it .{reason}.*use auto"):
        OnnxModel(FLOAT).session  # noqa: B018
    assert here.asked == [[CUDA, CPU]]


def test_what_the_processor_refuses_is_an_error_of_the_model(here):
    here.fails = {CPU}
    with pytest.raises(
        EncoderError, match="can't load the model .out of memory on the device.; save the encoder again"
    ):
        OnnxModel(FLOAT).session  # noqa: B018


# What an encoder says -------------------------------------------------------------------------------------------------


def test_a_provider_is_no_part_of_an_encoder(here):
    here.there = [CUDA, CPU]
    by_cuda = create("neural", model=FAST).fit(IMAGES)
    use_provider("cpu")
    by_cpu = create("neural", model=FAST).fit(IMAGES)
    assert (by_cuda.provider, by_cpu.provider) == ("cuda", "cpu")
    assert by_cuda.fingerprint == by_cpu.fingerprint
    assert by_cuda.to_files() == by_cpu.to_files()
    assert by_cuda.params == by_cpu.params == {"model": FAST}


@pytest.mark.parametrize("file", SHIPPED[PAIR], ids=lambda file: file.stem)
def test_in_float_as_on_cuda_the_shipped_networks_give_nearly_the_same(file):
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    in_float = onnxruntime.InferenceSession(file.read_bytes(), options, [CPU])
    side = in_float.get_inputs()[0].shape[1]
    y, x = np.mgrid[:side, :side]
    image = np.stack([x % 256, y % 256, (x * y // 64 + x) % 256], axis=2).astype(np.uint8)[None]
    (found,), (expected,) = (
        session.run(["descriptors"], {"images": image}) for session in (in_float, OnnxModel(file.read_bytes()).session)
    )
    assert 0.998 < (found @ expected.T).item() < 1 - 1e-6


@pytest.mark.slow
def test_what_is_made_of_others_says_what_computes_them(here, tmp_path):
    here.there = [COREML, CPU]
    (tmp_path / "model.onnx").write_bytes(FLOAT)
    fused = create("neural+hog", options={"neural": {"model": str(tmp_path / "model.onnx")}}).fit(IMAGES)
    assert fused.provider == "coreml"
    both = create("neural+neural", options={"neural": {"model": FAST}}).fit(IMAGES)
    both.members_[0] = fused
    assert both.provider == "coreml+cpu"
    assert create("itq", base="neural", options={"model": FAST}, bits=8).fit(IMAGES).provider == "cpu"


@pytest.mark.parametrize("name", ["autoencoder", "contrastive"])
def test_one_that_was_trained_here_says_it_too(here, name):
    here.there = [CUDA, CPU]
    encoder = create(name)
    encoder._encoder_model = OnnxModel(FLOAT)
    assert encoder.provider == "cuda"


@pytest.mark.parametrize("name", ["pixels", "hog", "color"])
def test_without_a_network_there_is_none(name):
    assert create(name).fit(IMAGES).provider is None
