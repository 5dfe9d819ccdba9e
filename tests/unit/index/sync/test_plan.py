"""That a plan by joins of columns decides of each file what its rules say, taken one by one."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from lookalike.collections.columns import Entry
from lookalike.index.schema import ENCODED, FACTS, SEEN, UNSEEN, Facts
from lookalike.index.sync.known import KnownRows
from lookalike.index.sync.plan import KnownFiles, Rules, make_plan
from stored import Row, entries_of, to_table

STATES = (UNSEEN, SEEN, ENCODED, ENCODED, ENCODED)


def an_entry(random, name):
    outcome = random.choice((None,) * 6 + ("caption", "unsupported", "unreadable", "gone"))
    folder = random.choice(("/", "/no such folder"))
    return Entry(
        name,
        ("file", f"{folder}/{name}"),
        random.randrange(2),
        random.randrange(2),
        random.choice((None, "cats")),
        random.choice((None, None, ("/t.txt", "1:1"))),
        random.choice((None, None, {"a": 1})),
        outcome,
        None if outcome is None else f"{name}: {random.choice('xy')}",
    )


def rows_of(random, entry, ordered, position):
    """What an index may know of a file: just that, or something else in one way or another."""
    outcome = random.choice(("indexed", "indexed", "indexed", "blank", "damaged", entry.outcome or "gone"))
    stage = None if outcome == "indexed" else random.choice(("list", "read", "decode"))
    changed = random.randrange(3) == 0
    facts = []
    for frame in range(random.choice((1, 1, 1, 2))):
        one = Facts(
            -1,
            f"{entry.id}#{frame}" if frame else entry.id,
            frame,
            position if ordered else None,
            random.choice((entry.label, entry.label, "dogs")),
            None,
            None if entry.caption is None else random.choice((entry.caption[1], "2:2")),
            None if entry.metadata is None else random.choice(('{"a": 1}', '{"a": 2}')),
            random.choice((None, "ab" * 32)) if outcome != "indexed" else "ab" * 32,
            entry.size,
            entry.mtime_ns + changed,
            outcome=outcome,
            stage=stage,
            reason=None if outcome == "indexed" else random.choice((entry.reason, "another")),
        )
        facts.append(one)
    return facts


def decide(entry, old, state, rules, ordered, position):
    """The rules, in words of one file."""
    is_read = [one.is_read for one in old]
    first = old[0] if old else None
    done = all(not one.is_read or state[one.key] != UNSEEN for one in old)
    stated = (
        entry.label,
        entry.caption and entry.caption[1],
        entry.metadata and '{"a": 1}',
        position if ordered else None,
    )
    said = first is not None and stated == (first.label, first.caption_stamp, first.metadata, first.position)
    has_no_folder = entry.outcome == "gone" and "no such" in entry.source[1]
    if not rules.drop_unseen and any(is_read) and (entry.outcome == "unreadable" or has_no_folder):
        return "unseen"
    if entry.outcome is not None:
        wanted = Facts(
            -1, entry.id, 0, stated[3], entry.label, None, stated[1], stated[2], None, entry.size, entry.mtime_ns,
            outcome=entry.outcome, stage="list", reason=entry.reason,
        )  # fmt: skip
        alike = len(old) == 1 and first._replace(key=-1) == wanted and entry.caption is None
        return "kept" if alike and not rules.rebuild else "failed"
    same = first is not None and (first.size, first.mtime_ns) == (entry.size, entry.mtime_ns)
    unknown = first is not None and not first.is_read and (first.hash is None or first.stage == "list")
    retried = rules.retry and first is not None and not first.is_read
    if same and not unknown and not rules.rebuild and done and not retried:
        return "kept" if said else "restated"
    return "todo"


@pytest.mark.parametrize("seed", range(60))
def test_each_file_is_decided_by_the_rules(seed):
    random = Random(seed)
    ordered = random.random() < 0.3
    rules = Rules(*(random.random() < 0.25 for _ in range(3)))
    entries = [an_entry(random, f"{n}.png") for n in range(60)]
    olds = {e.id: rows_of(random, e, ordered, n) for n, e in enumerate(entries) if random.random() < 0.8}
    olds["gone.png"] = rows_of(random, an_entry(random, "gone.png"), ordered, 99)
    rows = [one for some in olds.values() for one in some]
    random.shuffle(rows)
    rows = [one._replace(key=key) for key, one in enumerate(rows)]
    state = np.array([random.choice(STATES) for _ in rows], np.int8)
    known = KnownRows(["one"], counts_copies=True, retry=rules.retry, trusted=not rules.rebuild)
    known.add(to_table([Row(one, b"") for one in rows], []).select(list(FACTS)), {"one": state})
    files = KnownFiles(known, np.ones(len(rows), np.bool_))

    plan = make_plan(entries_of(entries), known, files, rules, ordered=ordered)

    expected = {"kept": [], "unseen": [], "restated": [], "failed": [], "todo": []}
    for n, entry in enumerate(entries):
        old = sorted((one for one in rows if one.file == entry.id), key=lambda one: one.frame)
        assert [rows[row] for row in files.rows(int(plan.files[n]))] == old
        what = decide(entry, old, state, rules, ordered, n)
        expected[what].append(old[0].key if what == "kept" else n)
    assert plan.unseen == len(expected.pop("unseen"))
    assert {name: getattr(plan, name).tolist() for name in expected} == expected
    assert [name for name, _ in files.left_files()] == ["gone.png"]


def test_ids_of_a_callers_own_needn_t_be_unique():
    one = Facts(0, "a", size=1, mtime_ns=0, hash="ab" * 32)
    known = KnownRows([], counts_copies=False, retry=False, trusted=True)
    known.add(to_table([Row(one, b"")], []).select(list(FACTS)), {})
    files = KnownFiles(known, np.ones(1, np.bool_))
    entries = entries_of([Entry("a", ("file", "/a"), 1, 0)] * 2)
    plan = make_plan(entries, known, files, Rules(), ordered=False)
    assert (plan.kept.tolist(), plan.todo.tolist(), plan.files.tolist()) == ([0], [1], [0, -1])
