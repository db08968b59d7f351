"""Raw inputs that saturate gates: which columns, how large they are, and what standardising them would change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradscope.report.case import Case
from gradscope.report.fields import array, integer, mapping, number, record, string
from gradscope.report.model import Column, Finding, Table, percent

if TYPE_CHECKING:
    from gradscope.analysis.inputs import InputColumn, RawInputs

METRICS = {
    "raw_inputs": record(
        "Inputs far from mean zero and standard deviation one that saturate gates; only where both hold.",
        {
            "count": integer("Number of such columns.", minimum=1),
            "columns": array(
                "The largest of them, at most 10.",
                record(
                    "",
                    {
                        "index": integer("Number of the column, from 0.", minimum=0),
                        "name": string("Its name in the data; null if it has none.", null=True),
                        "mean": number("Mean over steps and sequences."),
                        "sd": number("Standard deviation over steps and sequences.", minimum=0),
                    },
                ),
            ),
            "gates": mapping(
                "Gates that are saturated because of these inputs, by name.",
                record(
                    "",
                    {
                        "saturated": number("Share of saturated values.", minimum=0, maximum=1),
                        "standardised": number("The same with standardised inputs.", minimum=0, maximum=1),
                    },
                ),
            ),
        },
        optional=True,
    ),
}
CODES = {
    "GS-RAW-INPUTS": {
        "level": "warning",
        "summary": "the inputs are not standardised and saturate the gates",
        "means": "Some columns of the inputs are so large that the gates sit at the ends of their ranges at nearly "
        "every step. There the derivative is nearly zero: the result describes the scale of the inputs, not the "
        "network.",
        "decided": "A column has an absolute mean or a standard deviation above {analysis.inputs.LARGE}; a gate is "
        "saturated in at least {analysis.inputs.SHUT:percent} of its values (of relu: at least "
        "{analysis.inputs.SWITCHED_OFF:percent} of the units are always zero); and in a second run along the same "
        "inputs, standardised, that share falls by half or more.",
        "remedy": "Standardise each column with the mean and the standard deviation of the training data, "
        "`(x - mean) / sd`, before training and before measuring. A network that was trained on raw inputs has to be "
        "trained again.",
        "read": ["explanation/mathematics.md#raw-inputs"],
    }
}

LISTED = 10  # columns in the document
NAMED = 3  # columns that the finding names
NAMED_GATES = 4  # gates that it names

Document = dict[str, Any]


def metrics(raw: RawInputs, case: Case) -> Document:
    """Return the columns, and what they do to the gates."""
    columns = [{"index": c.index, "name": c.name or None, "mean": c.mean, "sd": c.sd} for c in raw.columns[:LISTED]]
    gates = {name: {"saturated": now, "standardised": then} for name, (now, then) in raw.gates.items()}
    return {"raw_inputs": {"count": len(raw.columns), "columns": columns, "gates": gates}}


def findings(raw: RawInputs, case: Case) -> list[Finding]:
    """Say which inputs saturate which gates."""
    if scale := _synthetic_scale(case.config):
        text = f"The synthetic input, of scale {scale:g}, saturates the gates"
    else:
        first, *others = raw.columns[:NAMED]
        text = "The inputs are not standardised and saturate the gates: "
        text += f"{_named(first)} has mean {first.mean:.3g} and standard deviation {first.sd:.3g}"
        text += "".join(f", {_named(c)} {c.mean:.3g} and {c.sd:.3g}" for c in others)
        more = len(raw.columns) - NAMED
        text += f" ({len(raw.columns)} of {raw.inputs} columns)" if more > 0 else ""
    gates = list(raw.gates.items())
    now, then = (", ".join(f"{name} {percent(shares[i])}" for name, shares in gates[:NAMED_GATES]) for i in (0, 1))
    text += f". Saturated values: {now}{' ...' * (len(gates) > NAMED_GATES)}; with standardised inputs: {then}."
    return [Finding("GS-RAW-INPUTS", "warning", text, _advice(raw, case.config))]


def _named(column: InputColumn) -> str:
    return f"'{column.name}'" if column.name else f"column {column.index}"


def _synthetic_scale(config: Document) -> float | None:
    """Return the factor on synthetic input; None for data."""
    scale: float | None = None if "data" in config else config.get("input_scale")
    return scale


def _advice(raw: RawInputs, config: Document) -> str:
    """Return how these inputs are standardised: by option where they are synthetic, otherwise in a line of Python."""
    if _synthetic_scale(config):
        return "Use a factor near 1: --input-scale 1."
    if config.get("embedding"):
        return "Divide the embedding by its standard deviation."
    constant = any(not c.sd for c in raw.columns)  # a column that is divided by zero is nan
    if str(config.get("data", "")).lower().endswith((".csv", ".tsv", ".txt")):
        return f"Standardise the inputs, in pandas: d = (d - d.mean()) / d.std(){'.replace(0, 1)' * constant}"
    axes = "(0, 1)" if config.get("batch", 1) > 1 else "-2, keepdims=True"
    sd = f"np.maximum(x.std({axes}), 1e-8)" if constant else f"x.std({axes})"
    return f"Standardise the inputs, in NumPy: x = (x - x.mean({axes})) / {sd}"


def tables(document: Document) -> list[Table]:
    """Return mean and standard deviation of the columns."""
    raw = document["metrics"].get("raw_inputs")
    if not raw:
        return []
    columns = (Column("input", numeric=False), Column("mean", ".4g"), Column("standard deviation", ".4g"))
    rows = tuple((c["name"] or f"column {c['index']}", c["mean"], c["sd"]) for c in raw["columns"])
    title = "Inputs that are not standardised"
    title += f", the largest {len(rows)} of {raw['count']}" if len(rows) < raw["count"] else ""
    return [Table(title, columns, rows)]
