"""Element-wise functions and derivatives that stay right where the textbook forms cancel.

`1 - tanh(a)**2` loses every digit for |a| > 19; 1 / cosh(a)**2 written with exp(-2|a|) does not.
All accept real or complex arrays (the functions, not the derivatives), and keep their dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def sigmoid(a: Array) -> Array:
    """Return 1 / (1 + exp(-a)), to full relative accuracy on both sides."""
    with np.errstate(over="ignore"):  # 1 / inf is right
        out: Array = np.divide(1, 1 + np.exp(-a))
        return out


def dsigmoid(a: Array) -> Array:
    """Return the derivative of `sigmoid`, s (1 - s), with 1 - s = exp(-a) s."""
    with np.errstate(over="ignore", invalid="ignore"):
        e = np.exp(-a)
        s = np.divide(1, 1 + e)
        out: Array = np.multiply(s, np.fmin(e * s, 1))
        return out  # inf * 0 stands for 1, and nan stays nan in s


def softplus(a: Array) -> Array:
    """Return log(1 + exp(a)), to full relative accuracy on both sides; its derivative is `sigmoid`."""
    positive = a.real > 0
    return np.where(positive, a, 0) + np.log1p(np.exp(np.where(positive, -a, a)))


def log_sigmoid(a: Array) -> Array:
    """Return log sigmoid(a); its derivative is sigmoid(-a)."""
    return -softplus(-a)


def tanh(a: Array) -> Array:
    """Return the hyperbolic tangent."""
    return np.tanh(a)


def dtanh(a: Array) -> Array:
    """Return the derivative of tanh, 1 / cosh(a)**2."""
    e = np.exp(-2 * np.abs(a))
    out: Array = np.divide(4 * e, (1 + e) ** 2)
    return out


def relu(a: Array) -> Array:
    """Return max(a, 0), decided by the real part."""
    return np.where(a.real > 0, a, 0)


def drelu(a: Array) -> Array:
    """Return the derivative of `relu`; 0 at the kink, as automatic differentiation has it."""
    return (a > 0).astype(a.dtype)


class Activation(NamedTuple):
    """A function, its derivative, and the interval of its values."""

    f: Callable[[Array], Array]
    df: Callable[[Array], Array]
    low: float
    high: float


ACTIVATIONS = {
    "tanh": Activation(tanh, dtanh, -1.0, 1.0),
    "relu": Activation(relu, drelu, 0.0, np.inf),
}
