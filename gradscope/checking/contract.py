"""What does a network promise beside its derivatives? Sequences on their own, gates in range, precision, arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from gradscope.checking.derivative import EXACT, SEQUENCES, close, require
from gradscope.maps.jacobian import Array
from gradscope.networks.cell import Cell
from gradscope.networks.function import FunctionCell
from gradscope.networks.gate import gate_intervals
from gradscope.networks.loop import Loop, closed_loop
from gradscope.networks.network import Network
from gradscope.networks.stack import Direction, Stack, cells_of

SINGLE = 1e-3  # relative; float32 has eps 1.2e-7: room for thousands of roundings, none for a wrong formula
SCALES = (1e3, 1e30)  # factors on the weights that drive every gate to an end of its range
UNBOUNDED_BELOW = 1e6  # 1e30 to the power of the number of unbounded layers is beyond float64, and rightly inf


def check_shapes(network: Network, x: Array, s: Array) -> None:
    """Catch a state without parts, an output outside of it, and a step or Jacobian of another size."""
    sizes, n = network.sizes, len(s)
    require(sizes and all(size > 0 for size in sizes.values()), network, "the state has no parts")
    inside = all(rows.start >= 0 and rows.stop <= n for rows in network.outputs)
    require(inside, network, "the output lies outside the state")
    new = network.evolve(x.copy(), s.copy())
    require(new.shape == s.shape, network, f"the new state has shape {new.shape}, the old one {s.shape}")
    require(np.isfinite(new).all(), network, "the new state is not finite")
    shape = network.linearise(x, s).shape
    require(shape == (n, n), network, f"the Jacobian has shape {shape}; the state has {n} entries")


def check_sequences(network: Network, x: Array, s: Array) -> None:
    """Catch formulas that mix sequences or steps: each alone gives what it gives among others."""
    new, J, v = network.evolve(x, s), network.linearise(x, s), np.ones_like(s)
    forward = J.jvp(v)
    for b in range(SEQUENCES):
        at = slice(b, b + 1)
        alone, one = network.evolve(x[:, at], s[:, at]), network.linearise(x[:, at], s[:, at])
        close(alone, new[:, at], EXACT, network, f"sequence {b} run alone differs")
        close(one.jvp(v[:, at]), forward[:, at], EXACT, network, f"the Jacobian of sequence {b} alone differs")
        close(J.column(b).jvp(v[:, at]), forward[:, at], EXACT, network, f"column({b}) is a different Jacobian")
    one_state = network.step(x[:, 0], s[:, 0])
    close(one_state, new[:, 0], EXACT, network, "the step of a single state differs")
    xs, ss = np.stack([x, -x, 0.5 * x]), np.stack([s, -s, 0.5 * s])
    states, J = network.evolve(xs, ss), network.linearise(xs, ss)
    for t in range(len(xs)):
        close(
            states[t],
            network.evolve(xs[t], ss[t]),
            EXACT,
            network,
            f"step {t} differs when several are computed at once",
        )
        once = network.linearise(xs[t], ss[t]).jvp(v)
        close(
            J.at(t).jvp(v), once, EXACT, network, f"the Jacobian of step {t} differs when several are computed at once"
        )


def check_gates(network: Network, x: Array, s: Array) -> None:
    """Catch a gate without values, with nonfinite ones, or with values outside of its interval."""
    values = network.gate_values(x, s)
    missing = ", ".join(sorted(set(network.gate_ranges) - set(values)))
    require(not missing, network, f"gate_ranges has gates without values: {missing}")
    for gate, y in values.items():
        require(np.isfinite(y).all(), network, f"gate {gate} has nonfinite values")
        require(y.shape[-1] == s.shape[-1], network, f"gate {gate} has {y.shape[-1]} columns for {s.shape[-1]} states")
        low, high = network.gate_ranges.get(gate, (-np.inf, np.inf))
        inside = (y >= low).all() and (y <= high).all()
        require(inside, network, f"gate {gate} leaves its range {low:g} to {high:g}: {y.min():g} to {y.max():g}")


def check_arguments(network: Network, x: Array, s: Array) -> None:
    """Catch a method that changes its arguments or the weights."""
    before = {"x": x.copy(), "s": s.copy()} | {k: w.copy() for k, w in network.weights().items()}
    J, v = network.linearise(x, s), np.ones_like(s)
    calls: dict[str, Callable[[], object]] = {
        "evolve": lambda: network.evolve(x, s),
        "gate_values": lambda: network.gate_values(x, s),
        "jvp": lambda: J.jvp(v),
        "vjp": lambda: J.vjp(v),
        "vjp_within": lambda: J.vjp_within(v),
    }
    if not isinstance(network, FunctionCell):
        calls["vjp_input"] = lambda: J.vjp_input(v)
    for name, call in calls.items():
        call()
        after = {"x": x, "s": s} | network.weights()
        changed = [k for k, a in before.items() if not np.array_equal(a, after[k])]
        require(not changed, network, f"{name} changes {', '.join(changed)}")
        require((v == 1).all(), network, f"{name} changes the vector that it multiplies")


def check_changes(network: Network, x: Array, s: Array) -> None:
    """Catch a change for `--remedies` of another shape or precision, and one that touches the network itself."""
    before = {k: w.copy() for k, w in network.weights().items()}
    for factor in (0.5, 2.0, np.inf):
        for name, make in network.changes(factor, 100).items():
            changed, what = make(), f"the change '{name}'"
            require(changed.sizes == network.sizes, network, f"{what} has a different state: {changed.sizes}")
            require(changed.dtype == network.dtype, network, f"{what} has a different precision: {changed.dtype}")
            require(np.isfinite(changed.evolve(x, s)).all(), network, f"{what} has a nonfinite new state")
    touched = [k for k, w in network.weights().items() if not np.array_equal(before[k], w)]
    require(not touched, network, f"the changes that are tried touch {', '.join(touched)} of the cell itself")


def check_single_precision(network: Network, x: Array, s: Array) -> None:
    """Catch a network with float32 weights that computes in float64, or far from it."""
    single = _with_cells(network, lambda c: c.astype(np.float32))
    if single is network or not network.weights():
        return
    v, narrow = np.ones_like(s), np.float32
    J, exact = single.linearise(x.astype(narrow), s.astype(narrow)), network.linearise(x, s)
    pairs = {"evolve": (single.evolve(x.astype(narrow), s.astype(narrow)), network.evolve(x, s))}
    for name in ("jvp", "vjp", "vjp_input"):
        pairs[name] = getattr(J, name)(v.astype(narrow)), getattr(exact, name)(v)
    for name, (actual, expected) in pairs.items():
        require(actual.dtype == narrow, network, f"{name} of a float32 cell returns {actual.dtype}")
        close(actual, expected, SINGLE, network, f"{name} in float32 differs from float64", 1.0)


def check_saturated(network: Network, x: Array, s: Array) -> None:
    """Catch formulas that give nan or inf where gates are at the very ends of their ranges."""
    if not network.weights() or any(c.overflows for c in cells_of(network)):
        return
    layers = list(network.network.layers.values()) if isinstance(network.network, Stack) else []
    unbounded = len(layers) > 1 and any(c.kinks or not gate_intervals(c.gates) for c in layers)
    for scale in SCALES:
        if unbounded and scale > UNBOUNDED_BELOW:
            continue
        grown = _with_cells(network, lambda c, k=scale: _grown(c, k))  # type: ignore[misc]
        J, v = grown.linearise(x, s), np.ones_like(s)
        values = {"evolve": grown.evolve(x, s), "jvp": J.jvp(v), "vjp": J.vjp(v), "jvp_skip": J.jvp_skip(v)}
        values["vjp_input"] = J.vjp_input(v)
        for name, y in values.items():
            require(np.isfinite(y).all(), network, f"{name} is not finite with weights {scale:g} times as large")
        check_gates(grown, x, s)


def _grown(cell: Cell, scale: float) -> Cell:
    return cell.replace(**{k: w * scale for k, w in cell.weights().items() if k not in cell.no_weights})


def _with_cells(network: Network, change: Callable[[Cell], Cell]) -> Network:
    """Return the network with `change` applied to the cell of every layer."""
    if isinstance(network, Loop):
        return closed_loop(_with_cells(network.cell, change), network.readout, network.bias)
    if isinstance(network, Stack):
        return network.over({n: change(c) for n, c in network.layers.items()})
    if isinstance(network, Direction):
        return dataclasses.replace(network, cell=change(network.cell))
    return change(network) if isinstance(network, Cell) else network


# no derivative is asked of a step that mixes sequences or has another size
BEFORE_DERIVATIVES = (check_shapes, check_arguments, check_sequences)
AFTER_DERIVATIVES = (check_gates, check_changes, check_single_precision, check_saturated)
