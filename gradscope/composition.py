"""Steps made of steps: several maps in a row, layers that feed one another, and a loop from output to input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradscope._pull import ChainPuller
from gradscope.jacobian import Array, Jacobian, Linear, Roads, ranges

__all__ = ["Composite", "Looped", "Stacked"]


@dataclass(frozen=True, eq=False)
class Composite(Linear):
    """A step of several maps in a row, as in a GRU whose reset comes before its matrix product."""

    maps: tuple[Linear, ...]

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        return self.maps[-1].shape[0], self.maps[0].shape[1]

    @property
    def states(self) -> int:
        return max(m.states for m in self.maps)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(*(m.dtype for m in self.maps))

    def push(self, v: Array) -> Array:
        for m in self.maps:
            v = m.push(v)
        return v

    def push_blocks(self, v: Array) -> Array:
        for m in self.maps:
            v = m.push_blocks(v)
        return v

    def bound(self) -> float:
        return float(np.prod([m.bound() for m in self.maps]))

    def pull(self, u: Array) -> Array:
        for m in reversed(self.maps):
            u = m.pull(u)
        return u

    def puller(self, steps: int, batch: int) -> ChainPuller:
        return ChainPuller(self.maps, steps, batch, self.dtype)

    def push_around(self, v: Array) -> Array:
        for m in self.maps:
            v = m.push_around(v)
        return v

    def push_apart(self, v: Array) -> tuple[Array, Array]:
        around, through = self.maps[0].push_apart(v)
        for m in self.maps[1:]:
            around, crossed = m.push_apart(around)
            through = m.push(through) + crossed
        return around, through

    def roads(self, u: Array, v: Array) -> Roads:
        """Share out u . J v. A path may cross weights of several maps; it counts for those that it crosses first."""
        back = [u]
        for m in reversed(self.maps[1:]):
            back.append(m.pull(back[-1]))
        around, through = v, dict[str, Array]()
        for m, reached in zip(self.maps, reversed(back), strict=True):
            for name, part in m.roads(reached, around).through.items():
                through[name] = through.get(name, 0) + part
            around = m.push_around(around)
        return Roads(self.push(v), (u * around).sum(axis=0), through)

    def push_input(self, x: Array) -> Array:
        out = self.maps[0].push_input(x)
        for m in self.maps[1:]:
            out = m.push(out) + m.push_input(x)
        return out

    def pull_input(self, u: Array) -> Array:
        total: Any = 0
        for m in reversed(self.maps):
            total = total + m.pull_input(u)
            u = m.pull(u)
        return np.asarray(total)

    def pull_within(self, u: Array) -> Array:
        """Return what later maps, and the one that makes a part, pass on to it from the other new parts."""
        out, reached = np.zeros_like(u), u  # the cotangent of what map k makes
        last = self.maps[-1]
        parts = [(s, i) for i, s in enumerate(ranges(last.new))] if isinstance(last, Jacobian) else []
        for k, m in reversed(list(enumerate(self.maps))):
            if not isinstance(m, Jacobian):
                break
            within, rows, before = m.pull_within(reached), ranges(m.new), []
            for to, i in parts:
                source = m.copied(i) if k else None
                if source is None:  # made here
                    out[to] = within[rows[i]] + (reached[rows[i]] - u[to])
                else:
                    before.append((to, source))
            parts, reached = before, m.pull(reached)
        return out

    def log_abs_det(self) -> Array | None:
        return _sum_of_log_dets(self.maps, self.states)

    def at(self, index: Any) -> Composite:
        return Composite(tuple(m.at(index) for m in self.maps))

    def column(self, b: int) -> Composite:
        return Composite(tuple(m.column(b) for m in self.maps))


@dataclass(frozen=True, eq=False)
class Stacked(Linear):
    """Layers of one network as one step: block lower triangular, built by substitution.

    Layer l sees the new output of layer l-1 (the first `outputs[l-1]` rows of its state) as its input. What goes
    from one layer to the next crosses input weights: `push_around` leaves it out, and keeps what stays around
    the weights within each layer. It is a road of its own, "l0 to l1", unless it crossed recurrent weights first.

    Attributes:
        layers: their Jacobians, bottom first.
        outputs: size of each layer's output.
        names: of the layers; () for l0, l1, ...
    """

    layers: tuple[Linear, ...]
    outputs: tuple[int, ...]
    names: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        n = sum(layer.shape[0] for layer in self.layers)
        return n, n

    @property
    def states(self) -> int:
        return max(layer.states for layer in self.layers)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(*(layer.dtype for layer in self.layers))

    @cached_property
    def _slices(self) -> list[slice]:
        return ranges([layer.shape[0] for layer in self.layers])

    def push(self, v: Array) -> Array:
        out: list[Array] = []
        for i, (layer, s) in enumerate(zip(self.layers, self._slices, strict=True)):
            below = layer.push_input(out[-1][: self.outputs[i - 1]]) if i else 0
            out.append(layer.push(v[s]) + below)
        return np.concatenate(out)

    def pull(self, u: Array) -> Array:
        rows = [u[s] for s in self._slices]
        for i in reversed(range(len(rows))):
            if i:
                rows[i - 1] = rows[i - 1].copy()
                rows[i - 1][: self.outputs[i - 1]] += self.layers[i].pull_input(rows[i])
            rows[i] = self.layers[i].pull(rows[i])
        return np.concatenate(rows)

    def push_around(self, v: Array) -> Array:
        return np.concatenate([x.push_around(v[s]) for x, s in zip(self.layers, self._slices, strict=True)])

    def push_apart(self, v: Array) -> tuple[Array, Array]:
        around: list[Array] = []
        through: list[Array] = []
        for i, (layer, s) in enumerate(zip(self.layers, self._slices, strict=True)):
            a, b = layer.push_apart(v[s])
            if i:
                b = b + layer.push_input((around[-1] + through[-1])[: self.outputs[i - 1]])
            around.append(a)
            through.append(b)
        return np.concatenate(around), np.concatenate(through)

    def roads(self, u: Array, v: Array) -> Roads:
        rows = [u[s] for s in self._slices]
        reached = [r.copy() for r in rows]  # with what comes down from the layers above
        for i in reversed(range(1, len(rows))):
            reached[i - 1][: self.outputs[i - 1]] += self.layers[i].pull_input(reached[i])
        names = self.names or tuple(f"l{i}" for i in range(len(rows)))
        pushed: list[Array] = []
        around: Any = 0
        through: dict[str, Array] = {}
        for i, (name, layer, s) in enumerate(zip(names, self.layers, self._slices, strict=True)):
            found = layer.roads(reached[i], v[s])
            through |= {f"{name}.{gate}": part for gate, part in found.through.items()}
            if i + 1 < len(rows):
                up = ((reached[i] - rows[i]) * layer.push_around(v[s])).sum(axis=0)
                through[f"{name} to {names[i + 1]}"] = up
            around = around + (rows[i] * layer.push_around(v[s])).sum(axis=0)
            below = layer.push_input(pushed[-1][: self.outputs[i - 1]]) if i else 0
            pushed.append(found.pushed + below)
        return Roads(np.concatenate(pushed), around, through)

    def push_input(self, x: Array) -> Array:
        out = [self.layers[0].push_input(x)]
        for i, layer in enumerate(self.layers[1:]):
            out.append(layer.push_input(out[-1][: self.outputs[i]]))
        return np.concatenate(out)

    def pull_input(self, u: Array) -> Array:
        rows = [u[s].copy() for s in self._slices]
        for i in reversed(range(1, len(rows))):
            rows[i - 1][: self.outputs[i - 1]] += self.layers[i].pull_input(rows[i])
        return self.layers[0].pull_input(rows[0])

    def pull_within(self, u: Array) -> Array:
        rows = [u[s].copy() for s in self._slices]
        for i in reversed(range(len(rows))):  # the layers above see the new output of the layers below
            if i:
                rows[i - 1][: self.outputs[i - 1]] += self.layers[i].pull_input(rows[i])
            rows[i] += self.layers[i].pull_within(rows[i])
        return np.concatenate(rows) - u

    def log_abs_det(self) -> Array | None:
        return _sum_of_log_dets(self.layers, self.states)  # block triangular

    def at(self, index: Any) -> Stacked:
        return Stacked(tuple(layer.at(index) for layer in self.layers), self.outputs, self.names)

    def column(self, b: int) -> Stacked:
        return Stacked(tuple(layer.column(b) for layer in self.layers), self.outputs, self.names)


def _sum_of_log_dets(maps: Sequence[Linear], states: int) -> Array | None:
    logs = [m.log_abs_det() for m in maps]
    known = [log for log in logs if log is not None]
    total = np.asarray(sum(known))
    return np.broadcast_to(total, (*total.shape[:-1], states)).copy() if len(known) == len(logs) else None


@dataclass(frozen=True, eq=False)
class Looped(Linear):
    """A step whose input is a linear readout of the old output: J = ds'/ds + (ds'/dx) R, on the output's columns.

    There is no input from outside. The road through the readout crosses weights: `push_around` leaves it out.
    """

    step: Linear
    R: Array
    output: slice

    @property
    def shape(self) -> tuple[int, int]:  # type: ignore[override]
        return self.step.shape

    @property
    def states(self) -> int:
        return self.step.states

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.result_type(self.step.dtype, self.R)

    def push(self, v: Array) -> Array:
        return self.step.push(v) + self._fed_back(v)

    def _fed_back(self, v: Array) -> Array:
        return self.step.push_input(self.R @ v[self.output])

    def push_apart(self, v: Array) -> tuple[Array, Array]:
        around, through = self.step.push_apart(v)
        return around, through + self._fed_back(v)

    def roads(self, u: Array, v: Array) -> Roads:
        """Share out u . J v; what crosses the readout first has a road of that name."""
        pushed, around, through = self.step.roads(u, v)
        back = self._fed_back(v)
        return Roads(pushed + back, around, through | {"readout": (u * back).sum(axis=0)})

    def pull(self, u: Array) -> Array:
        out = self.step.pull(u).copy()
        out[self.output] += self.R.T @ self.step.pull_input(u)
        return out

    def push_around(self, v: Array) -> Array:
        return self.step.push_around(v)

    def push_input(self, x: Array) -> Array:
        return np.zeros((self.shape[0], x.shape[1]), self.dtype)

    def pull_input(self, u: Array) -> Array:
        return np.zeros((0, u.shape[1]), u.dtype)

    def pull_within(self, u: Array) -> Array:
        return self.step.pull_within(u)

    def at(self, index: Any) -> Looped:
        return Looped(self.step.at(index), self.R, self.output)

    def column(self, b: int) -> Looped:
        return Looped(self.step.column(b), self.R, self.output)
