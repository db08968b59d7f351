"""Measure how far gradients reach through recurrent networks.

    >>> import gradscope
    >>> cell = gradscope.create("gru", hidden_size=32, input_size=8)
    >>> result = gradscope.analyze(cell, steps=100)
    >>> result.verdict["state"]
    'vanishing'

Importing this package loads nothing else; each name loads what it needs when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from gradscope._version import __version__

if TYPE_CHECKING:
    from gradscope.analysis._norms import spectral_norms
    from gradscope.analysis._singular import singular_values
    from gradscope.analysis.eigen import eigenvalues
    from gradscope.analysis.lyapunov import lyapunov
    from gradscope.api import analyze, compare
    from gradscope.checking.create import create
    from gradscope.checking.function import from_step
    from gradscope.dynamics.chain import JacobianChain
    from gradscope.errors import GradscopeError
    from gradscope.files.layouts._load import load
    from gradscope.networks.cell import Cell
    from gradscope.networks.loop import closed_loop
    from gradscope.networks.norm import Norm
    from gradscope.networks.stack import stack
    from gradscope.result import Result

__all__ = [
    "__version__",
    "Cell",
    "GradscopeError",
    "JacobianChain",
    "Norm",
    "Result",
    "analyze",
    "closed_loop",
    "compare",
    "create",
    "eigenvalues",
    "from_step",
    "load",
    "lyapunov",
    "singular_values",
    "spectral_norms",
    "stack",
]

_HOMES = {
    "Cell": "gradscope.networks.cell",
    "GradscopeError": "gradscope.errors",
    "JacobianChain": "gradscope.dynamics.chain",
    "Norm": "gradscope.networks.norm",
    "Result": "gradscope.result",
    "analyze": "gradscope.api",
    "closed_loop": "gradscope.networks.loop",
    "compare": "gradscope.api",
    "create": "gradscope.checking.create",
    "eigenvalues": "gradscope.analysis.eigen",
    "from_step": "gradscope.checking.function",
    "load": "gradscope.files.layouts._load",
    "lyapunov": "gradscope.analysis.lyapunov",
    "singular_values": "gradscope.analysis._singular",
    "spectral_norms": "gradscope.analysis._norms",
    "stack": "gradscope.networks.stack",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gradscope' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
