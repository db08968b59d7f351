"""How good is the time that --dry-run predicts? The machine is calibrated, then runs are predicted and timed.

    python tests/benchmarks/bench_predicted.py [--parts] [--keep]

Of the command, one run after the other: seconds predicted, seconds of a processor that it took, their ratio, and the
wall time, in which is what else the machine does. Nothing is asserted; ratios are to lie between a half and two.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# (cell, units, steps, sequences, spectrum)
CASES = (
    ("rnn", 32, 2000, 1, "16"),
    ("gru", 32, 1000, 32, "16"),
    ("lstm", 48, 500, 8, "full"),
    ("rnn", 64, 1000, 8, "full"),
    ("gru", 64, 2000, 4, "16"),
    ("lstm", 64, 100, 32, "16"),
    ("gru", 128, 200, 8, "16"),
    ("gru", 128, 400, 1, "full"),
    ("rnn", 128, 2000, 8, "16"),
    ("lstm", 128, 400, 4, "16"),
    ("lstm", 128, 200, 1, "full"),
    ("rnn", 256, 300, 2, "full"),
    ("gru", 256, 500, 8, "16"),
    ("lstm", 256, 200, 8, "16"),
    ("rnn", 512, 300, 32, "16"),
    ("gru", 512, 200, 1, "16"),
)


def main() -> None:
    """Calibrate, predict, run, compare."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--parts", action="store_true", help="also by part")
    options.add_argument("--keep", action="store_true", help="use the calibration that is there")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not asked.keep:
            os.environ["XDG_CACHE_HOME"] = folder
            subprocess.run(
                [sys.executable, "-m", "gradscope", "doctor", "--calibrate"], check=True, capture_output=True
            )
        ratios = [compare(*case, parts=asked.parts) for case in CASES]
    inside = sum(0.5 <= r <= 2 for r in ratios)
    print(f"within a factor of two: {inside} of {len(ratios)}; from {min(ratios):.2f} to {max(ratios):.2f}")


def compare(cell: str, hidden: int, steps: int, batch: int, spectrum: str, *, parts: bool) -> float:
    """Predict one run and time it; return predicted / taken, in seconds of a processor."""
    from gradscope.cli._calibrate import read_speeds
    from gradscope.cli._measure import size_of
    from gradscope.cli._models import Model
    from gradscope.cli._request import Request
    from gradscope.cost import predict
    from gradscope.networks.create import create

    model = Model("", "", create(cell, hidden_size=hidden, input_size=32), {})
    request = Request(steps=steps, batch=batch, spectrum=sys.maxsize if spectrum == "full" else int(spectrum))
    speeds = read_speeds()
    assert speeds is not None
    predicted = predict(size_of(request, model, batch, steps + request.warmup_steps), speeds.speeds)
    line = [sys.executable, "-m", "gradscope", "analyze", "--cell", cell, "--hidden", hidden, "--steps", steps]
    line += ["--batch", batch, "--spectrum", spectrum, "--json"]
    before = os.times()
    subprocess.run([str(x) for x in line], check=True, capture_output=True)
    after = os.times()
    wall, taken, whole = after.elapsed - before.elapsed, sum(after[2:4]) - sum(before[2:4]), sum(predicted.values())
    title = f"{cell} {hidden}, T {steps}, B {batch}, spectrum {spectrum}"
    print(
        f"{title:<40} {whole:7.2f} s predicted {taken:7.2f} s taken {whole / taken:6.2f} wall {wall:7.2f} s", flush=True
    )
    if parts:
        by_part(predicted, model, request)
    return whole / taken


def by_part(predicted: dict[str, float], model: object, request: object) -> None:
    """Run again, in this process, and print the same of every part."""
    from gradscope import analyze
    from gradscope.cli._calibrate import Stopwatch

    watch = Stopwatch()
    analyze(model.cell, steps=request.steps, batch=request.batch, spectrum=request.spectrum, progress=watch)
    watch("")
    for part, seconds in predicted.items():
        if part in watch.seconds:
            print(f"    {part:<36} {seconds:7.2f} {watch.seconds[part]:7.2f} {seconds / watch.seconds[part]:6.2f}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
