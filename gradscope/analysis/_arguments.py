"""Arguments of the analyses that Python calls with a chain: are they what they should be?"""

from __future__ import annotations

import operator
from typing import Any

from gradscope.dynamics.chain import JacobianChain
from gradscope.errors import InputError, UsageError


def check_chain(chain: Any) -> None:
    """Check that the argument is a chain of finite Jacobians.

    Raises:
        UsageError: the argument is no chain.
        InputError: a Jacobian is not finite.
    """
    if not isinstance(chain, JacobianChain):
        text = f"expected a JacobianChain, not {type(chain).__name__}"
        raise UsageError(text, "create one from an array (T, n, n): gradscope.JacobianChain.from_arrays(J)")
    check_finite(chain)


def check_finite(chain: JacobianChain) -> None:
    """Refuse a chain with a Jacobian that is not finite.

    Raises:
        InputError: it says which.
    """
    if chain.first_nonfinite is not None:
        raise InputError(
            f"the Jacobian of step {chain.first_nonfinite} is not finite",
            "check what the network computes at this step",
        )


def check_count(what: str, value: Any, least: int, most: int | None = None) -> None:
    """Check that an argument is a whole number in range; None stands for the default.

    Raises:
        UsageError: the argument is not.
    """
    if value is None:
        return
    try:
        whole = operator.index(value)
    except TypeError:
        raise UsageError(f"{what} must be a whole number, not {value!r}") from None
    if whole < least or (most is not None and whole > most):
        span = f"at least {least}" if most is None else f"between {least} and {most}"
        raise UsageError(f"{what} must be {span}, not {whole}")
