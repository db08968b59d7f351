"""What a cell keeps beside its derivatives: names, shapes, sequences on their own, precision, what it is given."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from gradscope.checking.derivatives import EXACT
from gradscope.checking.truth import BATCH, close, require
from gradscope.maps.jacobian import Array
from gradscope.networks.cell import Cell
from gradscope.networks.function import FunctionCell
from gradscope.networks.gate import gate_intervals
from gradscope.networks.loop import Loop, closed_loop
from gradscope.networks.network import Network
from gradscope.networks.stack import Direction, Stack, cells_of

__all__ = [
    "check_arguments",
    "check_batch",
    "check_changes",
    "check_gates",
    "check_names",
    "check_new_state",
    "check_saturated",
    "check_shapes",
    "check_single_precision",
]

SINGLE = 1e-3  # float32 has eps 1.2e-7: room for thousands of roundings, none for a wrong formula


def check_names(cell: Network) -> None:
    """Check the names and sizes of the parts of the state, and the output among them."""
    require(cell.sizes and all(n > 0 for n in cell.sizes.values()), cell, "the state has no parts")
    for rows in cell.outputs:
        require(rows.start >= 0 and rows.stop <= cell.state_size, cell, "the output lies outside the state")


def check_new_state(cell: Network, x: Array, s: Array) -> None:
    """Check that the step returns a new state of the shape of the old one."""
    new = cell.evolve(x.copy(), s.copy())
    require(new.shape == s.shape, cell, f"the new state has shape {new.shape}, the old one {s.shape}")
    require(np.isfinite(new).all(), cell, "the new state is not finite")


def check_shapes(cell: Network, x: Array, s: Array) -> None:
    """Check that the Jacobian has one row and one column for each state variable."""
    shape = cell.linearise(x, s).shape
    require(shape == (len(s), len(s)), cell, f"the Jacobian has shape {shape}; the state has {len(s)} entries")
    one = cell.step(x[:, 0], s[:, 0])
    require(one.shape == (len(s),), cell, f"the step of one state has shape {one.shape}")


def check_batch(cell: Network, x: Array, s: Array) -> None:
    """A batch is its rows, and a leading axis of time is its steps."""
    new, J = cell.evolve(x, s), cell.linearise(x, s)
    v = np.ones_like(s)
    pushed = J.jvp(v)
    for b in range(BATCH):
        one = slice(b, b + 1)
        close(cell.evolve(x[:, one], s[:, one]), new[:, one], EXACT, cell, f"sequence {b} run alone differs")
        alone = cell.linearise(x[:, one], s[:, one])
        close(alone.jvp(v[:, one]), pushed[:, one], EXACT, cell, f"the Jacobian of sequence {b} alone differs")
        close(J.column(b).jvp(v[:, one]), pushed[:, one], EXACT, cell, f"column({b}) is another Jacobian")
    xs, ss = np.stack([x, -x, 0.5 * x]), np.stack([s, -s, 0.5 * s])
    over_time, states = cell.linearise(xs, ss), cell.evolve(xs, ss)
    for t in range(3):
        close(states[t], cell.evolve(xs[t], ss[t]), EXACT, cell, f"step {t} of several at once differs")
        once = cell.linearise(xs[t], ss[t]).jvp(v)
        close(over_time.at(t).jvp(v), once, EXACT, cell, f"the Jacobian of step {t} of several at once differs")


def check_gates(cell: Network, x: Array, s: Array) -> None:
    """Check that every gate has values, and that they lie in the interval of the gate."""
    values = cell.gate_values(x, s)
    missing = set(cell.gate_ranges) - set(values)
    require(not missing, cell, f"gate_ranges has gates without values: {', '.join(sorted(missing))}")
    for gate, y in values.items():
        require(np.isfinite(y).all(), cell, f"gate {gate} has values that are not finite")
        require(y.shape[-1] == s.shape[-1], cell, f"gate {gate} has {y.shape[-1]} columns for {s.shape[-1]} states")
        low, high = cell.gate_ranges.get(gate, (-np.inf, np.inf))
        inside = (y >= low).all() and (y <= high).all()
        require(inside, cell, f"gate {gate} leaves its range of {low:g} to {high:g}: {y.min():g} to {y.max():g}")


def check_arguments(cell: Network, x: Array, s: Array) -> None:
    """Nothing that is given is changed."""
    before = {"x": x.copy(), "s": s.copy()} | {k: w.copy() for k, w in cell.weights().items()}
    J = cell.linearise(x, s)
    v = np.ones_like(s)
    calls: list[tuple[str, Callable[[], object]]] = [
        ("evolve", lambda: cell.evolve(x, s)),
        ("gate_values", lambda: cell.gate_values(x, s)),
        ("jvp", lambda: J.jvp(v)),
        ("vjp", lambda: J.vjp(v)),
        ("vjp_within", lambda: J.vjp_within(v)),
    ]
    if not isinstance(cell, FunctionCell):
        calls.append(("vjp_input", lambda: J.vjp_input(v)))
    for name, call in calls:
        call()
        after = {"x": x, "s": s} | cell.weights()
        changed = [k for k, a in before.items() if not np.array_equal(a, after[k])]
        require(not changed, cell, f"{name} changes {', '.join(changed)}")
        require((v == 1).all(), cell, f"{name} changes the vector that it is given")


def check_changes(cell: Network, x: Array, s: Array) -> None:
    """What `--remedies` tries is a cell of the same shape and precision, whichever way the gradient has to go."""
    before = {k: w.copy() for k, w in cell.weights().items()}
    for factor in (0.5, 2.0, np.inf):
        for name, make in cell.changes(factor, 100).items():
            changed = make()
            what = f"the change '{name}'"
            require(changed.sizes == cell.sizes, cell, f"{what} has another state: {changed.sizes}")
            require(changed.dtype == cell.dtype, cell, f"{what} has another precision: {changed.dtype}")
            require(np.isfinite(changed.evolve(x, s)).all(), cell, f"{what} has a new state that is not finite")
    touched = [k for k, w in cell.weights().items() if not np.array_equal(before[k], w)]
    require(not touched, cell, f"the changes that are tried touch {', '.join(touched)} of the cell itself")


def _rebuild(cell: Network, change: Callable[[Cell], Cell]) -> Network:
    """Return the cell with `change` applied to every layer."""
    if isinstance(cell, Loop):
        return closed_loop(_rebuild(cell.cell, change), cell.readout, cell.bias)
    if isinstance(cell, Stack):
        return cell.over({n: change(c) for n, c in cell.layers.items()})
    if isinstance(cell, Direction):
        return dataclasses.replace(cell, cell=change(cell.cell))
    return change(cell) if isinstance(cell, Cell) else cell


def check_single_precision(cell: Network, x: Array, s: Array) -> None:
    """Check that a cell with float32 weights computes in float32."""
    single = _rebuild(cell, lambda c: c.astype(np.float32))
    if single is cell:
        return
    small = (x.astype(np.float32), s.astype(np.float32))
    J, exact = single.linearise(*small), cell.linearise(x, s)
    v = np.ones_like(s)
    rows = {
        "evolve": (single.evolve(*small), cell.evolve(x, s)),
        "jvp": (J.jvp(v.astype(np.float32)), exact.jvp(v)),
        "vjp": (J.vjp(v.astype(np.float32)), exact.vjp(v)),
        "vjp_input": (J.vjp_input(v.astype(np.float32)), exact.vjp_input(v)),
    }
    for name, (found, wanted) in rows.items():
        require(found.dtype == np.float32, cell, f"{name} of a float32 cell returns {found.dtype}")
        close(found, wanted, SINGLE, cell, f"{name} in float32 differs from float64", 1.0)


def check_saturated(cell: Network, x: Array, s: Array, scale: float) -> None:
    """Gates at the very ends of their ranges give numbers, not nan."""

    def grow(c: Cell) -> Cell:
        return c.replace(**{k: w * scale for k, w in c.weights().items() if k not in c.no_weights})

    if any(c.overflows for c in cells_of(cell)):
        return
    layers = list(cell.network.layers.values()) if isinstance(cell.network, Stack) else []
    if len(layers) > 1 and any(c.kinks or not gate_intervals(c.gates) for c in layers) and scale > 1e6:
        return  # unbounded layers multiply: 1e30 to the power of their number is beyond float64, and rightly inf
    grown = _rebuild(cell, grow)
    J, v = grown.linearise(x, s), np.ones_like(s)
    rows = {"evolve": grown.evolve(x, s), "jvp": J.jvp(v), "vjp": J.vjp(v), "jvp_skip": J.jvp_skip(v)}
    if not isinstance(cell, FunctionCell):
        rows["vjp_input"] = J.vjp_input(v)
    for name, y in rows.items():
        require(np.isfinite(y).all(), cell, f"{name} is not finite with weights {scale:g} times as large")
    check_gates(grown, x, s)
