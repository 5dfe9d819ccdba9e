"""Words <-> the 1,000 classes of ImageNet, which the shipped networks know, by the nouns of WordNet 3.0.

Sources: C. Fellbaum (ed.), "WordNet: An Electronic Lexical Database", 1998; J. Deng et al., "ImageNet: A Large-Scale Hierarchical
Image Database", CVPR 2009, whose classes are concepts of WordNet. The file is made by ``scripts/make_concepts.py``; notices:
``concepts.NOTICE``.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("concepts.tsv.gz")
NOTICE = Path(__file__).with_name("concepts.NOTICE")
#: Endings of plurals, and of their singulars.
_PLURALS = (("ies", "y"), ("ves", "f"), ("es", ""), ("s", ""))


@dataclass(frozen=True)
class Concept:
    """What one class or more are kinds of.

    Attributes
    ----------
    words : tuple of str
        What it is called, the usual word first.
    classes : frozenset of int
        Numbers of the classes, 0 to 999.
    is_abstract : bool
        Whether it is no kind of thing that can be seen.
    """

    words: tuple[str, ...]
    classes: frozenset[int]
    is_abstract: bool = False


@dataclass(frozen=True)
class Meaning:
    """What a word stands for.

    Attributes
    ----------
    classes : frozenset of int
        All classes that it may mean.
    usual : frozenset of int
        Those of them that it mostly means.
    instead : tuple of str
        Where no class lies below its own concept: the nearest words, of which the first is looked for in its place.
    """

    classes: frozenset[int]
    usual: frozenset[int]
    instead: tuple[str, ...] = ()


class Concepts:
    """The concepts that classes lie below, the most special first, and the words for them."""

    def __init__(self, text: str) -> None:
        self.all: list[Concept] = []
        self._of: dict[str, list[int]] = {}
        self._near: dict[str, tuple[int, ...]] = {}
        self._singular: dict[str, str] = {}
        for kind, word, value in (line.split("\t") for line in text.splitlines()):
            if kind in ("s", "a"):
                words = tuple(word.split("|"))
                for name in words:
                    self._of.setdefault(_apart(name), []).append(len(self.all))
                self.all.append(Concept(words, frozenset(_numbers(value)), kind == "a"))
            elif kind == "o":
                self._of[_apart(word)] = [int(number) for number in value.split()]
            elif kind == "n":
                self._near[_apart(word)] = tuple(map(int, value.split()))
            else:
                self._singular[word] = value

    def meaning(self, word: str) -> Meaning | None:
        """Return what a word stands for, in the singular or the plural.

        Parameters
        ----------
        word : str
            In small letters; several words with blanks between, such as ``school bus``.

        Returns
        -------
        Meaning or None
            None where no class is anything like it.

        Examples
        --------
        >>> concepts().meaning("school buses").classes == frozenset({779})
        True
        >>> concepts().meaning("beach").instead
        ('shore', 'geological formation')
        """
        for form in _singulars(word, self._singular):
            if form in self._of:
                senses = [self.all[i].classes for i in self._of[form]]
                return Meaning(frozenset().union(*senses), senses[0])
        for form in _singulars(word, self._singular):
            if form in self._near:
                near = [self.all[i] for i in self._near[form]]  # the most special first
                return Meaning(near[0].classes, near[0].classes, tuple(concept.words[0] for concept in near))
        return None


def _apart(word: str) -> str:
    """Write a word as a query's words are: ``jack-o'-lantern`` as three."""
    return re.sub(r"[^a-z0-9]+", " ", word)


def _singulars(word: str, irregular: dict[str, str]) -> list[str]:
    forms = [word, *([irregular[word]] if word in irregular else [])]
    return forms + [
        word[: -len(end)] + begin for end, begin in _PLURALS if word.endswith(end) and len(word) > len(end) + 1
    ]


def _numbers(text: str) -> list[int]:
    edges = [[int(n) for n in part.split("-")] for part in text.split(",")]
    return [number for edge in edges for number in range(edge[0], edge[-1] + 1)]


@cache
def concepts() -> Concepts:
    """Read the concepts, once."""
    return Concepts(gzip.decompress(FILE.read_bytes()).decode())
