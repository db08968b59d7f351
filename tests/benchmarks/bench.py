"""How fast is gradscope beside PyTorch, JAX and what the machine allows?

    python tests/benchmarks/bench.py                   # the whole table: a quarter of an hour on two cores
    python tests/benchmarks/bench.py --rows 'start*'   # some of it; --list names all rows
    python tests/benchmarks/bench.py --record          # also writes the page, its picture and its record; with --rows,
                                                       # those rows of it

Every row has a process of its own, with one thread on one core, in which ours and the peers take turns: a peer that is
not installed, or a row that fails, costs that row only. Larger ratios are better: peer / ours.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bench_machine
import bench_table

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parents[1] / "build" / "bench.json"
SECONDS, QUICK = 3.0, 0.2  # about so long ours and all peers of a row take turns
LONGEST = 3600  # seconds of a row: then something is wrong
FAILED = 3


def names() -> list[str]:
    """Return the rows, in the order of the table."""
    import bench_exponents
    import bench_gradients
    import bench_norms
    import bench_scaling
    import bench_start

    modules = (bench_gradients, bench_exponents, bench_norms, bench_start)
    return [*(name for m in modules for name in m.CASES), "memory", *bench_scaling.CASES]


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one row, in this process; return {"lines": [...]} or {"points": {...}}."""
    import bench_exponents
    import bench_gradients
    import bench_norms
    import bench_scaling
    import bench_start

    seconds = QUICK if options.quick else SECONDS
    if name == "memory":
        found = bench_start.memory(bench_start.SHORT if options.quick else bench_start.STEPS, full=options.full)
    elif name in bench_scaling.CASES:
        bench_machine.one_core()
        return {"points": bench_scaling.measure(name, quick=options.quick)}
    else:
        if not name.startswith("start"):
            bench_machine.one_core()
        home = {"gradients": bench_gradients, "exponents": bench_exponents, "norms": bench_norms, "start": bench_start}
        found = home[name.split("-")[0]].measure(name, seconds)
    return {"lines": [line.as_dict() for line in found]}


def apart(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one row in a process of its own."""
    command = [sys.executable, str(Path(__file__).resolve()), "--row", name]
    command += [flag for flag in ("--quick", "--full") if getattr(options, flag[2:])]
    env = {**os.environ, **bench_machine.ONE_THREAD}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=LONGEST, check=False)
    except subprocess.TimeoutExpired:
        return {"lines": [failed(name, f"took more than {LONGEST} s")]}
    if done.returncode:
        return {"lines": [failed(name, (done.stderr.strip().splitlines() or ["no word"])[-1])]}
    return json.loads(done.stdout.splitlines()[-1])


def failed(name: str, why: str) -> dict[str, Any]:
    """Return the line of a row that came to nothing."""
    from bench_timing import Line

    return Line(name.split("-")[0], name, note=f"failed: {why}").as_dict()


def described() -> dict[str, Any]:
    """Describe the machine, as the processes of the rows see it."""
    command = [sys.executable, str(Path(__file__).resolve()), "--row", "machine"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | bench_machine.ONE_THREAD
    )
    return json.loads(done.stdout.splitlines()[-1])


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write; 3 where a row failed or two results differ."""
    parser = argparse.ArgumentParser(description="measure gradscope beside PyTorch, JAX and what the machine allows")
    parser.add_argument("--rows", default="*", help="names of rows, with * and ?, several with commas between them")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that everything runs")
    parser.add_argument("--full", action="store_true", help="run the longest row in full: many minutes")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="JSON of what was measured (build/bench.json)")
    parser.add_argument("--record", action="store_true", help="write the page of the documentation and its picture")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.row == "machine":
        print(json.dumps(bench_machine.describe()))
        return 0
    if options.row:
        print(json.dumps(measure(options.row, options)))
        return 0
    chosen = [n for n in names() if any(fnmatch.fnmatch(n, p) for p in options.rows.split(","))]
    if options.list or not chosen:
        print("\n".join(names()))
        return 0 if options.list else 2
    options.output.parent.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {"machine": described(), "lines": [], "points": {}}
    print("\n".join(bench_table.machine(record["machine"])), bench_table.HEAD, sep="\n", flush=True)
    began = time.perf_counter()
    for name in chosen:
        found = apart(name, options)
        record["lines"] += [entry | {"row": name} for entry in found.get("lines", [])]
        record["points"] |= found.get("points", {})
        for entry in found.get("lines", []):
            print(bench_table.row(entry), flush=True)
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")  # what is done is kept
    print("\n".join([*bench_table.summary(record["lines"]), *bench_table.fits(record["points"])]))
    print(f"{len(chosen)} rows in {(time.perf_counter() - began) / 60:.1f} minutes; written to {options.output}")
    if options.record:
        import bench_page

        bench_page.write(bench_page.renewed(record, names()))
    wrong = [entry for entry in record["lines"] if entry["verdict"] in ("failed", "differs")]
    return FAILED if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
