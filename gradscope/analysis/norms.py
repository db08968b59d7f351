"""How large is the spectral norm of the Jacobian product at every single lag?

P_k = J_T J_{T-1} ... J_{T-k+1}, for k = 1 ... T. `products` looks at some lags, and there at much more than the norm;
here the norm is taken at each of them, which is what is drawn when one wants to see when it peaks.

The product is multiplied out and kept near one by powers of two. Its norm is found by Golub-Kahan bidiagonalisation
(Golub & Kahan 1965) with all vectors made orthogonal again. It begins with the left singular vector of the lag before:
from lag to lag a product changes on its right only, so that vector is nearly right, and a few products with it do.
A random direction is mixed in, so that what has become the largest is not missed for what was.

Multiplied out, the product holds its norm to about T n eps, and less well where much cancels (`log_condition` of
`products` says how much). The iteration ends when a singular value is known to `TOLERANCE`. Were that the second one,
the first would be larger by `TOLERANCE` over the share of its vector in the start at most, about `MIXED` / sqrt(n).
"""

from __future__ import annotations

import numpy as np

from gradscope.analysis._arguments import check_chain, check_count
from gradscope.analysis._scaled import LN2, rescale
from gradscope.dynamics.chain import JacobianChain
from gradscope.jacobian import Array

__all__ = ["spectral_norms"]

TOLERANCE = 1e-12  # relative, of a norm
MIXED = 0.3  # share of a random direction in the first vector
EPS = float(np.finfo(float).eps)
EVERY = 2  # products with the matrix between two looks at the small one


def spectral_norms(chain: JacobianChain, *, sequence: int = 0) -> Array:
    """Return natural logs of the spectral norm of J_T ... J_(T-k+1) for k = 1 ... T, (T,).

    Args:
        chain: the Jacobians.
        sequence: which of the sequences.

    Returns:
        (T,); entry k - 1 belongs to lag k. -inf where the product is zero.

    Raises:
        UsageError: there is no such sequence, or something that is no chain.
        InputError: a Jacobian is not finite.
    """
    check_chain(chain)
    check_count("sequence", sequence, 0, chain.batch - 1)
    n, found = chain.size, np.full(chain.steps, -np.inf)
    other = np.random.default_rng(0).standard_normal(n)
    other *= MIXED / np.linalg.norm(other)
    transposed, exponent = np.eye(n), np.zeros(1, np.int64)  # J^T J^T ...: columns are what gradients are
    u = np.zeros(n)
    for t, J in chain.backward():
        flat, exponent = rescale(J.column(sequence).pull(transposed).reshape(-1, 1), exponent)
        transposed = flat.reshape(n, n)
        if not transposed.any():
            break
        size, u = _largest(transposed, u + other)
        found[chain.steps - 1 - t] = np.log(size) + float(exponent[0]) * LN2
    return found


def _largest(A: Array, x: Array) -> tuple[float, Array]:
    """Return the largest singular value of A, (n, n), and its right singular vector, from a start x.

    After j products A X = Y B, A^T Y = X B^T + r e_j^T, with B (j, j) upper bidiagonal. A value of B, with left
    singular vector y, is a singular value of A to |r y_j|.
    """
    n = len(A)
    X, Y = np.empty((n, n)), np.empty((n, n))
    B = np.zeros((n, n))
    X[0], beta = x / np.linalg.norm(x), 0.0
    size, right = 0.0, X[0]
    for j in range(n):
        y = A @ X[j]
        if j:
            y -= beta * Y[j - 1]
            y -= Y[:j].T @ (Y[:j] @ y)
        B[j, j] = alpha = float(np.linalg.norm(y))
        Y[j] = y / alpha if alpha else 0.0
        r = Y[j] @ A
        r -= X[: j + 1].T @ (X[: j + 1] @ r)
        r -= X[: j + 1].T @ (X[: j + 1] @ r)  # twice is enough (Kahan; Parlett 1980, section 6.9)
        beta = float(np.linalg.norm(r))
        last = j + 1 == n or beta <= EPS * (alpha + size)
        if last or (j and j % EVERY == 0):
            left, values, rows = np.linalg.svd(B[: j + 1, : j + 1])
            size, right = float(values[0]), X[: j + 1].T @ rows[0]
            far = beta * abs(float(left[j, 0]))
            if last or far <= TOLERANCE * size:
                break
        X[j + 1] = r / beta
        B[j, j + 1] = beta
    return size, right
