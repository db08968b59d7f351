"""Can the numbers be trusted? Findings on what was checked while they were computed, each with its threshold.

* The sum of all Lyapunov exponents is the mean of ln|det J|, whatever the frame: a complete spectrum has to obey it.
* A product in which large factors cancel is noise in its last digits, or in all of them (`product_condition`).
* An exponent whose two halves of the run differ by more than chance has not converged.
* An exponent depends on the direction that it was first measured in, until that is forgotten.
* What a network was like at its start, it forgets at the rate of the first exponent, and in a short run it may not.
* Batches of one orbit give an error bar only if they are much longer than growth is correlated.
* A product that falls off like a power of the number of steps has no rate: each doubling of the run costs the same.
"""

from __future__ import annotations

import math

import numpy as np

from gradscope.analysis.lyapunov import NEGLIGIBLE, LyapunovSpectrum
from gradscope.analysis.products import Products
from gradscope.maps.jacobian import Array
from gradscope.report.model import Finding
from gradscope.report.verdict import TRANSIENT, times

__all__ = ["trust"]

AGREES = 1e-9  # nats per step by which the sum of the exponents may miss ln|det J|, beside rounding
DIGITS = 4.5e3  # rounding of one step, so many times enlarged, is what a condition of 1e12 means in float64
OCTAVES = 3  # doublings of the number of steps that a power law has to hold for
SHORTEST = 64  # steps below which an exponential and a power law are not told apart
FALLS = 0.3  # nats by which the norm falls in each of these octaves, at least
NEAR = 0.5  # nats between the logarithms of neighbouring lags, at most, to see which of the two it is
ALIKE = 1.25  # largest fall of an octave, relative to the smallest: 2 for an exponential
INDEPENDENT = 100  # times the correlation time that one orbit should last, for an error bar over batches
FORGOTTEN = 2.0  # nats by which a difference at the start shrinks, or grows, half way through the run
LN10 = math.log(10.0)


def trust(
    growth: LyapunovSpectrum | None, products: Products | None, dtype: str, warmup: int | None = None
) -> list[Finding]:
    """Say what was found when the numbers were checked.

    Args:
        growth: the Lyapunov exponents, or None.
        products: the product at log-spaced lags, or None.
        dtype: precision of the Jacobians.
        warmup: steps that were run before the first that is measured; None where there is no state to start from.
    """
    found = [] if growth is None else _exponents(growth)
    found += [] if growth is None or warmup is None else _start(growth, warmup)
    return found + ([] if products is None else _product(products, float(np.finfo(dtype).eps)))


def _exponents(g: LyapunovSpectrum) -> list[Finding]:
    found = []
    if g.determinant_error is not None and not g.determinant_error <= g.determinant_allowed(AGREES):
        text = "The sum of the Lyapunov exponents misses the mean of ln|det J| by "
        text += f"{g.determinant_error:.2g} nats per step: the smallest exponents are not right."
        found.append(Finding("GS-DETERMINANT", "error", text, "Run gradscope doctor --selftest, and report it."))
    lost = int(np.isnan(g.exponents).sum())
    if lost:
        text = f"{lost} of {len(g.exponents)} Lyapunov exponents are not determined: rounding decides them."
        found.append(Finding("GS-NOT-DETERMINED", "info", text))
    late = np.flatnonzero(g.drift)
    if late.size:
        which = "The first Lyapunov exponent" if late[0] == 0 else f"Lyapunov exponent {late[0] + 1}"
        others = f", and {late.size - 1} more of {len(g.exponents)}" if late.size > 1 else ""
        text = f"{which} has not converged{others}: the two halves of the run differ by more than chance."
        level = "warning" if late[0] == 0 else "info"
        found.append(Finding("GS-NOT-CONVERGED", level, text, "Measure more steps, or warm up for longer."))
    elif g.beginning[0] > NEGLIGIBLE and not g.beginning[0] <= np.ptp(g.interval[0]) / 2 * math.sqrt(0.5):
        text = f"The first Lyapunov exponent changes by {g.beginning[0]:.2g} nats per step if its direction begins "
        text += "elsewhere: the run is too short for directions to be forgotten. Its interval allows for that."
        found.append(Finding("GS-NOT-CONVERGED", "info", text, "Measure more steps, or warm up for longer."))
    steps = int(g.steps[-1])
    if g.over == "batches" and g.correlation is not None and steps < INDEPENDENT * g.correlation:
        text = (
            f"The error bar of the first Lyapunov exponent is over batches of one orbit, and may be too small: {steps} "
        )
        text += f"steps, whose growth is correlated over about {g.correlation:.2g}."
        wanted = f"{math.ceil(INDEPENDENT * g.correlation):,}".replace(",", " ")
        found.append(Finding("GS-FEW-STEPS", "info", text, f"Measure {wanted} steps, or eight sequences and more."))
    return found


def _start(g: LyapunovSpectrum, warmup: int) -> list[Finding]:
    """Say so where a difference between two starts is neither forgotten nor blown up: it goes as the first exponent."""
    first = float(g.exponents[0])
    steps = warmup + int(g.steps[-1]) // 2
    if not abs(first * steps) < FORGOTTEN:
        return []
    text = (
        f"Half way through the run, a small difference at the start is still about {math.exp(first * steps):.2g} times "
    )
    text += "as large: if the network began far from where it settles, exponents and error bars are of its way there."
    return [Finding("GS-NOT-SETTLED", "info", text, "Compare with a longer warm-up.")]


def _product(p: Products, eps: float) -> list[Finding]:
    found = []
    condition = float(p.log_condition.max())
    if condition > -math.log(DIGITS * eps):
        text = f"Rounding of one step can change the product of all steps by {times(condition / LN10)} times as much: "
        text += "it is not determined by the data."
        found.append(Finding("GS-NOT-DETERMINED", "warning", text, "Trust short lags and the rates of single steps."))
    for logs, where in ((p.log_norm, "back from the last step"), (p.log_from_start, "forward from the first step")):
        power = _power_law(p.lags, logs.mean(axis=1))
        if power is not None:
            text = f"The norm of the product falls off like t^-{power:.2f} {where}, not exponentially: "
            found.append(Finding("GS-ALGEBRAIC", "info", f"{text}a rate depends on how long the run is."))
            break
    top = p.log_norm.mean(axis=1)
    if np.isfinite(top).all():
        lag, most = int(p.lags[top.argmax()]), float(top.max()) / LN10
        if most > max(0.0, float(top[-1]) / LN10) + TRANSIENT:
            where = f"{lag} step{'s'[: lag != 1]} back"
            text = f"In its best direction a gradient is {times(most)} times as large {where} as at the last step, "
            text += "and smaller at the first: the rate over the whole run hides it."
            found.append(Finding("GS-TRANSIENT", "info", text, "Read the decay curve, not the rate."))
    return found


def _power_law(lags: Array, logs: Array) -> float | None:
    """Return p where the norm falls off as t^-p over the last octaves; None where it does something else."""
    if lags[-1] < SHORTEST or not np.isfinite(logs).all():
        return None
    at = np.log(lags[-1] / 2.0 ** np.arange(OCTAVES, -1, -1))
    seen = np.log(lags[max(0, int(np.searchsorted(np.log(lags), at[0], side="right")) - 1) :])
    if np.diff(seen).max() > NEAR:  # a line between two lags is a power law, whatever lies between
        return None
    falls = -np.diff(np.interp(at, np.log(lags), logs))
    if falls.min() < FALLS or falls.max() > ALIKE * falls.min():
        return None
    return float(falls.mean() / math.log(2.0))
