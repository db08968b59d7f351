"""From a JSON document to a report: what is told, in which order, and which curves are drawn.

A saved result is presented exactly as a fresh one, since both come through here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gradscope.errors import InputError
from gradscope.report import section
from gradscope.report.comparison import order_in_table, series_order
from gradscope.report.model import Column, Finding, Report, Table
from gradscope.settings import footer_parts

Document = dict[str, Any]


def from_document(document: Document) -> Report:
    """Present a document of kind "analysis", "comparison", "inspection" or "check".

    Raises:
        InputError: the document is of another kind, of a later major version, or lacks a field.
    """
    kind = document.get("kind") if isinstance(document, dict) else None
    known = {"analysis": _analysis, "comparison": _comparison, "inspection": _inspection, "check": _check}
    if kind not in known:
        raise InputError("this is not a gradscope result that can be shown", f"its kind is {str(kind)[:40]!r}")
    version = str(document.get("schema_version"))
    if version.split(".")[0] != "1":
        raise InputError(
            f"the result has schema version {version[:20]}; this gradscope reads version 1", "upgrade gradscope"
        )
    try:
        return known[kind](document)
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
        raise InputError(
            f"the result is damaged: {type(error).__name__} at {error}", "recreate it with gradscope analyze"
        ) from error


def footer(document: Document) -> str:
    """Return version, seed and settings in one line."""
    parts = [f"gradscope {document['tool']['version']}"]
    model = document.get("model", {})
    if model.get("path"):
        parts.append(f"{model['path']} (sha256 {str(model.get('sha256', ''))[:12]})")
    parts += footer_parts(document["config"])
    return " · ".join(parts)


def _analysis(document: Document) -> Report:
    return Report(
        kind="analysis",
        sentence=document["verdict"]["sentence"],
        state=document["verdict"]["state"],
        findings=_findings(document),
        tables=section.tables(document),
        data=section.data(document),
        panels=section.panels(document),
        footer=footer(document),
        document=document,
    )


def _findings(document: Document) -> tuple[Finding, ...]:
    """Return what was concluded, assumed and converted, first what has to be known before the rest is read."""
    entries = [
        Finding(f["code"], f["level"], f["message"], f.get("remedy", ""))
        for f in document["verdict"].get("findings", [])
    ]
    entries += [Finding(w["code"], "note", w["message"]) for w in document.get("warnings", [])]
    return tuple(sorted(entries, key=_rank))


# What has to be known or mended before the rest is read: what the numbers are about, and options without effect; then
# what is worst of the rest.
FIRST = (
    "GS-NONFINITE", "GS-INTERRUPTED", "GS-LEFT-OUT", "GS-UNUSED", "GS-ASSUME", "GS-SYNTHETIC-INPUT", "GS-NO-EFFECT",
    "GS-SHORT-DATA", "GS-EXPLODING",
)  # fmt: skip


def _rank(finding: Finding) -> int:
    return FIRST.index(finding.code) if finding.code in FIRST else len(FIRST)


NAMED = 6  # models that a finding names
COMPARISON_NOTES = ("GS-LOSS-EVERYWHERE", "GS-SYNTHETIC-INPUT")  # without which a comparison would be misread


def _comparison(document: Document) -> Report:
    results, names = document["results"], [r["name"] for r in document["results"]]
    columns = (
        Column("model", numeric=False),
        Column("verdict", numeric=False),
        Column("reach", "d"),
        Column("half-life", ".3g"),
        Column("rate", ".3g"),
        Column("log10 gain", ".2f"),
        Column("skip path", ".2f"),
    )
    rows = []
    ordered = [results[i] for i in order_in_table(results, names)]
    for r in ordered:
        m = r["metrics"]
        share = m.get("around_share")
        rows.append((r["name"], r["verdict"]["state"], m["reach"], m["half_life"], m["rate"], m["log10_gain"], share))
    numbers = Table("comparison", columns, tuple(rows))
    shown = ordered if series_order(names) else results  # others in the order in which they were named
    return Report(
        kind="comparison",
        sentence=document["verdict"]["sentence"],
        findings=_grouped(shown, document["warnings"]),
        tables=(numbers, *_remedies_of(ordered)),
        data=numbers,
        panels=section.comparison(shown),
        footer=footer(document),
        document=document,
    )


def _remedies_of(results: list[Document]) -> list[Table]:
    """Return the best change of each model that changes were tried of."""
    rows: list[tuple[Any, ...]] = []
    for r in results:
        tried = r.get("remedies", [])
        if tried and tried[0]["helps"]:
            top = tried[0]
            rows.append((r["name"], top["change"], top["state"], top["rate"], top["reach"], top["log10_gain"]))
        elif "remedies" in r:
            why = f"none of {len(tried)} helps" if tried else "none tried"
            rows.append((r["name"], "none needed" if r["verdict"]["state"] == "stable" else why, *(None,) * 4))
    columns = (
        Column("model", numeric=False),
        Column("change", numeric=False),
        Column("verdict", numeric=False),
        Column("rate", ".3g"),
        Column("reach", "d"),
        Column("log10 gain", ".2f"),
    )
    return [Table("Best change of each model", columns, tuple(rows))] if rows else []


COMPUTED = ("GS-VANISHING", "GS-EXPLODING")  # whose remedy holds numbers where --remedies was given
BY_TEXT = ("GS-ASSUME", "GS-UNUSED")  # one entry for each text, since each is about something else


def _grouped(results: list[Document], warnings: list[Document]) -> tuple[Finding, ...]:
    """Gather the findings of several models: one of each code, with the names of those that it is about."""
    groups: dict[str, list[tuple[str, Finding]]] = {}
    for r in results:
        for f in _findings(r):
            if r.get("remedies") and f.code in COMPUTED:  # numbers of this model, and of no other
                f = replace(f, remedy=f"{r['name']}: {f.remedy}")
            if f.level != "info" or f.code in COMPARISON_NOTES:
                f = replace(f, message=_without_layer(f.message, r["model"].get("layer", "")))
                key = f.message if f.code in BY_TEXT else f.code
                groups.setdefault(key, []).append((r["name"], f))
    ordered = sorted(groups.values(), key=lambda group: _rank(group[0][1]))
    whole = [Finding(w["code"], "note", w["message"]) for w in warnings]
    return tuple(whole + [_gathered(group, len(results)) for group in ordered])


def _without_layer(message: str, layer: str) -> str:
    """Return a message without the name of its layer, or of the module of that, in front."""
    name, colon, rest = message.partition(": ")
    return rest if colon and f"{layer}.".startswith(f"{name}.") else message


def _gathered(group: list[tuple[str, Finding]], models: int) -> Finding:
    (name, first), rest = group[0], [n for n, _ in group[1:]]
    bare = {f.message.removeprefix(f"{n}: ") for n, f in group}
    if first.code == "GS-LEFT-OUT":
        return replace(first, message=" ".join(dict.fromkeys(f"{f.message}." for _, f in group)))
    if len(bare) == 1:
        every = len({name, *rest}) == models > NAMED
        return replace(first, message=f"{f'all {models} models' if every else _names([name, *rest])}: {bare.pop()}")
    message = f"{name}: {first.message.removeprefix(f'{name}: ')}"
    message += "" if message.endswith(".") else "."
    return replace(first, message=f"{message} Also, with other values: {_names(rest)}.")


def _names(names: list[str]) -> str:
    shown = list(dict.fromkeys(names))
    return ", ".join(shown[:NAMED]) + (f" and {len(shown) - NAMED} more" if len(shown) > NAMED else "")


def _inspection(document: Document) -> Report:
    columns = (
        Column("layer", numeric=False),
        Column("cell", numeric=False),
        Column("inputs", "d"),
        Column("hidden", "d"),
        Column("layers", "d"),
        Column("settings", numeric=False),
    )
    rows = tuple(
        (
            x["layer"],
            x["cell"],
            x["input_size"],
            x["hidden_size"],
            x["layers"],
            ", ".join(f"{k} {v}" for k, v in x["settings"].items()),
        )
        for x in document["layers"]
    )
    other = Table(
        "Other tensors",
        (Column("name", numeric=False), Column("shape", numeric=False), Column("type", numeric=False)),
        tuple((x["name"], " x ".join(map(str, x["shape"])) or "number", x["dtype"]) for x in document["other_tensors"]),
    )
    layers = Table("Recurrent layers", columns, rows)
    return Report(
        kind="inspection",
        sentence=document["verdict"]["sentence"],
        findings=tuple(Finding(w["code"], "note", w["message"]) for w in document["warnings"]),
        tables=(layers, other) if other.rows else (layers,),
        data=layers,
        footer=f"gradscope {document['tool']['version']} · {document['file']['format']} · "
        f"sha256 {document['file']['sha256'][:16]}",
        document=document,
    )


def _check(document: Document) -> Report:
    words = [Column(title, numeric=False) for title in ("new part", "path", "with respect to")]
    columns = (
        Column("map", "d"),
        *words,
        Column("error", ".1e"),
        Column("allowed", ".0e"),
        Column("verdict", numeric=False),
    )
    rows = tuple(
        (
            x["map"],
            x["part"],
            x["road"],
            x["of"],
            x["error"],
            x["allowed"],
            "ok" if x["right"] else ": ".join(filter(None, ("WRONG", x["remark"]))),
        )
        for x in document["derivatives"]
    )
    derivatives = Table("Derivatives", columns, rows)
    facts = Table(
        "Properties",
        tuple(Column(title, numeric=False) for title in ("property", "result", "verdict")),
        tuple((x["what"], x["found"], "ok" if x["right"] else "WRONG") for x in document["facts"]),
    )
    return Report(
        kind="check",
        sentence=document["verdict"]["sentence"],
        tables=tuple(t for t in (derivatives, facts) if t.rows),
        data=facts if facts.rows else derivatives,
        footer=footer(document),
        document=document,
    )
