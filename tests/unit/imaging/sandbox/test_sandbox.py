"""The sandbox: whatever a task does to its process, every other task is answered, and nothing of it stays behind."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import held
from lookalike.errors import CollectionError
from lookalike.imaging.sandbox import worker_thread
from lookalike.imaging.sandbox.api import Sandbox
from lookalike.imaging.sandbox.pool import Pool
from paths import TESTS as TESTS_FOLDER

pytestmark = [
    pytest.mark.slow,  # processes
    pytest.mark.skipif(sys.platform == "win32", reason="the hostile codec does what only POSIX systems can"),
]
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
TESTS = str(TESTS_FOLDER)
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([TESTS, os.environ.get("PYTHONPATH", "")])}


@pytest.fixture(autouse=True)
def _codec_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(TESTS)


def hostile(**options):
    options.setdefault("workers", 2)
    return Sandbox("hostile_codec:act", **options)


def echo(value, **more):
    return {"do": "echo", "value": value, **more}


def check_echo(answer, value):
    assert "outcome" not in answer.facts, answer.facts
    assert (answer.facts["value"], answer.facts["ended"], answer.blobs) == (value, True, [str(value).encode()])


def is_running(pid):
    """Tell whether a process lives; a zombie whose parent is gone doesn't."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):  # ended meanwhile, or a system without /proc
        return not Path("/proc/self/stat").exists()
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_for_end(pid):
    for _ in range(500):
        if not is_running(pid):
            return True
        time.sleep(0.02)
    return False


# Good work ------------------------------------------------------------------------------------------------------------


def test_answers_come_in_the_order_of_the_tasks_whatever_each_takes():
    rng = random.Random(4)
    tasks = [echo(i, seconds=rng.choice([0, 0, 0, 0.02])) for i in range(150)]
    with hostile(workers=3) as sandbox:
        answers = list(sandbox.map(tasks))
    for i, answer in enumerate(answers):
        check_echo(answer, i)
    assert len(answers) == 150
    assert len({answer.facts["pid"] for answer in answers}) == 3


def test_the_function_is_imported_by_workers_only():
    with hostile() as sandbox:
        (answer,) = sandbox.map([echo(1)])
    assert answer.facts["pid"] != os.getpid()
    assert "hostile_codec" not in sys.modules


def test_one_task_starts_one_worker():
    with hostile(workers=8) as sandbox:
        pids = {next(sandbox.map([echo(i)])).facts["pid"] for i in range(5)}
    assert len(pids) == 1


def test_no_tasks_start_no_worker():
    with Sandbox("no.such.module:function") as sandbox:
        assert list(sandbox.map([])) == []


def test_names_that_are_no_utf_8_arrive_as_they_are():
    name = os.fsdecode(b"caf\xe9\n\xff.jpg")
    with hostile() as sandbox:
        (answer,) = sandbox.map([{"do": "echo", "value": [name]}])
    assert answer.facts["value"] == [name]


def test_large_and_many_blobs_arrive_whole():
    sizes = [0, 1, 2**18, 2**18 + 1, 30_000_000, 5] + [3] * 2000
    with hostile() as sandbox:
        answers = list(sandbox.map([{"do": "blobs", "sizes": sizes[:256]}, {"do": "blobs", "sizes": [7] * 200}] * 2))
    for answer, expected in zip(answers, [sizes[:256], [7] * 200] * 2, strict=True):
        assert answer.blobs == [bytes([i]) * size for i, size in enumerate(expected)]


def test_a_large_task_arrives_whole():
    value = "x" * 3_000_000
    with hostile() as sandbox:
        for answer in sandbox.map([echo(value)] * 3):
            check_echo(answer, value)


def test_tasks_are_pulled_as_they_are_needed():
    pulled = []

    def tasks():
        for i in range(100):
            pulled.append(i)
            yield echo(i)

    with hostile() as sandbox:
        for i, answer in enumerate(sandbox.map(tasks(), ahead=10)):
            check_echo(answer, i)
            assert len(pulled) <= i + 10
    assert len(pulled) == 100


def test_an_answer_is_given_while_the_next_tasks_are_still_to_come():
    pulled = []

    def tasks():
        for i in range(1000):
            pulled.append(i)
            yield echo(i)
            time.sleep(0.05)

    with hostile() as sandbox:
        check_echo(next(sandbox.map(tasks(), ahead=1000)), 0)
    assert len(pulled) < 1000


def test_a_mistake_while_tasks_are_made_reaches_the_caller():
    def tasks():
        yield echo(0)
        raise ZeroDivisionError

    with hostile() as sandbox, pytest.raises(ZeroDivisionError):
        list(sandbox.map(tasks()))


# Hostile work ---------------------------------------------------------------------------------------------------------

CRASHES = [
    ("abort", "signal SIGABRT"),
    ("segfault", "signal SIGSEGV"),
    ("exit_3", "exit code 3"),
    ("leave", "exit code 4"),
]


def among_good_ones(task, **options):
    """Run a task in the midst of good ones; return its answer when all others are found to be right."""
    tasks = [echo(i) for i in range(20)]
    tasks[7] = {"where": "some/cat.jpg", **task}
    with hostile(**options) as sandbox:
        answers = list(sandbox.map(tasks))
    assert len(answers) == 20
    for i, answer in enumerate(answers):
        if i != 7:
            check_echo(answer, i)
    return answers[7]


@pytest.mark.parametrize(("do", "cause"), CRASHES)
def test_a_crash_costs_one_task_and_keeps_what_was_known(do, cause):
    facts = among_good_ones({"do": do}).facts
    assert (facts["outcome"], facts["stage"]) == ("crashed", "decode")
    assert facts["reason"] == f"some/cat.jpg: its decoder crashed ({cause}); left out"
    assert facts["hash"]


def test_what_a_crashed_task_had_yielded_is_kept_once():
    assert among_good_ones({"do": "abort"}).blobs == [b"first"]


@pytest.mark.parametrize(
    "do", ["sleep_for_ever", "sleep_in_c_with_the_gil", "sleep_deaf_to_signals", "spin_for_ever", "talk_for_ever"]
)
def test_a_task_that_never_ends_is_timed_out(do):
    facts = among_good_ones({"do": do}, seconds=0.7).facts
    assert facts["outcome"] == "timed out"
    assert facts["stage"] == ("decode" if do in ("sleep_in_c_with_the_gil", "talk_for_ever") else "read")
    assert facts["reason"] == "some/cat.jpg: timed out after 0.7 s; allow more with --seconds"


@pytest.mark.parametrize("do", ["allocate_100_gb", "grow_slowly"])
def test_a_task_that_wants_too_much_memory_is_out_of_memory(do):
    facts = among_good_ones({"do": do}, memory=200 * 2**20).facts
    assert (facts["outcome"], facts["stage"]) == ("out of memory", "read")
    assert facts["reason"] == "some/cat.jpg: needed over 200 MB of memory; allow more with --memory"


@ON_LINUX
def test_a_task_that_lifts_its_memory_limit_is_killed():
    if os.geteuid() != 0:
        pytest.skip("only root can lift a limit")
    facts = among_good_ones({"do": "grow_without_a_limit"}, memory=100 * 2**20).facts
    assert facts["outcome"] == "out of memory"
    assert facts["reason"] == "some/cat.jpg: killed: over 100 MB; allow more with --memory"


def test_what_is_raised_is_told_in_one_line():
    facts = among_good_ones({"do": "fail"}).facts
    assert (facts["outcome"], facts["stage"], facts["hash"]) == ("damaged", "decode", "fa1")
    assert facts["reason"] == r"some/cat.jpg: its decoder failed (KeyError: 'not what\nwas expected'); left out"


def test_facts_that_cannot_be_sent_are_no_crash():
    facts = among_good_ones({"do": "yield_what_json_cannot_hold"}).facts
    assert facts["outcome"] == "damaged"
    assert "TypeError" in facts["reason"]


def test_a_reason_without_a_place_begins_with_what_happened():
    with hostile() as sandbox:
        (answer,) = sandbox.map([{"do": "abort"}])
    assert answer.facts["reason"] == "its decoder crashed (signal SIGABRT); left out"


@pytest.mark.parametrize("do", ["print_much", "flood_stderr"])
def test_what_a_codec_prints_goes_nowhere(do):
    assert "outcome" not in among_good_ones({"do": do}).facts


def test_a_codec_that_closes_all_files_costs_its_own():
    assert among_good_ones({"do": "close_files"}, seconds=5).facts["outcome"] == "crashed"


def message(header):
    return len(header).to_bytes(4, "big") + header


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 100,  # a header of four thousand million bytes
        message(b""),
        message(b"nuts!"),
        message(b"[]"),
        message(b"[" * 100_000),
        message(b"1" * 10_000),
        message(b'["facts", 5, []]'),
        message(b'["facts", {}, [-1]]'),
        message(b'["facts", {}, [1.5]]'),
        message(b'["facts", {}, [true]]'),
        message(b'["facts", {}, [99999999999999]]'),
        message(b'["bogus", {}, []]'),
        message(b'["ready", {}, []]'),
    ],
    ids=range(13),
)
def test_a_codec_that_writes_nonsense_costs_its_own(data):
    facts = among_good_ones({"do": "write_nonsense", "hex": data.hex()}, seconds=15).facts
    assert facts["outcome"] == "crashed"
    assert "its answer" in facts["reason"]


def test_half_a_message_is_waited_for_and_no_longer():
    facts = among_good_ones({"do": "write_nonsense", "hex": message(b"nuts!")[:6].hex()}, seconds=0.7).facts
    assert facts["outcome"] == "timed out"


def test_a_codec_that_only_says_that_it_ends_is_not_tried_for_ever():
    data = message(b'["retired", {}, []]') + message(b"nuts!")
    assert among_good_ones({"do": "write_nonsense", "hex": data.hex()}, seconds=15).facts["outcome"] == "crashed"


def test_an_answer_that_is_too_large_is_not_kept(monkeypatch):
    monkeypatch.setattr(worker_thread, "_MAX_ANSWER", 2**20)
    facts = among_good_ones({"do": "blobs", "sizes": [2**19, 2**19]}).facts
    assert facts["outcome"] == "crashed"
    assert "its answer is over 1 MB" in facts["reason"]


def test_a_codec_that_talks_for_ever_without_a_time_limit_is_stopped_by_the_size(monkeypatch):
    monkeypatch.setattr(worker_thread, "_MAX_ANSWER", 1000)
    assert among_good_ones({"do": "talk_for_ever"}).facts["outcome"] == "crashed"


@ON_LINUX
def test_what_a_codec_has_started_ends_with_it():
    facts = among_good_ones({"do": "leave_a_child_behind"}, seconds=30).facts
    assert facts["outcome"] == "crashed"
    assert wait_for_end(facts["child"])


def test_a_task_does_not_pay_for_what_an_earlier_one_broke():
    tasks = [{"do": "crash_later"}, echo(1, seconds=1), echo(2)]
    with hostile(workers=1) as sandbox:
        first, second, third = sandbox.map(tasks)
    assert "outcome" not in first.facts
    check_echo(second, 1)
    check_echo(third, 2)
    assert second.facts["pid"] != first.facts["pid"]


def test_nothing_but_hostile_tasks_is_answered_too():
    names = ["abort", "exit_3", "fail", "segfault"]
    with hostile() as sandbox:
        answers = list(sandbox.map({"do": name} for name in names * 4))
    assert [answer.facts["outcome"] for answer in answers] == ["crashed", "crashed", "damaged", "crashed"] * 4


@ON_LINUX
def test_a_worker_that_has_grown_is_replaced_and_no_task_pays():
    with hostile(workers=1, memory=100 * 2**20) as sandbox:
        answers = list(sandbox.map([{"do": "leak", "bytes": 45 * 2**20}] * 6))
    assert [answer.facts.get("outcome") for answer in answers] == [None] * 6
    assert len({answer.facts["pid"] for answer in answers}) == 3


@ON_LINUX
def test_fifty_deaths_leave_no_file_open_and_no_process_behind():
    with hostile() as sandbox:
        list(sandbox.map([echo(0)] * 4))  # whatever is opened once is open now
    files, processes = held.files(), held.children()
    with hostile() as sandbox:
        answers = list(sandbox.map([{"do": "exit_3"}] * 50))
    assert {answer.facts["outcome"] for answer in answers} == {"crashed"}
    assert held.files() == files
    assert held.children() <= processes  # a child of an earlier test may have ended


# Whoever asks ---------------------------------------------------------------------------------------------------------


def test_a_worker_is_not_judged_while_nobody_listens(monkeypatch):
    monkeypatch.setattr(Pool, "max_held", 1000)
    size = 3 * 2**20  # more than a pipe holds, so that workers wait for us
    with hostile(seconds=0.5) as sandbox:
        answers = sandbox.map([{"do": "blobs", "sizes": [size]}] * 12)
        found = [next(answers)]
        time.sleep(1.5)
        found += answers
    assert [len(answer.blobs[0]) for answer in found] == [size] * 12


def test_answers_that_nobody_takes_are_not_piled_up(monkeypatch):
    monkeypatch.setattr(Pool, "max_held", 10 * 2**20)
    with hostile() as sandbox:
        answers = sandbox.map([{"do": "blobs", "sizes": [2**20]}] * 200)
        for _ in range(20):
            next(answers)
            time.sleep(0.02)
            assert sandbox._pool.held <= 14 * 2**20
        assert len(list(answers)) == 180


def test_a_sandbox_closes_while_its_workers_hang_and_can_be_used_again():
    sandbox = hostile(seconds=1000)
    answers = sandbox.map([{"do": "sleep_in_c_with_the_gil"} if i else echo(0) for i in range(10)])
    pid = next(answers).facts["pid"]
    sandbox.close()
    assert wait_for_end(pid)
    with pytest.raises(RuntimeError, match="closed"):
        next(answers)
    check_echo(next(sandbox.map([echo(1)])), 1)
    sandbox.close()
    sandbox.close()


def test_a_map_that_is_left_midway_leaves_the_sandbox_usable():
    with hostile() as sandbox:
        for _ in range(5):
            for i, answer in enumerate(sandbox.map(echo(i, seconds=0.01) for i in range(1000))):
                check_echo(answer, i)
                if i == 3:
                    break
        assert [a.facts["value"] for a in sandbox.map([echo("x"), echo("y")])] == ["x", "y"]
        assert sandbox._pool.held == 0


def test_ctrl_c_is_heard_while_an_answer_is_waited_for_and_not_by_workers():
    program = """
import os, signal, threading
from lookalike.imaging.sandbox.api import Sandbox
with Sandbox("hostile_codec:act", workers=1, seconds=1000) as sandbox:
    first = next(sandbox.map([{"do": "echo"}])).facts["pid"]
    threading.Timer(0.5, os.killpg, (os.getpgid(0), signal.SIGINT)).start()
    try:
        list(sandbox.map([{"do": "echo", "seconds": 2}]))
    except KeyboardInterrupt:
        print("heard")
    print(next(sandbox.map([{"do": "echo"}])).facts["pid"] == first)
"""
    done = run(program)
    assert done.stdout.split() == ["heard", "True"]


def run(program, **options):
    return subprocess.run(
        [sys.executable, "-c", program],
        env=ENVIRONMENT,
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        **options,
    )


@pytest.mark.parametrize("do", ["sleep_after_the_hash", "sleep_in_c_with_the_gil"])
def test_workers_end_with_a_process_that_is_killed(do):
    if sys.platform != "linux" and do == "sleep_in_c_with_the_gil":
        pytest.skip("only the alarm, after 65 s, ends it here")
    program = f"""
from lookalike.imaging.sandbox.api import Sandbox
sandbox = Sandbox("hostile_codec:act", workers=1, seconds=20)
tasks = iter([{{"do": "echo"}}, {{"do": "{do}"}}])
answers = sandbox.map(tasks)
print(next(answers).facts["pid"], flush=True)
next(answers)
"""
    with subprocess.Popen([sys.executable, "-c", program], env=ENVIRONMENT, stdout=subprocess.PIPE) as parent:
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        assert is_running(pid)
        parent.kill()
    assert wait_for_end(pid)


def test_a_sandbox_that_was_not_closed_keeps_no_program_from_ending():
    program = """
from lookalike.imaging.sandbox.api import Sandbox
sandbox = Sandbox("hostile_codec:act", workers=1)
print(next(sandbox.map([{"do": "echo"}])).facts["pid"])
"""
    assert wait_for_end(int(run(program).stdout))


def test_a_worker_that_nobody_can_kill_any_more_kills_itself():
    seconds = -1.6  # three times this and five more is a fifth of a second
    program = (
        "import sys; sys.path[:0] = [sys.argv[1]]; from lookalike.imaging.sandbox.worker import serve; "
        "import os; serve('hostile_codec:act', float(sys.argv[2]), 2**30, os.getppid())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, TESTS, str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        worker.stdin.write(json.dumps({"do": "sleep_in_c_with_the_gil"}).encode() + b"\n")
        worker.stdin.flush()
        assert worker.wait(30) == -signal.SIGALRM


# What can't be started ------------------------------------------------------------------------------------------------


def refused(function):
    with Sandbox(function, workers=3) as sandbox, pytest.raises(CollectionError) as caught:
        list(sandbox.map([{}] * 20))
    return str(caught.value)


def test_a_function_that_is_not_there_is_refused_in_words():
    assert refused("hostile_codec:no_such") == (
        "hostile_codec:no_such: a worker can't import it: AttributeError: "
        "module 'hostile_codec' has no attribute 'no_such'"
    )
    assert "ModuleNotFoundError: No module named 'no_such_module'" in refused("no_such_module:read")


def test_a_worker_that_dies_at_the_start_is_not_started_for_ever(tmp_path, monkeypatch):
    (tmp_path / "dies_at_import.py").write_text(
        f"import os\nopen({str(tmp_path / 'starts')!r}, 'a').write('x')\nos._exit(7)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    message = refused("dies_at_import:read")
    assert "dies_at_import:read: its worker process ended while it started (exit code 7)" in message
    assert len((tmp_path / "starts").read_text()) <= 3


@pytest.mark.parametrize(("kills", "read"), [(2, True), (99, False)])
def test_a_worker_that_is_killed_while_it_starts_is_started_again(tmp_path, monkeypatch, kills, read):
    (tmp_path / "killed_at_import.py").write_text(
        f"import os, signal\nfile = {str(tmp_path / 'starts')!r}\nopen(file, 'a').write('x')\n"
        f"if os.path.getsize(file) <= {kills}:\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "def read(task):\n    yield {'seen': task['n']}, []\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with Sandbox("killed_at_import:read", workers=1) as sandbox:
        if read:
            assert [answer.facts["seen"] for answer in sandbox.map({"n": n} for n in range(3))] == [0, 1, 2]
        else:
            with pytest.raises(CollectionError, match=r"ended while it started \(signal SIGKILL"):
                list(sandbox.map([{"n": 0}]))
    assert len((tmp_path / "starts").read_text()) == 3


def test_a_python_that_prints_when_it_starts_is_refused_in_words(tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("print('welcome to this python', flush=True)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "prints while it starts" in refused("hostile_codec:act")


def test_no_python_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert "no worker process can be started: No such file or directory" in refused("hostile_codec:act")


def test_a_sandbox_that_failed_can_be_used_again(monkeypatch):
    with hostile() as sandbox:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", "/no/such/python")
            with pytest.raises(CollectionError):
                list(sandbox.map([echo(0)]))
        check_echo(next(sandbox.map([echo(1)])), 1)
