"""Words -> how well each image's caption, file name, metadata and label fit them: BM25, in memory.

Source: S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, with k1 = 1.2 and
b = 0.75, and the inverse document frequency ``ln(1 + (N - n + 0.5) / (n + 0.5))``, which is never negative.

Why not Lance's full-text index: its files have no checksums, so that a flipped bit would be another answer and not an
error, and it would have to be rewritten in each commit. These few texts are read from facts that are checked, and 60,000
file names are ready in well under a second.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import UsageError

K1, B = 1.2, 0.75

#: Longest text that is looked for, in characters, and most words of it.
LONGEST, MOST = 2_000, 100

# Scripts that put no blanks between words: Han, kana, Hangul (where endings cling to words), Thai, Lao, Burmese, Khmer.
_UNDIVIDED = (
    "\u0e01-\u0e4e\u0e81-\u0ecd\u0edc-\u0edf\u1000-\u103f\u1050-\u109f\u1780-\u17d3\u2e80-\u2fdf\u3005-\u3007\u3041-\u3096"
    "\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u318e\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97c"
    "\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
# Vowel signs of India's scripts belong to a word though they are no letters; dandas, which end a sentence, don't.
_SIGNS = "\u0900-\u0963\u0966-\u0dff"
_PART = re.compile(rf"(?P<run>[{_UNDIVIDED}]+)|(?P<word>(?:(?![{_UNDIVIDED}])[^\W_]|[{_SIGNS}])+)")
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
    return [run or plain for run, plain in _parts(text)]


def _held_of(text: str) -> list[str]:
    """Split a text as it is kept: where a script has no blanks, by each character and each two that follow one another."""
    return [word for run, plain in _parts(text) for word in ([plain] if plain else [*run, *_pairs(run)])]


def _asked_of(text: str) -> list[str]:
    """Split what is looked for: of a script without blanks the pairs stand for the whole, and a character for itself."""
    return [word for run, plain in _parts(text) for word in ([plain] if plain else _pairs(run) or [run])]


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)]


def _parts(text: str) -> list[tuple[str, str]]:
    apart = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(c for c in apart if not unicodedata.combining(c) or _is_letter(c))
    return _PART.findall(unicodedata.normalize("NFC", bare))


def _is_letter(mark: str) -> bool:
    """Tell a mark that makes another word, as Thai's tones, from an accent that one may leave out."""
    return "\u0900" <= mark <= "\u109f" or "\u1780" <= mark <= "\u17ff" or mark in "\u3099\u309a"


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
            found = _held_of(" ".join(_texts(fact)))
            lengths[row] = len(found)
            for word, count in Counter(found).items():
                rows, counts = postings.setdefault(word, ([], []))
                rows.append(row)
                counts.append(count)
        self._postings = postings
        self._sorted = sorted(postings)
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
            If there is no word to look for, or there are too many.
        """
        if len(asked) > LONGEST:
            raise UsageError(f"words of {len(asked):,} characters; at most {LONGEST:,} are looked for, give fewer")
        total = np.zeros(self._size)
        fits = np.ones(self._size, np.bool_)
        wanted, count = False, 0
        for sign, text in _TERM.findall(asked):
            parts = _asked_of(text)
            count += len(parts)
            if count > MOST:
                raise UsageError(f"over {MOST} words to look for; give fewer")
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
        first = bisect_left(self._sorted, start)
        return self._sorted[first : bisect_left(self._sorted, start + chr(sys.maxunicode), first)]

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
