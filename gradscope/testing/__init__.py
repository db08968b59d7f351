"""Checks for the tests of a plug-in: does it keep the contract of its room?

Each function raises AssertionError with a sentence that says which rule is broken.
"""

from __future__ import annotations

from gradscope.testing.cell import Derivative, Fact, check_cell, derivatives, load_cell_file
from gradscope.testing.layout import check_layout
from gradscope.testing.reader import check_reader
from gradscope.testing.renderer import check_renderer

__all__ = [
    "Derivative",
    "Fact",
    "check_cell",
    "check_layout",
    "check_reader",
    "check_renderer",
    "derivatives",
    "load_cell_file",
]
