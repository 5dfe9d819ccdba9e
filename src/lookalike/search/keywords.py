"""Words -> how well each image's caption, file name, metadata and label fit them: BM25, in memory.

Source: S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009, with k1 = 1.2 and
b = 0.75, and the inverse document frequency ``ln(1 + (N - n + 0.5) / (n + 0.5))``, which is never negative.

Why not Lance's full-text index: its files have no checksums, so that a flipped bit would be another answer and not an
error, and it would have to be rewritten in each commit. These few texts are read from facts that are checked, and their
index is kept in a file that is checked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.encoders.concepts import concepts
from lookalike.errors import UsageError
from lookalike.index.fact_table import FactTable
from lookalike.search.tags import FITS, GUESSED, SEEN, rarity

if TYPE_CHECKING:
    from lookalike.search.tags import Tags

K1, B = 1.2, 0.75
#: Fewest letters of a word that may stand for another.
SHORTEST = 4

#: Longest text that is looked for, in characters, and most words of it.
LONGEST, MAX_WORDS = 2_000, 100
_LONGEST_NAME = 4  # words of a name that are looked for together
_AT_ONCE = 4096  # texts that are split together: what is worked on stays in the processor's cache

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

#: Of each byte of plain text: its small letter or digit, and 0 where it is none and divides.
_LETTERS = np.array([ord(chr(c).lower()) if c < 128 and chr(c).isalnum() else 0 for c in range(256)], np.uint8)


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


def _stored_words(text: str) -> list[str]:
    """Split a text as it is kept: where a script has no blanks, by each character and each two that follow one another."""
    return [word for run, plain in _parts(text) for word in ([plain] if plain else [*run, *_pairs(run)])]


def _query_words(text: str) -> list[str]:
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


class Term(NamedTuple):
    """What must be there, or must not.

    Attributes
    ----------
    words : list of str
        One, or several that together name something that can be seen, such as a school bus.
    is_excluded : bool
        Whether it must not be there.
    is_prefix : bool
        Whether the word is only the beginning of one.
    """

    words: list[str]
    is_excluded: bool
    is_prefix: bool


def terms_of(asked: str, tags: Tags | None = None) -> list[Term]:
    """Split what is asked into its terms.

    Parameters
    ----------
    asked : str
        As :meth:`Words.scores` takes it.
    tags : Tags, optional
        Words that it knows together are one term.

    Returns
    -------
    list of Term

    Raises
    ------
    UsageError
        If there is no word to look for, or there are too many.
    """
    if len(asked) > LONGEST:
        raise UsageError(f"words of {len(asked):,} characters; at most {LONGEST:,} are looked for, give fewer")
    terms = []
    for sign, text in _TERM.findall(asked):
        words = _query_words(text)
        terms += [Term([word], bool(sign), False) for word in words[:-1]]
        terms += [Term([word], bool(sign), text.endswith("*")) for word in words[-1:]]
    if len(terms) > MAX_WORDS:
        raise UsageError(f"over {MAX_WORDS} words to look for; give fewer")
    if all(term.is_excluded for term in terms):
        raise UsageError(f"words {asked!r} hold no word to look for; give letters or digits, such as: red bus")
    return terms if tags is None else list(_together(terms))


def _together(terms: list[Term]) -> Iterator[Term]:
    """Join terms that follow one another and are a name together, the longest first."""
    at = 0
    while at < len(terms):
        for stop in range(min(len(terms), at + _LONGEST_NAME), at + 1, -1):
            part = terms[at:stop]
            name = [word for term in part for word in term.words]
            alike = {term.is_excluded for term in part} == {part[0].is_excluded} and not any(t.is_prefix for t in part)
            if alike and concepts().meaning(" ".join(name)) is not None:
                yield Term(name, part[0].is_excluded, False)
                at = stop
                break
        else:
            yield terms[at]
            at += 1


class Words:
    """The words of all images of an index, ready to be searched.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        What :func:`index_words` returns, in memory or mapped.

    Examples
    --------
    >>> facts = {"caption": None, "label": None, "metadata": None}
    >>> words = Words.of([facts | {"id": "red bus.jpg"}, facts | {"id": "bus.jpg"}, facts | {"id": "tram.jpg"}])
    >>> words.scores("bus").round(2).tolist()
    [0.42, 0.5, 0.0]
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        edges = arrays["edges"]
        self._words = pa.LargeStringArray.from_buffers(
            len(edges) - 1, pa.py_buffer(edges), pa.py_buffer(arrays["text"])
        )
        self._owners, self._starts = arrays["owners"], arrays["starts"]
        lengths = arrays["lengths"]
        self._size = len(lengths)
        mean = float(lengths.mean()) if self._size else 1.0
        self._norm = K1 * (1 - B + B * lengths / max(mean, 1e-9))

    @classmethod
    def of(cls, facts: FactTable | Sequence[Mapping[str, Any]]) -> Words:
        """Return the words of facts, which :func:`index_words` takes."""
        return cls(index_words(facts))

    def scores(self, asked: str, tags: Tags | None = None, least: float = FITS) -> NDArray[np.float64]:
        """Score every image.

        Parameters
        ----------
        asked : str
            Words that must all be there, in the singular or plural; what isn't there at all stands for words that begin so,
            else for those with one other letter. ``sun*`` is any word that begins so, and ``-sun`` must not be there.
        tags : Tags, optional
            What is seen in the images: a word is there, too, where it names that.
        least : float
            How sure that must be, 0 to 1.

        Returns
        -------
        ndarray of float64, shape (n,)
            Above 0 where the image fits, higher where rarer words stand in a shorter text, or are seen more surely; else 0.

        Raises
        ------
        UsageError
            If there is no word to look for, or there are too many.
        """
        total = np.zeros(self._size)
        fits = np.ones(self._size, np.bool_)
        for term in terms_of(asked, tags):
            written = []
            seen = None if tags is None or term.is_prefix else tags.shares(" ".join(term.words))
            for word in term.words:
                if term.is_prefix or term.is_excluded:
                    numbers = self._numbers_of(word, is_prefix=term.is_prefix)
                else:  # what is seen in the images needs no other word to stand for it
                    numbers = self._meant(word) if seen is None else self._there(word)
                written.append(self._score(numbers))
            is_there = np.logical_and.reduce([score > 0 for score in written])
            score = np.where(is_there, np.add.reduce(written), 0.0)
            if seen is not None:
                is_there |= seen[0] >= (SEEN if term.is_excluded else least)
                score += GUESSED * rarity(seen[0]) * seen[0]
            fits &= ~is_there if term.is_excluded else is_there
            total += 0 if term.is_excluded else score
        return np.where(fits, total, 0.0)

    def forgiven(self, asked: str, tags: Tags | None = None) -> dict[str, list[str]]:
        """Tell which words stand in for those that aren't there.

        Parameters
        ----------
        asked : str
            As of :meth:`scores`.
        tags : Tags, optional
            As of :meth:`scores`: what they name needs no other word.

        Returns
        -------
        dict of str to list of str
            At most five for each word that isn't there in the singular or plural, and has some.
        """
        taken = {}
        for term in terms_of(asked, tags):
            exact = term.is_excluded or term.is_prefix
            if exact or (tags is not None and concepts().meaning(" ".join(term.words)) is not None):
                continue
            for word in term.words:
                if not self._there(word) and (numbers := self._meant(word)):
                    taken[word] = [self._words[number].as_py() for number in numbers[:5]]
        return taken

    def _there(self, word: str) -> list[int]:
        """Return the numbers of a word in the singular and plural."""
        forms = (
            (word,)
            if len(word) < 3
            else dict.fromkeys((word, f"{word}s", f"{word}es", *(word.removesuffix(end) for end in ("s", "es"))))
        )
        return [
            number
            for form in forms
            if len(form) > 2 or form == word
            for number in self._numbers_of(form, is_prefix=False)
        ]

    def _meant(self, word: str) -> list[int]:
        """Return the numbers of the words that one may stand for."""
        if (there := self._there(word)) or len(word) < SHORTEST:
            return there
        if begins := self._numbers_of(word, is_prefix=True):
            return begins
        if word.isdecimal():  # another number is another thing
            return []
        lengths = pc.utf8_length(self._words).to_numpy(zero_copy_only=False)
        near = np.flatnonzero(np.abs(lengths - len(word)) <= 1)
        return [int(at) for at in near if _is_one_slip(word, self._words[int(at)].as_py())]

    def _numbers_of(self, word: str, *, is_prefix: bool) -> list[int]:
        """Return the numbers of a word, or of all that begin so."""
        if is_prefix:
            return np.flatnonzero(pc.starts_with(self._words, word).to_numpy(zero_copy_only=False)).tolist()
        number = self._words.index(word).as_py()
        return [number] if number >= 0 else []

    def _score(self, numbers: Sequence[int]) -> NDArray[np.float64]:
        """Score all images by how often they hold one of some words."""
        places = [self._owners[self._starts[number] : self._starts[number + 1]] for number in numbers]
        rows = np.concatenate(places) if places else np.empty(0, np.int32)
        counts = np.bincount(rows, minlength=self._size).astype(np.float64)
        holding = int((counts > 0).sum())
        rarity = np.log(1 + (self._size - holding + 0.5) / (holding + 0.5))
        scores: NDArray[np.float64] = rarity * counts * (K1 + 1) / (counts + self._norm)
        return scores


def _is_one_slip(one: str, other: str) -> bool:
    """Tell whether one letter more, fewer, other or swapped with the next makes a word of another."""
    short, long = sorted((one, other), key=len)
    at = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    swapped = short[at : at + 2] == long[at : at + 2][::-1] and short[at + 2 :] == long[at + 2 :]
    return short[at + 1 :] == long[at + 1 :] or swapped


def index_words(facts: FactTable | Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
    """Index the words of all images.

    Parameters
    ----------
    facts : FactTable, or sequence of mapping
        Columns, or what :meth:`lookalike.Index.facts` returns: id, caption, label and the values of the metadata are read.

    Returns
    -------
    dict of ndarray
        ``text``, all words once, one after another in UTF-8, and ``edges``, where each begins and the last ends;
        ``owners``, the rows that hold them, by word, a row as often as it holds it, and ``starts``, where those of each
        word begin and the last end; ``lengths``, how many words each image has.
    """
    table = FactTable.of(facts)
    lengths = np.zeros(len(table), np.int32)
    words: list[Any] = []
    owners = [np.empty(0, np.int32)]
    for start in range(0, len(table), _AT_ONCE):
        part, counts = _words_in(_texts(table, start, start + _AT_ONCE))
        words.append(part)
        owners.append(np.repeat(np.arange(start, start + len(counts), dtype=np.int32), counts))
        lengths[start : start + len(counts)] = counts
    encoded = pa.chunked_array(words, pa.string()).dictionary_encode().combine_chunks()
    numbers = encoded.indices.to_numpy()
    pairs = numbers.astype(np.int64) << 32 | np.concatenate(owners)
    pairs.sort()  # much faster than to sort rows by numbers
    _, edges, text = encoded.dictionary.cast(pa.large_string()).buffers()
    counts = np.bincount(numbers, minlength=len(encoded.dictionary))
    return {
        "text": np.frombuffer(text or b"", np.uint8),
        "edges": np.frombuffer(edges, np.int64)[: len(encoded.dictionary) + 1],
        "owners": pairs.astype(np.int32),
        "starts": np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        "lengths": lengths,
    }


def _texts(table: FactTable, start: int, stop: int) -> Any:
    """Return the texts of a part of the images, as an Arrow array."""
    parts = [table.column(name)[start:stop].cast(pa.string()) for name in ("id", "caption", "label")]
    values = [" ".join(str(value) for value in metadata.values() if value is not None) for metadata in table.parsed]
    parts.append(pa.array(values, pa.string()).take(table.metadata.indices[start:stop]))
    return pc.binary_join_element_wise(*parts, " ", null_handling="skip")


def _words_in(texts: Any) -> tuple[Any, NDArray[np.int64]]:
    """Return the words of texts, one after another, as an Arrow array, and how many each text has."""
    plain = pc.string_is_ascii(texts).to_numpy(zero_copy_only=False)
    if plain.all():
        return _ascii_words_in(texts)
    many = np.zeros(len(texts), np.int64)
    held = [_stored_words(text) for text in texts.filter(pa.array(~plain)).to_pylist()]
    many[~plain] = [len(words) for words in held]
    plain_words, many[plain] = _ascii_words_in(texts.filter(pa.array(plain)))
    # Each text's own words must stand where its number says: those of plain texts come first, then the others'.
    order = np.concatenate([np.repeat(np.flatnonzero(part), many[part]) for part in (plain, ~plain)])
    words = pa.concat_arrays([plain_words, pa.array([word for words in held for word in words], pa.string())])
    return words.take(np.argsort(order, kind="stable")), many


def _ascii_words_in(texts: Any) -> tuple[Any, NDArray[np.int64]]:
    """Do the same for plain text, where every byte is a character, without looking at one by one."""
    if not len(texts):
        return pa.array([], pa.string()), np.zeros(0, np.int64)
    edges = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(texts.buffers()[2] or b"", np.uint8)[edges[0] : edges[-1]]
    edges = edges - edges[0]
    letters = _LETTERS[data]
    inside = letters != 0
    begins = inside.copy()
    begins[1:] &= ~inside[:-1]
    first = edges[:-1][edges[:-1] < len(data)]
    begins[first] |= inside[first]  # a text's first word, though the text before ends in a letter
    starts = np.flatnonzero(begins)
    kept = np.cumsum(inside, dtype=np.int32)
    places = np.append(kept[starts] - 1, kept[-1:] if len(kept) else 0).astype(np.int32)
    words = pa.StringArray.from_buffers(len(starts), pa.py_buffer(places), pa.py_buffer(letters[inside]))
    return words, np.diff(np.searchsorted(starts, edges))
