"""Public names for authors of readers and layouts: what a plug-in returns, and how it obeys the options of the user.

Readers of checkpoints return `Tensors`, readers of data `RawData`, layouts `RecurrentLayer`. A reader of data checks
sizes by `fit` and chooses columns by `pick`; a layout takes the element type from `floating` and the order of the gates
from `LayoutOptions.order` and `reordered`. Errors that a user can act on are those of `gradscope.errors`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradscope.files.checkpoints._base import Tensors, decode
    from gradscope.files.data._base import DataOptions, RawData, fit, pick, pick_columns
    from gradscope.files.display import printable
    from gradscope.files.layouts._base import LayoutOptions, RecurrentLayer, floating, reordered

__all__ = [
    "DataOptions",
    "LayoutOptions",
    "RawData",
    "RecurrentLayer",
    "Tensors",
    "decode",
    "fit",
    "floating",
    "pick",
    "pick_columns",
    "printable",
    "reordered",
]

HOMES = {
    "DataOptions": "gradscope.files.data._base",
    "LayoutOptions": "gradscope.files.layouts._base",
    "RawData": "gradscope.files.data._base",
    "RecurrentLayer": "gradscope.files.layouts._base",
    "Tensors": "gradscope.files.checkpoints._base",
    "decode": "gradscope.files.checkpoints._base",
    "fit": "gradscope.files.data._base",
    "floating": "gradscope.files.layouts._base",
    "pick": "gradscope.files.data._base",
    "pick_columns": "gradscope.files.data._base",
    "printable": "gradscope.files.display",
    "reordered": "gradscope.files.layouts._base",
}


def __getattr__(name: str) -> Any:  # layouts import cells, readers do not: each is imported when it is asked for
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(HOMES[name]), name)
