"""How long does a run take on this machine? Counts of operations, and how fast the machine was found to be at each.

Every part of an analysis is a sum of a few terms that grow with its sizes: a call for each step, a product with the
weights, a decomposition, an eigenvalue problem. `features` counts them; `fit` finds what each takes from runs of the
real analyses at small sizes, as non-negative least squares of relative errors; `predict` adds up. How often columns
have to be made orthogonal again, and after how many rounds eigenvalues settle, depends on the network: an estimate is
good to a factor of two, as a rule.

Of a cell that is a function of the user's, every Jacobian is calls of Python. How long these take is measured before
the run; `evaluations` counts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Size", "called", "evaluations", "features", "fit", "predict", "rough_seconds"]

# Seconds that give the terms their scale; a fit multiplies them by what the machine needs.
CALL = 2.0e-5  # the calls of a step
FLOP = 1.0e-10
CUBIC = 25  # operations times n^3 of all eigenvalues (Golub & Van Loan 2013, section 7.5)

START = "start and report"
LARGEST_VALUES = "products (largest values)"  # large states take another way, with a speed of its own
ALL_VALUES = "products (all values)"  # and so do all values

APART = " (unit by unit)"

Features = dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Size:
    """What decides on how long a run takes.

    Attributes:
        state: state variables n.
        recurrent: numbers in the recurrent weights.
        weights: numbers in all weights.
        steps: measured steps T.
        warmup: steps before them.
        batch: sequences B.
        values: how many exponents and singular values k.
        lags: at how many lags; 0: no products and spectra.
        step_spectra: of how many steps spectra are taken; None: as many as are quick.
        roads: whether the gradient has several.
        diagonal: whether no unit sees another, so that spectra come unit by unit.
        own: seconds that a step and a Jacobian of one sequence take where they are calls of a function; None elsewhere.
        remade: whether Jacobians of such a function are too many to be kept of the run.
    """

    state: int
    recurrent: int
    weights: int
    steps: int
    warmup: int
    batch: int
    values: int
    lags: int
    step_spectra: int | None = None
    roads: bool = True
    diagonal: bool = False
    own: tuple[float, float] | None = None
    remade: bool = False


def features(size: Size) -> Features:
    """Return the terms of every part of a run, in the order of the run."""
    from gradscope.analysis import crossings
    from gradscope.measure import GATES, ROADS

    n, T, B = size.state, size.steps, size.batch  # noqa: N806  as in the formulas

    def swept(steps: int, weights: int) -> tuple[float, ...]:
        each = CALL, FLOP * 2 * weights * B, FLOP * 4 * weights, FLOP * 30 * n * B
        return tuple(steps * x for x in each)

    parts: Features = {
        "running the cell": swept(T + size.warmup, size.weights),
        "gradients": swept(T, size.recurrent),
        GATES: (CALL, FLOP * 100 * n * B * T),
    }
    if size.roads and not size.diagonal:
        counted = n * (n + 64) * T**2 <= crossings.WORK
        parts[ROADS] = (*swept(T, size.recurrent), FLOP * 2 * size.recurrent * T**2 if counted else 0.0)
    if size.lags and not size.diagonal:
        parts |= _spectra(size)
    elif size.lags:
        parts |= _unit_by_unit(size)
    parts[START] = (1.0, CALL * T)
    return parts


def _spectra(size: Size) -> Features:
    from gradscope.analysis import lyapunov, products, singular, steps
    from gradscope.analysis.lyapunov import WARM_COLUMNS, WARM_UP_STEPS
    from gradscope.measure import EIGENVALUES, EXPONENTS, STEPS

    n, T, k = size.state, size.steps, size.values  # noqa: N806
    parts: Features = {}
    lags = products.log_lags(T, size.lags).tolist()
    if k == n or n <= products.FORMED:
        name = ALL_VALUES if 2 * k > n else "products"
        radii = min(len(lags), max(2, products.RADIUS_WORK / n**3))
        grown = FLOP * T * n * size.recurrent, FLOP * T * n**3, FLOP * len(lags) * n**3, FLOP * CUBIC * radii * n**3
        parts[name] = (CALL * T, *grown)
    else:
        c = k + singular.SPARE
        swept = sum(lags)
        each = CALL * swept, FLOP * swept * size.recurrent * c, FLOP * swept * n * c * c
        parts[LARGEST_VALUES] = (*each, CALL * T, FLOP * T * n * size.recurrent, FLOP * len(lags) * n * n * k)
    t = T + min(size.warmup, lyapunov.LONGEST_BURN)
    burn, c = max(lyapunov.usual_burn(t), t - T), min(k, WARM_COLUMNS)
    S, turned = min(size.batch, lyapunov.affordable(t, n, k)), min(t, burn + WARM_UP_STEPS)  # noqa: N806
    columns, squares = t * k + turned * c, t * k**2 + turned * c**2
    parts[EXPONENTS] = (
        CALL * (t + turned),
        CALL * (t + turned) * S,
        FLOP * 2 * size.recurrent * columns * S,
        FLOP * 2 * n * squares * S,
        FLOP * size.recurrent * (t + turned) * S,
    )
    c = _eigen_columns(size)
    eigen = CALL * T, FLOP * 2 * T * size.recurrent * c, FLOP * 4 * T * n * c * c, FLOP * CUBIC * c**3
    parts[EIGENVALUES] = eigen
    at, s = _looked_at(size, steps.WORK)
    taken = s * at
    parts[STEPS] = (CALL * taken, FLOP * CUBIC * taken * n**3, FLOP * taken * n * n)
    return parts


def _eigen_columns(size: Size) -> int:
    """Return how many columns eigenvalues of the product are found from."""
    from gradscope.analysis import singular
    from gradscope.measure import EIGEN_WORK, FEW

    n, whole = size.state, size.values == size.state
    few = min(FEW, n) if whole and 12 * size.steps * n**3 > EIGEN_WORK else size.values
    return n if whole and few == size.values else min(n, few + singular.SPARE)


def _looked_at(size: Size, work: float) -> tuple[int, int]:
    """Return of how many steps, and of how many sequences, spectra of single steps are taken."""
    room = max(6, int(work / size.state**3))
    s = min(size.batch, max(1, min(4, room // 8)))
    return min(size.steps, size.step_spectra or max(2, room // s)), s


def _unit_by_unit(size: Size) -> Features:
    from gradscope.measure import EIGENVALUES, EXPONENTS, PRODUCTS, STEPS, TIMES, UNIT

    passes = {PRODUCTS: 1, EXPONENTS: size.batch, EIGENVALUES: 1, STEPS: 1, TIMES: size.batch}  # sequences of each
    each = FLOP * UNIT / 10 * size.state * size.steps
    return {f"{name}{APART}": (CALL * size.steps, each * count) for name, count in passes.items()}


def evaluations(size: Size) -> dict[str, tuple[int, int]]:
    """Return how many steps and Jacobians of one sequence each part of a run takes of a cell that is a function.

    Jacobians are made once, along the run, and kept; or, where memory is short, wherever a part goes along it. Then
    those of a few single steps are left out, and how often a part has to go along them depends on the network.
    """
    from gradscope.analysis import lyapunov, products, steps
    from gradscope.dynamics import chain
    from gradscope.kernels import matrices
    from gradscope.measure import EIGENVALUES, EXPONENTS, PRODUCTS, STEPS

    n, T, B, k = size.state, size.steps, size.batch, size.values  # noqa: N806
    t = T + min(size.warmup, lyapunov.LONGEST_BURN)
    ran = (T + size.warmup) * B
    if not size.remade:
        return {"running the cell": (ran, t * B)}
    room = chain.STORED_BYTES / (8 * n**2)
    longer, kept, one = t * B <= room, T * B <= room, T <= room  # with steps before; of all sequences; of the first
    first = t if longer else T if kept else 0
    found = {"running the cell": (ran, 0), "gradients": (0, (T + t + first) * B)}
    if not size.lags:
        return found
    known = kept and B == 1
    passes = 2 * T if known or one else 3 * T
    if k < n and n > products.FORMED:  # back and forth for every lag
        passes += 2 * int(products.log_lags(T, size.lags).sum())
    found[PRODUCTS] = 0, passes - (T if known else 0)
    found[EXPONENTS] = 0, 2 * t * min(B, lyapunov.affordable(t, n, k))
    again = 2 * _eigen_columns(size) > n or 8 * T * n**2 > matrices.CACHE_BYTES
    found[EIGENVALUES] = 0, 0 if known else 4 * T if again and not one else 2 * T
    found[STEPS] = 0, 0 if kept else _looked_at(size, steps.WORK)[0] * B
    return found


def fit(rows: Sequence[tuple[Size, Mapping[str, float]]]) -> dict[str, list[float]]:
    """Return what each term of each part takes, from runs of these sizes and the seconds that their parts took."""
    import numpy as np
    from scipy.optimize import nnls

    found: dict[str, list[float]] = {}
    counted = [(features(size), seconds) for size, seconds in rows]
    for part in dict.fromkeys(p for terms, _ in counted for p in terms):
        pairs = [(t[part], s[_told(part)]) for t, s in counted if part in t and s.get(_told(part), 0) > 0]
        if pairs:
            matrix = np.array([[x / took for x in terms] for terms, took in pairs])  # errors are relative ones
            found[part] = [float(x) for x in nnls(matrix, np.ones(len(pairs)))[0]]
    return found


def predict(size: Size, speeds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return the seconds that each part of a run takes; parts of which no speed is known are left out."""
    terms = features(size)
    found = {
        _told(part): sum(a * b for a, b in zip(terms[part], speeds[part], strict=True))
        for part in terms
        if part in speeds and len(speeds[part]) == len(terms[part])
    }
    calls = called(size)
    return {part: found.get(part, 0.0) + calls.get(part, 0.0) for part in {**found, **calls}}


def called(size: Size) -> dict[str, float]:
    """Return the seconds that calls of a function take in each part of a run; {} where the cell is none."""
    if size.own is None:
        return {}
    step, jacobian = size.own
    return {part: a * step + b * jacobian for part, (a, b) in evaluations(size).items()}


def rough_seconds(size: Size) -> float:
    """Return about how long a run takes on a machine that is not known."""
    return sum(sum(terms) for terms in features(size).values()) + sum(called(size).values())


def _told(part: str) -> str:
    """Return the name that a part goes by while it runs."""
    return part.partition(" (")[0]
