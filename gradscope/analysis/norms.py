"""How large is the spectral norm of the Jacobian product at every single lag?

P_k = J_T J_{T-1} ... J_{T-k+1}, for k = 1 ... T. `products` looks at some lags, and there at much more than the norm;
here the norm is taken at each of them, which is what is drawn when one wants to see when it peaks.

The product is multiplied out and kept near one by powers of two. Its norm is found by bidiagonalisation (Golub &
Kahan 1965) with the vectors of one side made orthogonal again, which is enough (Simon & Zha 2000). It begins with the
left singular vector of the lag before: from lag to lag a product changes on its right only, so that vector is nearly
right, and a few products with it do. A random direction is mixed in, so that what has become the largest is not missed.

Multiplied out, the product holds its norm to about T n eps, and less well where much cancels (`log_condition` of
`products` says how much). The iteration ends when a singular value is known to `TOLERANCE`. Were that the second one,
the first would be larger by `TOLERANCE` over the share of its vector in the start at most, about `MIXED` / sqrt(n).
"""

from __future__ import annotations

import math

import numpy as np

from gradscope.analysis._arguments import check_chain, check_count
from gradscope.analysis.finite import check_finite
from gradscope.dynamics.chain import JacobianChain
from gradscope.maps.jacobian import Array
from gradscope.numerics.scaled import LN2

__all__ = ["spectral_norms"]

TOLERANCE = 1e-12  # relative, of a norm
MIXED = 0.3  # share of a random direction in the first vector
EPS = float(np.finfo(float).eps)


def spectral_norms(chain: JacobianChain, *, sequence: int = 0) -> Array:
    """Return natural logs of the spectral norm of J_T ... J_(T-k+1) for k = 1 ... T, (T,).

    Args:
        chain: the Jacobians.
        sequence: which of the sequences.

    Returns:
        (T,); entry k - 1 belongs to lag k. -inf where the product is zero; nan where it left the range of numbers
        within a single step.

    Raises:
        UsageError: there is no such sequence, or something that is no chain.
        InputError: a Jacobian is not finite.
    """
    if not isinstance(chain, JacobianChain):
        check_chain(chain)
    check_count("sequence", sequence, 0, chain.batch - 1)
    n, found, scale = chain.size, np.full(chain.steps, -np.inf), 0  # of the product: 2^scale
    other = np.random.default_rng(0).standard_normal(n)
    other *= MIXED / np.linalg.norm(other)
    product, spare, u = np.eye(n), np.empty((n, n)), np.zeros(n)
    look = 1
    for t, J in chain.backward():
        with np.errstate(over="ignore", invalid="ignore"):
            product, spare = np.dot(product, J.column(sequence).dense().astype(float, copy=False), out=spare), product
        largest = max(product.max(), -product.min())
        if not np.isfinite(largest):
            check_finite(chain)  # whose Jacobians are it all the same: their product is not determined
            found[chain.steps - 1 - t :] = np.nan
            break
        if not largest:
            break
        shift = int(np.frexp(largest)[1])
        for part in (-shift,) if abs(shift) < 1000 else (-shift // 2, -shift - -shift // 2):  # 2^1074 is inf
            product *= math.ldexp(1.0, part)
        scale += shift
        size, u, look = _largest(product, u + other, look)
        found[chain.steps - 1 - t] = np.log(size) + scale * LN2
    return found


def _largest(A: Array, x: Array, look: int) -> tuple[float, Array, int]:
    """Return the largest singular value of A, (n, n), its left singular vector, and when to look for it the next time.

    After j products A^T X = Y B, A Y = X B^T + r e_j^T, with B (j, j) upper bidiagonal. A value of B, with left
    singular vector y, is a singular value of A to |r y_j|. The iteration begins with x, and looks at B after
    more than `look` products.
    """
    n = len(A)
    X, B = np.empty((n, n)), np.zeros((n, n))
    X[0], beta = x / np.linalg.norm(x), 0.0
    size, vector, y = 0.0, X[0], np.zeros(n)
    for j in range(n):
        y = X[j] @ A - beta * y
        B[j, j] = alpha = _length(y)
        y = y / alpha if alpha else y
        r = A @ y
        r -= alpha * X[j]
        r -= (X[: j + 1] @ r) @ X[: j + 1]
        beta = _length(r)
        last = j + 1 == n or beta <= EPS * (alpha + size)
        if last or j >= look:
            left, values, rows = np.linalg.svd(B[: j + 1, : j + 1])
            size, vector = float(values[0]), rows[0] @ X[: j + 1]
            if last or beta * abs(float(left[j, 0])) <= TOLERANCE * size:
                break
        X[j + 1] = r / beta
        B[j, j + 1] = beta
    return size, vector, max(1, j - 1 if j > look else 3 * j // 4)


def _length(x: Array) -> float:
    return math.sqrt(float(x @ x))
