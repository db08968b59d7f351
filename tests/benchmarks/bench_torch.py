"""The peer in PyTorch: the same numbers, as one who knows it would get them.

Unless told otherwise weights do not ask for gradients: only the states do, and autograd spares the work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

torch.set_num_threads(1)

Weights = dict[str, np.ndarray]
Tensors = dict[str, Any]
CELLS = {"rnn": torch.rnn_tanh_cell, "gru": torch.gru_cell, "lstm": torch.lstm_cell}
JACOBIANS_AT_ONCE = 16  # steps under one vmap: many enough to hide the loop, few enough to stay in the cache


def tensors(weights: Weights) -> Tensors:
    """Return the weights of a cell; both frameworks share the memory."""
    return {name: torch.from_numpy(np.ascontiguousarray(w)) for name, w in weights.items()}


def gradient_norms(
    kind: str, weights: Weights, inputs: np.ndarray, readout: np.ndarray, *, frozen: bool = True
) -> Callable[[], Any]:
    """Return a function that gives {part: log norms, (T + 1, B)}: a loop of cells that retain gradients.

    `readout` (B, H) is dL/dh of the last step. The parts of a state are h, and c as frameworks count it: also by
    way of h in the same step. Weights that are not `frozen` get their gradients too, as in a network that is trained.
    """
    w, x = tensors(weights), torch.from_numpy(np.ascontiguousarray(inputs.transpose(1, 0, 2)))
    arrays = [w[name].detach().requires_grad_(not frozen) for name in ("W", "U", "b_ih", "b_hh")]
    last, cell = torch.from_numpy(np.ascontiguousarray(readout)), CELLS[kind]
    zero = torch.zeros(x.shape[1], w["U"].shape[1], dtype=torch.float64)

    def measure() -> dict[str, np.ndarray]:
        s = tuple(zero.clone().requires_grad_() for _ in range(2 if kind == "lstm" else 1))
        kept = [s]
        for v in x.unbind(0):
            s = cell(v, s, *arrays) if kind == "lstm" else (cell(v, s[0], *arrays),)
            for part in s:
                part.retain_grad()
            kept.append(s)
        for array in arrays:
            array.grad = None  # or it would be added to
        s[0].backward(last)
        found = {}
        for name, parts in zip(("h", "c"), zip(*kept, strict=True), strict=False):
            grads = torch.stack([part.grad for part in parts])
            found[name] = torch.linalg.vector_norm(grads, dim=2).log().numpy()
        return found

    return measure


def step_of(kind: str, w: Tensors) -> Callable[[Any, Any], Any]:
    """Return f(v, s) of one step, with v = W x + b_ih made beforehand and s one vector."""
    UT, b = w["U"].T, w["b_hh"]

    def rnn(v: Any, h: Any) -> Any:
        return torch.tanh(v + h @ UT + b)

    def gru(v: Any, h: Any) -> Any:
        (vr, vz, vn), (ar, az, an) = v.chunk(3, -1), (h @ UT + b).chunk(3, -1)
        z, n = torch.sigmoid(vz + az), torch.tanh(vn + torch.sigmoid(vr + ar) * an)
        return n + z * (h - n)

    def lstm(v: Any, s: Any) -> Any:
        h, c = s.chunk(2, -1)
        i, f, g, o = (v + h @ UT + b).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.cat([torch.sigmoid(o) * torch.tanh(c), c], -1)

    return {"rnn": rnn, "gru": gru, "lstm": lstm}[kind]


def _driven(kind: str, weights: Weights, inputs: np.ndarray, start: np.ndarray) -> tuple[Any, Callable[[], Any]]:
    """Return (f, g): one step, and a function that runs it and gives all (v, s) that it starts from, (T, .) each."""
    w, x = tensors(weights), torch.from_numpy(np.ascontiguousarray(inputs))
    step, first = step_of(kind, w), torch.from_numpy(np.ascontiguousarray(start))

    def states() -> tuple[Any, Any]:
        with torch.no_grad():
            v = x @ w["W"].T + w["b_ih"]
            kept, s = [], first
            for row in v.unbind(0):
                kept.append(s)
                s = step(row, s)
            return v, torch.stack(kept)

    return step, states


def _jacobians(step: Any, states: Callable[[], Any]) -> Any:
    """Yield J of every step: jacrev, and vmap over the steps."""
    v, s = states()
    many = torch.func.vmap(torch.func.jacrev(step, argnums=1))
    for k in range(0, len(s), JACOBIANS_AT_ONCE):
        with torch.no_grad():
            yield from many(v[k : k + JACOBIANS_AT_ONCE], s[k : k + JACOBIANS_AT_ONCE])


def _grown(jacobians: Any, frame: Any) -> np.ndarray:
    """Return means of log |diag R|, QR at every step."""
    Q, total, steps = frame, torch.zeros(frame.shape[1], dtype=torch.float64), 0
    for J in jacobians:
        Q, R = torch.linalg.qr(J @ Q)
        total += R.diagonal().abs().log()
        steps += 1
    return (total / steps).numpy()


def exponents(
    kind: str, weights: Weights, inputs: np.ndarray, start: np.ndarray, frame: np.ndarray
) -> Callable[[], np.ndarray]:
    """Return a function that gives the exponents of (T, m) inputs from a state (n,) and a frame (n, n)."""
    step, states = _driven(kind, weights, inputs, start)
    Q = torch.from_numpy(np.ascontiguousarray(frame))
    return lambda: _grown(_jacobians(step, states), Q)


def published_exponents(
    kind: str, weights: Weights, inputs: np.ndarray, start: np.ndarray, frame: np.ndarray
) -> Callable[[], np.ndarray]:
    """Do the same with `torch.autograd.functional.jacobian`, as published scripts do."""
    step, states = _driven(kind, weights, inputs, start)
    Q = torch.from_numpy(np.ascontiguousarray(frame))

    def one_by_one() -> Any:
        for v, s in zip(*states(), strict=True):
            yield torch.autograd.functional.jacobian(lambda state, v=v: step(v, state), s)

    return lambda: _grown(one_by_one(), Q)


def norms(kind: str, weights: Weights, inputs: np.ndarray, start: np.ndarray) -> Callable[[], np.ndarray]:
    """Return a function that gives log |J_T ... J_(T-k+1)|, k = 1 ... T, the 2-norm at every lag."""
    step, states = _driven(kind, weights, inputs, start)

    def measure() -> np.ndarray:
        product, scale, found = None, 0.0, []
        for J in reversed(list(_jacobians(step, states))):
            product = J if product is None else product @ J
            size = torch.linalg.matrix_norm(product, 2)
            scale = scale + size.log()
            product = product / size
            found.append(scale)
        return torch.stack(found).numpy()

    return measure
