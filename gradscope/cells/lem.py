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

    d1 = dt sigmoid(p_d1)    d2 = dt sigmoid(p_d2)    z' = (1 - d1) z + d1 tanh(p_z)    y' = (1 - d2) y + d2 tanh(p_y)

    with p_d1, p_d2, p_z = W x + U y + b, each by its rows, and p_y = W_y x + U_y z' + b_y.

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
        first, second = self.blocks(gates=3)  # rows of d1, d2 and z, and of y
        return _Memory(*first, self.dt), _Output(*second)


# Names, intervals and signs of the gates are those of `LEM.gates`; here a bare Gate() only gives the order of the rows.


@dataclass(frozen=True, eq=False)
class _Memory(Map):
    """First half: y is copied, z' and d2 are computed."""

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
        d1, d2, target = self.activations(p, s)  # target: tanh(p_z), which z moves towards
        return {"y": s["y"], "z": s["z"] + d1 * (target - s["z"]), "d2": d2}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        d1, _, target = self.activations(p, s)
        dd1, dd2 = self.dt * dsigmoid(p["d1", "d2"])
        return Partials(
            through={"z": {"d1": (target - s["z"]) * dd1, "z": d1 * dtanh(p["z"])}, "d2": {"d2": dd2}},
            around={"y": {"y": 1}, "z": {"z": 1 - d1}},  # the integer 1: copied
        )


class _Output(Map):
    """Second half: y' from U_y z'; z' is copied."""

    old_parts = ("y", "z", "d2")
    parts = ("y", "z")
    gates = {"y": Gate()}
    reads = "z"

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return (tanh(p["y"]),)

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        y, z, d2 = s["y", "z", "d2"]
        (target,) = self.activations(p, s)
        return {"y": y + d2 * (target - y), "z": z}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        y, d2 = s["y", "d2"]
        (target,) = self.activations(p, s)
        return Partials(
            through={"y": {"y": d2 * dtanh(p["y"])}},
            around={"y": {"y": 1 - d2, "d2": target - y}, "z": {"z": 1}},  # the integer 1: copied
        )
