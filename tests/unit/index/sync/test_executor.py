"""That every executor maps a function over tasks in their order, and that one bad task costs itself."""

from __future__ import annotations

from contextlib import closing, nullcontext

import numpy as np
import pytest
from PIL import Image

from lookalike.collections.folder import scan
from lookalike.collections.tasks import from_answer, to_task
from lookalike.imaging.sandbox.api import Sandbox
from lookalike.index.sync.executor import InProcess


@pytest.fixture(scope="module", params=["here", "processes"])
def executor(request):
    made = InProcess() if request.param == "here" else Sandbox(workers=2)
    with nullcontext(made) if request.param == "here" else closing(made):
        yield made


@pytest.fixture
def tasks(tmp_path):
    for i in range(20):
        Image.fromarray(np.full((4, 4), 10 * i, np.uint8)).save(tmp_path / f"{i:02}.png")
    (tmp_path / "07.png").write_bytes(b"no image")
    return [to_task(entry, entry.id, [(2, 2)]) for entry in scan(tmp_path).entries]


def test_answers_come_in_the_order_of_the_tasks(executor, tasks):
    found = [from_answer(answer, [(2, 2)]) for answer in executor.map(tasks)]
    values = [None if one.outcome else int(one.pictures[0].fitted[0][0, 0]) for one in found]
    assert values == [None if i == 7 else 10 * i for i in range(20)]
    assert (found[7].outcome, found[7].stage) == ("unsupported", "decode")


def test_tasks_are_pulled_as_answers_are_taken(executor, tasks):
    pulled = []

    def noted():
        for i, task in enumerate(tasks):
            pulled.append(i)
            yield task

    answers = executor.map(noted(), ahead=4)
    next(answers)
    assert len(pulled) <= 5
    answers.close()


def test_a_task_that_the_function_dies_of_costs_itself(executor, tasks):
    broken = {name: value for name, value in tasks[3].items() if name != "limits"}
    found = [from_answer(answer) for answer in executor.map([tasks[2], broken, tasks[4]])]
    assert [one.outcome for one in found] == [None, "damaged", None]
    assert found[1].reason.startswith("03.png: its decoder failed (")


def test_of_no_tasks_there_are_no_answers(executor):
    assert list(executor.map([])) == []
