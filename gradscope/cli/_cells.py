"""The page of a cell, read from its file without an import (a plug-in is imported), and the table of all cells.

Gates, settings and equations come from the file. The class states the cost of a step and whether there is a skip path
around the recurrent weights; the contract tests compare both with its derivatives.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gradscope import plugins

if TYPE_CHECKING:
    from gradscope.networks.cell import Cell

# "Gers, Schmidhuber & Cummins (2000)" at the beginning of a line, perhaps with a title: the first name and the year.
PAPER = re.compile(
    r"^((?:van der |de )?[A-Z][\w-]+)(?:,| &| et al\.)?(?:\s[^().;:=]*?(?:et al\.\s)?)?\((\d{4})\)", re.M
)
COLUMNS = ("state", "gates", "U", "cost", "skip", "paper")
LEGEND = (
    "U: products with an H x H recurrent matrix per step, at the default settings. cost: of the recurrence of a step, "
    "without the input product W x. skip: whether a skip path leads from the old to the new state around the "
    "recurrent weights. Details: gradscope cells NAME"
)
GAP = 2


def describe(name: str) -> dict[str, Any]:
    """Return what is said of a cell, as the JSON has it; None where a cell of another package does not say.

    Raises:
        UsageError: it is of another package, and fails on import or defines no cell.
    """
    if name not in plugins.names("cells", builtin=True):
        from gradscope.networks.cell import cell_class

        return describe_class(cell_class(name), name, plugins.outline("cells", name).summary)
    outline = plugins.outline("cells", name)
    stated = {"skip_path": True} | outline.constants  # whose derivatives are tested
    if "products" not in stated:
        stated["products"] = len(stated.get("gates", {"h": ""})) if stated.get("recurrent_weights", True) else 0
    return _row(name, outline.summary, outline.class_doc, outline.constants, outline.settings, stated)


def describe_class(cls: type[Cell], name: str, summary: str) -> dict[str, Any]:
    """Return what is said of a class of somebody else; None where the class itself does not say.

    Args:
        cls: the class.
        name: what it is called.
        summary: what it is, in one line.
    """
    doc = inspect.cleandoc(cls.__doc__ or "")
    doc = "" if doc.startswith(f"{cls.__name__}(") else doc  # that is what a dataclass makes up
    known = ("parts", "choices", "usual_init")
    mine = [c for c in reversed(cls.__mro__) if c.__module__ == cls.__module__]  # what a base states is of the base
    stated = {k: v for c in mine for k, v in vars(c).items()}
    constants = {k: getattr(cls, k) for k in known} | {"gates": {k: gate.name for k, gate in cls.gates.items()}}
    return _row(name, summary, doc, constants, cls.settings(), stated)


def _row(
    name: str,
    summary: str,
    doc: str,
    constants: Mapping[str, Any],
    settings: Mapping[str, Any],
    stated: Mapping[str, Any],
) -> dict[str, Any]:
    gates: Mapping[str, str] = constants.get("gates", {"h": ""})
    products, paper = stated.get("products"), PAPER.search(doc)
    return {
        "name": name,
        "summary": summary.rstrip("."),
        "equations": doc,
        "state": list(constants.get("parts", ("h",))),
        "gates": {g: name or g for g, name in gates.items()},
        "settings": dict(settings) | {f"{name}_bias": None for name in gates.values() if name},
        "choices": {k: list(values) for k, values in constants.get("choices", {}).items()},
        "init": constants.get("usual_init", "pytorch"),
        "products": products,
        "cost": stated.get("cost", None if products is None else "O(H^2)" if products else "O(H)"),
        "around": stated.get("skip_path"),
        "paper": " ".join(paper.groups()) if paper else None,
    }


def page(row: dict[str, Any], width: int | None) -> str:
    """Return what is said of one cell, as text; lines are broken only for a terminal that they do not fit."""
    gates = ", ".join(f"{g} ({n})" if n != g else g for g, n in row["gates"].items())
    pairs = {k: "|".join(_default_first(v, row["choices"].get(k, ()))) for k, v in row["settings"].items()}
    settings = ", ".join(f"{k}={v}" if v else k for k, v in pairs.items())
    parts = [
        f"{row['name']}: {row['summary']}",
        "",
        row["equations"],
        "",
        f"state     {', '.join(row['state'])}",
        f"gates     {gates}, in the order of the weights",
        f"settings  {settings}  (--set KEY=VALUE)" if settings else "settings  none",
        f"init      {row['init']}, by default (--init changes it)",
        f"cost      {_cost(row)}",
        f"skip      {_skip_path(row)}",
        f"paper     {row['paper'] or 'none given'}",
    ]
    lines = "\n".join(parts).split("\n")
    return "\n".join(lines if width is None else [row for line in lines for row in _broken(line, width)]) + "\n"


def _broken(line: str, width: int) -> list[str]:
    label = re.match(r"[a-z]+ {2,}(?=\S)", line)
    return _wrapped(line, width, subsequent_indent=" " * (label.end() if label else GAP)) or [""]


def _default_first(value: Any, choices: Sequence[str]) -> list[str]:
    if value is None:
        return []
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return [text, *(c for c in choices if c != text)]


def _cost(row: dict[str, Any]) -> str:
    if row["cost"] is None:
        return "not stated"
    return f"{row['cost']} per step, {_products(row['products'])}, without the input product W x"


def _products(count: int | None) -> str:
    if count is None:
        return "recurrent matrices not stated"
    if not count:
        return "no recurrent matrix"
    return f"{count} product{'s'[: count != 1]} with an H x H recurrent matrix"


def _skip_path(row: dict[str, Any]) -> str:
    if row["around"] is None:
        return "not stated"
    if row["products"] == 0:
        return "yes: the recurrence is diagonal, and the skip path is the only gradient path"
    if isinstance(row["around"], str):
        return f"yes, if {row['around']}"
    return "yes: part of the gradient bypasses the recurrent weights" if row["around"] else "no"


def table(rows: Sequence[dict[str, Any]], width: int | None) -> str:
    """Return the table of cells: a line each where that fits, else two, else as many as it takes.

    Args:
        rows: of `describe`.
        width: columns of the terminal; None for a pipe, which takes a line whatever its length.
    """
    facts = [_facts(r) for r in rows]
    widths = [max(len(c), *(len(f[i]) for f in facts)) for i, c in enumerate(COLUMNS)]
    first = max(len(r["name"]) for r in rows)
    head, fact_width = " " * GAP + _aligned(COLUMNS, widths), sum(widths) + GAP * len(widths)
    if width is None or width >= first + fact_width + GAP + max(len(r["summary"]) for r in rows):
        wide = [first, *widths]
        lines = [_aligned((r["name"], *f, r["summary"]), wide) for r, f in zip(rows, facts, strict=True)]
        legend = [LEGEND] if width is None else _wrapped(LEGEND, width)
        return "\n".join([_aligned(("name", *COLUMNS, "what"), wide), *lines, "", *legend]) + "\n"
    aligned = width >= fact_width
    lines = [head] if aligned else []
    for r, f in zip(rows, facts, strict=True):
        lines += _two(r, f, first, widths, width) if aligned else _narrow(r, f, width)
    return "\n".join([*lines, "", *_wrapped(LEGEND, width)]) + "\n"


def _two(row: dict[str, Any], facts: Sequence[str], first: int, widths: Sequence[int], width: int) -> list[str]:
    what = _wrapped(f"{row['name']:<{first}}  {row['summary']}", width, subsequent_indent=" " * (first + GAP))
    return [*what, " " * GAP + _aligned(facts, widths)]


def _wrapped(text: str, width: int, **options: Any) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False, **options)


def _facts(row: dict[str, Any]) -> tuple[str, ...]:
    around = {None: "-", True: "yes", False: "no"}.get(row["around"], row["around"])
    gates = ", ".join(row["gates"])
    state, around = ", ".join(row["state"]), around.replace(" ", "")
    products = "-" if row["products"] is None else str(row["products"])
    return state, gates, products, row["cost"] or "-", around, row["paper"] or "-"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [f"{c:<{w}}" for c, w in zip(cells, widths, strict=False)] + list(cells[len(widths) :])
    return (" " * GAP).join(padded).rstrip()


def _narrow(row: dict[str, Any], facts: Sequence[str], width: int) -> list[str]:
    indent, whole = " " * GAP, "\xa0"  # a space that no line is broken at
    what = _wrapped(f"{row['name']}: {row['summary']}", width, subsequent_indent=indent)
    text = "; ".join(f"{c} {f}".replace(" ", whole) for c, f in zip(COLUMNS, facts, strict=True))
    lines = _wrapped(text, width, initial_indent=indent, subsequent_indent=indent)
    return [*what, *(line.replace(whole, " ") for line in lines)]
