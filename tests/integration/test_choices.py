"""docs/choices.md has every constant that decides something a user gets: a new one is listed there, or here with a reason."""

import ast
import importlib
import sys

import pytest

from paths import ROOT

sys.path[:0] = [str(ROOT / "docs"), str(ROOT / "benchmarks")]
pytest.importorskip("study", reason="the folder benchmarks isn't part of a source distribution")
choices = importlib.import_module("figures.choices")

SOURCES = ROOT / "src" / "lookalike"
#: Packages whose constants decide answers.
DECIDING = ("selection", "search", "neighbors", "transforms", "encoders")
#: There answers are the same whatever these are: exact search in its steps, and the reading of model files.
EXACT = (
    "neighbors/distances/", "neighbors/exact.py", "neighbors/hamming_scan.py", "neighbors/ivf_scan.py", "neighbors/shortlist.py", "neighbors/tiling.py",
    "encoders/onnx/",
)  # fmt: skip
#: Constants that decide no answer: time and memory, limits of what is taken, formats, and sizes of what is drawn.
OTHERS = {
    "encoders/attribution.py": "WHOLE",
    "encoders/autoencoder.py": "SAMPLE",
    "encoders/codes.py": "SAMPLE MAX_BITS",
    "encoders/color.py": "MAX_GRID",
    "encoders/hashing.py": "COPIES MAX_VALUES MAX_PIXELS LONGEST_SIDE",
    "encoders/hog.py": "BLOCK_PIXELS _ROUND MAX_THREADS MAX_CELLS",
    "encoders/neural.py": "_LITE0 _LITE2",
    "encoders/postprocess.py": "BLOCK_ROWS",
    "encoders/serialize.py": "FORMAT",
    "encoders/training/augmented_data.py": "BLOCK_BATCHES",
    "encoders/training/checkpoint.py": "_CHECKPOINT_FORMAT",
    "encoders/training/contrastive_loss.py": "MIN_HELD_OUT",
    "encoders/training/data.py": "_VALIDATED",
    "encoders/training/hash_network.py": "LAYERS _BLOCK",
    "encoders/training/loop.py": "_TRIAL_STEPS _REPORT_SECONDS",
    "encoders/training/pairs.py": "LOOKED_AT",
    "neighbors/diffusion.py": "AT_ONCE",
    "neighbors/embedding2d.py": "AT_ONCE",
    "neighbors/grouping.py": "_AT_ONCE",
    "neighbors/ivf.py": "_TOGETHER _MAX_TOGETHER",
    "neighbors/ivf_build.py": "_SEED _AT_ONCE",
    "search/calibration.py": "ROUNDING ROUNDING_OF_PRODUCTS ONE_BY_ONE FURTHER SEED",
    "search/explain.py": "SIDE NOTHING MAX_COLOURS",
    "search/filter_columns.py": "_DAY _EXACT",
    "search/filters.py": "LONGEST DEEPEST",
    "search/json_values.py": "MAX_COUNTED",
    "search/keywords.py": "_LONGEST_NAME LONGEST MAX_WORDS _AT_ONCE _LETTERS",
    "search/occlusion.py": "GRID",
    "search/page.py": "FIRST",
    "search/rejection.py": "WAYS _TOGETHER_BYTES",
    "search/tags.py": "_UNIT",
    "encoders/class_head.py": "CLASSES _MODEL_GRAPH _GRAPH_INITIALIZER _TENSOR_NAME _TENSOR_DATA _AT_ONCE",
    "search/request.py": "MAX_K MAX_EXAMPLES MAX_BYTES",
    "search/rerank/auto.py": "ROUNDED",
    "search/rerank/base.py": "BLOCK_BYTES",
    "search/rerank/diffusion.py": "_BEFORE",
    "selection/candidates.py": "MAX_GRAPH",
    "selection/defaults.py": "MAX_PIXELS",
    "selection/held_out.py": "MAX_DATABASE MAX_QUERIES",
    "selection/scatter.py": "LONGEST",
    "transforms/__init__.py": "AUGMENTATIONS_VERSION VIEWS_VERSION",
    "transforms/augmentations.py": "BLOCK_VALUES LUMINANCE",
    "transforms/families.py": "ELASTIC_POINTS",
    "transforms/noise.py": "_SSIM_WINDOW",
    "transforms/wiener.py": "MAX_WHOLE MAX_PATCHES MAX_LEARNT SEED",
}  # fmt: skip
LISTED: dict[str, set[str]] = {}
for some in choices.CHOICES.values():
    for choice in some:
        LISTED.setdefault(choice.file, set()).update(name.partition("(")[0] for name in choice.names.split())


def constants(source):
    """Return the names of a module's constants that hold numbers."""
    found = set()
    for node in ast.parse(source).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        numbers = [
            n for n in ast.walk(node)
            if isinstance(n, ast.Constant) and isinstance(n.value, int | float) and not isinstance(n.value, bool)
        ]  # fmt: skip
        names = [n for t in targets for n in (t.elts if isinstance(t, ast.Tuple) else [t]) if isinstance(n, ast.Name)]
        found |= {n.id for n in names if numbers and n.id.lstrip("_").isupper()}
    return found


FILES = [
    path.relative_to(SOURCES).as_posix()
    for package in DECIDING
    for path in sorted((SOURCES / package).rglob("*.py"))
    if not path.relative_to(SOURCES).as_posix().startswith(EXACT)
]


@pytest.mark.parametrize("file", FILES)
def test_a_constant_that_decides_is_on_the_page(file):
    found = constants((SOURCES / file).read_text(encoding="utf-8"))
    others = set(OTHERS.get(file, "").split())
    assert found - others <= LISTED.get(file, set()), "say in docs/figures/choices.py how it was chosen"
    assert others <= found, "it is gone: take it out of OTHERS"


def test_what_a_constant_is():
    assert constants("A, B = 1, 2.5\n_C: int = 3\nD = 'x'\ne = 4\nF = (G, 0.5)\nH = True\n") == {"A", "B", "_C", "F"}


def test_a_constant_that_is_gone_is_an_error_and_a_value_is_the_codes():
    choice = choices.Choice("search/rejection.py", "VIEWS CUT", "it", "so", "this", choices.YES)
    assert "`VIEWS` 32; `CUT` 0.5 `search/rejection.py`" in choice.line()
    assert "| **yes** |" in choice.line()
    assert choice.value("show()") is None
    for name in ("NONE", "gone()", "RejectionRates(gone)"):
        with pytest.raises(AttributeError):
            choice.value(name)
    assert choices.Choice("benchmarks/candidates.py", "", "", "", "", "").value("Ridge.DRAWN") == "10"
