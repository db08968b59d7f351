"""What would keep more of the gradient: the command that measures it, on the same inputs and with the same options.

A command is suggested only where it measures what has not been measured already: neither the model itself nor one that
stood beside it. The other model has the weights of the first drawn anew, with other biases; where a cell has no gate
that keeps its state, it is an LSTM.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gradscope.networks.instantiate import settings_of_init
from gradscope.report.case import Case
from gradscope.settings import Settings, as_number, command_options

PIPED = "standard input"  # the path of a model that came through a pipe
MEASURED = "To measure the effect of other weights, append --remedies (in Python, remedies=True)"
OPEN_BIAS = 3  # bias of a gate that keeps: sigmoid(3) = 0.95; the larger of the two that --remedies tries
LEAST_TMAX_STEPS = 3  # chrono initialisation needs tmax > 2
DEFAULT_INIT = "pytorch"
# What a cell without a bias that keeps its state is told when its gradient vanishes, by `Case.path_kinds`.
OTHER_CELLS = {
    (False, True): "A cell with a skip path around its recurrent weights keeps more",
    (False, False): "The old state does not reach the new one: settings and parameters of the cell decide that",
    (True, True): "The settings and parameters of the cell decide how much its skip path keeps; "
    "gates that are biased to keep the state may keep more",
    (True, False): "No gradient passes through recurrent weights: settings and parameters of the cell decide how much "
    "a unit keeps; gates that are biased to keep the state may keep more",
    None: "Gates that are biased to keep the state may keep more",
}

Pairs = dict[str, Any]


def keep_more(case: Case) -> str:
    """Return what keeps more of the state, and the command that measures it where there is one."""
    gates = case.keep_gates or case.forget_gates
    if gates and case.request is not None and _other_cell(case) is None:
        return f"The {next(iter(gates.values()))} gate is biased to keep the state already. " + _measured(case)
    if gates:
        reason = f"Set the bias of the {next(iter(gates.values()))} gate to keep more of the state"
        tries = " (--remedies tries several values)"
    else:
        reason, tries = OTHER_CELLS[case.path_kinds], " (--remedies tries other weights)"
    command = _command(case)
    if not command:
        return f"{reason}. {_measured(case)}".rstrip()
    tries = tries * (case.measurable and (bool(gates) or case.path_kinds != (True, False)))
    return f"{reason}{tries}. To see the effect: {command}"


def _measured(case: Case) -> str:
    return f"{MEASURED}." if case.measurable else ""


def _command(case: Case) -> str:
    """Return a `gradscope compare` of the model and one that may keep more; "" if no command asked for the model."""
    request = case.request
    if request is None or not request.target:
        return ""
    settings = _obeyed(request.settings, case)
    tried = [settings, *request.others]
    other = _other_cell(case)
    if other is None or any(_same(*other, one) for one in tried):
        return ""
    names = _named(request.target, _pairs(settings)), _named(other[0], {**request.sizes, **other[1]})
    return f"gradscope compare {' '.join(names)}{command_options(settings, _kinds(case, settings))}"


def _obeyed(settings: Settings, case: Case) -> Settings:
    """Return the settings without those that data were too short for: the command would note that they are ignored."""
    if not settings.data:
        return settings
    short: Pairs = {
        name: None for name in ("steps", "batch") if (getattr(settings, name) or 0) > case.config.get(name, 0)
    }
    return replace(settings, **short)


def _kinds(case: Case, settings: Settings) -> set[str]:
    return {"cell"} | ({"checkpoint"} if settings.cell is None else {"function"} if not case.sampled else set())


def _pairs(settings: Settings) -> Pairs:
    """Return the settings of a model that follow its name: initialisation, its settings and those of the cell."""
    return {**({"init": settings.init} if settings.init else {}), **settings.set}


def _named(cell: str, pairs: Mapping[str, Any]) -> str:
    """Return a target of `gradscope compare`, quoted for any shell: names may come from files."""
    text = ",".join(f"{k}={v}" for k, v in pairs.items())
    return shlex.quote(f"{cell}:{text}" if text else cell)


def _same(cell: str, pairs: Pairs, other: Settings) -> bool:
    """Return whether settings draw the same cell with the same biases."""

    def normal(some: Mapping[str, Any]) -> dict[str, Any]:
        return {k: as_number(v) for k, v in some.items() if (k, v) != ("init", DEFAULT_INIT)}

    return other.cell == cell and normal(_pairs(other)) == normal(pairs)


def _other_cell(case: Case) -> tuple[str, Pairs] | None:
    """Return a cell and its settings that may keep more of the state; None where gates are biased to keep it already.

    With the usual initialisation, biases are drawn anew; with another one, which is left as it is, one bias is set.
    """
    steps = max(case.reach.steps, LEAST_TMAX_STEPS)
    chrono: Pairs = {"init": "chrono", "tmax": steps}
    gates = case.keep_gates or case.forget_gates
    request, model = case.request, case.model
    if not gates or request is None:
        return "lstm", chrono
    drawn = request.settings.cell is not None
    given = _pairs(request.settings) if drawn else dict(model["settings"])
    cell, init = request.target if drawn else str(model["cell"]), case.config.get("init", DEFAULT_INIT)
    longest = float(given.get("tmax", settings_of_init("chrono")["tmax"]))
    if init == DEFAULT_INIT or (init == "chrono" and longest < steps):
        return cell, {**{k: given.get(k, v) for k, v in model["settings"].items()}, **chrono}
    gate, name = next(iter(gates.items()))
    sign = 1 if case.keep_gates else -1
    if init == "chrono" or name == gate.rpartition(".")[2] or sign * float(given.get(f"{name}_bias", 0)) >= OPEN_BIAS:
        return None
    return cell, {**given, f"{name}_bias": sign * OPEN_BIAS}
