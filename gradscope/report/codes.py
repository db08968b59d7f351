"""What does a finding mean? The texts are in CODES of a section, or in codes.toml; numbers are read from the source.

Standard library only, and nothing is imported for a constant: a finding can be explained without numpy.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType

from gradscope import plugins
from gradscope.errors import UsageError
from gradscope.report.model import percent

PACKAGE = Path(__file__).parents[1]
NO_EXAMPLES: Mapping[str, str] = MappingProxyType({})
CONSTANT = re.compile(r"\{([a-z_.]+)\.([A-Z_0-9]+)(?::(power|percent))?\}")


@dataclass(frozen=True)
class Code:
    """One finding or note.

    Attributes:
        code: "GS-VANISHING".
        level: "error", "warning", "info" or "note".
        summary: a few words.
        means, decided, remedy: what it says, when it is given, what to do; words in backticks are typed.
        read: pages of the documentation, "howto/ci.md#heading".
        examples: {framework: lines of code that apply a remedy}; optional.
    """

    code: str
    level: str
    summary: str
    means: str
    decided: str
    remedy: str
    read: tuple[str, ...]
    examples: Mapping[str, str] = field(default_factory=dict)


@cache
def codes() -> dict[str, Code]:
    """Return every finding, then every note."""
    texts_by_code = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    for name in plugins.names("sections"):
        texts_by_code |= plugins.outline("sections", name).constants.get("CODES", {})
    every = [_code(code, **fields) for code, fields in texts_by_code.items()]
    return {c.code: c for c in sorted(every, key=lambda c: c.level == "note")}


def _code(code: str, read: Sequence[str], examples: Mapping[str, str] = NO_EXAMPLES, **texts: str) -> Code:
    lines = {framework: text.strip("\n") for framework, text in examples.items()}
    return Code(code=code, read=tuple(read), examples=lines, **{name: _filled(text) for name, text in texts.items()})


def find(text: str) -> Code:
    """Return a finding by its code, in any case, with or without "GS-".

    Raises:
        UsageError: there is none.
    """
    bare = text.strip().upper().removeprefix("GS-")
    known = {c.removeprefix("GS-"): code for c, code in codes().items()}
    if bare not in known:
        meant = plugins.suggest(bare, [c.lower() for c in known]).upper().replace("DID YOU MEAN ", "did you mean GS-")
        raise UsageError(f"no finding is called '{text}'", f"{meant}gradscope explain lists all findings")
    return known[bare]


def _filled(text: str) -> str:
    return CONSTANT.sub(lambda m: _written(_constant(m[1], m[2]), m[3]), " ".join(text.split()))


def _written(value: float, how: str | None) -> str:
    if how == "percent":
        return percent(value).replace("%", " %")
    return f"{10**value if how == 'power' else value:g}"


@cache
def _constant(module: str, name: str) -> float:
    """Read a number off the source of a module, which is not imported."""
    source = PACKAGE.joinpath(*module.split(".")).with_suffix(".py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(t, ast.Name) and t.id == name for t in targets):
            return float(ast.literal_eval(node.value))  # type: ignore[attr-defined]
    raise LookupError(f"{module} has no constant {name}")
