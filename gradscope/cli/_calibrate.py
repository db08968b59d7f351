"""How fast is this machine? Measured by runs of the real analyses, and kept in a small file in the user's cache.

Heavy modules are imported inside the functions, after the number of BLAS threads has been set.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradscope import __version__
from gradscope.cli._output import shown
from gradscope.errors import ResourceError

__all__ = ["Speeds", "calibrate", "calibration_file", "read_speeds"]

FORMAT = 1  # of the file
# (cell, units, steps, sequences, spectrum): small runs of each kind; the large ones are short.
RUNS: tuple[tuple[str, int, int, int, int | None], ...] = (
    ("gru", 16, 60, 2, 16),  # this one only loads what is needed
    ("rnn", 16, 300, 1, 16),
    ("gru", 32, 300, 8, 16),
    ("lstm", 32, 300, 32, 16),
    ("gru", 48, 1000, 1, 16),
    ("rnn", 40, 1500, 2, 16),
    ("rnn", 112, 900, 4, 16),
    ("lstm", 96, 400, 2, 16),
    ("rnn", 128, 150, 32, 16),
    ("gru", 128, 150, 8, 16),
    ("lstm", 128, 100, 1, 16),
    ("gru", 256, 60, 8, 16),
    ("lstm", 192, 60, 4, 16),
    ("gru", 384, 60, 1, 16),
    ("rnn", 512, 60, 8, 16),
    ("gru", 64, 200, 1, None),
    ("rnn", 96, 150, 4, None),
    ("lstm", 64, 100, 1, None),
    ("gru", 160, 60, 1, None),
    ("mingru", 32, 300, 8, 16),
    ("mingru", 512, 1000, 1, 16),
    ("mingru", 1024, 300, 4, 16),
)


@dataclass(frozen=True)
class Speeds:
    """What a calibration found.

    Attributes:
        when: the day, as ISO 8601.
        speeds: {part: how many times longer than the scale of `gradscope.cost` each term takes}.
    """

    when: str
    speeds: dict[str, list[float]]


def calibration_file() -> Path:
    """Return where it is kept: in XDG_CACHE_HOME, else in ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(base) if base and Path(base).is_absolute() else Path("~").expanduser() / ".cache"
    return folder / "gradscope" / "speed.json"


def read_speeds() -> Speeds | None:
    """Return what was measured on this machine; None where nothing was, or another version did, or it is damaged."""
    try:
        found = json.loads(calibration_file().read_text(encoding="utf-8"))
        if (found["format"], found["gradscope"], found["machine"]) != (FORMAT, __version__, machine()):
            return None
        speeds = {str(part): [float(x) for x in row] for part, row in found["speeds"].items()}
        return Speeds(str(found["when"]), speeds)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        return None


def machine() -> str:
    """Return what tells machines apart that share a home: name and kind of processor."""
    import platform

    return f"{platform.node()} {platform.machine()} {os.cpu_count()}"


def calibrate(tell: Callable[[str], None]) -> Path:
    """Measure, write the file, and return where it is.

    Raises:
        ResourceError: it cannot be written.
    """
    path = calibration_file()
    try:  # before the work
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text("")
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        from gradscope.cost import fit

        rows = _measured(tell)
        found: dict[str, Any] = {"format": FORMAT, "gradscope": __version__, "machine": machine()}
        found |= {"when": time.strftime("%Y-%m-%d"), "speeds": fit(rows)}
        part.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return path


def _cannot_write(path: Path, error: OSError) -> ResourceError:
    hint = "XDG_CACHE_HOME names another folder for caches"
    return ResourceError(f"cannot write {shown(path)}: {error.strerror}", hint)


class Stopwatch:
    """Notes how many seconds of a processor each part takes, from what is told when it begins.

    On a core that is free these are the seconds that it takes, and what else the machine does is not in them.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._part, self._since = "", time.process_time()

    def __call__(self, text: str) -> None:
        """Take a word: "products", or "products: 16 of 200 steps back"."""
        now = time.process_time()
        self.seconds[self._part] = self.seconds.get(self._part, 0.0) + now - self._since
        self._part, self._since = text.partition(":")[0], now


def _measured(tell: Callable[[str], None]) -> list[Any]:
    """Run the analyses, and return sizes and seconds by part."""
    from gradscope.api import analyze
    from gradscope.cli._measure import size_of
    from gradscope.cli._models import Model
    from gradscope.cli._request import Request
    from gradscope.cost import START
    from gradscope.networks.create import create

    tell(f"calibrating: 0 of {len(RUNS)} runs")
    start = _start()
    rows = []
    for number, (name, hidden, steps, batch, spectrum) in enumerate(RUNS):
        cell = create(name, hidden_size=hidden, input_size=32)
        request = Request(steps=steps, batch=batch, spectrum=spectrum or cell.state_size)
        watch = Stopwatch()
        result = analyze(cell, steps=steps, batch=batch, spectrum=request.spectrum, progress=watch)
        watch("report")  # which ends here
        result.render("text")
        watch("")
        watch.seconds[START] = start + watch.seconds.pop("report")
        size = size_of(request, Model("", "", cell, {}), batch, steps + request.warmup_steps)
        rows.append((size, watch.seconds))
        tell(f"calibrating: {number + 1} of {len(RUNS)} runs")
    return rows[1:]


def _start() -> float:
    """Return how many seconds it takes to start the command and load what it needs."""
    import subprocess
    import sys

    small = "analyze --cell rnn --hidden 2 --steps 2 --batch 1 --lags 1 --warmup 0".split()
    taken = []
    for _ in range(2):  # the first one may have to read from disk
        before = os.times()
        subprocess.run([sys.executable, "-m", "gradscope", *small], check=True, capture_output=True)
        after = os.times()
        spent = sum(after[2:4]) - sum(before[2:4])  # of the child; Windows does not tell
        taken.append(spent or after.elapsed - before.elapsed)
    return min(taken)
