"""The peer in JAX: a scan that is compiled, inputs multiplied by their weights beforehand, gradients of states only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_cpu_enable_async_dispatch", False)  # one core: nothing to be handed over to

Weights = dict[str, np.ndarray]


def advance(kind: str, U: Any, b: Any, v: Any, s: Any, nudge: Any) -> Any:
    """Return the next parts of the state, (..., H) each; `nudge` is added to each as soon as it is known."""
    a = s[0] @ U.T + b
    if kind == "rnn":
        return (jnp.tanh(v + a) + nudge[0],)
    if kind == "gru":
        (vr, vz, vn), (ar, az, an) = jnp.split(v, 3, -1), jnp.split(a, 3, -1)
        z, n = jax.nn.sigmoid(vz + az), jnp.tanh(vn + jax.nn.sigmoid(vr + ar) * an)
        return (n + z * (s[0] - n) + nudge[0],)
    i, f, g, o = jnp.split(v + a, 4, -1)
    c = jax.nn.sigmoid(f) * s[1] + jax.nn.sigmoid(i) * jnp.tanh(g) + nudge[1]
    return jax.nn.sigmoid(o) * jnp.tanh(c) + nudge[0], c


def gradient_norms(kind: str, weights: Weights, inputs: np.ndarray, readout: np.ndarray) -> tuple[Any, tuple[Any, ...]]:
    """Return (f, arguments): f gives {part: log norms, (T + 1, B)}; it is not compiled yet.

    Gradients of all states at once are those with respect to zeros that are added to them.
    """
    units, batch, steps = weights["U"].shape[1], inputs.shape[0], inputs.shape[1]
    parts = 2 if kind == "lstm" else 1

    def measure(w: Any, x: Any, last: Any) -> Any:
        v = x @ w["W"].T + w["b_ih"]

        def loss(nudges: Any) -> Any:
            def one(s: Any, seen: Any) -> Any:
                return advance(kind, w["U"], w["b_hh"], seen[0], s, seen[1]), None

            first = tuple(part[0] for part in nudges)
            s, _ = jax.lax.scan(one, first, (v, tuple(part[1:] for part in nudges)))
            return jnp.sum(s[0] * last)

        grads = jax.grad(loss)(tuple(jnp.zeros((steps + 1, batch, units)) for _ in range(parts)))
        return {name: jnp.log(jnp.linalg.norm(g, axis=2)) for name, g in zip(("h", "c"), grads, strict=False)}

    arrays = {name: jnp.asarray(w) for name, w in weights.items()}
    return measure, (arrays, jnp.asarray(inputs.transpose(1, 0, 2)), jnp.asarray(readout))


def exponents(
    kind: str, weights: Weights, inputs: np.ndarray, start: np.ndarray, frame: np.ndarray
) -> tuple[Any, tuple[Any, ...]]:
    """Return (f, arguments): f gives the exponents, QR at every step.

    J Q is made at once by pushing the columns of Q forward: one product less than jacfwd or jacrev and J @ Q.
    """
    parts = 2 if kind == "lstm" else 1

    def measure(w: Any, x: Any, s: Any, Q: Any) -> Any:
        def one(carry: Any, v: Any) -> Any:
            s, Q = carry

            def step(s: Any) -> Any:
                return jnp.concatenate(advance(kind, w["U"], w["b_hh"], v, jnp.split(s, parts), (0.0, 0.0)))

            new, push = jax.linearize(step, s)
            Q, R = jnp.linalg.qr(jax.vmap(push, in_axes=1, out_axes=1)(Q))
            return (new, Q), jnp.log(jnp.abs(jnp.diag(R)))

        _, logs = jax.lax.scan(one, (s, Q), x @ w["W"].T + w["b_ih"])
        return logs.mean(axis=0)

    arrays = {name: jnp.asarray(w) for name, w in weights.items()}
    return measure, (arrays, jnp.asarray(inputs), jnp.asarray(start), jnp.asarray(frame))


def compiled(function: Any, arguments: tuple[Any, ...]) -> Callable[[], Any]:
    """Compile a function for these arguments; return it, to be called with none, waiting for its result."""
    program = jax.jit(function).lower(*arguments).compile()
    return lambda: jax.block_until_ready(program(*arguments))
