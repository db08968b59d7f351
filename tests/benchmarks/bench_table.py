"""What was measured, as text for the terminal and as Markdown for the page. Records in, lines out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench_timing import Fit, geometric_mean, power_law

Record = Mapping[str, Any]
MEANS = {  # targets of geometric means; the rest is asked of every line by itself
    "gradient norms / torch": 3.5,
    "gradient norms / jax": 1.0,
    "gradient norms / jax and its compilation": 5.0,
}
WIDTHS = (42, 46, 9, 9, 8, 15, 7, 9)
TITLES = ("what / held against", "case", "ours", "other", "ratio", "quartiles", "target", "agree to")


def _cells(values: Sequence[str], end: str = "") -> str:
    left = [f"{v:<{w}}" for v, w in zip(values[:2], WIDTHS[:2], strict=True)]
    right = [f"{v:>{w}}" for v, w in zip(values[2:], WIDTHS[2:], strict=True)]
    return " ".join([*left, *right, end]).rstrip()


HEAD = _cells(TITLES)


def number(value: float | None, spec: str = ".3g") -> str:
    """Return a number, or nothing."""
    return "" if value is None else f"{value:{spec}}"


def amount(value: float | None, unit: str) -> str:
    """Return a time in a unit that suits it, or so many GiB."""
    if value is None:
        return ""
    if unit != "s":
        return f"{value:.3g} {unit}"
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"


def row(entry: Record) -> str:
    """Return one line of the table."""
    spread = "" if entry["low"] is None else f"{entry['low']:.3g} to {entry['high']:.3g}"
    values = [
        entry["group"],
        entry["case"],
        amount(entry["ours"], entry["unit"]),
        amount(entry["other"], entry["unit"]),
    ]
    values += [number(entry["ratio"]), spread, number(entry["target"]), number(entry["error"], ".0e")]
    loud = entry["verdict"].upper() if entry["verdict"] in ("failed", "differs", "below") else entry["verdict"]
    return _cells(values, f"{loud}  {entry['note']}")


def machine(facts: Record) -> list[str]:
    """Return what it was measured on."""
    return [f"{name:18} {value}" for name, value in facts.items()]


def groups(lines: Sequence[Record]) -> list[dict[str, Any]]:
    """Return for every group how many lines have a ratio, their geometric mean and least, and who is below a target."""
    found = []
    for group in dict.fromkeys(entry["group"] for entry in lines):
        own = [entry for entry in lines if entry["group"] == group and entry["ratio"] is not None]
        if not own:
            continue
        mean, target = geometric_mean([e["ratio"] for e in own]), MEANS.get(group)
        found.append(
            {
                "group": group,
                "count": len(own),
                "mean": mean,
                "target": target,
                "least": min(e["ratio"] for e in own),
                "asked": sum(e["target"] is not None for e in own),
                "below": [e["case"] for e in own if e["verdict"] == "below"],
                "verdict": "" if target is None else "ok" if mean >= target else "below",
            }
        )
    return found


def summary(lines: Sequence[Record]) -> list[str]:
    """Return the geometric mean of each group, and every line that is below its target."""
    out = ["", "geometric means"]
    for g in groups(lines):
        target = f"target {g['target']:g}: {g['verdict']}" if g["target"] else ""
        asked = f"{g['asked'] - len(g['below'])} of {g['asked']} lines reach theirs" if g["asked"] else ""
        text = f"{g['group']:44} {g['mean']:8.3g}  least {g['least']:.3g} of {g['count']}"
        out.append("  ".join(part for part in (text, target, asked) if part))
    unmeasured = [e for e in lines if e["verdict"] in ("failed", "differs", "missing")]
    out += [f"{e['verdict']}: {e['group']}, {e['case']}: {e['note'] or e['error']}" for e in unmeasured]
    return out


def growth(points: Mapping[str, Any]) -> list[tuple[str, str, Fit, Fit]]:
    """Return (analysis, what grows, fit to all points, fit to the upper half) of each curve."""
    found = []
    for curve in points.values():
        x, y = curve["x"], curve["seconds"]
        half = len(x) // 2
        found.append((curve["analysis"], curve["over"], power_law(x, y), power_law(x[half:], y[half:])))
    return found


def _slope(fit: Fit) -> str:
    return f"{fit.slope:.2f}" + (f" ± {fit.error:.2f}" if fit.error == fit.error else "")


def fits(points: Mapping[str, Any]) -> list[str]:
    """Return how cost grows, as text."""
    rows = [
        f"{analysis:16} over {over:28} slope {_slope(every):14} upper half {_slope(upper)}"
        for analysis, over, every, upper in growth(points)
    ]
    return ["", "time = constant * x^slope", *rows] if rows else []


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    align = ["---"] * texts + ["---:"] * (len(head) - texts)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, align, *rows))


def machine_page(facts: Record) -> str:
    """Return what it was measured on, in a sentence or two."""
    versions = ", ".join(f"{p} {facts[p]}" for p in ("numpy", "scipy", "torch", "jax") if p in facts)
    return (
        f"Measured on {facts['cpu']}, {facts['cores']} cores of which one is used, {facts['system']}, Python "
        f"{facts['python']}, {versions}. BLAS of numpy: {facts['blas']}, kernels {facts['blas architecture']} "
        f"(`OPENBLAS_CORETYPE` {facts['OPENBLAS_CORETYPE']}), {facts['threads']} thread everywhere."
    )


def means_page(lines: Sequence[Record]) -> str:
    """Return one row for each group."""
    rows = []
    for g in groups(lines):
        reached = f"{g['asked'] - len(g['below'])} of {g['asked']}" if g["asked"] else ""
        mean = f"**{g['mean']:.3g}**" if g["target"] else f"{g['mean']:.3g}"
        rows.append([g["group"], str(g["count"]), mean, number(g["target"]), f"{g['least']:.3g}", reached])
    return _markdown(("ours / other", "lines", "geometric mean", "its target", "least", "lines at their target"), rows)


def lines_page(lines: Sequence[Record]) -> str:
    """Return a table for each kind of measurement: a row for each case, a column for each that it is held against."""
    out = []
    for kind in dict.fromkeys(e["group"].split(" / ")[0] for e in lines):
        own = [e for e in lines if e["group"].split(" / ")[0] == kind]
        against = list(dict.fromkeys(e["group"].partition(" / ")[2] for e in own))
        rows = []
        for case in dict.fromkeys(e["case"] for e in own):
            mine = [e for e in own if e["case"] == case]
            by = {e["group"].partition(" / ")[2]: e for e in mine}
            ours = next((amount(e["ours"], e["unit"]) for e in mine if e["ours"] is not None), "")
            errors = [e["error"] for e in mine if e["error"] is not None]
            worst = number(max(errors), ".0e") if errors else ""
            rows.append([case, ours, *(_ratio(by.get(name)) for name in against), worst])
        out.append(f"**{kind}**\n\n" + _markdown(("case", "ours", *(a or "limit" for a in against), "agree to"), rows))
    return "\n\n".join(out)


def _ratio(entry: Record | None) -> str:
    if entry is None:
        return ""
    if entry["ratio"] is None:
        return entry["verdict"]
    target = f" ({entry['target']:g})" if entry["target"] else ""
    text = f"{entry['ratio']:.3g}{target}"
    return f"*{text}*" if entry["verdict"] == "below" else text


def fits_page(points: Mapping[str, Any]) -> str:
    """Return how cost grows."""
    rows = []
    for (analysis, over, every, upper), curve in zip(growth(points), points.values(), strict=True):
        asked = f"{curve['x'][0]:g} to {curve['x'][-1]:g}"
        rows.append([analysis, over, curve["fixed"], asked, _slope(every), _slope(upper)])
    return _markdown(("analysis", "over", "at", "from", "slope", "slope of the upper half"), rows, texts=3)
