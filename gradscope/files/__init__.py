"""Public names for authors of readers and layouts: what a plug-in returns, and how it names what it read.

Readers of checkpoints return `Tensors`, readers of data `RawData`, layouts `RecurrentLayer`. Errors that a user can
act on are those of `gradscope.errors`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradscope.files.checkpoints._base import Tensors, decode
    from gradscope.files.data._base import DataOptions, RawData
    from gradscope.files.display import printable
    from gradscope.files.layouts._base import LayoutOptions, RecurrentLayer, reordered

__all__ = ["DataOptions", "LayoutOptions", "RawData", "RecurrentLayer", "Tensors", "decode", "printable", "reordered"]

HOMES = {
    "DataOptions": "gradscope.files.data._base",
    "LayoutOptions": "gradscope.files.layouts._base",
    "RawData": "gradscope.files.data._base",
    "RecurrentLayer": "gradscope.files.layouts._base",
    "Tensors": "gradscope.files.checkpoints._base",
    "decode": "gradscope.files.checkpoints._base",
    "printable": "gradscope.files.display",
    "reordered": "gradscope.files.layouts._base",
}


def __getattr__(name: str) -> Any:  # layouts import cells, readers do not: each is imported when it is asked for
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)
