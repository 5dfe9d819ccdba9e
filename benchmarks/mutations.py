"""Source text -> places where it can be broken, and the broken text: operators of cosmic-ray, and two of our own.

A place is where an operator of a family applies: a comparison, a number, a condition. Each place counts once, however many
operators apply there, as cosmic-ray has eleven of them for one plus sign.
"""

from __future__ import annotations

import ast
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import MutationVisitor
from cosmic_ray.operators import provider
from cosmic_ray.operators.operator import Operator

#: They change which variable is meant, by arguments that we don't give.
_LEFT_OUT = {"VariableReplacer", "VariableInserter"}
#: Here annotations are run: FastAPI and pydantic refuse by them.
ANNOTATED = ("server/routes/", "server/schemas.py")


class _StatementRemover(Operator):
    """Put ``pass`` in place of a statement."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """Yield where such a statement is."""
        if self.is_one(node):
            yield (node.start_pos, node.end_pos)

    def mutate(self, node: Any, _: int) -> Any:
        """Return what stands there instead."""
        return parso.python.tree.Name("pass", node.start_pos, prefix=node.get_first_leaf().prefix)

    def is_one(self, node: Any) -> bool:
        """Tell whether a node is such a statement."""
        raise NotImplementedError

    @classmethod
    def examples(cls) -> tuple[()]:
        """Give none."""
        return ()


class RaiseRemover(_StatementRemover):
    """Go on where an error would be raised."""

    def is_one(self, node: Any) -> bool:
        """Tell whether a node raises."""
        return node.type == "raise_stmt" or (node.type == "keyword" and node.value == "raise")


class CallRemover(_StatementRemover):
    """Leave out a call whose result nobody uses: a check, a wait, something told."""

    def is_one(self, node: Any) -> bool:
        """Tell whether a node is such a call."""
        if node.type not in ("atom_expr", "await") or node.parent.type != "simple_stmt":
            return False
        last = node.children[-1]
        while last.type in ("atom_expr", "await"):
            last = last.children[-1]
        return last.type == "trailer" and last.children[0].value == "("


_OURS = {op.__name__: op for op in (RaiseRemover, CallRemover)}


@cache
def operators() -> dict[str, Operator]:
    """Return all operators by name."""
    theirs = provider.OperatorProvider()
    return {name: theirs[name]() for name in theirs if name not in _LEFT_OUT} | {n: op() for n, op in _OURS.items()}


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes
    ----------
    file : str
        Relative to ``src/lookalike``.
    line : int
        From 1, the line of the change.
    operator : str
        Its name.
    occurrence : int
        At which of the places in the file where the operator applies.
    was, now : str
        The line before and after.
    """

    file: str
    line: int
    operator: str
    occurrence: int
    was: str
    now: str

    def source(self, text: str) -> str | None:
        """Return the file as it is after the change; None where the line is no more, or not as it was.

        Lines before it may have come and gone since.
        """
        for near in sorted(range(self.occurrence + 50), key=lambda i: abs(i - self.occurrence)):
            now = _mutated(text, self.operator, near)
            if now is not None and _first_difference(text, now)[1:] == (self.was, self.now):
                return now
        return None


def _mutated(text: str, operator: str, occurrence: int) -> str | None:
    return MutationVisitor.mutate_code(text, operators()[operator], occurrence)


def _places(text: str) -> dict[tuple[Any, str], list[tuple[str, int]]]:
    """Return, by place, the operators that apply there, each with its occurrence."""
    found: dict[tuple[Any, str], list[tuple[str, int]]] = {}
    nodes = list(ast_nodes(get_ast(text)))
    for name, operator in operators().items():
        occurrence = 0
        for node in nodes:
            for at, _ in operator.mutation_positions(node):
                family = type(operator).__module__
                found.setdefault((at, family), []).append((name, occurrence))
                occurrence += 1
    return found


class _WithoutAnnotations(ast.NodeTransformer):
    """Nothing runs annotations: a change there changes nothing."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        node.annotation = ast.Constant(None)
        self.generic_visit(node)
        return node

    def visit_FunctionDef(self, node: Any) -> Any:
        node.returns = None
        self.generic_visit(node)
        return node

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815


def _meaning(text: str, file: str) -> str:
    tree = ast.parse(text)
    return ast.dump(tree if file.startswith(ANNOTATED) else _WithoutAnnotations().visit(tree))


def _is_other(text: str, now: str, file: str) -> bool:
    try:
        return _meaning(text, file) != _meaning(now, file)
    except SyntaxError:
        return False


def _first_difference(was: str, now: str) -> tuple[int, str, str]:
    old, new = was.splitlines(), now.splitlines()
    at = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)) - 1)
    return at + 1, old[at].strip(), new[at].strip()


def sample(root: Path, files: Iterable[str], seed: int, count: int) -> list[Mutant]:
    """Draw mutants: each place is as likely as every other, and the first of a sample are a sample.

    Parameters
    ----------
    root : Path
        The folder ``src/lookalike``.
    files : iterable of str
        Relative to it.
    seed, count : int
        Of the draw, and how many.
    """
    texts = {file: (root / file).read_text(encoding="utf-8") for file in files}
    by_file = {file: _places(text) for file, text in texts.items()}
    places = sorted((file, *place) for file, found in by_file.items() for place in found)
    rng = random.Random(seed)
    rng.shuffle(places)
    drawn: list[Mutant] = []
    for file, at, family in places:
        if len(drawn) == count:
            break
        name, occurrence = rng.choice(by_file[file][at, family])
        text = texts[file]
        now = _mutated(text, name, occurrence)
        if now is not None and _is_other(text, now, file):
            line, before, after = _first_difference(text, now)
            drawn.append(Mutant(file, line, name, occurrence, before, after))
    return drawn
