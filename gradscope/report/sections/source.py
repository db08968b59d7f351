"""What the numbers are about: parameters of a checkpoint that are not used, and input that is not the network's."""

from __future__ import annotations

from typing import Any

from gradscope.files.display import listing
from gradscope.report.case import Case
from gradscope.report.model import Finding

CODES = {
    "GS-UNUSED": {
        "level": "warning",
        "summary": "parameters of the recurrent module are not used",
        "means": "The file holds more parameters under the path of the recurrent module than its cell has, such as a "
        "layer normalisation, peepholes or a second matrix. The numbers are those of the cell without them. If they "
        "act within the recurrence, the network is another one, and its gradient may do the opposite.",
        "decided": "A tensor whose name begins with the path of the module is not among the weights that were read. "
        "Modules beside it, such as an embedding or a linear head, do not count.",
        "remedy": "If they act within the recurrence, write the step as a function and analyze that, with "
        "`--cell FILE.py` or `gradscope.from_step`. Otherwise nothing needs to be done. `gradscope inspect` lists all "
        "tensors.",
        "read": ("howto/checkpoint.md#what-a-file-does-not-say", "howto/write-a-cell.md"),
    },
    "GS-SYNTHETIC-INPUT": {
        "level": "info",
        "summary": "a checkpoint was measured on white noise",
        "means": "No data were given, so the network was run along white noise. How far gradients reach depends on the "
        "states, which real input may keep elsewhere: near saturation, or near zero.",
        "decided": "The model is a checkpoint, and neither `--data` nor `--drive` was given.",
        "remedy": "Pass what goes into the recurrent layer with `--data`.",
        "read": ("howto/checkpoint.md#the-data",),
    },
}
ABSENT = ()  # it reports no analysis


Document = dict[str, Any]


def warnings(_: Any, case: Case) -> list[Document]:
    """Note what was assumed, but for the parameters that are not used, which are a finding."""
    assumptions = case.model.get("assumptions", [])[1 if case.model.get("unused") else 0 :]  # theirs stands first
    where = f"model.{case.model['layer']}" if "layer" in case.model else "model"
    return [{"code": "GS-ASSUME", "message": text, "where": where} for text in assumptions]


def findings(_: Any, case: Case) -> list[Finding]:
    """Say which parameters were not used, and that a checkpoint was run along noise."""
    entries = []
    if unused := case.model.get("unused"):
        layer = f"{case.model['layer']}: " if "layer" in case.model else ""
        text = f"{layer}{len(unused)} parameter{'s'[: len(unused) != 1]} of the same module not used: "
        text += f"{listing(unused)}. If they act within the recurrence, these numbers are of another network."
        remedy = "In that case, write the step as a function: gradscope analyze --cell FILE.py"
        entries.append(Finding("GS-UNUSED", "warning", text, remedy))
    if case.model["source"] == "checkpoint" and "data" not in case.config and case.config.get("drive") == "noise":
        text = "Measured on white noise; with real input, a trained network may behave differently."
        entries.append(Finding("GS-SYNTHETIC-INPUT", "info", text, "Pass the input of the layer: --data FILE"))
    return entries
