"""A page for each cell: equations, the blocks of its Jacobian, settings, and how its gradient decays as initialised.

The blocks and the diagram are derived from the linearised cell, and the curve is measured; nothing here names a cell.
"""

from __future__ import annotations

import functools
import inspect
import io
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import gradscope
from gradscope import plugins
from gradscope.cli._cells import describe
from gradscope.maps.composition import Composite
from gradscope.maps.jacobian import Dense, Linear
from gradscope.render import png
from gradscope.report.diagram import cell_report

HIDDEN, STEPS = 64, 200
Ways = dict[int, set[tuple[str, ...]]]


def escaped(text: str) -> str:
    """Keep Markdown from reading a plain sentence as markup."""
    return re.sub(r"([*<>\[\]$|`])", r"\\\1", text)


def blocks(doc: str) -> list[str]:
    """Return a docstring with paragraphs of nothing but equations as literal blocks."""
    lines: list[str] = []
    for part in inspect.cleandoc(doc).split("\n\n"):
        rows = part.split("\n")
        equations = all(re.match(r"(?!State )[A-Za-z_0-9', ]+ = ", row) for row in rows)
        lines += ["```text", *rows, "```", ""] if equations else [escaped(part), ""]
    return lines


def index() -> str:
    """Return the table of all cells, with links to their pages."""
    rows = [describe(name) for name in plugins.names("cells")]
    lines = [
        "# Cells",
        "",
        "`gradscope cells` prints this table and `gradscope cells NAME` one cell of it. W, U and the biases are",
        "the weights of all gates stacked as rows; p = U h + W x + b is the preactivation of a gate, p_x its input",
        "part, and products of vectors are element-wise.",
        "",
        "*U*: number of products of an H x H matrix with the state per step. *Cost*: cost of the recurrence per step,",
        "without W x. *Skip path*: whether there is a path around the recurrent weights. A test compares all three",
        "with the derivatives, at default settings. A [script](../../gallery/generated/plot_5_cells) of the gallery",
        "compares the cells as initialised.",
        "",
        "| name | what | state | gates | U | cost | skip path | paper |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for r in rows:
        cells = [f"[`{r['name']}`](cells/{r['name']}.md)", r["summary"], ", ".join(r["state"]), ", ".join(r["gates"])]
        cells += [str(r["products"]), r["cost"], _yes(r["around"]), r["paper"] or ""]
        lines.append(f"| {' | '.join([cells[0], *map(escaped, cells[1:])])} |")
    return "\n".join([*lines, "", "```{toctree}", ":hidden:", "", *(f"cells/{r['name']}" for r in rows), "```"]) + "\n"


def _yes(around: bool | str) -> str:
    return f"if {around}" if isinstance(around, str) else "yes" if around else "no"


def page(name: str) -> str:
    """Return the page of one cell."""
    r = describe(name)
    lines = [f"# {name}", "", escaped(r["summary"]), ""]
    lines += [f"![The cell, with its skip path]({name}-drawn.png)", ""]
    lines += [*blocks(r["equations"]), "## Jacobian", "", *_jacobian(name, r), "## As initialised", ""]
    lines += [_measured(name), "", f"![log10 of the gradient norm over the lag]({name}.png)", ""]
    gates = ", ".join(f"`{g}` ({n})" if n != g else f"`{g}`" for g, n in r["gates"].items())
    lines += ["## Reference", "", "state", f": {', '.join(f'`{p}`' for p in r['state'])}", ""]
    lines += ["gates, in the order of their weights", f": {gates}", "", "settings (`--set KEY=VALUE`)"]
    lines += [f": {', '.join(_setting(k, v, r['choices'].get(k)) for k, v in r['settings'].items()) or 'none'}", ""]
    lines += ["usual initialisation", f": `{r['init']}`", "", "recurrent matrices, cost of a step, skip path"]
    lines += [f": {r['products']}; {r['cost']}; {_yes(r['around'])}", "", "source"]
    lines += [f": {r['paper'] or 'none given'}, in the [bibliography](../../../bibliography.md)", ""]
    return "\n".join(lines)


def _setting(key: str, value: Any, choices: Sequence[str] | None) -> str:
    if value is None:
        return f"`{key}`"
    return f"`{key}={value}`" + (f" ({' or '.join(f'`{c}`' for c in choices)})" if choices else "")


def _jacobian(name: str, row: dict[str, Any]) -> list[str]:
    """Return the grid of blocks at the defaults, and those of other settings, where they differ."""
    usual = grid(*linearised(name))
    if row["products"]:
        text = "*around*: a diagonal block, the skip path. *through* `g`: diag(d new / d p_g) U_g, the path through "
        text += "the recurrent weights of gate g. *through* `a` *then* `b`: a path through both, in turn."
    else:
        text = "Every block is a diagonal matrix: units do not interact, and the skip path is the only one."
    lines = ["Dependence of each new part (rows) on each old part (columns), from the linearised cell.", ""]
    lines += [text, ""]
    lines += [*usual, ""]
    for key, words in row["choices"].items():
        for word in words:
            other = grid(*linearised(name, **{key: word}))
            if other != usual:
                lines += [f"With `{key}={word}`:", "", *other, ""]
    return lines


def linearised(name: str, **settings: Any) -> tuple[Linear, dict[str, int]]:
    """Return the Jacobian of a small cell somewhere along a run, and the sizes of the parts of its state."""
    cell = gradscope.create(name, hidden_size=16, input_size=3, **settings)
    rng = np.random.default_rng(0)
    s = np.zeros(cell.state_size)
    for _ in range(5):  # away from the origin, where some derivatives are zero
        s = cell.step(rng.standard_normal(3), s)
    return cell.jacobian(rng.standard_normal(3), s), cell.sizes


def paths(J: Linear, sizes: Sequence[int]) -> list[Ways]:
    """Return, for each new part, {old part: the gates whose weights each path crosses}; () is the skip path."""
    if isinstance(J, Dense):
        return _paths_of_matrix(J, sizes)
    maps: Any = J.maps if isinstance(J, Composite) else (J,)
    known: list[Ways] = [{q: {()}} for q in range(len(maps[0].old))]
    for m in maps:
        new: list[Ways] = []
        for around, through in zip(m.around, m.through, strict=True):
            combined: Ways = {}
            for before, e in zip(known, around, strict=True):
                for q, ways in before.items() if _there(e) else ():
                    combined[q] = combined.get(q, set()) | ways
            for gate, e in zip(m.gates, through, strict=True):
                for q, ways in known[m.reads].items() if m.U is not None and _there(e) else ():
                    combined[q] = combined.get(q, set()) | {(*w, gate) for w in ways}
            new.append(combined)
        known = new
    return known


def _paths_of_matrix(J: Dense, sizes: Sequence[int]) -> list[Ways]:
    """Return the same of a Jacobian that is one matrix: which of its blocks are not zero, around and besides."""
    ends = np.cumsum([0, *sizes])
    cut = [slice(a, b) for a, b in pairwise(ends)]
    around = J.jvp_skip(np.eye(J.shape[1]))
    grids = ((around, ()), (J.dense() - around, ("weights",)))
    return [{q: {way for grid, way in grids if grid[p, c].any()} for q, c in enumerate(cut)} for p in cut]


def _there(entry: Any) -> bool:
    return not (isinstance(entry, int) and entry == 0)


def grid(J: Linear, sizes: dict[str, int]) -> list[str]:
    """Return a Markdown table of the blocks."""
    parts = list(sizes)
    lines = [f"| | {' | '.join(f'`{p}`' for p in parts)} |", f"| --- |{' --- |' * len(parts)}"]
    for p, ways in enumerate(paths(J, list(sizes.values()))):
        cells = [_block(ways.get(q, set()), _number(J, p, q)) for q in range(len(parts))]
        lines.append(f"| `{parts[p]}'` | {' | '.join(cells)} |")
    return lines


def _number(J: Linear, p: int, q: int) -> float | None:
    """Return the factor of a block around that is the same number for all units and states."""
    entry = None if isinstance(J, Composite | Dense) else J.around[p][q]  # type: ignore[attr-defined]
    return float(entry) if isinstance(entry, int | float) else None


def _block(ways: set[tuple[str, ...]], number: float | None) -> str:
    words = []
    if () in ways:
        words.append("around" if number is None else f"around, times {number:g}")
    one, more = (sorted(w for w in ways if len(w) == 1), sorted(w for w in ways if len(w) > 1))
    if one:
        words.append(f"through {', '.join(f'`{w[0]}`' for w in one)}")
    words += [f"through {' then '.join(f'`{g}`' for g in w)}" for w in more]
    return "; ".join(words) or "-"


@functools.cache
def analyzed(name: str) -> gradscope.Result:
    """Return the analysis of a cell as it is initialised."""
    return gradscope.analyze(gradscope.create(name, hidden_size=HIDDEN), steps=STEPS, lags=0, name=name)


def _measured(name: str) -> str:
    result = analyzed(name)
    m = result.metrics
    text = f"H = {HIDDEN}, white noise, a loss at the last of {STEPS} steps: **{result.verdict['state']}**"
    text += "" if m["reach"] is None else f"; reach {m['reach']} steps"
    text += "" if m["half_life"] is None else f"; half-life {m['half_life']:.3g} steps"
    if m["rate"] is None:
        return f"{text}; no rate: the gradient becomes exactly zero, where the curve ends."
    low, high = m["rate_ci95"] or (None, None)
    interval = "" if low is None else f" (95 % interval {low:+.4f} to {high:+.4f})"
    return f"{text}; rate {m['rate']:+.4f}{interval} nats per step."


def curve(name: str) -> bytes:
    """Return the decay curve of a cell as PNG: median over sequences, and from the 5th to the 95th percentile."""
    from matplotlib.figure import Figure

    norms = analyzed(name).series["log10_gradient_norm"]["state"]
    shown = {k: [np.nan if y is None else y for y in reversed(norms[k])] for k in ("median", "p05", "p95")}
    start, lags = shown["median"][0], range(len(shown["median"]))
    lines = {k: np.array(y) - start for k, y in shown.items()}
    fig = Figure(figsize=(6, 2.8), dpi=100, layout="constrained")
    ax = fig.add_subplot()
    ax.fill_between(lags, lines["p05"], lines["p95"], alpha=0.25, linewidth=0)
    ax.plot(lags, lines["median"])
    ax.axhline(-3, color="grey", linewidth=1, linestyle=":")
    ax.set(xlabel="steps back", ylabel="log10 of |dL/ds|, last step = 0", xlim=(0, STEPS))
    ax.set_ylim(min(-3.5, ax.get_ylim()[0]), max(0.5, ax.get_ylim()[1]))
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def drawing(name: str) -> bytes:
    """Return the drawing of a cell as PNG, as `gradscope cells NAME -o` makes it."""
    return png.render(cell_report(name, describe(name)["summary"]))


def write(folder: Path) -> None:
    """Write all pages and their pictures; unchanged files are not written."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in plugins.names("cells"):
        pages = {f"{name}.md": page(name).encode(), f"{name}.png": curve(name), f"{name}-drawn.png": drawing(name)}
        for path, content in pages.items():
            if not (folder / path).exists() or (folder / path).read_bytes() != content:
                (folder / path).write_bytes(content)
