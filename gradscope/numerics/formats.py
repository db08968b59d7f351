"""Number formats that gradients are kept in."""

from __future__ import annotations

__all__ = ["ROUNDS_TO_ZERO"]

# log2 of half the smallest positive (subnormal) number: up to here everything rounds to zero, to nearest even.
# A vector whose norm is no larger is zero in every entry. IEEE 754-2019 for float32 and float16; bfloat16 has
# float32's exponent and 7 stored bits.
ROUNDS_TO_ZERO = {"float32": -150, "bfloat16": -134, "float16": -25}
