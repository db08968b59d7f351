"""Normalisation between the layers of a network.

Ba, Kiros & Hinton (2016), layer normalization; Zhang & Sennrich (2019), RMSNorm, which leaves the mean in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from gradscope import plugins
from gradscope.errors import InputError, UsageError
from gradscope.maps.jacobian import Array
from gradscope.maps.stacked import Normed

__all__ = ["NORMS", "Norm", "named_norm"]

NORMS = {"layer": True, "rms": False}  # {name: whether the mean is taken off}


@dataclass(frozen=True, eq=False)
class Norm:
    """y = gain * (x - mean x) / sqrt(mean (x - mean x)^2 + eps) + bias, over the m entries of each input.

    Attributes:
        centred: layer normalisation; False: RMSNorm, which takes no mean off.
        gain: (m,), or None for 1.
        bias: (m,), or None for 0.
        eps: as torch.nn.LayerNorm has it unless given.

    Raises:
        UsageError: eps is no number from 0 on.
        InputError: gain or bias are not real numbers.
    """

    centred: bool = True
    gain: Array | None = None
    bias: Array | None = None
    eps: float = 1e-5

    def __post_init__(self) -> None:
        eps = self.eps
        if isinstance(eps, bool) or not isinstance(eps, int | float | np.number) or not 0 <= eps < np.inf:
            raise UsageError(f"eps of a norm must be a nonnegative number, not {eps!r}")
        for name, w in self.weights().items():
            if np.asarray(w).dtype.kind not in "fiu":
                raise InputError(f"the {name} of a norm must be real numbers, not {np.asarray(w).dtype}")

    @property
    def name(self) -> str:
        """Which of `NORMS` it is."""
        return next(name for name, centred in NORMS.items() if centred == self.centred)

    def apply(self, x: Array) -> Array:
        """Return y, (..., m, B)."""
        y, _ = self._scaled(x)
        y = y if self.gain is None else self.gain[:, None] * y
        return y if self.bias is None else y + self.bias[:, None]

    def linearise(self, x: Array) -> Normed:
        """Return the derivative at x, (..., m, B)."""
        return Normed(*self._scaled(x), None if self.gain is None else self.gain[:, None], self.centred)

    def _scaled(self, x: Array) -> tuple[Array, Array]:
        if self.centred:
            x = x - x.mean(axis=-2, keepdims=True)
        top = np.maximum(np.abs(x.real).max(axis=-2, keepdims=True), 1)  # squares of what is large have no number
        scale = top * np.sqrt(((x / top) ** 2).mean(axis=-2, keepdims=True) + self.eps / top / top)
        with np.errstate(invalid="ignore"):  # nothing beside nothing, where eps is 0
            return x / scale, scale

    def weights(self) -> dict[str, Array]:
        """Return its arrays by name."""
        return {k: w for k, w in (("gain", self.gain), ("bias", self.bias)) if w is not None}

    def fitted(self, width: int, dtype: Any) -> Norm:
        """Return it in another precision, for so many inputs.

        Raises:
            InputError: its arrays have another size.
        """
        for name, w in self.weights().items():
            if np.shape(w) != (width,):
                raise InputError(f"the {name} of a norm has shape {np.shape(w)}; the layer below has {width} outputs")
        cast = [None if w is None else np.asarray(w, dtype) for w in (self.gain, self.bias)]
        return Norm(self.centred, cast[0], cast[1], self.eps)


def named_norm(name: str) -> Norm | None:
    """Return the norm of this name, without weights; None for "none".

    Raises:
        UsageError: there is no such norm.
    """
    known = ["none", *NORMS]
    if name not in known:
        raise UsageError(f"there is no norm named '{name}'", f"{plugins.suggest(name, known)}known: {', '.join(known)}")
    return None if name == "none" else Norm(NORMS[name])
