"""Is the Jacobian of a network the derivative of its step, forward and back, and are its parts what they claim?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradscope.checking.derivative import EXACT, SEQUENCES, close, largest, require, step_derivative, tolerance
from gradscope.maps.jacobian import Array
from gradscope.networks.function import FunctionCell
from gradscope.networks.network import Network

Product = Callable[[Array], Array]


def check_state_jacobian(network: Network, x: Array, s: Array, rng: np.random.Generator) -> None:
    """Catch a Jacobian that is not the derivative of the step in the state, or a vjp that is not its transpose."""
    J, v, u = network.linearise(x, s), rng.standard_normal(s.shape), rng.standard_normal(s.shape)
    if not isinstance(network, FunctionCell):  # `function` compares the Jacobian of a function
        truth = step_derivative(network, x, s, np.zeros_like(x), v)
        _agrees(network, x, s, J.jvp(v), truth, "J v is not the derivative of the step")
    _is_transpose(network, u, v, J.jvp, J.vjp, "vjp is not the transpose of jvp")


def check_input_jacobian(network: Network, x: Array, s: Array, rng: np.random.Generator) -> None:
    """Catch wrong derivatives of the new state in the input: jvp_input and vjp_input."""
    if isinstance(network, FunctionCell):  # derivatives in the input are not asked of a function
        return
    J, dx, u = network.linearise(x, s), rng.standard_normal(x.shape), rng.standard_normal(s.shape)
    truth = step_derivative(network, x, s, dx, np.zeros_like(s))
    _agrees(network, x, s, J.jvp_input(dx), truth, "jvp_input is not the derivative of the step in the input")
    shape = J.vjp_input(u).shape
    require(shape == x.shape, network, f"vjp_input has shape {shape}; the input has {x.shape}")
    _is_transpose(network, u, dx, J.jvp_input, J.vjp_input, "vjp_input is not the transpose of jvp_input")


def _agrees(network: Network, x: Array, s: Array, stated: Array, truth: Array, what: str) -> None:
    """Compare with a derivative; differences see no less than rounding of the step."""
    size = largest(network.step(x.T, s.T)) if network.kinks else 0.0
    close(stated, truth, tolerance(network.kinks), network, what, size)


def _is_transpose(network: Network, u: Array, v: Array, jvp: Product, vjp: Product, what: str) -> None:
    """Require <u, J v> = <J' u, v>, relative to the terms of the two sums."""
    left, right = u * jvp(v), vjp(u) * v
    terms = np.abs(left).sum(axis=0) + np.abs(right).sum(axis=0)
    gap = np.abs(left.sum(axis=0) - right.sum(axis=0))
    require((gap <= EXACT * terms).all(), network, f"{what}: <u, J v> and <J' u, v> differ by {gap.max():.2g}")


def check_dense(network: Network, x: Array, s: Array, rng: np.random.Generator) -> None:
    """Catch a dense matrix, or a product by `@`, that is not what jvp and vjp multiply by."""
    J, v, u = network.linearise(x, s), rng.standard_normal(s.shape), rng.standard_normal(s.shape)
    forward, back = J.jvp(v), J.vjp(u)
    for b in range(SEQUENCES):
        column, one = J.column(b), slice(b, b + 1)
        dense = column.dense()
        close(dense @ v[:, one], forward[:, one], EXACT, network, "dense() is not the matrix of jvp")
        close(dense.T @ u[:, one], back[:, one], EXACT, network, "dense() is not the matrix of vjp")
        close(column @ v[:, b], forward[:, b], EXACT, network, "J @ v differs from jvp")
        close(column.T @ u[:, b], back[:, b], EXACT, network, "J.T @ u differs from vjp")


def check_skip_path(network: Network, x: Array, s: Array, rng: np.random.Generator) -> None:
    """Catch a skip path that is not what is left of J without recurrent weights."""
    J, v = network.linearise(x, s), rng.standard_normal(s.shape)
    skip, bare = J.jvp_skip(v), J.without_weights()
    if bare is None:
        kind = type(J).__name__
        require(not skip.any(), network, f"{kind} has a skip path and does not define without_weights")
    else:
        close(bare.jvp(v), skip, EXACT, network, "jvp_skip is not jvp without the weights", largest(v))


def check_log_det(network: Network, x: Array, s: Array, rng: np.random.Generator) -> None:
    """Catch a closed form of log|det J| that lies elsewhere than the singular values of the dense J put it.

    Rounding of relative size r in J moves every singular value by r |J| at the most (Weyl).
    """
    J = network.linearise(x, s)
    logs = J.log_abs_det()
    if logs is None:
        return
    require(logs.shape == (J.states,), network, f"log_abs_det has shape {logs.shape} for {J.states} states")
    for b, log in enumerate(logs):
        values = np.linalg.svd(J.column(b).dense(), compute_uv=False)
        low, high = (float(np.log(np.maximum(values + k * EXACT * values[0], 0)).sum()) for k in (-1, 1))
        room = EXACT * max(1.0, abs(high)) if np.isfinite(high) else 0.0
        what = f"log|det J| is {log:.6g}; by the dense J, from {low:.6g} to {high:.6g}"
        require(low - room <= log <= high + room, network, what)


CHECKS = (check_state_jacobian, check_dense, check_skip_path, check_log_det, check_input_jacobian)
