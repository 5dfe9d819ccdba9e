"""A module that tests use, imported when they first do: each process collects every file, and Keras takes seconds."""

import importlib
from importlib.util import find_spec
from typing import Any

import pytest


class Lazily:
    """Stands for a module; where it isn't installed, the file that asks for it is skipped."""

    def __init__(self, name: str, reason: str) -> None:
        if find_spec(name) is None:
            pytest.skip(reason, allow_module_level=True)
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):  # pytest looks at what each file holds
            raise AttributeError(attribute)
        return getattr(importlib.import_module(self._name), attribute)
