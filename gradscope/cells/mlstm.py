"""Matrix LSTM (xLSTM): an outer product is added at every step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.networks import Array, Gate, Map, MapsCell, Partials, Parts, Preactivations, Property, dsigmoid, sigmoid


@dataclass(frozen=True, eq=False)
class MLSTM(MapsCell):
    """State s = [C], of each head the matrix C and the normaliser n, its last row; heads of `head` units each.

    i = exp(W_i x + b_i)    f = sigmoid(W_f x + b_f)    C' = f C + i v k^T    n' = f n + i k

    with k, v = W x + b, k over the square root of the units of a head: of `head` units, or of the next number above
    that divides all of them; of all, where there are fewer. J = f on every entry of a head: around is all there is. The
    output, o (C q) / max(|n . q|, 1), is read from C, and not fed back. The paper keeps e^-m C and e^-m n, whose m =
    max(log f + m, log i) depends on the inputs alone: it changes no output, and their gradients over a run are those
    here times e^(m before - m after). Without it states leave the range where log i is beyond 709, 88 in float32.
    Beck, Poeppel, Spanring, Auer, Prudnikova, Kopp, Klambauer, Brandstetter & Hochreiter (2024); W_i = W_f = 0, b_f
    from 3 to 6 and b_i from N(0, 0.01), as in their code: gates see no input before they are trained.
    """

    w: Array | None = None  # (2 heads, inputs): W_i, W_f
    b: Array | None = None  # (2, heads): b_i, b_f
    head: int = 8

    parts = ("C",)
    gates = {"k": Gate("key"), "v": Gate("value")}
    recurrent_weights = False
    overflows = True
    cost = "O(H head)"

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        heads = next(n for n in range(max(1, hidden // settings["head"]), 0, -1) if hidden % n == 0)
        return {
            "w": np.zeros((2 * heads, inputs)),
            "b": np.array([rng.normal(0, 0.1, heads), np.linspace(3, 6, heads)]),
        }

    @cached_property
    def maps(self) -> tuple[Map, ...]:
        assert self.W is not None and self.w is not None and self.b is not None
        heads, units = self.b.shape[1], self.width // self.b.shape[1]
        bias = np.zeros(self.rows, self.W.dtype) if self.b_ih is None else self.b_ih

        def spread(gates: Array, keys_values: Array, one: float) -> Array:
            i, f = (np.repeat(g, units * (units + 1), 0) for g in np.split(gates, 2))
            k, v = (z.reshape(heads, units, -1) for z in np.split(keys_values, 2))
            k = np.tile(k / float(np.sqrt(units)), (1, units + 1, 1))
            last = np.full((heads, 1, v.shape[2]), one, v.dtype)  # of n, where v is 1
            v = np.repeat(np.concatenate([v, last], axis=1), units, axis=1)
            shape = (-1, *keys_values.shape[1:])
            return np.concatenate([i, f, k.reshape(shape), v.reshape(shape)])

        return (_Memory(spread(self.w, self.W, 0.0), None, spread(self.b.ravel(), bias, 1.0), None),)

    def properties(self, x: Array, s: Array) -> dict[str, Property]:
        assert self.w is not None and self.b is not None
        log_i = np.split(self.w @ x + self.b.ravel()[:, None], 2, axis=-2)[0]
        return {"highest log i": Property(float(log_i.max()), "i itself overflows above 709, and above 88 in float32")}


class _Memory(Map):
    """Every entry on its own: i and f of its head, k of its column, v of its row."""

    parts = ("C",)
    gates = {
        "i": Gate(),
        "f": Gate(),
        "k": Gate(),
        "v": Gate(),
    }

    def activations(self, p: Preactivations, s: Parts) -> tuple[Array, ...]:
        return np.exp(p["i"]), sigmoid(p["f"]), p["k"], p["v"]

    def advance(self, p: Preactivations, s: Parts) -> dict[str, Array]:
        i, f, k, v = self.activations(p, s)
        return {"C": f * s["C"] + i * (v * k)}

    def partials(self, p: Preactivations, s: Parts) -> Partials:
        i, f, k, v = self.activations(p, s)
        through = {"i": i * (v * k), "f": s["C"] * dsigmoid(p["f"]), "k": i * v, "v": i * k}
        return Partials(through={"C": through}, around={"C": {"C": f}})
