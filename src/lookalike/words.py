"""Words -> how well each image's caption, file name, metadata and label fit them: BM25, in memory.

Source: S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, with k1 = 1.2 and
b = 0.75, and the inverse document frequency ``ln(1 + (N - n + 0.5) / (n + 0.5))``, which is never negative.

Why not Lance's full-text index: its files have no checksums, so that a flipped bit would be another answer and not an
error, and it would have to be rewritten in each commit. These few texts are read from facts that are checked, and 60,000
file names are ready in well under a second.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import UsageError

K1, B = 1.2, 0.75

_WORD = re.compile(r"[^\W_]+")
_TERM = re.compile(r"(?P<sign>-?)(?P<text>\S+)")


def words_of(text: str) -> list[str]:
    """Split a text into words: letters and digits, without case and accents; ``_`` and ``/`` divide.

    Parameters
    ----------
    text : str
        Any.

    Returns
    -------
    list of str
        In their order.

    Examples
    --------
    >>> words_of("Paisatges/Josep_Maria Sert (València).jpg")
    ['paisatges', 'josep', 'maria', 'sert', 'valencia', 'jpg']
    """
    apart = unicodedata.normalize("NFKD", text.casefold())
    return _WORD.findall("".join(c for c in apart if not unicodedata.combining(c)))


class Words:
    """The words of all images of an index, ready to be searched.

    Parameters
    ----------
    facts : sequence of mapping
        What :meth:`lookalike.Index.facts` returns: id, caption, label and the values of the metadata are read.

    Examples
    --------
    >>> some = {"caption": None, "label": None, "metadata": None}
    >>> words = Words([some | {"id": "red bus.jpg"}, some | {"id": "bus.jpg"}, some | {"id": "tram.jpg"}])
    >>> words.scores("bus").round(2).tolist()
    [0.42, 0.5, 0.0]
    """

    def __init__(self, facts: Sequence[Mapping[str, Any]]) -> None:
        postings: dict[str, tuple[list[int], list[int]]] = {}
        lengths = np.zeros(len(facts))
        for row, fact in enumerate(facts):
            found = words_of(" ".join(_texts(fact)))
            lengths[row] = len(found)
            for word, count in Counter(found).items():
                rows, counts = postings.setdefault(word, ([], []))
                rows.append(row)
                counts.append(count)
        self._postings = postings
        self._size = len(facts)
        self._norm = K1 * (1 - B + B * lengths / max(float(lengths.mean()) if len(facts) else 1.0, 1e-9))

    def scores(self, asked: str) -> NDArray[np.float64]:
        """Score every image.

        Parameters
        ----------
        asked : str
            Words that must all be there; ``sun*`` is any word that begins so, and ``-sun`` must not be there.

        Returns
        -------
        ndarray of float64, shape (n,)
            Above 0 where the image fits, higher where rarer words stand in a shorter text; else 0.

        Raises
        ------
        UsageError
            If there is no word to look for.
        """
        total = np.zeros(self._size)
        fits = np.ones(self._size, np.bool_)
        wanted = False
        for sign, text in _TERM.findall(asked):
            parts = words_of(text)
            for i, word in enumerate(parts):
                alike = self._beginning(word) if text.endswith("*") and i == len(parts) - 1 else [word]
                score = self._score(alike)
                if sign:
                    fits &= score == 0
                else:
                    wanted = True
                    fits &= score > 0
                    total += score
        if not wanted:
            raise UsageError(f"words {asked!r} hold no word to look for; give letters or digits, such as: red bus")
        return np.where(fits, total, 0.0)

    def _beginning(self, start: str) -> list[str]:
        return [word for word in self._postings if word.startswith(start)]

    def _score(self, words: Iterable[str]) -> NDArray[np.float64]:
        counts = np.zeros(self._size)
        for word in words:
            if word in self._postings:
                rows, found = self._postings[word]
                counts[rows] += found
        holding = int((counts > 0).sum())
        rarity = np.log(1 + (self._size - holding + 0.5) / (holding + 0.5))
        scores: NDArray[np.float64] = rarity * counts * (K1 + 1) / (counts + self._norm)
        return scores


def _texts(fact: Mapping[str, Any]) -> Iterable[str]:
    yield fact["id"]
    for name in ("caption", "label"):
        if fact[name] is not None:
            yield fact[name]
    yield from (str(value) for value in (fact["metadata"] or {}).values() if value is not None)
