"""What is said of a user's own function: the parts of its state, its arguments, the line where it failed."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from gradscope.errors import InputError, UsageError
from gradscope.maps.jacobian import Array

__all__ = ["Step", "is_long", "place", "sizes_of", "takes_two"]

Step = Callable[[Array, Array], Array]


def sizes_of(parts: Any) -> dict[str, int]:
    """Return names and sizes of parts.

    Raises:
        UsageError: they are no such thing.
    """
    parts = {} if parts is None else parts
    hint = "for example parts = {'h': 32, 'c': 32}, output first"
    if not isinstance(parts, Mapping):
        raise UsageError(f"parts must be a dict of names and sizes, not {parts!r}", hint)
    for name, size in parts.items():
        whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
        if not isinstance(name, str) or not whole or size < 1:
            raise UsageError(f"the part {name!r} cannot have size {size!r}: use a name and a positive integer", hint)
    return {name: int(size) for name, size in parts.items()}


def takes_two(function: Step) -> None:
    """Refuse a function of other arguments than x and s.

    Raises:
        InputError: it is one.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of functions in C it may not be known
        return
    try:
        signature.bind(0, 0)
    except TypeError:
        name = getattr(function, "__name__", "the function")
        raise InputError(f"{name}{signature} cannot be called with an input and a state as {name}(x, s)") from None


def place(error: Exception, function: Any) -> str:
    """Return "FILE, line N: " of where a function failed, in its own file; "" where that is not known."""
    function = getattr(function, "func", function)  # of a partial
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if code and f.filename == code.co_filename]
    return f"{code.co_filename}, line {lines[-1]}: " if lines and code else ""


def is_long(value: Any) -> bool:
    """Return whether a value is a sequence or an array with axes."""
    return isinstance(value, tuple | list) or getattr(value, "ndim", 0) > 0
