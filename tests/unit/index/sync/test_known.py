"""That what is counted of an index's rows is what counting them one by one gives, whatever comes and goes."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest

from lookalike.index.schema import ENCODED, FACTS, READ, SEEN, UNSEEN, Facts
from lookalike.index.sync import known
from lookalike.index.sync.known import KnownRows, _Digests
from stored import Row, to_table

OUTCOMES = ("indexed", "indexed", "indexed", "blank", "damaged", "caption")


def table_of(facts):
    return to_table([Row(one, b"") for one in facts], []).select(list(FACTS))


def some(random, first, count):
    found = []
    for key in range(first, first + count):
        outcome = random.choice(OUTCOMES)
        frame = random.choice((0, 0, 0, 1))
        digest = None if outcome == "caption" else f"{random.randrange(8):064x}"
        name = f"{random.randrange(99)}-{key}.png"
        found.append(
            Facts(key, f"{name}#{frame}" if frame else name, frame, hash=digest, size=key % 5, outcome=outcome)
        )
    return found


def extra_of(rows):
    """Of each set of equal pictures all but the first."""
    first, found = {}, set()
    for one in sorted(rows, key=lambda f: (f.file, f.frame)):
        if one.outcome == "indexed" and one.hash and first.setdefault((one.hash, one.frame), one) is not one:
            found.add(one.key)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_counts_are_those_of_the_rows(seed):
    random = Random(seed)
    known = KnownRows(["one"], counts_copies=True, retry=bool(seed % 2), trusted=True)
    rows, states, key = {}, {}, 0
    for _ in range(30):
        new = some(random, key, random.randrange(0, 12))
        key += len(new)
        if new:
            state = np.array([random.choice((UNSEEN, SEEN, ENCODED)) for _ in new], np.int8)
            known.add(table_of(new), {"one": state})
            rows |= {one.key: one for one in new}
            states |= {one.key: int(s) for one, s in zip(new, state, strict=True)}
        gone = random.sample(sorted(rows), min(len(rows), random.randrange(0, 8)))
        known.drop(gone)
        for one in gone:
            del rows[one]
        assert +known.outcomes == Counter(one.outcome for one in rows.values())
        assert known.encoded["one"] == sum(states[one] == ENCODED for one in rows)
        extra = extra_of(rows.values())
        assert known.extra == len(extra)
        live = known.rows_of(sorted(rows))
        assert set(known.key[live[known.duplicates(live)]].tolist()) == extra
        assert known.facts(live[::-1]) == [rows[one] for one in sorted(rows, reverse=True)]
        assert known.any_indexed(()) == any(one.outcome == "indexed" for one in rows.values())

    def stands_in(one):
        done = one.outcome not in READ or states[one.key] != UNSEEN
        return done and (one.outcome in READ or not seed % 2)

    asked = [f"{n:064x}" for n in range(9)] + [None]
    found = [known.key[alike].tolist() for alike in known.alike(asked)]
    assert found == [
        sorted(one.key for one in rows.values() if digest and one.hash == digest and stands_in(one)) for digest in asked
    ]
    assert known.sizes().tolist() == sorted({one.size for one in rows.values() if one.hash and stands_in(one)})


def test_rows_that_are_not_trusted_stand_in_for_nothing():
    one, other = (Facts(n, f"{n}.png", hash="ab" * 32, size=1) for n in range(2))
    state = {"one": np.array([ENCODED, ENCODED], np.int8)}
    known = KnownRows(["one"], counts_copies=True, retry=False, trusted=True)
    known.add(table_of([one, other]), state, sound=np.array([True, False]))
    assert [alike.tolist() for alike in known.alike(["ab" * 32])] == [[0]]
    rebuilt = KnownRows(["one"], counts_copies=True, retry=False, trusted=False)
    rebuilt.add(table_of([one, other]), state)
    assert [alike.tolist() for alike in rebuilt.alike(["ab" * 32])] == [[]]


def test_hashes_of_any_length_are_told_apart():
    names = ["ab" * 16, "ab" * 32, "é" * 3, "ab" * 16]
    known = KnownRows([], counts_copies=True, retry=False, trusted=True)
    known.add(table_of([Facts(n, f"{n}", hash=name, size=1) for n, name in enumerate(names)]), {})
    assert [alike.tolist() for alike in known.alike(names)] == [[0, 3], [1], [2], [0, 3]]
    assert known.extra == 1


def test_digests_are_found_however_many_times_some_were_added():
    rng = np.random.default_rng(0)
    digests, everything = _Digests(), []
    for size in (300, 1, 7, 50, 3, 400, 2, 2, 90, 1, 1, 1) * 3:
        some = np.sort(np.array([f"{n:064x}".encode() for n in rng.integers(0, 500, size)], "S64"))
        rows = rng.integers(0, 10_000, size)
        digests.add(some, rows)
        everything += zip(some.tolist(), rows.tolist(), strict=True)
        assert len(digests._pieces) <= known._MAX_PIECES
    digests.add(np.empty(0, "S64"), np.empty(0, np.int64))
    assert sum(len(piece[0]) for piece in digests._pieces) == len(everything)
    wanted = np.array([f"{n:064x}".encode() for n in range(0, 700, 7)], "S64")
    places, rows = digests.find(wanted)
    found = sorted(zip(wanted[places].tolist(), rows.tolist(), strict=True))
    assert found == sorted(pair for pair in everything if pair[0] in set(wanted.tolist()))
    assert all(digests.may_hold(digest) for digest, _ in everything)
    assert not all(digests.may_hold(digest) for digest in wanted[80:].tolist())
