"""The one place that imports matplotlib: quietly, where it can write to no home directory."""

from __future__ import annotations

import logging

# A directory that cannot be written is reported by its logger, and again while the list of fonts is built.
_logger = logging.getLogger("matplotlib")
_level = _logger.level
_logger.setLevel(logging.ERROR)
try:
    import matplotlib
    from matplotlib import colors, font_manager
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from matplotlib.patches import Circle, FancyBboxPatch, Polygon
    from matplotlib.patheffects import withStroke
finally:
    _logger.setLevel(_level)

__all__ = [
    "Axes",
    "Circle",
    "FancyBboxPatch",
    "Figure",
    "FigureCanvasAgg",
    "FontProperties",
    "Polygon",
    "colors",
    "font_manager",
    "matplotlib",
    "withStroke",
]
