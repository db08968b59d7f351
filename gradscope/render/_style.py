"""How the picture looks: colours, line styles and matplotlib's settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

from gradscope.render._matplotlib import colors, font_manager, matplotlib

# Okabe & Ito, "Color universal design" (2008). Ordered so that neighbours differ in lightness too:
# L* = 46, 71, 13, 58, 62, 70, 54.
PALETTE = ("#0072B2", "#E69F00", "#222222", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
STATES = {
    "vanishing": "#0072B2",
    "stable": "#00785A",
    "exploding": "#B84A00",
    "inconclusive": "#8A6000",
    "nonfinite": "#A03C78",
}
BLACK, GREY, GRID = "#222222", "#6E6E6E", "#E8E8E8"

LINES: dict[str, Any] = {
    "solid": "solid",
    "dashed": (0, (5, 2)),
    "dotted": (0, (1.2, 1.6)),
    "dashdot": (0, (6, 1.8, 1.2, 1.8)),
}

SETTINGS: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "mathtext.fontset": "dejavusans",
    "text.hinting": "none",  # so that texts have the same size at every resolution
    "axes.unicode_minus": True,
    "agg.path.chunksize": 20000,
    "svg.fonttype": "path",
    "svg.hashsalt": "gradscope",
    "pdf.fonttype": 42,  # publishers refuse type 3
    "legend.frameon": False,
}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw with matplotlib's defaults and `SETTINGS`, whatever the user's settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        cast(Any, matplotlib.rcParams).update(SETTINGS)
        yield


def colour(role: int) -> str:
    """Return the colour of a role."""
    return PALETTE[role % len(PALETTE)]


def line(style: str) -> Any:
    """Return matplotlib's name of a line style."""
    return LINES.get(style, "solid")


def shade(value: str, index: int, count: int) -> str:
    """Return a lighter and lighter colour for the curves of one role: the first one is the role's own."""
    share = 0.6 * index / max(count - 1, 1)
    r, g, b = (c + (1 - c) * share for c in colors.to_rgb(value))
    return colors.to_hex((r, g, b))


def ink(value: str) -> str:
    """Darken a colour until it can be read as text on white: contrast 4.5, WCAG 2.1, 1.4.3."""
    rgb = colors.to_rgb(value)
    while _luminance(rgb) > 1.05 / 4.5 - 0.05:
        rgb = (rgb[0] * 0.95, rgb[1] * 0.95, rgb[2] * 0.95)
    return colors.to_hex(rgb)


def _luminance(rgb: tuple[float, float, float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@lru_cache
def _font() -> Any:
    return font_manager.get_font(font_manager.findfont("DejaVu Sans"))


def drawable(text: str) -> str:
    """Put a box in the place of every character that the font does not have."""
    return "".join(c if c == " " or _font().get_char_index(ord(c)) else "\u25a1" for c in text)
