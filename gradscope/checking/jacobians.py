"""Is the Jacobian the derivative of the step, forward and back, and are its parts what they are said to be?"""

from __future__ import annotations

import dataclasses

import numpy as np

from gradscope.checking.derivatives import DIFFERENCES, EXACT, H, step_is_stated
from gradscope.checking.truth import BATCH, close, derivative, require, step_of
from gradscope.maps.composition import Composite, Looped
from gradscope.maps.jacobian import Array, Dense, Jacobian, Linear
from gradscope.maps.stacked import Stacked
from gradscope.networks.cell import Cell
from gradscope.networks.function import FunctionCell
from gradscope.networks.network import Network

__all__ = ["check_input_jacobian", "check_log_det", "check_roads", "check_state_jacobian", "check_within"]


def check_state_jacobian(cell: Network, x: Array, s: Array, rng: np.random.Generator) -> None:
    """Compare jvp, vjp and dense matrix of d(new state)/d(state) with derivatives of the step."""
    J = cell.linearise(x, s)
    v, u = rng.standard_normal(s.shape), rng.standard_normal(s.shape)
    what = "J v is not the derivative of the step"
    if not isinstance(cell, FunctionCell):
        truth, tolerance = derivative(cell, x, s, np.zeros_like(x), v)
        size = float(np.abs(step_of(cell, x, s)).max()) if tolerance == DIFFERENCES else 0.0
        close(J.jvp(v), truth, tolerance, cell, what, size)
    elif not cell.surrogate:
        off = step_is_stated(cell, x, s, v)
        require(off <= 1, cell, f"{what}: it is off by {off:.2g} times what is allowed")
    _check_adjoint(cell, u, J.jvp(v), J.vjp(u), v, "vjp is not the transpose of jvp")
    for b in range(BATCH):
        column = J.column(b)
        dense = column.dense()
        close(dense @ v[:, b], J.jvp(v)[:, b], EXACT, cell, "dense() is not what jvp multiplies by")
        close(dense.T @ u[:, b], J.vjp(u)[:, b], EXACT, cell, "dense() is not what vjp multiplies by")
        close(column.T @ u[:, b], J.vjp(u)[:, b], EXACT, cell, "J.T @ u differs from vjp")
        close(column @ v[:, b], J.jvp(v)[:, b], EXACT, cell, "J @ v differs from jvp")


def _check_adjoint(cell: Network, u: Array, pushed: Array, pulled: Array, v: Array, what: str) -> None:
    """<u, J v> = <J^T u, v>, relative to the terms of the two sums."""
    terms = np.abs(u * pushed).sum(axis=0) + np.abs(pulled * v).sum(axis=0)
    gap = np.abs((u * pushed).sum(axis=0) - (pulled * v).sum(axis=0))
    require((gap <= EXACT * terms).all(), cell, f"{what}: <u, J v> and <J^T u, v> differ by {gap.max():.2g}")


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


def check_roads(cell: Network, x: Array, s: Array, rng: np.random.Generator) -> None:
    """Around and through make up J: without weights, only the road around is left."""
    J, v = cell.linearise(x, s), rng.standard_normal(s.shape)
    around = J.jvp_skip(v)
    if isinstance(J, Jacobian | Composite | Stacked | Looped) or (isinstance(J, Dense) and J.around is not None):
        left = _without_weights(J).jvp(v)
        close(left, around, EXACT, cell, "without weights, jvp is not jvp_skip", float(np.abs(v).max()))
        there = J.jvp(v) - J.jvp_skip(v)
        back = J.jvp(-v) - J.jvp_skip(-v)
        close(-back, there, EXACT, cell, "the road through the weights is not linear", float(np.abs(v).max()))


def check_log_det(cell: Network, x: Array, s: Array) -> None:
    """log|det J|, where it has a closed form, lies where the singular values of the dense J put it.

    Rounding of relative size r in J moves every singular value by r |J| at the most (Weyl).
    """
    J = cell.linearise(x, s)
    stated = J.log_abs_det()
    if stated is None:
        return
    require(stated.shape == (J.states,), cell, f"log_abs_det has shape {stated.shape} for {J.states} states")
    for b in range(J.states):
        values = np.linalg.svd(J.column(b).dense(), compute_uv=False)
        with np.errstate(divide="ignore"):
            ends = [float(np.log(np.maximum(values + k * EXACT * values[0], 0)).sum()) for k in (-1, 1)]
        room = EXACT * max(1.0, abs(ends[1])) if np.isfinite(ends[1]) else 0.0
        fits = ends[0] - room <= stated[b] <= ends[1] + room
        require(fits, cell, f"log|det J| is {stated[b]:.6g}; by the dense J, from {ends[0]:.6g} to {ends[1]:.6g}")


def check_input_jacobian(cell: Network, x: Array, s: Array, rng: np.random.Generator) -> None:
    """Compare jvp and vjp of d(new state)/d(input) with derivatives of the step."""
    J = cell.linearise(x, s)
    dx, u = rng.standard_normal(x.shape), rng.standard_normal(s.shape)
    truth, tolerance = derivative(cell, x, s, dx, np.zeros_like(s))
    size = float(np.abs(step_of(cell, x, s)).max()) if tolerance == DIFFERENCES else 0.0
    close(J.jvp_input(dx), truth, tolerance, cell, "jvp_input is not the derivative in the input", size)
    pulled = J.vjp_input(u)
    require(pulled.shape == x.shape, cell, f"vjp_input has shape {pulled.shape}; the input has {x.shape}")
    _check_adjoint(cell, u, J.jvp_input(dx), pulled, dx, "vjp_input is not the transpose of jvp_input")


def check_within(cell: Cell, x: Array, s: Array, rng: np.random.Generator) -> None:
    """What vjp_within says that one new part owes to another is so for a change that only the other sees.

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
        within = J.vjp_within(u)
        for q, to in parts.items():
            if not within[to].any():
                continue
            require(q != p, cell, f"vjp_within says that the new part {p} contributes to itself")
            explained = []
            for d in changes:
                if np.abs(d[to]).max() > 0:
                    left, right = (u[at] * d[at]).sum(axis=0), (within[to] * d[to]).sum(axis=0)
                    size = np.abs(u[at] * d[at]).sum(axis=0) + np.abs(within[to] * d[to]).sum(axis=0)
                    explained.append(bool((np.abs(left - right) <= 10 * tolerance * size).all()))
            what = f"vjp_within: d {p}'/d {q}' does not explain any change of {p}' that comes through {q}'"
            require(any(explained), cell, what)


def _changes(cell: Cell, x: Array, s: Array, rng: np.random.Generator) -> tuple[list[Array], float]:
    """Return how the new state changes with each old part and with each gate's bias."""
    found, tolerance = [], EXACT
    ends = np.cumsum([0, *cell.sizes.values()])
    for i, j in zip(ends[:-1], ends[1:], strict=True):
        v = np.zeros_like(s)
        v[i:j] = rng.standard_normal(v[i:j].shape)
        d, tolerance = derivative(cell, x, s, np.zeros_like(x), v)
        found.append(d)
    for gate in range(len(cell.gates)):
        bump = np.zeros(cell.rows)
        bump[gate * cell.width : (gate + 1) * cell.width] = rng.standard_normal(cell.width)
        bias = np.zeros_like(bump) if cell.b_ih is None else cell.b_ih
        h, at = (H, x) if cell.kinks else (1e-30j, x.astype(complex))
        right, left = (step_of(cell.replace(b_ih=bias + k * bump), at, s) for k in (h, -h))
        found.append(np.real((right - left) / (2 * h)))
    return found, tolerance
