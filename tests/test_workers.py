"""Processes: the same answers as without, errors that reach the caller, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import gradscope
from gradscope import JacobianChain, create, lyapunov
from gradscope._workers import LARGEST, Task, finished
from gradscope.dynamics.budget import Plan
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.drive import drive
from gradscope.dynamics.trajectory import run
from gradscope.errors import InputError, Interrupted, ResourceError

LONG = 100.0  # what a task says that it takes, so that processes pay


def where(value, *, progress):
    progress(f"seen {value}")
    return value, os.getpid(), os.environ.get("OPENBLAS_NUM_THREADS")


def refuse(value, *, progress):
    raise InputError(f"{value} is not for us", "take another")


def fail(value, *, progress):
    return 1 / value


def vanish(*, progress):
    os.kill(os.getpid(), signal.SIGKILL)


def chatter(*, progress):
    print("words that are no answer")
    return "answer"


def forward(chain, *, progress):
    return np.array(
        [J.column(b).dense().reshape(chain.size, -1) for _, J in chain.forward() for b in range(chain.batch)]
    )


def waits(value, *, progress):
    progress("waiting")
    while True:
        time.sleep(3600)


def running():
    """Return the processes of this kind that this one has started."""
    mine = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status, line = (path / "stat").read_text(), (path / "cmdline").read_bytes()
        except OSError:
            continue
        parent, state = int(status.rpartition(")")[2].split()[1]), status.rpartition(")")[2].split()[0]
        if parent == os.getpid() and b"gradscope._workers" in line and state != "Z":
            mine.append(path)
    return mine


def task(function, *arguments, seconds=LONG):
    return Task(function.__name__, function, arguments, seconds=seconds)


def test_each_task_is_done_elsewhere_and_told():
    told = []
    found = dict(finished([task(where, i) for i in range(5)], 2, told.append))
    assert {i: value for i, (value, *_) in found.items()} == {i: i for i in range(5)}
    places = {pid for _, pid, _ in found.values()}
    assert os.getpid() not in places
    assert 1 <= len(places) <= 2
    assert {threads for *_, threads in found.values()} == {"1"}
    assert sorted(told) == sorted(["where"] * 5 + [f"seen {i}" for i in range(5)])
    assert running() == []


@pytest.mark.parametrize(("processes", "seconds"), [(1, LONG), (2, 0.1)])
def test_not_where_it_does_not_pay(processes, seconds):
    tasks = [task(where, i, seconds=seconds) for i in range(3)]
    found = list(finished(tasks, processes, lambda _: None))
    assert [(i, value, pid) for i, (value, pid, _) in found] == [(i, i, os.getpid()) for i in range(3)]


def test_one_task_gains_nothing():
    assert dict(finished([task(where, 7)], 4, lambda _: None))[0][1] == os.getpid()


def test_what_cannot_be_sent_is_done_here():
    def inner(value, *, progress):
        return value, os.getpid()

    found = dict(finished([task(inner, 1), task(where, 2), task(where, 3)], 2, lambda _: None))
    assert found[0] == (1, os.getpid())
    assert os.getpid() not in {found[1][1], found[2][1]}


def test_what_is_too_large_is_done_here():
    big = np.broadcast_to(np.zeros(1), LARGEST)  # no memory, and many bytes to send
    assert big.nbytes > LARGEST
    found = dict(finished([task(where, big), task(where, 2), task(where, 3)], 2, lambda _: None))
    assert found[0][1] == os.getpid() != found[1][1]


def test_what_the_other_side_does_not_know_is_done_here(monkeypatch):
    module = type(sys)("only_here")
    exec("def made(value, *, progress):\n    return value", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", module)
    assert dict(finished([task(module.made, 1), task(module.made, 2)], 2, lambda _: None)) == {0: 1, 1: 2}


def test_what_a_task_prints_is_no_answer():
    assert dict(finished([task(chatter), task(chatter)], 2, lambda _: None)) == {0: "answer", 1: "answer"}


def test_errors_reach_the_caller():
    with pytest.raises(InputError, match="7 is not for us") as error:
        list(finished([task(refuse, 7), task(waits, 0)], 2, lambda _: None))
    assert (error.value.hint, error.value.exit_code) == ("take another", 4)
    with pytest.raises(ZeroDivisionError) as error:
        list(finished([task(fail, 0), task(waits, 0)], 2, lambda _: None))
    assert "return 1 / value" in error.value.__notes__[0]
    assert running() == []


def test_a_process_that_is_ended():
    with pytest.raises(ResourceError, match="ended from outside"):
        list(finished([task(vanish), task(waits, 0)], 2, lambda _: None))
    assert running() == []


def test_who_stops_leaves_nothing():
    seen = []

    def interrupt(text):
        seen.append(text)
        if text == "waiting":
            raise Interrupted

    with pytest.raises(Interrupted):
        list(finished([task(waits, 0), task(waits, 1)], 2, interrupt))
    assert running() == []
    answers = finished([task(where, 0), task(waits, 1), task(waits, 2)], 3, lambda _: None)
    assert next(answers)[0] == 0
    answers.close()  # nobody wants the rest
    assert running() == []


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_no_orphans(sent):
    """Whatever ends the caller, its processes end too: the pipe that they listen to is closed."""
    program = (
        "import test_workers as t\n"
        "def tell(text):\n"
        "    if text == 'waiting':\n"
        "        print(*(p.name for p in t.running()), flush=True)\n"
        "list(t.finished([t.task(t.waits, i) for i in range(2)], 2, tell))\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    started = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    names = started.stdout.readline().split()
    names = started.stdout.readline().split()
    assert len(names) == 2
    started.send_signal(sent)
    started.communicate(timeout=30)
    deadline = time.monotonic() + 30
    while any(alive(name.decode()) for name in names):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def alive(name):
    try:
        return b"gradscope._workers" in (Path("/proc") / name / "cmdline").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("own", [False, True])
def test_a_chain_arrives_as_it_was_sent(own):
    cell = create("lstm", hidden_size=5, input_size=3)
    chain = linearise(run(cell, drive("noise", 3, 12, 3)))
    if own:
        chain = JacobianChain.from_arrays(forward(chain, progress=None).reshape(12, 3, 10, 10).astype(np.float32))
    here = forward(chain, progress=None)
    there = dict(finished([task(forward, chain), task(forward, chain)], 2, lambda _: None))
    assert here.tobytes() == there[0].tobytes() == there[1].tobytes()


@pytest.fixture
def always(monkeypatch):
    """Let processes pay always."""
    monkeypatch.setattr("gradscope._workers._pays", lambda seconds, count: count > 1)


def test_exponents_are_the_same_bytes(always):
    chain = linearise(run(create("gru", hidden_size=70, input_size=3), drive("noise", 4, 60, 3)))
    one, two, four = (lyapunov(chain, seed=3, threads=t) for t in (1, 2, 4))
    for name in ("exponents", "standard_errors", "by_sequence", "running", "doubt", "beginning"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes() == getattr(four, name).tobytes()


@pytest.mark.parametrize(("name", "more"), [("gru", {}), ("lstm", {"remedies": True})])
def test_an_analysis_is_the_same_bytes(always, name, more):
    cell = create(name, hidden_size=12, input_size=3)
    results = [gradscope.analyze(cell, steps=60, spectrum=24, threads=t, **more).to_dict() for t in (1, 3)]
    assert not more or len(results[0]["remedies"]) > 2
    for document in results:
        del document["run"]
    assert results[0] == results[1]


def test_a_function_of_ones_own(always):
    """A closure cannot be sent, and is measured all the same."""
    W = np.eye(3) * 0.5
    cell = gradscope.from_step(lambda x, s: np.tanh(s @ W + x), state_size=3, input_size=3)
    one, two = (gradscope.analyze(cell, steps=20, threads=t).metrics for t in (1, 2))
    assert one == two


def test_only_as_many_as_fit_into_memory():
    """Each process holds a copy of all but the weights; together with the run they stay within the limit."""
    plan = Plan(state=256, inputs=8, weights=200_000, steps=10_000, batch=4)
    each = plan.total - plan.parts["weights"]
    for wanted in (2, 5):
        for fit in (0, 1, 2, 3, 9):
            got = plan.processes(wanted, plan.total + fit * each + 1)
            assert got == max(1, min(wanted, fit))
            assert got == 1 or plan.total + got * each <= plan.total + fit * each + 1
