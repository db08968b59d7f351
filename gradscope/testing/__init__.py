"""Checks for the tests of a plug-in: does it keep the contract of its room?

Each function raises AssertionError with a sentence that says which rule is broken.
"""

from __future__ import annotations

from gradscope.testing.cell import Derivative, Fact, check_cell, derivatives, load_cell_file

__all__ = ["Derivative", "Fact", "check_cell", "derivatives", "load_cell_file"]
