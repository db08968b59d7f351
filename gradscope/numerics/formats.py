"""Floating point: the array type of this package, and the limits of the formats that gradients are stored in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

EPS = float(np.finfo(float).eps)  # distance from 1 to the next float64
SMALLEST_NORMAL = float(np.finfo(float).tiny)  # 2^-1022: below it, numbers lose digits
SMALLEST_SUBNORMAL = 5e-324  # 2^-1074: what any float64 may be wrong by, however small it is
LN2 = float(np.log(2.0))  # nats of one power of two
LN10 = float(np.log(10.0))  # nats of one decade

# log2 of half the smallest positive (subnormal) number: up to here everything rounds to zero, to nearest even.
# A vector whose norm is no larger is zero in every entry. IEEE 754-2019 for float32 and float16; bfloat16 has
# float32's exponent and 7 stored bits.
ROUNDS_TO_ZERO = {"float32": -150, "bfloat16": -134, "float16": -25}

# The largest finite number of each: (2 - 2^-p) 2^e with p stored bits and the largest exponent e (IEEE 754-2019).
LARGEST_FINITE = {
    "float32": (2 - 2.0**-23) * 2.0**127,
    "bfloat16": (2 - 2.0**-7) * 2.0**127,
    "float16": (2 - 2.0**-10) * 2.0**15,
}
