"""Layers that feed one another as one step, with residual connections and normalisation between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.maps.composition import sum_of_log_dets
from gradscope.maps.jacobian import Array, Linear, PathShares, ranges

__all__ = ["Normed", "Stacked"]


@dataclass(frozen=True, eq=False)
class Normed:
    """The derivative of a normalisation of (m, B) inputs, y = gain * x^ + bias.

    With x^ = (x - mean x) / scale, dy = gain * (dx - mean dx - x^ mean(x^ dx)) / scale. As for a step of a cell,
    entries carry a leading time axis before `at` has chosen a step.

    Attributes:
        xhat: x^, (m, B).
        scale: (1, B).
        gain: (m, 1), or None for 1.
        centred: whether the mean is taken off; not so in RMSNorm.
    """

    xhat: Array
    scale: Array
    gain: Array | None
    centred: bool

    def _projected(self, v: Array) -> Array:
        with np.errstate(invalid="ignore"):  # 0 / 0, where all inputs are one and eps is 0
            v = v / self.scale
        mean = v.mean(axis=0, keepdims=True) if self.centred else 0
        return np.asarray(v - mean - self.xhat * (self.xhat * v).mean(axis=0, keepdims=True))

    def jvp(self, v: Array) -> Array:
        """Return the change of y with a change of x."""
        return self._projected(v) if self.gain is None else self.gain * self._projected(v)

    def vjp(self, u: Array) -> Array:
        """Return the cotangent of x from that of y."""
        return self._projected(u if self.gain is None else self.gain * u)

    def at(self, index: Any) -> Normed:
        """Choose a step."""
        return replace(self, xhat=self.xhat[index], scale=self.scale[index])

    def column(self, b: int) -> Normed:
        """Choose one of the B columns."""
        return replace(self, xhat=self.xhat[..., b : b + 1], scale=self.scale[..., b : b + 1])


@dataclass(frozen=True, eq=False)
class Stacked(Linear):
    """Layers of one network as one step: block lower triangular, built by substitution.

    Layer l sees, as its input, the new output of layer l-1 (the first `outputs[l-1]` rows of its state); with residual
    connections the sum of the outputs of all layers below; with norms, this after normalisation. What goes from one
    layer to another crosses input weights: `jvp_skip` leaves it out, and keeps what stays around the weights within
    each layer. It is a road of its own, "l0 to l1", unless it crossed recurrent weights first.

    Attributes:
        layers: their Jacobians, bottom first.
        outputs: size of each layer's output.
        names: of the layers; () for l0, l1, ...
        residual: whether a layer sees the sum of the outputs below it.
        norms: of what each layer but the bottom one sees, None where there is none; () for none at all.
    """

    layers: tuple[Linear, ...]
    outputs: tuple[int, ...]
    names: tuple[str, ...] = ()
    residual: bool = False
    norms: tuple[Normed | None, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        n = sum(layer.shape[0] for layer in self.layers)
        return n, n

    @property
    def states(self) -> int:
        normed = [int(n.xhat.shape[-1]) for n in self.norms if n is not None]
        return max([layer.states for layer in self.layers] + normed)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(*(layer.dtype for layer in self.layers))

    @cached_property
    def _slices(self) -> list[slice]:
        return ranges([layer.shape[0] for layer in self.layers])

    def _norm(self, layer: int) -> Normed | None:
        return self.norms[layer - 1] if self.norms else None

    def _from_below(self, made: Sequence[Array | int]) -> list[Array | int]:
        """Return what reaches the new state of each layer from the layers below, given what each makes by itself."""
        arrived: list[Array | int] = [0]
        stream: Any = 0
        for i, layer in enumerate(self.layers[1:], 1):
            new = np.asarray(made[i - 1] + arrived[-1])[: self.outputs[i - 1]]
            stream = stream + new if self.residual else new
            norm = self._norm(i)
            arrived.append(layer.jvp_input(stream if norm is None else norm.jvp(stream)))
        return arrived

    def _from_above(self, u: Array) -> tuple[list[Array], list[Array]]:
        """Take in cotangents of the new states as if each layer ran alone.

        Returns:
            for each layer, (its cotangent with what comes down from the layers above, what its input sends down).
        """
        reached = [u[s] for s in self._slices]
        sent: list[Array] = [np.zeros(0)] * len(reached)
        stream: Any = 0
        for i in reversed(range(1, len(reached))):
            norm, seen = self._norm(i), self.layers[i].vjp_input(reached[i])
            sent[i] = seen if norm is None else norm.vjp(seen)
            stream = stream + sent[i] if self.residual else sent[i]
            reached[i - 1] = reached[i - 1].copy()
            reached[i - 1][: self.outputs[i - 1]] += stream
        return reached, sent

    def jvp(self, v: Array) -> Array:
        made = [layer.jvp(v[s]) for layer, s in zip(self.layers, self._slices, strict=True)]
        return _joined(made, self._from_below(made))

    def vjp(self, u: Array) -> Array:
        reached, _ = self._from_above(u)
        return np.concatenate([layer.vjp(own) for layer, own in zip(self.layers, reached, strict=True)])

    def jvp_skip(self, v: Array) -> Array:
        return np.concatenate([x.jvp_skip(v[s]) for x, s in zip(self.layers, self._slices, strict=True)])

    def jvp_split(self, v: Array) -> tuple[Array, Array]:
        apart = [layer.jvp_split(v[s]) for layer, s in zip(self.layers, self._slices, strict=True)]
        below = self._from_below([a + b for a, b in apart])
        return np.concatenate([a for a, _ in apart]), _joined([b for _, b in apart], below)

    def path_shares(self, u: Array, v: Array) -> PathShares:
        reached, sent = self._from_above(u)
        names = self.names or tuple(f"l{i}" for i in range(len(reached)))
        made: list[Array] = []
        around: Any = 0
        through: dict[str, Array] = {}
        for i, (name, layer, s) in enumerate(zip(names, self.layers, self._slices, strict=True)):
            found = layer.path_shares(reached[i], v[s])
            through |= {f"{name}.{gate}": part for gate, part in found.through.items()}
            kept = layer.jvp_skip(v[s])
            for j in range(i + 1, len(reached) if self.residual else min(i + 2, len(reached))):
                through[f"{name} to {names[j]}"] = (sent[j] * kept[: self.outputs[i]]).sum(axis=0)
            around = around + (u[s] * kept).sum(axis=0)
            made.append(found.jvp)
        return PathShares(_joined(made, self._from_below(made)), around, through)

    def jvp_input(self, x: Array) -> Array:
        alone = self.layers[0].jvp_input(x)
        made = [alone, *(np.zeros((layer.shape[0], x.shape[1]), alone.dtype) for layer in self.layers[1:])]
        return _joined(made, self._from_below(made))

    def vjp_input(self, u: Array) -> Array:
        return self.layers[0].vjp_input(self._from_above(u)[0][0])

    def vjp_within(self, u: Array) -> Array:
        reached, _ = self._from_above(u)  # the layers above see the new output of the layers below
        whole = [own + layer.vjp_within(own) for layer, own in zip(self.layers, reached, strict=True)]
        return np.concatenate(whole) - u

    def log_abs_det(self) -> Array | None:
        return sum_of_log_dets(self.layers, self.states)  # block triangular

    def at(self, index: Any) -> Stacked:
        norms = tuple(n and n.at(index) for n in self.norms)
        return replace(self, layers=tuple(layer.at(index) for layer in self.layers), norms=norms)

    def column(self, b: int) -> Stacked:
        norms = tuple(n and n.column(b) for n in self.norms)
        return replace(self, layers=tuple(layer.column(b) for layer in self.layers), norms=norms)


def _joined(made: Sequence[Array], arrived: Sequence[Array | int]) -> Array:
    return np.concatenate([m + a for m, a in zip(made, arrived, strict=True)])
