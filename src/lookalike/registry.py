"""Names -> classes: those of a table of ours, imported when they are first used, and those that other packages bring.

Encoders, distances and re-rankers are found this way. A package that somebody else wrote adds one by an entry point of
the registry's group: ``name = "module:Class"``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Generic, TypeVar

from lookalike.errors import LookalikeError, UsageError, first_line, missing_extra, unknown_name

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")


class Registry(Generic[T]):
    """The classes of one kind, by name.

    Parameters
    ----------
    what : str
        What one of them is called in errors: ``"encoder"``.
    group : str
        The group of entry points in which other packages name theirs.
    base : str
        ``"module:Class"``, which each of them must be a subclass of.
    table : mapping of str to str or (str, str)
        Ours: name -> ``"module:Class"``, perhaps with the extra of ``pip install lookalike[EXTRA]`` that its module needs.
    error : type, optional
        What is raised where a stranger's class can't be used.
    """

    def __init__(
        self,
        what: str,
        group: str,
        base: str,
        table: Mapping[str, str | tuple[str, str]],
        *,
        error: type[LookalikeError] = UsageError,
    ) -> None:
        self.what, self.group, self.base, self.table = what, group, base, table
        self._error = error

    def __contains__(self, name: object) -> bool:
        """Tell whether there is such a name; other packages are only looked through where it isn't ours."""
        return name in self.table or name in self.installed()

    def __iter__(self) -> Iterator[str]:
        """Yield all names, ours first."""
        yield from self.table
        yield from sorted(self.installed())

    def installed(self) -> dict[str, EntryPoint]:
        """Return what other packages bring, none of it imported. A name of ours stays ours."""
        from importlib.metadata import entry_points  # 10 ms that the names of ours don't need

        return {e.name: e for e in entry_points(group=self.group) if e.name not in self.table}

    def __getitem__(self, name: str) -> type[T]:
        """Import the class of a name.

        Raises
        ------
        LookalikeError
            If there is none, an extra is missing, or a stranger's class can't be imported or is none of these.
        """
        if name not in self.table:
            return self._foreign(name)
        entry = self.table[name]
        target, extra = (entry, "") if isinstance(entry, str) else entry
        try:
            loaded: type[T] = imported(target)
        except ModuleNotFoundError as e:
            if extra and not (e.name or "").startswith("lookalike"):
                raise missing_extra(f"the {self.what} '{name}'", extra) from e
            raise
        return loaded

    def _foreign(self, name: str) -> type[T]:
        installed = self.installed()
        if name not in installed:
            raise unknown_name(self.what, name, [*self.table, *installed])
        entry = installed[name]
        where = (
            f"the {self.what} '{name}' ({entry.value}, of the package {entry.dist.name if entry.dist else 'unknown'})"
        )
        try:
            loaded = entry.load()
        except Exception as e:  # whatever a stranger's module raises when it is imported
            raise self._error(
                f"{where} can't be imported ({first_line(e)}); install what it needs, or remove it"
            ) from e
        base: type[T] = imported(self.base)
        if not (isinstance(loaded, type) and issubclass(loaded, base) and getattr(loaded, "name", None) == name):
            expected = self.base.replace(":", ".")
            raise self._error(f"{where} is not a subclass of {expected} with that name; ask its author")
        return loaded


@cache
def imported(target: str) -> type:
    """Import a class.

    Parameters
    ----------
    target : str
        ``"module:Class"``.

    Returns
    -------
    type
        The class.
    """
    module, _, name = target.partition(":")
    loaded: type = getattr(importlib.import_module(module), name)
    return loaded
