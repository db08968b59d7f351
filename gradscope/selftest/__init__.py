"""Closed forms, run on the user's own libraries: is what this installation computes right?

One file a subject, each with a list of checks. A residual is divided by what rounding or, where numbers are drawn,
chance allows it: below one is right. Every allowance says where it comes from.
"""

from __future__ import annotations

from importlib import import_module

from gradscope.selftest import products
from gradscope.selftest._check import Check

__all__ = ["Check", "run_selftest"]

GROUPS = {"products": "products of Jacobians", "exponents": "rates of growth", "networks": "cells and networks"}


def run_selftest(full: bool = False) -> list[Check]:
    """Run the closed forms.

    Args:
        full: all of them, in a few seconds; else those that take a fraction of one.
    """
    if not full:
        return [check for make in products.QUICK for check in make()]
    modules = {title: import_module(f"{__name__}.{name}") for name, title in GROUPS.items()}
    return [check.of(title) for title, module in modules.items() for make in module.CHECKS for check in make()]
