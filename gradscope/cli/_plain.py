"""Options that need no more than their own parser are converted by it alone.

typer asks pydantic to convert every option, those that are not given too, and loads it for that: half as long as numpy.
What is neither None, nor text, nor has a parser, is still left to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["convert_plainly"]


class _Plain:
    """Stands where typer would make its converter when it is first needed."""

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return the value of an option from what was typed, or from its default."""
        wanted = param.type_descriptor
        parser, several = wanted.parameter_info.parser, param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        if parser is not None and not several:
            return parser(value)
        if wanted.annotation is str and isinstance(value, str):
            return value
        param._runtime_param = None
        return param.get_runtime_param().coerce(value, param=param, ctx=ctx)


def convert_plainly(parameters: Iterable[Any]) -> None:
    """Do so for the options of a command, where typer is one that converts in this way."""
    for parameter in parameters:
        if hasattr(parameter, "_runtime_param") and hasattr(parameter, "type_descriptor"):
            parameter._runtime_param = _Plain()
