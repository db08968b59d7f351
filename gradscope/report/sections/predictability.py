"""After how many steps single trajectories mean nothing: the predictability horizon of a chaotic run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gradscope.report.case import Case
from gradscope.report.fields import number
from gradscope.report.model import Finding, times
from gradscope.report.numbers import LN10

if TYPE_CHECKING:
    from gradscope.analysis.predictability import Predictability

METRICS = {
    "predictability_horizon": number(
        "Steps in which a rounding error grows to the size of the state, ln(1 / eps) / lambda_1; only if the "
        "run is longer, or nearly as long, and the gains of its sequences are not reproducible.",
        null=False,
        optional=True,
        exclusiveMinimum=0,
    ),
    "rounding_gain_change": number(
        "Median change of log10_gain of single sequences, in decades, if the state after the first step is changed by "
        "one rounding error; only with predictability_horizon.",
        null=False,
        optional=True,
        minimum=0,
    ),
}
CODES = {
    "GS-HORIZON": {
        "level": "warning",
        "summary": "the run is longer than single trajectories can be reproduced",
        "means": "The network is chaotic: a rounding error grows to the size of the state within the predictability "
        "horizon, ln(1 / eps) / lambda_1 steps. The gain over more steps than that, and the gradient norm of a single "
        "sequence at larger lags, are those of some trajectory of the network, not of the one that belongs to the "
        "input: another processor, BLAS or order of the sequences gives other numbers. Rates, Lyapunov exponents and "
        "the verdict are averages and keep their meaning.",
        "decided": "The run, warm-up included, is longer than {analysis.predictability.NEAR} of the horizon, and "
        "repeating it with a state that is changed by one rounding error changes the gain of a sequence by "
        "{analysis.predictability.LEAST_DECADES} decades or more (of {analysis.predictability.SEQUENCES} sequences at "
        "most).",
        "remedy": "Compare rates and exponents, not gains. For gradients of single sequences measure fewer steps than "
        "the horizon, or truncate backpropagation there. Smaller recurrent weights lengthen the horizon.",
        "read": ["explanation/mathematics.md#predictability-horizon"],
    }
}

Document = dict[str, Any]


def metrics(p: Predictability, case: Case) -> Document:
    """Return the horizon, and the change of the gains."""
    return {
        "predictability_horizon": p.horizon,
        "rounding_gain_change": float(np.median(p.change)) / LN10,
    }


def findings(p: Predictability, case: Case) -> list[Finding]:
    """Say from how many steps on single trajectories mean nothing."""
    steps, middle, most = round(p.horizon), float(np.median(p.change)) / LN10, float(p.change.max()) / LN10
    rate = "largest Lyapunov exponent" if p.is_exponent else "rate of the gradient"
    text = f"Rounding errors reach the size of the state in about {steps} steps ({case.dtype}, {rate} {p.rate:.2g} "
    text += (
        f"nats/step); the run has {p.steps} with warm-up. Gains and gradient norms of single sequences over so many "
    )
    text += f"steps are not reproducible: changing the start by {p.perturbation:.1e} of itself changes the gain by a "
    text += f"factor of {times(middle)}" + (f" (median; at most {times(most)}). " if p.change.size > 1 else ". ")
    text += "Rates and exponents are averages and remain valid."
    advice = f"Compare rates and exponents instead of gains, or measure far fewer than {steps} steps."
    return [Finding("GS-HORIZON", "warning", text, advice)]


def rows(document: Document) -> list[tuple[Any, ...]]:
    """Return the rows of the first table."""
    m = document["metrics"]
    if "predictability_horizon" not in m:
        return []
    return [
        ("predictability horizon", m["predictability_horizon"], "steps until rounding errors reach the state's size"),
        ("change of the gain", m["rounding_gain_change"], "decades per sequence, from one rounding error (median)"),
    ]
