"""Do several things at once, in processes of their own, where that pays.

A process is a new Python with one BLAS thread, which is told through a pipe what to call. It is no fork: a process
with threads cannot be forked safely. And it is not `multiprocessing`, whose processes run the caller's main module
again unless it is guarded, and need semaphores. Whatever becomes of the caller, its end of the pipe is closed, and
the process ends. What cannot be sent, such as a function that was made in a notebook, is called here.

Every call has the same arguments wherever it runs, so how many processes there are changes no number.
"""

from __future__ import annotations

import io
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np

from gradscope.checking.user_file import reduced
from gradscope.dynamics.chain import JacobianChain, linearise
from gradscope.errors import ResourceError

__all__ = ["Task", "finished", "serve"]

START = 0.8  # seconds until a process has loaded numpy and scipy and read what it is sent, about
WORTH = 0.8  # of the time without processes that it may take with them
LARGEST = 256 << 20  # bytes that are sent to a process; above, it would take memory that nobody asked for
BLAS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
PROGRAM = "from gradscope._workers import serve; serve()"


@dataclass(frozen=True)
class Task:
    """A call that another process can make.

    Attributes:
        name: told when it begins.
        function: of a module; it is also given `progress`, a function that takes a word.
        arguments: for it, by position.
        options: for it, by name.
        seconds: how long it takes, roughly.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    def run(self, tell: Callable[[str], None]) -> Any:
        """Make the call."""
        tell(self.name)
        return self.function(*self.arguments, **self.options, progress=tell)

    @property
    def size(self) -> int:
        """About how many bytes go over to another process."""
        return sum(_size(a) for a in (*self.arguments, *self.options.values()))


def finished(tasks: Sequence[Task], processes: int, tell: Callable[[str], None]) -> Iterator[tuple[int, Any]]:
    """Yield (number of the task, what it returned), as they are finished.

    Args:
        tasks: what is to be done.
        processes: how many at once, at most; 1: here, one after the other.
        tell: is given the words of all of them.

    Raises:
        Exception: what a task raises.
        ResourceError: a process was ended from outside.
    """
    abroad = [i for i, t in enumerate(tasks) if t.size <= LARGEST] if processes > 1 else []
    count = min(processes, len(abroad))
    if not _pays([tasks[i].seconds for i in abroad], count):
        abroad = []
    refused: list[int] = []
    if abroad:
        yield from _at_once(tasks, abroad, count, tell, refused)
    for i in sorted({*range(len(tasks))} - {*abroad} | {*refused}):
        yield i, tasks[i].run(tell)


def _pays(seconds: list[float], count: int) -> bool:
    if count < 2:
        return False
    alone = sum(seconds)
    return max(max(seconds), alone / count) + START < WORTH * alone


def _at_once(
    tasks: Sequence[Task], numbers: list[int], count: int, tell: Callable[[str], None], refused: list[int]
) -> Iterator[tuple[int, Any]]:
    """Yield what processes have done; `refused` gets what they cannot be asked for."""
    waiting = sorted(numbers, key=lambda i: -tasks[i].seconds)  # the longest first
    heard: queue.SimpleQueue[tuple[_Process, str, Any]] = queue.SimpleQueue()
    crew: list[_Process] = []
    doing: dict[_Process, int] = {}

    def give(process: _Process) -> None:
        while waiting:
            number = waiting.pop(0)
            try:
                process.ask(_packed(tasks[number]))
            except (pickle.PicklingError, AttributeError, TypeError):  # whichever pickle raises
                refused.append(number)
                continue
            doing[process] = number
            return
        process.dismiss()

    try:
        for _ in range(count):
            try:
                crew.append(_Process(heard))
            except OSError:  # no Python to start, or no room for one more process
                break
        if not crew:
            refused += waiting
            return
        for process in crew:
            give(process)
        while doing:
            process, kind, what = heard.get()
            if kind == "told":
                tell(what)
                continue
            if process not in doing:
                continue  # it was sent home
            number = doing.pop(process)
            if kind == "ended":
                raise ResourceError("a process of this run was ended from outside", "as a rule, memory ran out")
            if kind == "failed":
                raise what
            if kind == "refused":
                refused.append(number)
            give(process)
            if kind == "done":
                yield number, what
    finally:
        for process in crew:
            process.end()


class _Process:
    """Another Python, and the thread that listens to it."""

    def __init__(self, heard: queue.SimpleQueue[tuple[_Process, str, Any]]) -> None:
        if not sys.executable:
            raise OSError("there is no Python that could be started")
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)  # noqa: PTH109  as the interpreter has it
        environment = {**os.environ, **dict.fromkeys(BLAS, "1"), "PYTHONPATH": path}
        # a session of its own: Ctrl-C on a terminal is for the process that has the others
        apart: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            apart = {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            **apart,
        )
        self._thread = threading.Thread(target=self._listen, args=(heard,), daemon=True)
        self._thread.start()

    def _listen(self, heard: queue.SimpleQueue[tuple[_Process, str, Any]]) -> None:
        assert self._process.stdout is not None
        with suppress(OSError, ValueError, EOFError, pickle.UnpicklingError):
            while (frame := _read(self._process.stdout)) is not None:
                heard.put((self, *pickle.loads(frame)))
        heard.put((self, "ended", None))

    def ask(self, frame: bytes) -> None:
        """Send it a task."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, and the listener says so
            _write(self._process.stdin, frame)

    def dismiss(self) -> None:
        """Let it end by itself: there is no more to do."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def end(self) -> None:
        """End it, whatever it does, and leave nothing behind."""
        self._process.kill()
        self.dismiss()
        self._process.wait()
        self._thread.join()
        if self._process.stdout is not None:
            self._process.stdout.close()


def serve() -> None:
    """Do what comes in through standard input until that is closed; this is the program of such a process."""
    source, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    try:
        os.dup2(2, 1)  # what a cell prints is no answer
    except OSError:  # there is no standard error
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        with suppress(OSError):
            while (frame := _read(source)) is not None:
                asked.put(frame)
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # nobody wants to know any more

    def say(kind: str, what: Any = None) -> None:
        _write(answers, pickle.dumps((kind, what)))

    threading.Thread(target=listen, daemon=True).start()
    # line by line: such a process is ended, and never comes to a last flush
    printed = os.fdopen(1, "w", buffering=1, closefd=False, errors="backslashreplace")
    with redirect_stdout(printed):
        while True:
            _answer(asked.get(), say)


def _answer(frame: bytes, say: Callable[..., None]) -> None:
    try:
        task = pickle.loads(frame)
    except Exception:  # whatever a module raises that is imported for it
        say("refused")
        return
    try:
        say("done", task.run(lambda text: say("told", text)))
    except Exception as error:
        _fail(say, error)


def _fail(say: Callable[..., None], error: Exception) -> None:
    import traceback

    where = "".join(traceback.format_exception(error))
    error.add_note(f"In a process of its own:\n{where}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception may do anything when it is made again
        error = RuntimeError(where)
    say("failed", error)


class _Pickler(pickle.Pickler):
    """Sends chains as what they were made from, and what a user's file defines as the name of the file."""

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, JacobianChain):
            return reduced(obj)
        if obj.trajectory is not None:
            # with what the run kept: computed again, it may differ in the last digit
            return linearise, (obj.trajectory.between(0, obj.trajectory.batch),)
        return JacobianChain.from_arrays, (np.stack([getattr(J, "matrix") for _, J in obj.forward()]),)  # noqa: B009


def _packed(task: Task) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(task)
    return buffer.getvalue()


def _size(value: Any) -> int:
    if isinstance(value, JacobianChain):
        if value.trajectory is None:
            return int(value.steps * value.batch * value.size**2 * value.dtype.itemsize)
        run = value.trajectory
        return sum(_size(x) for x in (run.inputs, run.states, *run.kept))
    return int(getattr(value, "nbytes", 0))


def _write(stream: IO[bytes], frame: bytes) -> None:
    stream.write(len(frame).to_bytes(8, "little"))
    stream.write(frame)
    stream.flush()


def _read(stream: IO[bytes]) -> bytes | None:
    """Return what was written at the other end, or None where that is closed."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    frame = stream.read(size := int.from_bytes(head, "little"))
    return frame if len(frame) == size else None
