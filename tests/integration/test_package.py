"""The package as a whole: what an import costs, who may import whom, and what is written down."""

from __future__ import annotations

import ast
import doctest
import hashlib
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lookalike

SOURCE = Path(lookalike.__file__).parent
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(SOURCE.rglob("*.py"))
    if path != SOURCE / "__init__.py"
}

HEAVY = {
    "keras", "tensorflow", "jax", "torch", "lance", "pyarrow", "matplotlib", "onnx", "onnxruntime", "skimage", "watchfiles",
}  # fmt: skip
#: Files of the package ``encoders`` that are no encoder: the contract, and what several encoders use.
NOT_ENCODERS = {
    "base",
    "registry",
    "serialize",
    "trained",
    "codes",
    "postprocess",
    "keypoints",
    "attribution",
    "class_head",
    "concepts",
}
#: The commands' docstrings are their help texts, those of routes the descriptions of the OpenAPI.
HELP_TEXTS = ("cli", "server.routes")


def trees():
    return [(name, ast.parse(path.read_text(encoding="utf-8"))) for name, path in MODULES.items()]


# What an import costs -------------------------------------------------------------------------------------------------


def loaded_by(code):
    """Run code in a new process; return the top names of the modules it loaded."""
    code += "\nimport sys; print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_importing_the_package_loads_nothing_heavy():
    loaded = loaded_by("import lookalike")
    assert "lookalike" in loaded
    assert not loaded & (HEAVY | {"numpy", "PIL", "typer", "pooch"})


def test_the_help_loads_nothing_heavy():
    loaded = loaded_by("from lookalike.cli.main import run; assert run(['--help']) == 0")
    assert "typer" in loaded
    assert not loaded & (HEAVY | {"numpy", "PIL", "pooch"})


def test_opening_images_loads_nothing_heavy():
    loaded = loaded_by("import lookalike; lookalike.open_collection('mnist:test[7]').array()")
    assert "numpy" in loaded
    assert not loaded & HEAVY


def test_an_index_is_searched_without_keras_and_matplotlib(tmp_path):
    code = f"""
import lookalike
index = lookalike.build_index("mnist:test[0:50]", "hog", {str(tmp_path / "digits")!r})
assert len(index.search("mnist:test[7]", k=3)) == 3
"""
    loaded = loaded_by(code)
    assert "lance" in loaded
    assert not loaded & {"keras", "tensorflow", "jax", "torch", "matplotlib", "onnx"}


def test_every_public_name_is_there():
    assert sorted(lookalike.__all__) == sorted(lookalike._WHERE)
    for name in lookalike.__all__:
        assert getattr(lookalike, name) is not None
        assert name in dir(lookalike)
    with pytest.raises(AttributeError, match="no attribute 'serach'"):
        lookalike.serach  # noqa: B018


# What belongs together ----------------------------------------------------------------------------------------------


def test_the_encoders_table_names_every_encoder_file():
    from lookalike.encoders.registry import TABLE

    files = {path.stem for path in (SOURCE / "encoders").glob("*.py")} - {"__init__", *NOT_ENCODERS}
    assert {target.partition(":")[0] for target, _ in TABLE.values()} == {
        f"lookalike.encoders.{name}" for name in files
    }


def test_the_library_of_the_map_is_the_one_that_its_script_makes():
    root = SOURCE.parents[1]
    made = (SOURCE / "web" / "twgl.js").read_bytes()
    script = (root / "scripts" / "make_twgl.sh").read_text(encoding="utf-8")
    assert f"SHA256={hashlib.sha256(made).hexdigest()} " in script
    assert not re.search(rb"\bFunction\(|\beval\(", made), "the page's Content-Security-Policy runs no such code"
    notice = "src/lookalike/web/twgl.NOTICE"
    assert "Permission is hereby granted" in (root / notice).read_text(encoding="utf-8")
    assert notice in tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["license-files"]


def test_no_package_imports_a_private_name_of_another():
    private = [
        f"{name}: from {node.module} import {alias.name}"
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lookalike.")
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
        and (node.module or "").split(".")[1] != name.partition(".")[0]
    ]  # fmt: skip
    assert not private


# What is written down -------------------------------------------------------------------------------------------------


def public(tree):
    """Yield (name, node, is it a method) of the public classes, functions and methods of a file."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node, False
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                        yield f"{node.name}.{inner.name}", inner, True


def parameters(function, method):
    a = function.args
    names = [arg.arg for arg in (*a.posonlyargs, *a.args, *a.kwonlyargs)]
    names = names[1:] if method and not is_static(function) else names
    return names + [f"{stars}{arg.arg}" for stars, arg in (("*", a.vararg), ("**", a.kwarg)) if arg]


def is_static(function):
    return any(ast.unparse(d) == "staticmethod" for d in function.decorator_list)


def documented(docstring, section):
    """Return the names that a numpydoc section lists, commas split; None where there is no such section."""
    lines = docstring.splitlines()
    for i in range(len(lines) - 1):
        if lines[i].strip() == section and lines[i + 1].strip() == "-" * len(section):
            names = []
            for line in lines[i + 2 :]:
                if line.strip() and set(line.strip()) == {"-"}:
                    break
                if line and not line.startswith(" "):
                    names += [n.strip() for n in line.partition(" : ")[0].split(",")]
            return names
    return None


PACKAGES = sorted({name.partition(".")[0] for name in MODULES})


@pytest.mark.parametrize("package", PACKAGES)
def test_everything_public_is_documented(package):
    assert not [gap for name in MODULES if name.partition(".")[0] == package for gap in gaps_of(name)]


def gaps_of(name):
    """Return what a module's public functions and classes leave undocumented."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    missing = [] if ast.get_docstring(tree) else [f"{name}: the module"]
    for called, node, method in public(tree):
        docstring = ast.get_docstring(node)
        if not docstring:
            missing.append(f"{called}: a docstring")
            continue
        if isinstance(node, ast.ClassDef) or (name.startswith(HELP_TEXTS) and called != "run"):
            continue
        if method and called.partition(".")[0] not in lookalike.__all__:
            continue  # a sentence is enough there
        wanted = parameters(node, method)
        found = documented(docstring, "Parameters") or []
        missing += [f"{called}: the parameter {p}" for p in wanted if p not in found]
        gives = node.returns is not None and ast.unparse(node.returns) not in ("None", "Iterator[None]")
        if wanted and gives and documented(docstring, "Returns") is documented(docstring, "Yields") is None:
            missing.append(f"{called}: what it returns")
    return [f"{name}: {gap}" for gap in missing]


@pytest.mark.parametrize("package", ["", *(name for name in PACKAGES if name != "__main__")])
def test_the_examples_in_docstrings_run(package, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOOKALIKE_DATA", raising=False)
    for name in [""] if not package else [name for name in MODULES if name.partition(".")[0] == package]:
        failed, _ = doctest.testmod(importlib.import_module(f"lookalike.{name}".removesuffix(".")))
        assert not failed, name


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    modules = [importlib.import_module(f"lookalike.{name}") for name in MODULES if name != "__main__"]
    assert sum(len(test.examples) for module in modules for test in finder.find(module)) >= 10


def test_the_version_is_stated_once_for_all():
    import tomllib

    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == lookalike.__version__
