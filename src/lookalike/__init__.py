"""Find images like this one: label-free image search on your own machine, with an honest score.

Examples
--------
>>> import lookalike
>>> index = lookalike.build_index("mnist", "hog", "digits.lookalike")  # doctest: +SKIP
>>> for match in index.search("mnist:test[7]", k=10):  # doctest: +SKIP
...     print(match.rank, match.id, match.distance)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lookalike.version import __version__ as __version__

if TYPE_CHECKING:
    from lookalike.api import Index, build_index, open_index
    from lookalike.client.remote import connect
    from lookalike.collections.collection import Collection
    from lookalike.collections.open import open_collection
    from lookalike.encoders.base import Encoder
    from lookalike.encoders.onnx.runtime import use_provider
    from lookalike.encoders.registry import create_encoder
    from lookalike.encoders.serialize import load as load_encoder
    from lookalike.errors import LookalikeError
    from lookalike.reports.evaluate import score
    from lookalike.search.engine import Match
    from lookalike.search.request import Query


# Each name is imported when it is first used, so that `import lookalike` costs nothing.
_WHERE = {
    "Collection": "collections.collection",
    "Encoder": "encoders.base",
    "Index": "api",
    "LookalikeError": "errors",
    "Match": "search.engine",
    "Query": "search.request",
    "build_index": "api",
    "connect": "client.remote",
    "create_encoder": "encoders.registry",
    "load_encoder": "encoders.serialize:load",
    "open_collection": "collections.open",
    "open_index": "api",
    "score": "reports.evaluate",
    "use_provider": "encoders.onnx.runtime",
}

__all__ = [
    "Collection",
    "Encoder",
    "Index",
    "LookalikeError",
    "Match",
    "Query",
    "build_index",
    "connect",
    "create_encoder",
    "load_encoder",
    "open_collection",
    "open_index",
    "score",
    "use_provider",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'lookalike' has no attribute '{name}'")
    module, _, attribute = _WHERE[name].partition(":")
    value = getattr(importlib.import_module(f"lookalike.{module}"), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
