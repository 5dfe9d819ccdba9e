"""What opening the rows says of files that were cut, changed or can't be read, and what isn't an error of ours."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lookalike.index.dataset import end_of, open_dataset, reading
from lookalike.index.manifest import DATASET, DamagedIndexError, UnreadableIndexError


class Stop(BaseException):
    pass


@pytest.mark.parametrize("kind", [Stop, KeyboardInterrupt, SystemExit, MemoryError, DamagedIndexError])
def test_what_is_no_error_of_a_library_passes(tmp_path, kind):
    raised = kind(tmp_path, "x") if kind is DamagedIndexError else kind()
    with pytest.raises(kind) as told, reading(tmp_path):
        raise raised
    assert told.value is raised


def test_a_panic_and_any_other_error_is_damage(tmp_path):
    panic = type("PanicException", (BaseException,), {})
    for error in (panic("in Rust"), ValueError("in Rust"), OSError("in Rust")):
        with pytest.raises(DamagedIndexError, match="in Rust"), reading(tmp_path):
            raise error


@pytest.mark.parametrize(
    "error", [OSError(13, "denied"), ValueError("LanceError(IO): Permission denied (os error 13)")]
)
def test_what_the_system_refuses_is_no_damage(tmp_path, error):
    with pytest.raises(UnreadableIndexError, match="Permission denied"), reading(tmp_path):
        raise error
    around = RuntimeError("something else")
    around.__cause__ = error
    with pytest.raises(UnreadableIndexError, match="Permission denied"), reading(tmp_path):
        raise around


def test_a_file_that_was_cut_or_changed_is_told(tmp_path):
    (tmp_path / DATASET).mkdir()
    (tmp_path / DATASET / "a").write_bytes(b"12345")
    size, check = end_of(tmp_path / DATASET / "a")
    for written, said in (([10, check], "a 5 bytes, not 10"), ([size, check + 1], "a isn't what was written")):
        with pytest.raises(DamagedIndexError, match=said):
            open_dataset(tmp_path, SimpleNamespace(dataset=DATASET, files={"a": written}))
    with pytest.raises(DamagedIndexError, match="b: No such file"):
        open_dataset(tmp_path, SimpleNamespace(dataset=DATASET, files={"a": [size, check], "b": [1, 2]}))
