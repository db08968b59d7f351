"""What the gates do: where their values lie, and which units have stopped passing gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradscope.report.case import Case
from gradscope.report.curves import STYLES
from gradscope.report.fields import mapping, number, numbers, record, ref
from gradscope.report.model import Bars, Column, Finding, Panel, Table, percent

if TYPE_CHECKING:
    from gradscope.analysis._gate_values import GateStatistics

SERIES = {
    "gates": mapping(
        "Values of each gate, over units, steps and sequences, by name of the gate; empty if there is none.",
        ref("One gate.", "gate"),
    ),
}
DEFINITIONS = {
    "gate": record(
        "Values of one gate, over units, steps and sequences.",
        {
            "mean": number("Mean value, dimensionless."),
            "low_share": number(
                "Share of values in the lowest twentieth of the range; for relu, exactly zero.", minimum=0, maximum=1
            ),
            "high_share": number(
                "Share of values in the highest twentieth of the range; 0 if the range has no upper end.",
                minimum=0,
                maximum=1,
            ),
            "histogram": numbers("Shares of the values between neighbouring edges."),
            "edges": numbers("Edges of the histogram, one more than shares, dimensionless."),
            "never_active": number(
                "Share of units that are zero at every step of every sequence; of relu only.",
                optional=True,
                minimum=0,
                maximum=1,
            ),
        },
    ),
}


ABSENT: dict[str, GateStatistics] = {}  # the document always has them
SATURATED = 0.5  # share of a gate's values at the ends of its range from which it is worth a word
DEAD = 0.05  # share of units that never pass a gradient from which it is worth a word

Document = dict[str, Any]


def series(gates: dict[str, GateStatistics], case: Case) -> Document:
    """Return the distribution of each gate's values."""
    return {"gates": {name: _gate(s) for name, s in gates.items()}}


def _gate(s: GateStatistics) -> Document:
    document: Document = {
        "mean": s.mean,
        "low_share": s.low_share,
        "high_share": s.high_share,
        "histogram": s.histogram.tolist(),
        "edges": s.edges.tolist(),
    }
    return document if s.never_active is None else document | {"never_active": s.never_active}


def findings(gates: dict[str, GateStatistics], case: Case) -> list[Finding]:
    """Say which gates are saturated, and how many relu units are always zero."""
    entries = []
    raw = case.answers.get("inputs")
    explained = {} if raw is None else raw.gates  # GS-RAW-INPUTS names these gates, and why they are saturated
    for gate, s in gates.items():
        if gate in explained:
            continue
        low, high, never = s.low_share, s.high_share, s.never_active
        if never is not None:
            if never > DEAD:
                text = f"{percent(never)} of the units are zero at every step of every sequence: they pass no gradient."
                entries.append(
                    Finding("GS-DEAD", "warning", text, "Use a smaller learning rate, a positive bias, or tanh.")
                )
        elif low + high > SATURATED:
            text = f"Gate {gate} is saturated in {percent(low + high)} of its values "
            text += f"({percent(low)} low, {percent(high)} high)."
            if high > low and gate in case.keep_gates:
                text += " This gate keeps the state: open, it lets the gradient pass."
            entries.append(Finding("GS-SATURATED", "info", text))
    return entries


def tables(document: Document) -> list[Table]:
    """Return mean and ends of each gate."""
    gates = document["series"].get("gates")
    columns = (Column("gate", numeric=False), Column("mean", ".3g"), Column("low", ".1%"), Column("high", ".1%"))
    rows = tuple((name, g["mean"], g["low_share"], g["high_share"]) for name, g in (gates or {}).items())
    return [Table("Gates", columns, rows)] if rows else []


def panels(document: Document) -> list[Panel]:
    """Return the histograms of the last gates: of a stack, those of the top layer."""
    gates = document["series"].get("gates")
    if not gates:
        return []
    drawn = list(gates.items())[-4:]
    bars = [Bars(name, g["edges"], g["histogram"], role=i, style=STYLES[i % 4]) for i, (name, g) in enumerate(drawn)]
    more, parts = len(gates) - len(drawn), {part["name"] for part in document["model"]["state"]}
    return [
        Panel(
            "gates",
            "Activations of the hidden units" if set(gates) <= parts else "Activations of the gates",
            "value",
            "share of units and steps",
            bars=tuple(bars),
            note=f"{more} more gates: see the table" if more else "",
        )
    ]
