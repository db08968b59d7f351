"""What would keep more of the gradient: the command that measures it, of nothing that the model has already."""

from __future__ import annotations

import shlex
from typing import Any

from gradscope.report.case import Case
from gradscope.settings import HIDDEN, command_options

PIPED = "standard input"  # the path of a model that came through a pipe
MEASURED = "To measure the effect of other weights, append --remedies (in Python, remedies=True)"
# What a cell without a bias that keeps its state is told when its gradient vanishes, by `Case.path_kinds`.
OTHER_CELLS = {
    (False, True): "A cell with a skip path around its recurrent weights keeps more",
    (True, True): "The settings and parameters of the cell decide how much its skip path keeps; "
    "gates that are biased to keep the state may keep more",
    (True, False): "No gradient passes through recurrent weights: settings and parameters of the cell decide how much "
    "a unit keeps; gates that are biased to keep the state may keep more",
    None: "Gates that are biased to keep the state may keep more",
}

Document = dict[str, Any]


def keep_more(case: Case) -> str:
    """Name the command that measures what would keep more of the state."""
    target, hidden = _target(case.model), int(case.model["hidden_size"])
    size = f" --hidden {hidden}" if hidden != HIDDEN else ""
    if not target or (not case.advisable and case.sampled):
        text = MEASURED if case.measurable else "Measure a remedy before training"
        return f"{text}; gradscope compare runs several models on the same inputs."
    chrono = f":init=chrono,tmax={max(case.reach.steps, 3)}{size}{_options(case.model, case.config)}"
    gates = case.keep_gates or case.forget_gates
    if gates:
        gate, cell = next(iter(gates.values())), target if case.sampled else str(case.model["cell"])
        text = f"Set the bias of the {gate} gate to keep more of the state"
        several = " (--remedies tries several values)" * case.measurable
        return f"{text}{several}. To see the effect: gradscope compare {target} {cell}{chrono}"
    weights = " (--remedies tries other weights)" * (case.measurable and case.path_kinds != (True, False))
    return f"{OTHER_CELLS[case.path_kinds]}{weights}. To see the effect: gradscope compare {target} lstm{chrono}"


def _target(model: Document) -> str:
    """Return what `gradscope compare` calls the model; "" where it cannot be named there again."""
    if model["source"] == "init":
        of_user = "path" in model  # a cell class of a file
        return shlex.quote(f"{model['path']}:{model['cell']}") if of_user else str(model["cell"])
    named = model["source"] == "checkpoint" and model["path"] != PIPED
    return shlex.quote(str(model["path"])) if named else ""


def _options(model: Document, config: Document) -> str:
    """Return what else that command needs."""
    more = {"layer": model.get("layer")} if model["source"] == "checkpoint" else {}
    if model["source"] == "init" and not config.get("data"):
        more["input_size"] = model["input_size"]
    return command_options({**config, **more})
