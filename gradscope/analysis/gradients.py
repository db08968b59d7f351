"""How large is dL/ds_t at every step?

One vector-Jacobian sweep from the last step to the first, u <- J_t^T u, never a Jacobian product: O(H^2)
a step. The cotangent is rescaled by powers of two, so its norm is right at any depth.

`state` is |dL/ds_t| with the parts of s_t as independent inputs of the rest of the network. For an LSTM,
frameworks report the total derivative with respect to c_t, which also goes through h_t of the same step;
that number is here too, as `c_total`.

Werbos (1990), backpropagation through time; Bengio, Simard & Frasconi (1994) on why to measure it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradscope.analysis._loss import Loss
from gradscope.analysis._scaled import add, log_norm, rescale
from gradscope.dynamics.chain import JacobianChain
from gradscope.jacobian import Array, Linear

__all__ = ["GradientNorms", "gradient_norms"]


@dataclass(frozen=True, eq=False)
class GradientNorms:
    """Natural logs of gradient norms.

    Attributes:
        logs: {"state" | part | part_total: (T + 1, B)}; entry t belongs to s_t. -inf: exactly zero.
            nan: not finite. A part that is the whole state is left out where it would repeat it.
        cotangents: dL/ds_t scaled to length one, (T + 1, n, B), if they were asked for.
    """

    logs: dict[str, Array]
    cotangents: Array | None = None

    @property
    def state(self) -> Array:
        """Natural log of |dL/ds_t|, (T + 1, B)."""
        return self.logs["state"]

    def of(self, sequences: Array) -> GradientNorms:
        """Return the norms of some of the sequences, without the cotangents."""
        return GradientNorms({name: logs[:, sequences] for name, logs in self.logs.items()})


def gradient_norms(chain: JacobianChain, loss: Loss, *, keep: bool = False) -> GradientNorms:
    """Sweep a loss gradient back along the chain and measure it at every step.

    Args:
        chain: the Jacobians.
        loss: its direct gradients.
        keep: keep the cotangents themselves, n * B * (T + 1) numbers.
    """
    steps, n, batch = chain.steps, chain.size, chain.batch
    logs = {name: np.full((steps + 1, batch), -np.inf) for name in ("state", *chain.parts)}
    totals = {name: np.full((steps + 1, batch), np.nan) for name in chain.parts}
    has_total: set[str] = set()
    kept = np.zeros((steps + 1, n, batch), chain.dtype) if keep else None
    u, exponent = np.zeros((n, batch), chain.dtype), np.zeros(batch, np.int64)

    def receive(t: int) -> None:
        """Add the direct gradient of step t, and note the norms."""
        nonlocal u, exponent
        direct = loss.at(t, steps)
        if direct is not None:
            full = np.zeros_like(u)
            full[chain.output] = direct
            u, exponent = add(u, exponent, full)
        logs["state"][t] = log_norm(u, exponent)
        for name, part in chain.parts.items():
            logs[name][t] = log_norm(u[part], exponent)
        if kept is not None:
            norm = np.exp(log_norm(u, np.zeros_like(exponent)))
            kept[t] = np.divide(u, norm, out=np.zeros_like(u), where=norm > 0)

    def note_totals(t: int, J: Linear) -> None:
        """Add what each part of s_t gets through the other parts of the same step."""
        within = J.pull_within(u)
        for name, part in chain.parts.items():
            if within[part].any():
                has_total.add(name)
            totals[name][t] = log_norm(u[part] + within[part], exponent)

    with np.errstate(over="ignore", invalid="ignore"):
        receive(steps)
        for t, J in chain.backward():
            note_totals(t + 1, J)
            u, exponent = rescale(J.pull(u), exponent)
            receive(t)
    for name in sorted(has_total):
        totals[name][0] = logs[name][0]  # the state that the run starts from has no earlier half of a step
        logs[f"{name}_total"] = totals[name]
    if len(chain.parts) == 1 and next(iter(chain.parts)) != "h":
        del logs[next(iter(chain.parts))]
    return GradientNorms(logs, kept)
