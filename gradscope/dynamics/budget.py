"""How much memory a run needs, how much there is, and how many operations it takes: asked before it begins."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace

from gradscope.errors import ResourceError

EVERYTHING, STATES, CHECKPOINTS = STORAGE = ("states and what is saved of each step", "states", "checkpoints")
FLOOR = 200 << 20  # bytes of the libraries, and of the Jacobians of a chunk of steps
MODEST = 1 << 30  # bytes that are used by default, where less would take longer
NORMS = 24  # numbers a step and sequence: norms, shares of paths, and their percentiles
FALLBACK = 4 << 30  # bytes of free memory where the system does not report any

EIGENVALUES = 25  # n^3 of them are the operations of all eigenvalues (Golub & Van Loan 2013, section 7.5.6)
PASSES = 20  # of a column that is one of the largest k: two rounds back and forth, and all lags add up to about 5 T
SINGULAR_VALUES = 4  # likewise of all singular values, without vectors (section 8.6.4: 4 m n^2 - 4 n^3 / 3)


@dataclass(frozen=True)
class Plan:
    """Sizes of a run.

    Attributes:
        state: state variables n.
        inputs: number of inputs m.
        weights: number of weights.
        steps: steps, warm-up included.
        batch: sequences.
        itemsize: bytes of a number.
        dense: whether Jacobian products and spectra are taken, n x n each.
        columns: columns of the frames that are pushed along for Lyapunov exponents, over all sequences.
        saved: numbers beside the state that a run may save of each step and sequence.
        saved_name: what these are.
        storage: what is stored of the run, one of `STORAGE`.
        polar: recurrent weights that are made orthogonal, one of the changes that may be tried; 0 for none.
    """

    state: int
    inputs: int
    weights: int
    steps: int
    batch: int
    itemsize: int = 8
    dense: bool = True
    polar: int = 0
    columns: int = 0
    saved: int = 0
    saved_name: str = "pre-activations"
    storage: str = EVERYTHING

    @property
    def parts(self) -> dict[str, int]:
        """Bytes by purpose. Inputs are held twice (as read, as run), states once more as cotangents."""
        rows = self.steps * self.batch * self.itemsize
        length = 3 * math.isqrt(self.steps) + 3 if self.storage == CHECKPOINTS else self.steps
        length_saved = 0 if self.storage == STATES else length
        # measured: the decomposition and its factors are eight times the matrix
        changed = {"orthogonal weights": 8 * self.polar * self.itemsize} if self.polar else {}
        return changed | {
            "weights": 2 * self.weights * self.itemsize,
            "inputs": 2 * rows * self.inputs,
            "states": 2 * length * self.batch * self.itemsize * self.state,
            self.saved_name: length_saved * self.batch * self.itemsize * self.saved,
            "norms and shares": 8 * NORMS * self.steps * self.batch,
            # in float64 whatever the cell is in; 16 and 4: counted with their work arrays
            "dense Jacobians": 8 * self.state * (16 * self.state + 4 * self.columns) if self.dense else 0,
        }

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.parts.values()) + FLOOR

    def fitting(self, limit: int | None = None) -> Plan:
        """Return the plan that stores as much of the run as fits, and computes the rest again on demand.

        Args:
            limit: bytes that may be used; None for half of what is free, and no more than `MODEST`.
        """
        allowed = min(available_bytes() // 2, MODEST) if limit is None else limit
        plans = [replace(self, storage=storage) for storage in STORAGE]
        return next((p for p in plans if p.total <= allowed), plans[-1])

    def check(self, limit: int | None = None) -> None:
        """Refuse a run that does not fit.

        Args:
            limit: bytes that may be used; None for half of what is free.

        Raises:
            ResourceError: the estimate is above the limit.
        """
        allowed, plan = allowed_bytes(limit), self.fitting(limit)
        if plan.total <= allowed:
            return
        largest = max(plan.parts, key=lambda k: plan.parts[k])
        raise ResourceError(
            f"this run needs about {human(plan.total)} ({human(plan.parts[largest])} for {largest}); "
            f"the limit is {human(allowed)}",
            f"{plan._advice(largest, allowed)}; --max-memory raises the limit",
        )

    def _advice(self, largest: str, allowed: int) -> str:
        """Say what would help, after looking whether it does."""
        without = replace(self, dense=False)
        if allowed < FLOOR:
            return f"Python and its libraries alone take about {human(FLOOR)}"
        unchanged = replace(self, polar=0)
        if self.polar and unchanged.total <= allowed:
            return f"without --remedies it needs {human(unchanged.total)}"
        if self.dense and without.total <= allowed:
            least = human(without.total)
            return f"--lags 0 needs {least}: it omits products and spectra, and gradient norms need no matrix"
        if without.parts["weights"] > allowed:
            and_so = ", and --lags 0, which needs no matrix but them, does not help" if self.dense else ""
            return f"the weights alone are {human(self.parts['weights'])}{and_so}: use fewer units (--hidden)"
        half = replace(without, itemsize=4)
        if self.itemsize > 4 and half.total <= allowed:
            also = " with --lags 0" if self.dense else ""
            return f"--dtype float32{also} needs {human(half.total)}"
        return "use fewer steps (--steps) or sequences (--batch)"


def operations(
    plan: Plan,
    *,
    recurrent: int,
    measured: int,
    replayed: int = 0,
    values: int,
    lags: int,
    sequences: int,
    spectra: int,
    paths: bool,
) -> dict[str, float]:
    """Return the number of floating-point operations of each part of a run, about.

    Products with matrices and dense decompositions are counted, element-wise formulas are not. What is repeated until
    it has converged (eigenvalues of the product, largest singular values of large states) counts as two rounds.

    Args:
        plan: sizes of the run, n state variables among them.
        recurrent: numbers in the recurrent weights.
        measured: steps T, without the warm-up.
        replayed: steps of single sequences that are run again, from another past.
        values: Lyapunov exponents, singular values and eigenvalues that are asked for, k of each.
        lags: at how many lags the product of the Jacobians is decomposed.
        sequences: along how many sequences Lyapunov exponents are measured.
        spectra: of how many single Jacobians spectra are taken.
        paths: whether the gradient has several, so that its shares are measured.

    Returns:
        {part: operations}, in the order of the run.
    """
    n, k, T = plan.state, values, measured  # noqa: N806  as in the formulas
    sweep = 2 * recurrent * T * plan.batch  # one cotangent of every sequence through every step
    step = 2 * plan.weights  # of one sequence
    parts = {"running the cell": step * plan.steps * plan.batch, "gradients": sweep, "paths": paths * sweep}
    parts["memory"] = step * replayed
    if plan.dense:
        jacobian = 2 * min(recurrent, n * n)  # times one column; the matrix of a step is formed where it is the smaller
        frame = 2 * n * k**2  # a QR decomposition of k columns (Golub & Van Loan 2013, section 5.2.9)
        parts |= {
            # back over the columns of the largest values, forward over all n for norms
            "products": T * (min(n, PASSES * k) + n) * jacobian + SINGULAR_VALUES * lags * n**3,
            "Lyapunov exponents": sequences * plan.steps * (k * jacobian + frame),
            "eigenvalues of the product": 2 * T * (k * jacobian + frame) + EIGENVALUES * k**3,
            "spectra of single steps": spectra * (EIGENVALUES + SINGULAR_VALUES) * n**3,
        }
    return {part: float(count) for part, count in parts.items() if count}


def allowed_bytes(limit: int | None = None) -> int:
    """Return the memory that a run may use: the limit, or half of what is free."""
    return available_bytes() // 2 if limit is None else limit


def available_bytes() -> int:
    """Return the memory that is free for use, as the system tells."""
    try:
        with open("/proc/meminfo", encoding="ascii") as f:  # noqa: PTH123  counts reclaimable memory, sysconf does not
            for line in f:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return FALLBACK


def human(size: int) -> str:
    """Write bytes as 1.5 GiB."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    power = min(max(size.bit_length() - 1, 0) // 10, len(units) - 1)
    whole = size * 1000 >> 10 * power  # in integers: sizes may be larger than any float
    return (
        f"{whole / 1000:.{3 if whole < 10**6 else 4}g} {units[power]}"
        if whole < 10**9
        else f"more than a million {units[power]}"
    )
