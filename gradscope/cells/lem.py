"""Long expressive memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from gradscope.networks import (
    Array,
    Gate,
    Map,
    MapsCell,
    Partials,
    Parts,
    Preactivations,
    dsigmoid,
    dtanh,
    sigmoid,
    tanh,
)


@dataclass(frozen=True, eq=False)
class LEM(MapsCell):
    """Two time scales that the input and the state choose; state [y, z].

    d1, d2 = dt sigmoid(U y + W x + b)    z' = (1 - d1) z + d1 tanh(U_z y + W_z x + b_z)
    y' = (1 - d2) y + d2 tanh(U_y z' + W_y x + b_y)

    d y'/d y = 1 - d2 and d z'/d z = 1 - d1 around the weights.
    Rusch, Mishra, Erichson & Mahoney (2022).
    """

    dt: float = 1.0

    parts = ("y", "z")
    gates = {
        "d1": Gate("memory_step", keeps=-1),
        "d2": Gate("output_step", keeps=-1),
        "z": Gate("memory", (-1, 1)),
        "y": Gate("output", (-1, 1)),
    }
    limits = {"dt": "(0, inf)"}

    @property
    def gate_ranges(self) -> dict[str, tuple[float, float]]:
        return {"d1": (0, self.dt), "d2": (0, self.dt)} | super().gate_ranges

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        first, second = self.blocks(3)
        return _Memory(*first, self.dt), _Output(*second)


@dataclass(frozen=True, eq=False)
class _Memory(Map):
    """Keeps y, moves z, and makes d2."""

    dt: float = 1.0

    old_parts = ("y", "z")
    parts = ("y", "z", "d2")
    gates = {
        "d1": Gate(),
        "d2": Gate(),
        "z": Gate(),
    }
    reads = "y"

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return self.dt * sigmoid(p["d1"]), self.dt * sigmoid(p["d2"]), tanh(p["z"])

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        d1, d2, new = self.activations(p, s)
        return {"y": s["y"], "z": s["z"] + d1 * (new - s["z"]), "d2": d2}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        d1, _, new = self.activations(p, s)
        dd1, dd2 = self.dt * dsigmoid(p["d1", "d2"])
        return Partials(
            through={"z": {"d1": (new - s["z"]) * dd1, "z": d1 * dtanh(p["z"])}, "d2": {"d2": dd2}},
            around={"y": {"y": 1}, "z": {"z": 1 - d1}},
        )


class _Output(Map):
    """y from U_y z', and z as it is."""

    old_parts = ("y", "z", "d2")
    parts = ("y", "z")
    gates = {"y": Gate()}
    reads = "z"

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (tanh(p["y"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        y, z, d2 = s["y", "z", "d2"]
        (new,) = self.activations(p, s)
        return {"y": y + d2 * (new - y), "z": z}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        y, d2 = s["y", "d2"]
        (new,) = self.activations(p, s)
        return Partials(
            through={"y": {"y": d2 * dtanh(p["y"])}},
            around={"y": {"y": 1 - d2, "d2": new - y}, "z": {"z": 1}},
        )
