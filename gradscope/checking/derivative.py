"""What is the derivative of a formula along a direction, and how near to it must a stated one lie?

By the complex step where formulas allow it: Im f(s + ihv) / h has no cancellation (Squire & Trapp 1998). By central
differences where there are kinks, away from them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradscope.maps.jacobian import Array
from gradscope.networks.network import Network
from gradscope.networks.stack import Stack

EXACT = 1e-12  # relative; about 5000 roundings of float64, more than any small cell has
# Central differences of step h err by h^2 |f'''| / 6 + eps |f| / h, 1e-10 at h = eps^(1/3): a hundred times that.
DIFFERENCES = 1e-8  # relative
DIFFERENCE_STEP = float(np.cbrt(np.finfo(float).eps))
COMPLEX_STEP = 1e-30  # the complex step has no cancellation, so the step can be this small
ONE_SIDED = 1e-3  # relative; one-sided differences that differ by more have a kink between them
SEQUENCES = 4  # independent ones, side by side


def require(condition: Any, network: Network, what: str) -> None:
    """Raise an AssertionError that names the network, unless the condition holds."""
    if not condition:
        layers = ", ".join(type(c).__name__ for c in network.layers.values()) if isinstance(network, Stack) else ""
        raise AssertionError(f"{f'Stack of {layers}' if layers else type(network).__name__}: {what}")


def close(actual: Array, expected: Array, allowed: float, network: Network, what: str, size: float = 0.0) -> None:
    """Require two arrays to agree, relative to the largest expected number, or to `size` if that is larger."""
    require(actual.shape == expected.shape, network, f"{what}: shape {actual.shape}, expected {expected.shape}")
    if not expected.size:
        return
    scale = max(largest(expected), size, np.finfo(float).tiny)
    gap = np.abs(actual - expected)
    error = float(gap.max()) / scale
    worst = tuple(int(i) for i in np.unravel_index(gap.argmax(), gap.shape))
    where = "" if np.isnan(error) else f", worst at {worst}"
    require(error <= allowed, network, f"{what}: relative error {error:.2g}, allowed {allowed:.2g}{where}")


def largest(array: Array) -> float:
    """Return the largest magnitude in an array, 0 for an empty one."""
    return float(np.abs(array).max(initial=0.0))


def tolerance(kinks: bool) -> float:
    """Return the relative error that a right derivative may have beside `derivative`."""
    return DIFFERENCES if kinks else EXACT


def derivative(formula: Callable[[complex], Array], kinks: bool) -> Array:
    """Return d formula(h) / dh at h = 0: by central differences where there are kinks, else by the complex step."""
    if kinks:
        return (formula(DIFFERENCE_STEP) - formula(-DIFFERENCE_STEP)) / (2 * DIFFERENCE_STEP)
    return np.asarray(np.imag(formula(1j * COMPLEX_STEP)) / COMPLEX_STEP)


def step_derivative(network: Network, x: Array, s: Array, dx: Array, ds: Array) -> Array:
    """Return the derivative of the public step along inputs dx (m, B) and states ds (n, B), at (x, s)."""
    return derivative(lambda h: network.step((x + h * dx).T, (s + h * ds).T).T, network.kinks)


def point(network: Network, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw inputs (m, B) and states (n, B), away from kinks.

    Raises:
        AssertionError: every random point lies at a kink.
    """
    for _ in range(100):
        x, s = (
            rng.standard_normal((network.input_size, SEQUENCES)),
            rng.standard_normal((network.state_size, SEQUENCES)),
        )
        if not network.kinks or _one_sided_agree(network, x, s):
            return x, s
    raise AssertionError(f"{type(network).__name__}: every random point is at a kink, where no derivative exists")


def _one_sided_agree(network: Network, x: Array, s: Array) -> bool:
    """Whether forward and backward differences agree, so that no kink lies within a step of (x, s)."""
    h = DIFFERENCE_STEP
    here, right, left = (network.evolve(x + k * h, s + k * h) for k in (0, 1, -1))
    forward, backward = (right - here) / h, (here - left) / h
    return largest(forward - backward) <= ONE_SIDED * max(largest(forward), 1.0)
