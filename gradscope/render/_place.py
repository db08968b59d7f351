"""Where do labels go?  Without overlaps, and away from curves and points."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
OVERLAP_SCORE = 1000.0  # of an overlap with another label, against points of ink


class Box(NamedTuple):
    """A rectangle in pixels."""

    x0: float
    y0: float
    x1: float
    y1: float


def spread(wanted: list[float], heights: list[float], low: float, high: float) -> list[float]:
    """Move the middles of labels as little as possible so that none overlaps another, within low and high.

    Least squares under an order: pool adjacent violators (Ayer et al., 1955).
    """
    order = np.argsort(wanted, kind="stable")
    tall = np.array(heights)[order]
    offset = np.concatenate([[0.0], np.cumsum((tall[1:] + tall[:-1]) / 2)])
    pools: list[tuple[float, int]] = []  # (mean, how many)
    for target in np.array(wanted)[order] - offset:
        mean, count = float(target), 1
        while pools and pools[-1][0] > mean:
            before, more = pools.pop()
            mean, count = (before * more + mean * count) / (more + count), more + count
        pools.append((mean, count))
    start = np.repeat([m for m, _ in pools], [c for _, c in pools])
    bottom, top = low + tall[0] / 2, high - tall[-1] / 2 - offset[-1]
    middle = np.clip(start, bottom, max(top, bottom)) + offset
    placed = np.empty_like(middle)
    placed[order] = middle
    return [float(y) for y in placed]


def trail(points: Array, gap: float = 3.0) -> Array:
    """Return points every few pixels along a line that breaks where a coordinate is not finite."""
    pieces = [points[np.isfinite(points).all(axis=1)]]
    for a, b in zip(points[:-1], points[1:], strict=True):
        length = float(np.hypot(*(b - a)))
        if np.isfinite(length) and length > gap:
            steps = np.linspace(0, 1, min(int(length / gap) + 1, 2000))[:, None]
            pieces.append(a + (b - a) * steps)
    return np.concatenate(pieces)


def crowding(box: Box, ink: Array, taken: list[Box], margin: float = 2.0) -> float:
    """Count what a box would cover: points of ink, and other boxes, which weigh far more."""
    x0, y0, x1, y1 = box.x0 - margin, box.y0 - margin, box.x1 + margin, box.y1 + margin
    covered = int(((ink[:, 0] > x0) & (ink[:, 0] < x1) & (ink[:, 1] > y0) & (ink[:, 1] < y1)).sum())
    overlaps = sum(x0 < t.x1 and t.x0 < x1 and y0 < t.y1 and t.y0 < y1 for t in taken)
    return covered + OVERLAP_SCORE * overlaps
