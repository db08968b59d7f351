"""In which layer the gradient dies: what arrives at the output of each layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradscope.report.case import Case
from gradscope.report.curves import back, lags, layer_outputs
from gradscope.report.fields import array, integer, number, record, string
from gradscope.report.model import Column, Finding, Heat, Panel, Table, share
from gradscope.report.numbers import LN10
from gradscope.report.tables import count

if TYPE_CHECKING:
    from gradscope.analysis.depth import LayerGradient

METRICS = {
    "layers": array(
        "Gradient of each layer's output, bottom first: medians over sequences of the total |dL/dh_t|, relative "
        "to that of the top layer at the last step. Only if the network has several layers.",
        record(
            "",
            {
                "name": string("Name of the layer."),
                "log10_last": number("At the last step, log10; null: exactly zero."),
                "log10_largest": number("Maximum over steps, log10; null: exactly zero at every step."),
                "lag_of_largest": integer("Lag of that step.", minimum=0),
                "reach": integer(
                    "Largest lag, in steps, at which it is at least reach_threshold; null if there is none.",
                    null=True,
                    minimum=0,
                ),
            },
        ),
        optional=True,
    ),
}


COLUMNS = 600  # of a map of colours: more are narrower than a dot

Document = dict[str, Any]


def metrics(layers: tuple[LayerGradient, ...], case: Case) -> Document:
    """Return what arrives in each layer."""
    return {"layers": [_layer(x) for x in layers]}


def _layer(x: LayerGradient) -> Document:
    largest = {"log10_largest": x.log_largest / LN10, "lag_of_largest": x.lag}
    return {"name": x.name, "log10_last": x.log_last / LN10, **largest, "reach": x.reach}


def findings(layers: tuple[LayerGradient, ...], case: Case) -> list[Finding]:
    """Say which layers the gradient does not reach."""
    unreached = [x.name for x in layers if x.reach is None]
    if not unreached:
        return []
    text = f"{_named(unreached, [x.name for x in layers])} less than {share(case.reach.threshold)} of the "
    text += "loss gradient of the top layer, at every step."
    return [Finding("GS-DEPTH", "warning", text, _advice(case))]


def _advice(case: Case) -> str:
    """Return what lets the gradient reach every layer, of what the network has not."""
    parts = []
    if not case.model.get("residual"):
        parts.append(f"residual connections{' (--residual)' * case.sampled} let the gradient reach every layer")
    if not case.model.get("norm"):
        parts.append(f"normalisation{' (--norm layer)' * case.sampled} keeps the inputs of the layers from shrinking")
    text = "; ".join(parts) or "use fewer layers"
    return f"{text[0].upper()}{text[1:]}."


def _named(some: list[str], layers: list[str]) -> str:
    """Begin a sentence on some of the layers."""
    if len(some) == 1:
        return f"Layer {some[0]} receives"
    following = some == layers[layers.index(some[0]) :][: len(some)]
    return f"Layers {f'{some[0]} to {some[-1]}' if following else ', '.join(some)} receive"


def tables(document: Document) -> list[Table]:
    """Return what arrives in each layer, the top one first, as it comes down from the loss."""
    if not document["metrics"].get("layers"):
        return []
    columns = (
        Column("layer", numeric=False),
        Column("last step", ".2f"),
        Column("maximum", ".2f"),
        Column("at lag", "d"),
        Column(f"reach ({share(document['metrics']['reach_threshold'])})", numeric=False),
    )
    rows = []
    for x in reversed(document["metrics"]["layers"]):
        ends = ["zero" if x[key] is None else x[key] for key in ("log10_last", "log10_largest")]
        rows.append((x["name"], *ends, x["lag_of_largest"], "never" if x["reach"] is None else count(x["reach"])))
    title = "Gradient per layer: log10 |dL/dh| relative to the loss gradient, median over sequences"
    return [Table(title, columns, tuple(rows))]


def panels(document: Document) -> list[Panel]:
    """Return a map of layers and steps."""
    names = layer_outputs(document)[::-1]
    if len(names) < 2:
        return []
    series, steps_back = document["series"]["log10_gradient_norm"], lags(document)
    every = -(-len(steps_back) // COLUMNS)
    heat = Heat(
        tuple(n.rpartition(".")[0] for n in names),
        steps_back[::every],
        tuple(back(series[n]["median"])[::every] for n in names),
        "|dL/dh| of the layer output",
    )
    note = "grey: exactly zero" if any(v is None for row in heat.values for v in row) else ""
    return [Panel("layers", "Gradient norm per layer, median", "steps back", "", heat=heat, note=note)]
