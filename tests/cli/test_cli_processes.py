"""The command as a process: signals, pipes, closed and full outputs, terminals, environments."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gradscope import __version__

GRU = ("analyze", "--cell", "gru", "--hidden", "8", "--steps", "20", "--lags", "4")
LONG = ("analyze", "--cell", "lstm", "--steps", "100000", "--progress", "plain")
EXECUTABLE = Path(sys.executable).with_name("gradscope")
FULL = Path("/dev/full")


@pytest.fixture
def shell(finished):
    """Run one line of bash, in which "$@" is the command."""

    def call(script, *arguments, **options):
        return finished(*arguments, command=("bash", "-c", script, "bash", EXECUTABLE), **options)

    return call


@pytest.mark.parametrize(
    ("sent", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_signals(process, tmp_path, sent, code, word):
    started = process(*LONG, "-o", tmp_path / "r.png")
    first = started.stderr.readline()
    assert b"..." in first
    assert [p.suffix for p in tmp_path.iterdir()] == [".part"]
    time.sleep(0.2)
    started.send_signal(sent)
    out, err = started.communicate(timeout=20)
    assert (started.returncode, out) == (code, b"")
    assert err.decode().splitlines()[-1] == word
    assert b"Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_interrupted_while_drawing(process, tmp_path):
    started = process(*GRU, "--progress", "plain", "-o", tmp_path / "r.png")
    while b"writing" not in started.stderr.readline():
        pass
    time.sleep(0.3)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=20)
    assert started.returncode in (0, 130)  # 0 where the picture was quicker
    assert b"Traceback" not in err
    assert not [p for p in tmp_path.iterdir() if p.suffix == ".part"]


@pytest.mark.parametrize("arguments", [GRU, (*GRU, "--json"), ("--help",), ("schema",)])
def test_pipe_to_head(shell, arguments):
    done = shell('"$@" | head -1; exit ${PIPESTATUS[0]}', *arguments)
    assert done.code in (0, 141)
    assert done.err == ""


def test_pipe_without_a_reader(process):
    read, write = os.pipe()
    os.close(read)
    started = process(*GRU, "--json", stdout=write)
    os.close(write)
    _, err = started.communicate(timeout=20)
    assert (started.returncode, err) == (141, b"")


@pytest.mark.parametrize("arguments", [GRU, ("--help",)])
def test_closed_standard_output(shell, arguments):
    done = shell('"$@" >&-', *arguments)
    assert done.code == 4
    assert done.err.startswith("error: standard output is closed")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")
@pytest.mark.parametrize("arguments", [GRU, ("--help",), ("--version",)])
def test_full_standard_output(shell, arguments):
    done = shell('"$@" >/dev/full', *arguments)
    assert done.code == 5
    assert "No space left on device" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("target", ["&-", "/dev/full"])
def test_standard_error_that_takes_nothing(shell, tmp_path, target):
    assert shell(f'"$@" 2>{target}', *GRU, "-o", tmp_path / "r.json").code == 0
    assert json.loads((tmp_path / "r.json").read_text())["kind"] == "analysis"
    assert shell(f'"$@" 2>{target}', "analyze", "--cell", "grru").code == 2
    assert shell(f'"$@" 2>{target}', "analyze", "no.pt", "--debug").code == 4


def test_closed_standard_input(shell):
    assert shell('"$@" <&-', *GRU).code == 0
    done = shell('"$@" <&-', "analyze", "-")
    assert done.code == 2
    assert "standard input is closed" in done.err


@pytest.mark.parametrize("arguments", [("analyze", "-"), ("report", "-")])
def test_standard_input_is_a_terminal(finished, arguments):
    leader, follower = pty.openpty()
    done = finished(*arguments, stdin=follower)
    os.close(follower)
    os.close(leader)
    assert (done.code, done.out) == (2, "")
    assert "standard input is a terminal" in done.err


def on_terminal(*arguments, env=None, stdout=None):
    """Return what is shown on a terminal, standard error included, and the exit code; `stdout`: a file instead."""
    leader, follower = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "TERM": "xterm", **(env or {})}
    started = subprocess.Popen(
        [EXECUTABLE, *arguments], stdin=follower, stdout=stdout or follower, stderr=follower, env=environment
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            block = os.read(leader, 65536)
        except OSError:
            break
        if not block:
            break
        shown += block
    os.close(leader)
    return shown.decode("utf-8", "replace"), started.wait(20)


@pytest.mark.parametrize(
    ("env", "colored"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False)],
)
def test_colour_on_a_terminal(env, colored):
    shown, code = on_terminal(*GRU, "--progress", "none", env=env)
    assert code == 0
    assert ("\x1b[" in shown) == colored
    assert "VANISHING" in shown


def test_standard_output_is_a_file_while_progress_is_shown(tmp_path):
    """The progress line takes hold of both streams: a plan and a result go to the file all the same."""
    path = tmp_path / "mine.py"
    path.write_text("print('words of the file')\ndef step(x, s):\n    print('words of a step')\n    return s / 2\n")
    options = ("analyze", "--cell", path, "--hidden", "2", "--steps", "9", "--progress", "auto", "--color", "never")
    for more, begin in ((("--dry-run",), "step of mine.py"), (("--json",), "{")):
        with (tmp_path / "out").open("wb") as f:
            shown, code = on_terminal(*options, *more, stdout=f)
        found = (tmp_path / "out").read_text()
        assert code == 0
        assert found.startswith(begin)
        assert "words of" not in found
        assert "words of the file" in shown
        assert "words of a step" in shown
        assert begin not in shown


@pytest.mark.parametrize("columns", ["20", "80"])
def test_width_of_a_terminal(columns):
    shown, code = on_terminal(*GRU, "--progress", "none", "--color", "never", env={"COLUMNS": columns})
    assert code == 0
    assert "VANISHING" in shown


def test_binary_to_a_terminal():
    shown, code = on_terminal(*GRU, "--format", "png")
    assert code == 2
    assert "png is binary" in shown
    assert "-o FILE.png" in shown


@pytest.mark.parametrize(("option", "env"), [((), {"FORCE_COLOR": "1"}), (("--color", "always"), {"NO_COLOR": "1"})])
def test_colour_without_a_terminal(finished, option, env):
    assert "\x1b[" in finished(*GRU, *option, env=env).out
    assert "\x1b[" not in finished(*GRU).out


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "ascii"},
        {"TERM": "dumb", "COLUMNS": "20"},
    ],
    ids=lambda e: ",".join(f"{k}={v}" for k, v in e.items()),
)
def test_environments(finished, env):
    done = finished(*GRU, env=env)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("VANISHING")


@pytest.mark.parametrize("env", [{"HOME": None}, {"HOME": "/proc/none"}])
def test_no_place_for_what_matplotlib_keeps(finished, tmp_path, env):
    done = finished(*GRU, "-o", tmp_path / "r.png", env=env)
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")


def test_json_is_utf8_in_every_environment(finished, tmp_path, checkpoint):
    path = checkpoint().rename(tmp_path / "Rücken.npz")
    done = finished("analyze", path, "--steps", "20", "--lags", "4", "--json", env={"PYTHONIOENCODING": "ascii"})
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["model"]["path"] == "Rücken.npz"


@pytest.mark.parametrize("env", [{"TERM": "dumb", "COLUMNS": "20"}, {"PYTHONIOENCODING": "ascii"}])
def test_help_in_every_environment(finished, env):
    done = finished("analyze", "--help", env=env)
    assert (done.code, done.err) == (0, "")


def test_as_a_module(finished):
    done = finished("--version", command=(sys.executable, "-m", "gradscope"))
    assert done == (0, f"gradscope {__version__}\n", "")


def test_strict_json_through_a_pipe(shell):
    check = f'"{sys.executable}" -c "import json, sys; json.load(sys.stdin, parse_constant=lambda c: 1 / 0)"'
    done = shell(f'set -o pipefail; "$@" | {check}', "analyze", *GRU[1:5], "--steps", "2000", "--json")
    assert done == (0, "", "")


def test_a_result_is_drawn_from_a_pipe(shell, tmp_path):
    script = f'set -o pipefail; "$@" --json | "{EXECUTABLE}" report - -o "{tmp_path}/x.png" --quiet'
    done = shell(script, *GRU)
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
