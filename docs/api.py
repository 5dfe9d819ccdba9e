"""Write docs/api.md from the docstrings of what `import lookalike` offers; with --check, say whether it is up to date.

python docs/api.py [--check]
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

from generated import write_or_check

import lookalike

PAGE = Path(__file__).with_name("api.md")
HEAD = """# The Python API

What `import lookalike` offers, written by `docs/api.py` from the docstrings. For example:

```python
import lookalike

index = lookalike.build_index("photos", path="photos.lookalike")
for match in index.search("one.jpg", k=10):
    print(match.rank, match.id, match.distance)
```

Everything else is found by its package: [CONTRIBUTING.md](../CONTRIBUTING.md) lists them. Shapes, types and units stand with each
parameter. `UsageError`, `CollectionError`, `ImageError`, `EncoderError` and `IndexStoreError` are kinds of `LookalikeError`.
"""


def render() -> str:
    """Return the page."""
    parts = [HEAD]
    for name in sorted(lookalike.__all__, key=str.lower):
        thing = getattr(lookalike, name)
        parts.append(_entry(f"lookalike.{name}", thing, "##"))
        if inspect.isclass(thing):
            methods = [(n, m) for n, m in inspect.getmembers(thing) if not n.startswith("_") and _is_own(m)]
            parts += [_entry(f"{name}.{n}", method, "###") for n, method in methods]
    return "\n".join(parts)


def _is_own(member: Any) -> bool:
    """Tell a method or a property of ours from a constant and from what Python brings."""
    found = getattr(member, "fget", None) or getattr(member, "func", None) or member
    return callable(found) and getattr(found, "__module__", "").startswith("lookalike")


def _entry(title: str, thing: Any, level: str) -> str:
    found = getattr(thing, "fget", None) or getattr(thing, "func", None) or thing
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", inspect.getdoc(found) or "")  # Sphinx's roles are code here
    call = ""
    if callable(found) and not (inspect.isclass(found) and issubclass(found, BaseException)) and found is thing:
        call = f"{title.rpartition('.')[2]}{_signature(found)}\n\n"
    return f"{level} {title}\n\n```text\n{call}{text.strip()}\n```\n"


def _signature(function: Any) -> str:
    parameters = [p.replace(annotation=p.empty) for p in inspect.signature(function).parameters.values()]
    shown = [p for p in parameters if p.name != "self"]
    return re.sub(r" object at 0x[0-9a-f]+", "", str(inspect.Signature(shown)))


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, render(), "api.py"))
