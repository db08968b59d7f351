"""Non-saturating recurrent unit: a memory that is written and erased by outer products."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradscope.errors import UsageError
from gradscope.networks import Array, Dense, DenseCell, Gate, drelu, relu

P = 5  # of the norm that directions are divided by
TINY = 1e-30  # stands for no direction at all


@dataclass(frozen=True, eq=False)
class NRU(DenseCell):
    """State [h, m], hidden units and a memory.

    h' = relu(U h + W x + U_m m + b)    alpha, beta, p, q, p_e, q_e = A [h'; m] + c
    m' = m + mean over j of alpha_j v_j - beta_j e_j,    v = p q^T / |p q^T|_5, e likewise, in `heads` rows

    d m'/d m = 1 around the weights, and no function that saturates is on any way. As in the paper, but without layer
    normalisation. Directions are not element-wise, so J is put together as a matrix: H + memory wide, squared.
    Chandar, Sankar, Vorontsov, Kahou & Bengio (2019).
    """

    U_m: Array | None = None  # (H, M)
    A: Array | None = None  # (2 heads + 4 r, H + M), r^2 = heads M
    c: Array | None = None
    memory: int = 64
    heads: int = 4

    parts = ("h", "m")
    gates = {"h": Gate("hidden", (0, float("inf")))}
    limits = {"memory": "[1, 65536]", "heads": "[1, 4096]"}
    cost = "O((H + memory)^2)"

    @classmethod
    def init_parameters(cls, hidden: int, inputs: int, rng: np.random.Generator, **settings: Any) -> dict[str, Any]:
        memory, heads = settings["memory"], settings["heads"]
        r = round(np.sqrt(memory * heads))
        if r * r != memory * heads:
            raise UsageError(f"heads times memory must be a square, not {heads} times {memory}")
        k, rows = 1 / np.sqrt(hidden + memory), 2 * heads + 4 * r
        return {
            "U_m": rng.uniform(-1, 1, (hidden, memory)) / np.sqrt(hidden),
            "A": rng.uniform(-k, k, (rows, hidden + memory)),
            "c": rng.uniform(-k, k, rows),
        }

    @property
    def kinks(self) -> bool:
        return True

    @cached_property
    def sizes(self) -> dict[str, int]:  # type: ignore[override]
        assert self.U_m is not None
        return {"h": self.width, "m": self.U_m.shape[1]}

    def gate_values(self, x: Array, s: Array) -> dict[str, Array]:
        return {"h": self.evolve(x, s)[..., : self.width, :]}

    def _hidden(self, x: Array, s: Array) -> Array:
        """Return what h' is the relu of."""
        assert self.W is not None and self.U is not None and self.U_m is not None
        weights = np.concatenate([self.U, self.U_m], axis=1)
        bias = np.zeros(self.width, self.W.dtype) if self.bias is None else self.bias
        return np.asarray(weights @ s + self.W @ x + bias[:, None])

    def _control(self, h: Array, s: Array) -> tuple[Array, list[Array]]:
        """Return (alpha, beta), (..., 2, heads, B), and p, q, p_e, q_e, (..., r, B) each."""
        assert self.A is not None and self.c is not None
        z = self.A @ np.concatenate([h, s[..., self.width :, :]], axis=-2) + self.c[:, None]
        amounts = z[..., : 2 * self.heads, :]
        return amounts.reshape(*z.shape[:-2], 2, self.heads, z.shape[-1]), np.split(
            z[..., 2 * self.heads :, :], 4, axis=-2
        )

    def _directions(self, p: Array, q: Array) -> tuple[Array, Array]:
        """Return p q^T in rows of norm one, (..., heads, M, B), and the norms, (..., heads, 1, B)."""
        outer = (p[..., :, None, :] * q[..., None, :, :]).reshape(*p.shape[:-2], self.heads, -1, p.shape[-1])
        top = np.maximum(np.abs(outer).max(axis=-2, keepdims=True), TINY)  # first, so that powers stay in the range
        scaled = outer / top
        size = (np.where(scaled.real < 0, -scaled, scaled) ** P).sum(axis=-2, keepdims=True) ** (1 / P)
        size = np.where(size.real > 0, size, 1)
        return scaled / size, size * top

    def evolve(self, x: Array, s: Array) -> Array:
        h = relu(self._hidden(x, s))
        amounts, (p, q, p_e, q_e) = self._control(h, s)
        written = amounts[..., 0, :, None, :] * self._directions(p, q)[0]
        erased = amounts[..., 1, :, None, :] * self._directions(p_e, q_e)[0]
        return np.concatenate([h, s[..., self.width :, :] + (written - erased).mean(axis=-3)], axis=-2)

    def linearise(self, x: Array, s: Array) -> Dense:
        assert self.W is not None and self.U is not None and self.U_m is not None and self.A is not None
        a, H = self._hidden(x, s), self.width  # noqa: N806
        h, d = relu(a), np.moveaxis(drelu(a), -1, -2)[..., None]  # (..., B, H, 1)
        by_control = self._written(*self._control(h, s)) @ self.A  # d(m' - m) / d[h'; m], (..., B, M, H + M)
        recurrent, entering = d * np.concatenate([self.U, self.U_m], axis=1), d * self.W
        lower = by_control[..., :H] @ recurrent
        lower[..., H:] += by_control[..., H:] + np.eye(lower.shape[-2], dtype=lower.dtype)
        inputs = np.concatenate([entering, by_control[..., :H] @ entering], axis=-2)
        around = np.concatenate([np.zeros(H), np.ones(lower.shape[-2])])
        return Dense(np.concatenate([recurrent, lower], axis=-2), inputs, around)

    def _written(self, amounts: Array, vectors: list[Array]) -> Array:
        """Return the derivative of what is added to m by all that controls it, (..., B, M, 2 heads + 4 r)."""
        of_amounts, of_vectors = [], []
        for sign, amount, p, q in zip((1, -1), np.moveaxis(amounts, -3, 0), vectors[::2], vectors[1::2], strict=True):
            v, size = self._directions(p, q)
            of_amounts.append(np.moveaxis(sign * v / self.heads, -1, -3).swapaxes(-1, -2))
            eye = np.eye(p.shape[-2], dtype=p.dtype)
            by_p = np.einsum("ij,...lb->...iljb", eye, q)  # d(p_i q_l) / d p_j
            by_q = np.einsum("lj,...ib->...iljb", eye, p)
            outer = np.concatenate([by_p, by_q], axis=-2).reshape(
                *v.shape[:-1], -1, v.shape[-1]
            )  # (..., heads, M, 2r, B)
            along = (np.sign(v) * np.abs(v) ** (P - 1))[..., None, :]
            turned = (outer - v[..., None, :] * (along * outer).sum(axis=-3, keepdims=True)) / size[..., None, :]
            moved = (sign * amount[..., None, None, :] * turned).mean(axis=-4)
            of_vectors.append(np.moveaxis(moved, -1, -3))
        return np.concatenate([*of_amounts, *of_vectors], axis=-1)

    @property
    def jacobian_numbers(self) -> int:
        return self.state_size**2 + 2 * self.heads * self.sizes["m"] * len(np.asarray(self.A))
