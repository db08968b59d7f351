"""Run the command: in this process where only words and codes matter, as a process of its own where the system does."""

import os
import pickle
import signal
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from gradscope.cli.app import main

EXECUTABLE = Path(sys.executable).with_name("gradscope")
QUICK = ("--hidden", "8", "--steps", "20", "--lags", "4")


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsysbinary, monkeypatch):
    """Call the command in this process; what it changes of the process is put back."""
    monkeypatch.delenv("GRADSCOPE_NO_PLUGINS", raising=False)
    environment, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)

    def call(*arguments):
        capsysbinary.readouterr()
        with warnings.catch_warnings(), pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        out, err = capsysbinary.readouterr()
        return Done(stop.value.code, out.decode("utf-8"), err.decode("utf-8"))

    yield call
    signal.signal(signal.SIGTERM, handler)
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture
def refused(run):
    """Run, and expect an exit code, nothing on standard output, and words on standard error."""

    def call(code, words, *arguments):
        done = run(*arguments)
        assert (done.code, done.out) == (code, ""), done
        assert done.err.startswith("error: "), done.err
        assert "Traceback" not in done.err
        for word in words if isinstance(words, list) else [words]:
            assert word in done.err, done.err
        return done.err

    return call


@pytest.fixture
def quick():
    return QUICK


@pytest.fixture
def process():
    """Start the real executable; environment variables may be given, None leaves one out."""

    def start(*arguments, env=None, command=(EXECUTABLE,), **options):
        base = {
            k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTHONUNBUFFERED")
        }
        base = {**base, "OPENBLAS_NUM_THREADS": "1", **(env or {})}
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        line = [str(c) for c in (*command, *arguments)]
        return subprocess.Popen(line, env={k: v for k, v in base.items() if v is not None}, **options)

    return start


@pytest.fixture
def finished(process):
    """Run the real executable to its end."""

    def call(*arguments, **options):
        started = process(*arguments, **options)
        out, err = started.communicate(timeout=60)
        return Done(
            started.returncode, (out or b"").decode("utf-8", "replace"), (err or b"").decode("utf-8", "replace")
        )

    return call


@pytest.fixture
def checkpoint(tmp_path):
    """Write weights of a GRU, PyTorch's names, as .npz; return its path."""

    def write(name="model.npz", prefix="rnn", gates=3, inputs=3, hidden=8, scale=0.3, **more):
        rng = np.random.default_rng(0)
        arrays = {
            f"{prefix}.weight_ih_l0": scale * rng.standard_normal((gates * hidden, inputs)),
            f"{prefix}.weight_hh_l0": scale * rng.standard_normal((gates * hidden, hidden)),
            f"{prefix}.bias_ih_l0": np.zeros(gates * hidden),
            f"{prefix}.bias_hh_l0": np.zeros(gates * hidden),
        }
        path = tmp_path / name
        np.savez(path, **{**arrays, **more})
        return path

    return write


class Evil:
    """Unpickling it would make a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.fixture
def evil(tmp_path):
    """Write a pickle that would run a command, alone or inside a zip; return its path and what it would make."""

    def write(zipped):
        path, mark = tmp_path / "evil.pt", tmp_path / "it-ran"
        data = pickle.dumps(Evil(mark))
        if zipped:
            with zipfile.ZipFile(path, "w") as z:
                z.writestr("archive/data.pkl", data)
                z.writestr("archive/version", "3\n")
        else:
            path.write_bytes(data)
        return path, mark

    return write
