"""What a check begins from: a point, the derivative of the step there, and how near two numbers have to be."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradscope.checking.derivatives import DIFFERENCES, EXACT, H
from gradscope.maps.jacobian import Array
from gradscope.networks.network import Network
from gradscope.networks.stack import Stack

__all__ = ["BATCH", "close", "derivative", "point", "require", "step_of"]

BATCH = 4


def _say(cell: Network, what: str) -> str:
    name = "Stack of " + ", ".join(type(c).__name__ for c in cell.layers.values()) if isinstance(cell, Stack) else ""
    return f"{name or type(cell).__name__}: {what}"


def require(condition: Any, cell: Network, what: str) -> None:
    """Raise an AssertionError that names the cell, unless the condition holds."""
    if not condition:
        raise AssertionError(_say(cell, what))


def close(found: Array, wanted: Array, tolerance: float, cell: Network, what: str, size: float = 0.0) -> None:
    """Compare two arrays relative to the largest number in them, or to `size` if that is larger."""
    require(found.shape == wanted.shape, cell, f"{what}: shape {found.shape}, expected {wanted.shape}")
    if not wanted.size:
        return
    scale = max(float(np.abs(wanted).max()), size, np.finfo(float).tiny)
    error = float(np.abs(found - wanted).max()) / scale
    worst = tuple(int(i) for i in np.unravel_index(np.abs(found - wanted).argmax(), found.shape))
    where = "" if np.isnan(error) else f", worst at {worst}"
    require(error <= tolerance, cell, f"{what}: relative error {error:.2g}, allowed {tolerance:.2g}{where}")


def _differences_agree(cell: Network, x: Array, s: Array, dx: Array, ds: Array) -> bool:
    """Tell whether the one-sided differences agree, so that no kink lies within a step of (x, s)."""
    here, right, left = cell.evolve(x, s), cell.evolve(x + H * dx, s + H * ds), cell.evolve(x - H * dx, s - H * ds)
    forward, backward = (right - here) / H, (here - left) / H
    return bool(np.abs(forward - backward).max(initial=0.0) <= 1e-3 * max(float(np.abs(forward).max(initial=0.0)), 1.0))


def point(cell: Network, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw inputs and states, (m, B) and (n, B), away from kinks."""
    for _ in range(100):
        x, s = rng.standard_normal((cell.input_size, BATCH)), rng.standard_normal((cell.state_size, BATCH))
        if not cell.kinks or _differences_agree(cell, x, s, np.ones_like(x), np.ones_like(s)):
            return x, s
    raise AssertionError(_say(cell, "every random point lies at a kink: the step is not differentiable"))


def derivative(cell: Network, x: Array, s: Array, dx: Array, ds: Array) -> tuple[Array, float]:
    """Return the derivative of the step along (dx, ds), and the tolerance that it deserves."""
    if not cell.kinks:
        tiny = 1e-30  # Squire & Trapp (1998): no cancellation, so the step can be this small
        return np.imag(step_of(cell, x + 1j * tiny * dx, s + 1j * tiny * ds)) / tiny, EXACT
    difference = step_of(cell, x + H * dx, s + H * ds) - step_of(cell, x - H * dx, s - H * ds)
    return difference / (2 * H), DIFFERENCES


def step_of(cell: Network, x: Array, s: Array) -> Array:
    """Run the public step on columns."""
    return cell.step(x.T, s.T).T
