"""The page of the documentation: tables between markers, the picture, and the record that both are made from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bench_table

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "explanation" / "performance.md"
PICTURE = ROOT / "docs" / "images" / "scaling.png"
RECORD = Path(__file__).resolve().parent / "record.json"
END = "<!-- end -->"


def tables(record: Mapping[str, Any]) -> dict[str, str]:
    """Return what belongs between the markers of each name."""
    return {
        "machine": bench_table.machine_page(record["machine"]),
        "means": bench_table.means_page(record["lines"]),
        "lines": bench_table.lines_page(record["lines"]),
        "growth": bench_table.fits_page(record["points"]),
    }


def begin(name: str) -> str:
    """Return the marker before a table."""
    return f"<!-- make bench: {name} -->"


def written(page: str, record: Mapping[str, Any]) -> str:
    """Return the page with every table replaced; a page without a marker is an error."""
    for name, text in tables(record).items():
        before, found, rest = page.partition(begin(name))
        _, ends, after = rest.partition(END)
        if not found or not ends:
            raise ValueError(f"the page has no place for '{name}'")
        page = f"{before}{found}\n{text}\n{END}{after}"
    return page


def draw(points: Mapping[str, Any], path: Path) -> None:
    """Draw time over what grows, both in log: a panel for each of H, T, B and k."""
    from matplotlib.figure import Figure

    overs = list(dict.fromkeys(curve["over"] for curve in points.values()))
    figure = Figure(figsize=(3.1 * len(overs), 3.6), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(overs), sharey=True, squeeze=False)[0]
    colours = {"gradient norms": "#0072b2", "exponents": "#d55e00", "products": "#009e73"}
    marks = {"gradient norms": "o", "exponents": "s", "products": "^"}
    for axis, over in zip(axes, overs, strict=True):
        for curve in (c for c in points.values() if c["over"] == over):
            name, x, y = curve["analysis"], curve["x"], curve["seconds"]
            slope = bench_table.power_law(x, y).slope
            axis.loglog(x, y, marker=marks[name], color=colours[name], label=f"{name}, slope {slope:.2f}", lw=1.4, ms=4)
        axis.set_xlabel(over)
        axis.set_xticks(
            x := sorted({v for c in points.values() if c["over"] == over for v in c["x"]}), [str(v) for v in x]
        )
        axis.minorticks_off()
        axis.grid(alpha=0.25)
        axis.legend(fontsize=7, frameon=False, loc="upper left")
        axis.tick_params(axis="x", labelsize=7)
        axis.margins(y=0.28)
    axes[0].set_ylabel("seconds, one core")
    figure.savefig(path)


def renewed(record: Mapping[str, Any], names: Sequence[str], path: Path = RECORD) -> dict[str, Any]:
    """Return the record on file with the rows that were measured anew, all of them in the order of `names`.

    What was measured on another machine, or with other versions, is left out.
    """
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if old.get("machine") != record["machine"]:
        old = {}
    again = {entry["row"] for entry in record["lines"]}
    lines = [*(e for e in old.get("lines", []) if e.get("row") not in again), *record["lines"]]
    points = {**old.get("points", {}), **record["points"]}
    return {
        "machine": record["machine"],
        "lines": [entry for name in names for entry in lines if entry.get("row") == name],
        "points": {name: points[name] for name in names if name in points},
    }


def write(record: Mapping[str, Any]) -> None:
    """Write record, picture and page."""
    page = written(PAGE.read_text(encoding="utf-8"), record)
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    if record["points"]:
        draw(record["points"], PICTURE)
    PAGE.write_text(page, encoding="utf-8")
