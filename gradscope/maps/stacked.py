"""Layers that feed one another as one step, with residual connections and normalisation between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.maps.composition import all_without_weights, sum_of_log_dets
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
        centred: whether the mean is subtracted; False for RMSNorm.
    """

    xhat: Array
    scale: Array
    gain: Array | None
    centred: bool

    def _projected(self, v: Array) -> Array:
        with np.errstate(invalid="ignore"):  # 0 / 0, where all inputs are equal and eps is 0
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
    layer to another crosses input weights: `jvp_skip` leaves it out, and has the skip paths within each layer. It is a
    path of its own, "l0 to l1", unless it crossed recurrent weights first.

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

    def _from_below(self, alone: Sequence[Array | int]) -> list[Array | int]:
        """Return what the layers below add to the tangent of each layer's new state.

        Args:
            alone: tangent of the new state of each layer, as if each layer ran alone.
        """
        added: list[Array | int] = [0]
        stream: Any = 0
        for i, layer in enumerate(self.layers[1:], 1):
            output = np.asarray(alone[i - 1] + added[-1])[: self.outputs[i - 1]]
            stream = stream + output if self.residual else output
            norm = self._norm(i)
            added.append(layer.jvp_input(stream if norm is None else norm.jvp(stream)))
        return added

    def _from_above(self, u: Array) -> tuple[list[Array], list[Array]]:
        """Pass cotangents down from layer to layer.

        Args:
            u: cotangents of the new states, (n, B), as if each layer ran alone.

        Returns:
            for each layer, (cotangent of its new state with what the layers above add, cotangent of its input before
            the norm).
        """
        cotangents = [u[s] for s in self._slices]
        of_inputs: list[Array] = [np.zeros(0)] * len(cotangents)
        stream: Any = 0
        for i in reversed(range(1, len(cotangents))):
            norm, of_input = self._norm(i), self.layers[i].vjp_input(cotangents[i])
            of_inputs[i] = of_input if norm is None else norm.vjp(of_input)
            stream = stream + of_inputs[i] if self.residual else of_inputs[i]
            cotangents[i - 1] = cotangents[i - 1].copy()
            cotangents[i - 1][: self.outputs[i - 1]] += stream
        return cotangents, of_inputs

    def jvp(self, v: Array) -> Array:
        alone = [layer.jvp(v[s]) for layer, s in zip(self.layers, self._slices, strict=True)]
        return _joined(alone, self._from_below(alone))

    def vjp(self, u: Array) -> Array:
        cotangents, _ = self._from_above(u)
        return np.concatenate([layer.vjp(c) for layer, c in zip(self.layers, cotangents, strict=True)])

    def jvp_skip(self, v: Array) -> Array:
        return np.concatenate([x.jvp_skip(v[s]) for x, s in zip(self.layers, self._slices, strict=True)])

    def without_weights(self, *, inputs: bool = False) -> Stacked | None:
        bottom, above = self.layers[0].without_weights(inputs=inputs), all_without_weights(self.layers[1:], inputs=True)
        return None if bottom is None or above is None else replace(self, layers=(bottom, *above))

    def jvp_split(self, v: Array) -> tuple[Array, Array]:
        pairs = [layer.jvp_split(v[s]) for layer, s in zip(self.layers, self._slices, strict=True)]
        below = self._from_below([around + through for around, through in pairs])
        return np.concatenate([around for around, _ in pairs]), _joined([through for _, through in pairs], below)

    def path_shares(self, u: Array, v: Array) -> PathShares:
        cotangents, of_inputs = self._from_above(u)
        names = self.names or tuple(f"l{i}" for i in range(len(self.layers)))
        alone: list[Array] = []
        around: Any = 0
        through: dict[str, Array] = {}
        for i, (name, layer, s) in enumerate(zip(names, self.layers, self._slices, strict=True)):
            shares = layer.path_shares(cotangents[i], v[s])
            through |= {f"{name}.{gate}": part for gate, part in shares.through.items()}
            skip = layer.jvp_skip(v[s])
            above = range(i + 1, len(names))  # the layers that see the output of this one
            for j in above if self.residual else above[:1]:
                through[f"{name} to {names[j]}"] = (of_inputs[j] * skip[: self.outputs[i]]).sum(axis=0)
            around = around + (u[s] * skip).sum(axis=0)
            alone.append(shares.jvp)
        return PathShares(_joined(alone, self._from_below(alone)), around, through)

    def jvp_input(self, x: Array) -> Array:
        bottom = self.layers[0].jvp_input(x)
        alone = [bottom, *(np.zeros((layer.shape[0], x.shape[1]), bottom.dtype) for layer in self.layers[1:])]
        return _joined(alone, self._from_below(alone))

    def vjp_input(self, u: Array) -> Array:
        return self.layers[0].vjp_input(self._from_above(u)[0][0])

    def vjp_within(self, u: Array) -> Array:
        cotangents, _ = self._from_above(u)  # the layers above see the new output of the layers below
        total = [c + layer.vjp_within(c) for layer, c in zip(self.layers, cotangents, strict=True)]
        return np.concatenate(total) - u

    def log_abs_det(self) -> Array | None:
        return sum_of_log_dets(self.layers, self.states)  # block triangular

    def at(self, index: Any) -> Stacked:
        norms = tuple(n and n.at(index) for n in self.norms)
        return replace(self, layers=tuple(layer.at(index) for layer in self.layers), norms=norms)

    def column(self, b: int) -> Stacked:
        norms = tuple(n and n.column(b) for n in self.norms)
        return replace(self, layers=tuple(layer.column(b) for layer in self.layers), norms=norms)


def _joined(alone: Sequence[Array], added: Sequence[Array | int]) -> Array:
    return np.concatenate([a + b for a, b in zip(alone, added, strict=True)])
