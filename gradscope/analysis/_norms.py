"""How large is the spectral norm of the Jacobian product at every single lag?

P_k = J_T J_{T-1} ... J_{T-k+1}, for k = 1 ... T. `products` looks at some lags, and there at much more than the norm;
here the norm is taken at each of them, which is what is drawn when one wants to see when it peaks.

The product is multiplied out and kept near one by powers of two. Its norm comes from bidiagonalisation
(`numerics.bidiagonal`), which begins with the left singular vector of the lag before: from lag to lag a product changes
on its right only, so that vector is nearly right, and a few products with it do.

Multiplied out, the product holds its norm to about T n eps, and less well where much cancels (`log_condition` of
`products` says how much).
"""

from __future__ import annotations

import math

import numpy as np

from gradscope.analysis._arguments import check_chain, check_count, check_finite
from gradscope.dynamics.chain import JacobianChain
from gradscope.numerics.bidiagonal import LargestSingularValue
from gradscope.numerics.formats import LN2, Array
from gradscope.numerics.scaled import max_abs

LDEXP_EXPONENT = 1000  # up to which 2^exponent is a float64: 2^1074, the inverse of the smallest, is inf


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
    if not isinstance(chain, JacobianChain):  # that all is finite is checked only if the product is not
        check_chain(chain)
    check_count("sequence", sequence, 0, chain.batch - 1)
    n, logs, exponent = chain.size, np.full(chain.steps, -np.inf), 0
    product, spare, norm = np.eye(n), np.empty((n, n)), LargestSingularValue(n)
    for t, J in chain.backward():
        lag = chain.steps - t
        # 1. P <- P J[t]; the product is `product` times 2^exponent
        with np.errstate(over="ignore", invalid="ignore"):
            product, spare = np.dot(product, J.column(sequence).dense().astype(float, copy=False), out=spare), product
        size = max_abs(product)
        if not np.isfinite(size):
            check_finite(chain)  # refuses a Jacobian that is not finite; else the product is not determined
            logs[lag - 1 :] = np.nan
            break
        if not size:
            break
        # 2. near one again
        shift = int(np.frexp(size)[1])
        for part in (-shift,) if abs(shift) < LDEXP_EXPONENT else (-shift // 2, -shift - -shift // 2):
            product *= math.ldexp(1.0, part)
        exponent += shift
        # 3. its largest singular value
        logs[lag - 1] = np.log(norm.of(product)) + exponent * LN2
    return logs
