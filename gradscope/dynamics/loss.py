"""The loss whose gradient is propagated back: its direct gradient dL/dh_t at each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope.dynamics.chain import JacobianChain
from gradscope.errors import InputError, UsageError
from gradscope.maps.jacobian import Array

LOSSES = ("last", "mean", "sum")


@dataclass(frozen=True, eq=False)
class Loss:
    """Direct gradients dL/dh_t of a loss.

    Attributes:
        name: "last", "mean", "sum", or "given".
        direct: (H, B) where only the last state has a loss, or (T, H, B): direct[t - 1] belongs to h_t.
    """

    name: str
    direct: Array

    def at(self, t: int, steps: int) -> Array | None:
        """Return dL/dh_t without the part that comes through later steps, (H, B); None where it is zero."""
        if self.direct.ndim == 3:
            return np.asarray(self.direct[t - 1]) if t else None
        return self.direct if t == steps else None

    @property
    def at_every_step(self) -> bool:
        """Whether the loss reads states before the last one."""
        return self.direct.ndim == 3

    @property
    def ends(self) -> int | None:
        """The last step with a loss, counted from 1; None where there is none, or only the last step is asked."""
        if not self.at_every_step:
            return None
        with_loss = np.flatnonzero(self.direct.any(axis=(1, 2)))
        return int(with_loss[-1]) + 1 if with_loss.size else None

    def last_only(self) -> Loss:
        """Return the term of the loss that reads the last state."""
        return Loss("last", np.asarray(self.direct[-1])) if self.at_every_step else self


def random_loss(chain: JacobianChain, name: str = "last", seed: int = 0) -> Loss:
    """Return the loss of a random readout w of length one for each sequence.

    Args:
        chain: the chain whose output is read.
        name: "last" (L = w . h_T), "sum" (L = sum over t of w . h_t), or "mean" (the sum over T).
        seed: seed of the readout.

    Raises:
        UsageError: the name is not known.
    """
    if name not in LOSSES:
        raise UsageError(f"there is no loss named '{name}'", f"known: {', '.join(LOSSES)}")
    size = chain.output_size
    rng = np.random.default_rng([seed, 2])  # another stream than those of weights and inputs
    w = rng.standard_normal((chain.batch, size)).T
    w = (w / np.linalg.norm(w, axis=0)).astype(chain.dtype)
    if name == "last":
        return Loss(name, w)
    return Loss(name, np.broadcast_to(w / (chain.steps if name == "mean" else 1), (chain.steps, *w.shape)))


def given_loss(chain: JacobianChain, gradient: Array) -> Loss:
    """Return the loss whose gradient dL/dh the user gives: (H,) or (B, H) for the last h, (B, T, H) for every h_t.

    Raises:
        InputError: the shape is none of these, or the values are not real, finite numbers of the chain's precision.
    """
    g = np.asarray(gradient)
    size, batch, steps = chain.output_size, chain.batch, chain.steps
    if g.dtype.kind not in "fiu":
        raise InputError(f"a loss gradient must be real numbers, not {g.dtype}")
    g = _representable(g, chain.dtype)
    if g.shape == (size,):
        return Loss("given", np.repeat(g[:, None], batch, axis=1))
    if g.shape == (batch, size):
        return Loss("given", g.T)
    if g.shape == (batch, steps, size):
        return Loss("given", g[:, -1].T if not g[:, :-1].any() else g.transpose(1, 2, 0))
    wanted = f"({size},), ({batch}, {size}) or ({batch}, {steps}, {size})"
    raise InputError(f"the loss gradient has shape {g.shape}; it must be {wanted}")


def _representable(g: Array, dtype: np.dtype[Any]) -> Array:
    """Return the gradient in the precision of the run; refuse one that overflows or is rounded to zero."""
    with np.errstate(over="ignore"):
        cast = g.astype(dtype)
    if not np.isfinite(cast).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(cast))[0])
        raise InputError(f"the loss gradient is not finite in {dtype.name}: {g[place]} at {place}")
    if g.any() and not cast.any():
        raise InputError(f"the loss gradient is zero in {dtype.name}", "use --dtype float64")
    return cast
