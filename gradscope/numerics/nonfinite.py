"""Which values of an array are not finite?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class NonFinite:
    """Values of one kind in one array.

    Attributes:
        path: what the array is: "model.weights.U", "data", "states".
        kind: "nan", "inf" or "-inf".
        count: how many.
        first: index of the first one.
    """

    path: str
    kind: str
    count: int
    first: tuple[int, ...]


def nonfinite_in(path: str, array: NDArray[Any]) -> list[NonFinite]:
    """Return the records of an array, at most one of each kind: nan, inf, -inf."""
    if np.isfinite(array).all():
        return []
    kinds = {"nan": np.isnan(array), "inf": np.isposinf(array), "-inf": np.isneginf(array)}
    first = {kind: np.unravel_index(int(mask.argmax()), mask.shape) for kind, mask in kinds.items()}
    counts = {kind: int(np.count_nonzero(mask)) for kind, mask in kinds.items()}
    return [NonFinite(path, k, counts[k], tuple(map(int, first[k]))) for k in kinds if counts[k]]
