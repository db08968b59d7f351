"""Mathematical checks of a cell: for the cells here, and for those of other packages.

`check_cell` needs only the cell: its step is the truth that its Jacobian is held against.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gradscope._create import made
from gradscope._derivatives import DIFFERENCES, EXACT, Derivative, Fact, H, derivatives_of, facts_of
from gradscope._own import own_in
from gradscope.cells._base import BaseCell, Cell, Map
from gradscope.cells._function import FunctionCell
from gradscope.cells._loop import Loop, closed_loop
from gradscope.cells._stack import Direction, Stack, cells_of
from gradscope.composition import Composite, Looped
from gradscope.errors import UsageError
from gradscope.jacobian import Array, Dense, Jacobian, Linear
from gradscope.stacked import Stacked

__all__ = ["Derivative", "Fact", "check_cell", "derivatives", "load_cell_file"]

SINGLE = 1e-3  # float32 has eps 1.2e-7: room for thousands of roundings, none for a wrong formula
HIDDEN, INPUTS, BATCH = 5, 3, 4
SCALES = (1e3, 1e30)  # factors on the weights that drive every gate to an end of its range


@np.errstate(all="ignore")  # what is not finite is found
def check_cell(cell: type[Cell] | BaseCell, *, seed: int = 0) -> None:
    """Check that a cell's Jacobian is the derivative of its step, and that it keeps the rules of the room.

    A class is checked with its default settings and small random weights; an instance as it is. A cell whose
    `kinks` is true (relu) is held against central differences away from its kinks, any other against the
    complex step.

    Args:
        cell: a cell class, or a cell.
        seed: seed of the weights, inputs and states.

    Raises:
        AssertionError: a rule is broken; the message says which.
    """
    made = _instance(cell, seed) if isinstance(cell, type) else cell
    rng = np.random.default_rng([seed, 3])
    x, s = _point(made, rng)
    _check_names(made)
    _check_new_state(made, x, s)
    _check_arguments(made, x, s)
    _check_shapes(made, x, s)
    _check_batch(made, x, s)
    _check_state_jacobian(made, x, s, rng)
    _check_roads(made, x, s, rng)
    _check_log_det(made, x, s)
    if not isinstance(made, FunctionCell):
        _check_input_jacobian(made, x, s, rng)
    if isinstance(made, Cell):
        _check_within(made, x, s, rng)
    _check_gates(made, x, s)
    _check_changes(made, x, s)
    if made.weights():
        _check_single_precision(made, x, s)
        for scale in SCALES:
            _check_saturated(made, x, s, scale)


@np.errstate(all="ignore")
def derivatives(cell: type[Cell] | BaseCell, *, seed: int = 0) -> list[Derivative] | list[Fact]:
    """Tell which derivative of a cell is wrong, and by how much.

    Args:
        cell: a cell class, a cell, or what `from_step` makes of a function.
        seed: seed of the weights, inputs and states.

    Returns:
        every derivative that a cell states, by new part, road and gate or old part; of a step function, what was
        found out about it. Of stacks nothing, look at their layers, nor of cells whose Jacobian has no such grids.

    Raises:
        AssertionError: there is no point to look at, or a grid has another shape.
    """
    made = _instance(cell, seed) if isinstance(cell, type) else cell
    if isinstance(made, FunctionCell):
        return facts_of(made, seed=seed)
    if not isinstance(made, Cell) or any(type(m).partials is Map.partials for m in made.maps):
        return []
    return derivatives_of(made, *_point(made, np.random.default_rng([seed, 3])))


def load_cell_file(path: str | Path, name: str | None = None) -> type[Cell]:
    """Run a Python file and return the cell class in it.

    Args:
        path: the file.
        name: which class, where the file defines several.

    Raises:
        InputError: the file cannot be read, or fails when it is run.
        UsageError: it holds no such cell.
    """
    own = own_in(path, name)
    if own.cell_class is None:
        raise UsageError(f"'{own.name}' of {path} is a function", "gradscope.from_step makes a cell of a step")
    return own.cell_class


def _instance(cls: type[Cell], seed: int) -> Cell:
    return made(cls, cls.__name__, HIDDEN, INPUTS, np.random.default_rng(seed), None)


def _say(cell: BaseCell, what: str) -> str:
    name = "Stack of " + ", ".join(type(c).__name__ for c in cell.layers.values()) if isinstance(cell, Stack) else ""
    return f"{name or type(cell).__name__}: {what}"


def _require(condition: Any, cell: BaseCell, what: str) -> None:
    if not condition:
        raise AssertionError(_say(cell, what))


def _close(found: Array, wanted: Array, tolerance: float, cell: BaseCell, what: str, size: float = 0.0) -> None:
    """Compare two arrays relative to the largest number in them, or to `size` if that is larger."""
    _require(found.shape == wanted.shape, cell, f"{what}: shape {found.shape}, expected {wanted.shape}")
    if not wanted.size:
        return
    scale = max(float(np.abs(wanted).max()), size, np.finfo(float).tiny)
    error = float(np.abs(found - wanted).max()) / scale
    worst = tuple(int(i) for i in np.unravel_index(np.abs(found - wanted).argmax(), found.shape))
    where = "" if np.isnan(error) else f", worst at {worst}"
    _require(error <= tolerance, cell, f"{what}: relative error {error:.2g}, allowed {tolerance:.2g}{where}")


def _differences_agree(cell: BaseCell, x: Array, s: Array, dx: Array, ds: Array) -> bool:
    """Tell whether the one-sided differences agree, so that no kink lies within a step of (x, s)."""
    here, right, left = cell.evolve(x, s), cell.evolve(x + H * dx, s + H * ds), cell.evolve(x - H * dx, s - H * ds)
    forward, backward = (right - here) / H, (here - left) / H
    return bool(np.abs(forward - backward).max(initial=0.0) <= 1e-3 * max(float(np.abs(forward).max(initial=0.0)), 1.0))


def _point(cell: BaseCell, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw inputs and states, (m, B) and (n, B), away from kinks."""
    for _ in range(100):
        x, s = rng.standard_normal((cell.input_size, BATCH)), rng.standard_normal((cell.state_size, BATCH))
        if not cell.kinks or _differences_agree(cell, x, s, np.ones_like(x), np.ones_like(s)):
            return x, s
    raise AssertionError(_say(cell, "every random point lies at a kink: the step is not differentiable"))


def _derivative(cell: BaseCell, x: Array, s: Array, dx: Array, ds: Array) -> tuple[Array, float]:
    """Return the derivative of the step along (dx, ds), and the tolerance that it deserves."""
    if not cell.kinks:
        tiny = 1e-30  # Squire & Trapp (1998): no cancellation, so the step can be this small
        return np.imag(_step(cell, x + 1j * tiny * dx, s + 1j * tiny * ds)) / tiny, EXACT
    difference = _step(cell, x + H * dx, s + H * ds) - _step(cell, x - H * dx, s - H * ds)
    return difference / (2 * H), DIFFERENCES


def _step(cell: BaseCell, x: Array, s: Array) -> Array:
    """Run the public step on columns."""
    return cell.step(x.T, s.T).T


def _check_names(cell: BaseCell) -> None:
    _require(cell.sizes and all(n > 0 for n in cell.sizes.values()), cell, "the state has no parts")
    for rows in cell.outputs:
        _require(rows.start >= 0 and rows.stop <= cell.state_size, cell, "the output lies outside the state")
    if isinstance(cell, Cell):
        for what in ("gate_names", "keep_gates", "squash"):
            unknown = set(getattr(cell, what)) - set(cell.gates)
            _require(not unknown, cell, f"{what} names gates that do not exist: {', '.join(sorted(unknown))}")


def _check_new_state(cell: BaseCell, x: Array, s: Array) -> None:
    new = cell.evolve(x.copy(), s.copy())
    _require(new.shape == s.shape, cell, f"the new state has shape {new.shape}, the old one {s.shape}")
    _require(np.isfinite(new).all(), cell, "the new state is not finite")


def _check_shapes(cell: BaseCell, x: Array, s: Array) -> None:
    shape = cell.linearise(x, s).shape
    _require(shape == (len(s), len(s)), cell, f"the Jacobian has shape {shape}; the state has {len(s)} entries")
    one = cell.step(x[:, 0], s[:, 0])
    _require(one.shape == (len(s),), cell, f"the step of one state has shape {one.shape}")


def _check_batch(cell: BaseCell, x: Array, s: Array) -> None:
    """A batch is its rows, and a leading axis of time is its steps."""
    new, J = cell.evolve(x, s), cell.linearise(x, s)
    v = np.ones_like(s)
    pushed = J.push(v)
    for b in range(BATCH):
        one = slice(b, b + 1)
        _close(cell.evolve(x[:, one], s[:, one]), new[:, one], EXACT, cell, f"sequence {b} run alone differs")
        alone = cell.linearise(x[:, one], s[:, one])
        _close(alone.push(v[:, one]), pushed[:, one], EXACT, cell, f"the Jacobian of sequence {b} alone differs")
        _close(J.column(b).push(v[:, one]), pushed[:, one], EXACT, cell, f"column({b}) is another Jacobian")
    xs, ss = np.stack([x, -x, 0.5 * x]), np.stack([s, -s, 0.5 * s])
    over_time, states = cell.linearise(xs, ss), cell.evolve(xs, ss)
    for t in range(3):
        _close(states[t], cell.evolve(xs[t], ss[t]), EXACT, cell, f"step {t} of several at once differs")
        once = cell.linearise(xs[t], ss[t]).push(v)
        _close(over_time.at(t).push(v), once, EXACT, cell, f"the Jacobian of step {t} of several at once differs")


def _check_state_jacobian(cell: BaseCell, x: Array, s: Array, rng: np.random.Generator) -> None:
    J = cell.linearise(x, s)
    v, u = rng.standard_normal(s.shape), rng.standard_normal(s.shape)
    truth, tolerance = _derivative(cell, x, s, np.zeros_like(x), v)
    size = float(np.abs(_step(cell, x, s)).max()) if tolerance == DIFFERENCES else 0.0
    _close(J.push(v), truth, tolerance, cell, "J v is not the derivative of the step", size)
    _check_adjoint(cell, u, J.push(v), J.pull(u), v, "pull is not the transpose of push")
    for b in range(BATCH):
        column = J.column(b)
        dense = column.dense()
        _close(dense @ v[:, b], J.push(v)[:, b], EXACT, cell, "dense() is not what push multiplies by")
        _close(dense.T @ u[:, b], J.pull(u)[:, b], EXACT, cell, "dense() is not what pull multiplies by")
        _close(column.T @ u[:, b], J.pull(u)[:, b], EXACT, cell, "J.T @ u differs from pull")
        _close(column @ v[:, b], J.push(v)[:, b], EXACT, cell, "J @ v differs from push")


def _check_adjoint(cell: BaseCell, u: Array, pushed: Array, pulled: Array, v: Array, what: str) -> None:
    """<u, J v> = <J^T u, v>, relative to the terms of the two sums."""
    terms = np.abs(u * pushed).sum(axis=0) + np.abs(pulled * v).sum(axis=0)
    gap = np.abs((u * pushed).sum(axis=0) - (pulled * v).sum(axis=0))
    _require((gap <= EXACT * terms).all(), cell, f"{what}: <u, J v> and <J^T u, v> differ by {gap.max():.2g}")


def _without_weights(J: Linear) -> Linear:
    """Return the same map with every weight that a state crosses set to zero."""
    if isinstance(J, Jacobian):
        return J if J.U is None else dataclasses.replace(J, U=np.zeros_like(J.U))
    if isinstance(J, Composite):
        return Composite(tuple(_without_weights(m) for m in J.maps))
    if isinstance(J, Stacked):
        layers = [_without_weights(m) for m in J.layers]
        return dataclasses.replace(J, layers=(layers[0], *(_without_inputs(m) for m in layers[1:])))
    if isinstance(J, Looped):
        return Looped(_without_weights(J.step), np.zeros_like(J.R), J.outputs)
    if isinstance(J, Dense) and J.around is not None:
        return dataclasses.replace(J, matrix=np.broadcast_to(np.diag(J.around), J.matrix.shape))
    return J


def _without_inputs(J: Linear) -> Linear:
    if isinstance(J, Composite):
        return Composite(tuple(_without_inputs(m) for m in J.maps))
    if isinstance(J, Dense) and J.inputs is not None:
        return dataclasses.replace(J, inputs=np.zeros_like(J.inputs))
    return dataclasses.replace(J, W=None) if isinstance(J, Jacobian) else J


def _check_roads(cell: BaseCell, x: Array, s: Array, rng: np.random.Generator) -> None:
    """Around and through make up J: without weights, only the road around is left."""
    J, v = cell.linearise(x, s), rng.standard_normal(s.shape)
    around = J.push_around(v)
    if isinstance(J, Jacobian | Composite | Stacked | Looped) or (isinstance(J, Dense) and J.around is not None):
        left = _without_weights(J).push(v)
        _close(left, around, EXACT, cell, "without weights, push is not push_around", float(np.abs(v).max()))
        there = J.push(v) - J.push_around(v)
        back = J.push(-v) - J.push_around(-v)
        _close(-back, there, EXACT, cell, "the road through the weights is not linear", float(np.abs(v).max()))


def _check_log_det(cell: BaseCell, x: Array, s: Array) -> None:
    """log|det J|, where it has a closed form, lies where the singular values of the dense J put it.

    Rounding of relative size r in J moves every singular value by r |J| at the most (Weyl).
    """
    J = cell.linearise(x, s)
    stated = J.log_abs_det()
    if stated is None:
        return
    _require(stated.shape == (J.states,), cell, f"log_abs_det has shape {stated.shape} for {J.states} states")
    for b in range(J.states):
        values = np.linalg.svd(J.column(b).dense(), compute_uv=False)
        with np.errstate(divide="ignore"):
            ends = [float(np.log(np.maximum(values + k * EXACT * values[0], 0)).sum()) for k in (-1, 1)]
        room = EXACT * max(1.0, abs(ends[1])) if np.isfinite(ends[1]) else 0.0
        fits = ends[0] - room <= stated[b] <= ends[1] + room
        _require(fits, cell, f"log|det J| is {stated[b]:.6g}; by the dense J, from {ends[0]:.6g} to {ends[1]:.6g}")


def _check_input_jacobian(cell: BaseCell, x: Array, s: Array, rng: np.random.Generator) -> None:
    J = cell.linearise(x, s)
    dx, u = rng.standard_normal(x.shape), rng.standard_normal(s.shape)
    truth, tolerance = _derivative(cell, x, s, dx, np.zeros_like(s))
    size = float(np.abs(_step(cell, x, s)).max()) if tolerance == DIFFERENCES else 0.0
    _close(J.push_input(dx), truth, tolerance, cell, "push_input is not the derivative in the input", size)
    pulled = J.pull_input(u)
    _require(pulled.shape == x.shape, cell, f"pull_input has shape {pulled.shape}; the input has {x.shape}")
    _check_adjoint(cell, u, J.push_input(dx), pulled, dx, "pull_input is not the transpose of push_input")


def _check_within(cell: Cell, x: Array, s: Array, rng: np.random.Generator) -> None:
    """What pull_within says that one new part owes to another is so for a change that only the other sees.

    Such a change is one of the old parts, or one of the gates: moved by a complex step (by differences where
    there are kinks), it must change p by what the change of q explains.
    """
    J = cell.linearise(x, s)
    ends = np.cumsum([0, *cell.sizes.values()])
    parts = {n: slice(i, j) for n, i, j in zip(cell.sizes, ends[:-1], ends[1:], strict=True)}
    changes, tolerance = _changes(cell, x, s, rng)
    for p, at in parts.items():
        u = np.zeros_like(s)
        u[at] = rng.standard_normal(u[at].shape)
        within = J.pull_within(u)
        for q, to in parts.items():
            if not within[to].any():
                continue
            _require(q != p, cell, f"pull_within says that the new part {p} contributes to itself")
            explained = []
            for d in changes:
                if np.abs(d[to]).max() > 0:
                    left, right = (u[at] * d[at]).sum(axis=0), (within[to] * d[to]).sum(axis=0)
                    size = np.abs(u[at] * d[at]).sum(axis=0) + np.abs(within[to] * d[to]).sum(axis=0)
                    explained.append(bool((np.abs(left - right) <= 10 * tolerance * size).all()))
            what = f"pull_within: d {p}'/d {q}' does not explain any change of {p}' that comes through {q}'"
            _require(any(explained), cell, what)


def _changes(cell: Cell, x: Array, s: Array, rng: np.random.Generator) -> tuple[list[Array], float]:
    """Return how the new state changes with each old part and with each gate's bias."""
    found, tolerance = [], EXACT
    ends = np.cumsum([0, *cell.sizes.values()])
    for i, j in zip(ends[:-1], ends[1:], strict=True):
        v = np.zeros_like(s)
        v[i:j] = rng.standard_normal(v[i:j].shape)
        d, tolerance = _derivative(cell, x, s, np.zeros_like(x), v)
        found.append(d)
    for gate in range(len(cell.gates)):
        bump = np.zeros(cell.rows)
        bump[gate * cell.width : (gate + 1) * cell.width] = rng.standard_normal(cell.width)
        bias = np.zeros_like(bump) if cell.b_ih is None else cell.b_ih
        h, at = (H, x) if cell.kinks else (1e-30j, x.astype(complex))
        right, left = (_step(cell.replace(b_ih=bias + k * bump), at, s) for k in (h, -h))
        found.append(np.real((right - left) / (2 * h)))
    return found, tolerance


def _check_gates(cell: BaseCell, x: Array, s: Array) -> None:
    values = cell.gate_values(x, s)
    missing = set(cell.gate_ranges) - set(values)
    _require(not missing, cell, f"gate_ranges has gates without values: {', '.join(sorted(missing))}")
    for gate, y in values.items():
        _require(np.isfinite(y).all(), cell, f"gate {gate} has values that are not finite")
        _require(y.shape[-1] == s.shape[-1], cell, f"gate {gate} has {y.shape[-1]} columns for {s.shape[-1]} states")
        low, high = cell.gate_ranges.get(gate, (-np.inf, np.inf))
        inside = (y >= low).all() and (y <= high).all()
        _require(inside, cell, f"gate {gate} leaves its range of {low:g} to {high:g}: {y.min():g} to {y.max():g}")


def _check_arguments(cell: BaseCell, x: Array, s: Array) -> None:
    """Nothing that is given is changed."""
    before = {"x": x.copy(), "s": s.copy()} | {k: w.copy() for k, w in cell.weights().items()}
    J = cell.linearise(x, s)
    v = np.ones_like(s)
    calls: list[tuple[str, Callable[[], object]]] = [
        ("evolve", lambda: cell.evolve(x, s)),
        ("gate_values", lambda: cell.gate_values(x, s)),
        ("push", lambda: J.push(v)),
        ("pull", lambda: J.pull(v)),
        ("pull_within", lambda: J.pull_within(v)),
    ]
    if not isinstance(cell, FunctionCell):
        calls.append(("pull_input", lambda: J.pull_input(v)))
    for name, call in calls:
        call()
        after = {"x": x, "s": s} | cell.weights()
        changed = [k for k, a in before.items() if not np.array_equal(a, after[k])]
        _require(not changed, cell, f"{name} changes {', '.join(changed)}")
        _require((v == 1).all(), cell, f"{name} changes the vector that it is given")


def _check_changes(cell: BaseCell, x: Array, s: Array) -> None:
    """What `--remedies` tries is a cell of the same shape and precision, whichever way the gradient has to go."""
    before = {k: w.copy() for k, w in cell.weights().items()}
    for lack in (0.5, 2.0, np.inf):
        for name, make in cell.changes(lack, 100).items():
            changed = make()
            what = f"the change '{name}'"
            _require(changed.sizes == cell.sizes, cell, f"{what} has another state: {changed.sizes}")
            _require(changed.dtype == cell.dtype, cell, f"{what} has another precision: {changed.dtype}")
            _require(np.isfinite(changed.evolve(x, s)).all(), cell, f"{what} has a new state that is not finite")
    touched = [k for k, w in cell.weights().items() if not np.array_equal(before[k], w)]
    _require(not touched, cell, f"the changes that are tried touch {', '.join(touched)} of the cell itself")


def _rebuild(cell: BaseCell, change: Callable[[Cell], Cell]) -> BaseCell:
    """Return the cell with `change` applied to every layer."""
    if isinstance(cell, Loop):
        return closed_loop(_rebuild(cell.cell, change), cell.readout, cell.bias)
    if isinstance(cell, Stack):
        return cell.over({n: change(c) for n, c in cell.layers.items()})
    if isinstance(cell, Direction):
        return dataclasses.replace(cell, cell=change(cell.cell))
    return change(cell) if isinstance(cell, Cell) else cell


def _check_single_precision(cell: BaseCell, x: Array, s: Array) -> None:
    single = _rebuild(cell, lambda c: c.astype(np.float32))
    if single is cell:
        return
    small = (x.astype(np.float32), s.astype(np.float32))
    J, exact = single.linearise(*small), cell.linearise(x, s)
    v = np.ones_like(s)
    rows = {
        "evolve": (single.evolve(*small), cell.evolve(x, s)),
        "push": (J.push(v.astype(np.float32)), exact.push(v)),
        "pull": (J.pull(v.astype(np.float32)), exact.pull(v)),
        "pull_input": (J.pull_input(v.astype(np.float32)), exact.pull_input(v)),
    }
    for name, (found, wanted) in rows.items():
        _require(found.dtype == np.float32, cell, f"{name} of a float32 cell returns {found.dtype}")
        _close(found, wanted, SINGLE, cell, f"{name} in float32 differs from float64", 1.0)


def _check_saturated(cell: BaseCell, x: Array, s: Array, scale: float) -> None:
    """Gates at the very ends of their ranges give numbers, not nan."""

    def grow(c: Cell) -> Cell:
        return c.replace(**{k: w * scale for k, w in c.weights().items() if k not in c.no_weights})

    if any(c.overflows for c in cells_of(cell)):
        return
    layers = list(cell.network.layers.values()) if isinstance(cell.network, Stack) else []
    if len(layers) > 1 and any(c.kinks or not c.squash for c in layers) and scale > 1e6:
        return  # unbounded layers multiply: 1e30 to the power of their number is beyond float64, and rightly inf
    grown = _rebuild(cell, grow)
    J, v = grown.linearise(x, s), np.ones_like(s)
    rows = {"evolve": grown.evolve(x, s), "push": J.push(v), "pull": J.pull(v), "push_around": J.push_around(v)}
    if not isinstance(cell, FunctionCell):
        rows["pull_input"] = J.pull_input(v)
    for name, y in rows.items():
        _require(np.isfinite(y).all(), cell, f"{name} is not finite with weights {scale:g} times as large")
    _check_gates(grown, x, s)
