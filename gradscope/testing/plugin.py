"""What do the modules of all rooms promise?  Shared by the checks of readers, layouts and renderers."""

from __future__ import annotations

import inspect
from types import ModuleType

__all__ = ["check_call", "check_docstring", "require"]


def require(condition: bool, message: str) -> None:
    """Check one rule.

    Raises:
        AssertionError: `condition` is false; the message is the rule and how it was broken.
    """
    if not condition:
        raise AssertionError(message)


def check_docstring(module: ModuleType) -> None:
    """Check that the first line of a module's docstring is a sentence: lists and reference pages show it.

    Raises:
        AssertionError: it is not.
    """
    first = (module.__doc__ or "").strip().split("\n")[0]
    require(first.endswith((".", "?")), f"the docstring of {module.__name__} must begin with a sentence, not {first!r}")


def check_call(module: ModuleType, name: str, *positional: str, keywords: tuple[str, ...] = ()) -> None:
    """Check that a module has a function that can be called with these arguments.

    Args:
        module: the plug-in.
        name: of the function.
        positional: names for messages of what is passed by position.
        keywords: what is passed by name.

    Raises:
        AssertionError: there is no such function, or it takes other arguments.
    """
    function = getattr(module, name, None)
    wanted = f"{name}({', '.join([*positional, *(f'{k}=...' for k in keywords)])})"
    require(callable(function), f"{module.__name__} must define {wanted}")
    try:
        inspect.signature(function).bind(*positional, **dict.fromkeys(keywords))  # type: ignore[arg-type]
    except TypeError as error:
        raise AssertionError(f"{module.__name__} cannot be called as {wanted}: {error}") from None
