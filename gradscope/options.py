"""What is an option? A name, a default, a help text, a parser, and where the option has an effect.

A dataclass whose fields are declared by `option` is a table of options: `gradscope.settings.Settings` is the one of an
analysis. Parsers take a name for messages and a value, typed text or a Python value alike, and return the value.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from gradscope import plugins
from gradscope.errors import UsageError

__all__ = [
    "ALWAYS",
    "FILE",
    "FLAG",
    "GIVEN",
    "NEVER",
    "SHOWN",
    "TEXT",
    "Choice",
    "Count",
    "Option",
    "Pairs",
    "Plain",
    "Real",
    "Size",
    "Where",
    "option",
    "table",
]

SUFFIXES = {"k": 10**3, "m": 10**6, "g": 10**9}
BYTES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
# How an option is recorded in a document's `config`, where it has an effect.
NEVER = 0  # not at all
GIVEN = 1  # if it differs from its default; in the footer, too
ALWAYS = 2  # always; in the footer if it differs from its default
SHOWN = 3  # always; in the footer, too


@dataclass(frozen=True)
class Count:
    """Whole numbers of at least `least`, as 1000, 1e3, 1k or 1_000; and words that stand for one.

    Attributes:
        least: smallest value.
        words: {word: value}, such as {"full": sys.maxsize}.
    """

    least: int = 1
    words: Mapping[str, int | None] = field(default_factory=dict)

    def __call__(self, name: str, value: Any) -> int | None:
        """Return the number.

        Raises:
            UsageError: it is not a whole number, or too small.
        """
        if isinstance(value, str) and value in self.words:
            return self.words[value]
        number = _whole(str(value))
        if number is None:
            what = " or ".join(["an integer", *self.words])
            raise UsageError(f"{name} must be {what}, not '{value}'", "1000, 1e3, 1k and 1_000 are equivalent")
        if number < self.least:
            raise UsageError(f"{name} must be at least {self.least}, not {value}")
        return number

    @property
    def metavar(self) -> str:
        """What stands for a value in the help."""
        return "|".join(["N", *self.words])

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of a value."""
        return {"type": "integer", "minimum": self.least}


@dataclass(frozen=True)
class Real:
    """Finite numbers strictly between `low` and `high`."""

    low: float = -math.inf
    high: float = math.inf
    metavar: ClassVar = "X"
    schema: ClassVar = {"type": "number"}

    def __call__(self, name: str, value: Any) -> float:
        """Return the number.

        Raises:
            UsageError: it is not finite, or outside.
        """
        try:
            number = float(str(value).replace("_", ""))
        except ValueError:
            raise UsageError(f"{name} must be a number, not '{value}'") from None
        if not math.isfinite(number):
            raise UsageError(f"{name} must be a finite number, not {value}")
        if not self.low < number < self.high:
            raise UsageError(f"{name} must lie between {self.low:g} and {self.high:g}, not {value}")
        return number


class Choice:
    """One of several words; or, with `room`, the name of a plug-in."""

    schema: ClassVar = {"type": "string"}

    def __init__(self, *known: str, room: str = "") -> None:
        self._known, self._room = known, room
        self.metavar = "|".join(known) or "NAME"

    def __call__(self, name: str, value: Any) -> str:
        """Return the word.

        Raises:
            UsageError: it is none of them.
        """
        known = plugins.names(self._room) if self._room else self._known
        if value not in known:
            hint = f"{plugins.suggest(str(value), known)}known: {', '.join(known)}"
            raise UsageError(f"{name}: there is no '{value}'", hint)
        return str(value)


class Size:
    """An amount of memory in bytes: 500M, 2GiB, 1.5g."""

    metavar: ClassVar = "SIZE"
    schema: ClassVar = {"type": "integer", "minimum": 0}

    def __call__(self, name: str, value: Any) -> int:
        """Return the bytes.

        Raises:
            UsageError: it is not a memory size.
        """
        match = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([kmgt]i?)?b?\s*", str(value).lower())
        if not match:
            raise UsageError(f"{name}: '{value}' is not a memory size", "for example 500M or 2GiB")
        return int(float(match[1]) * BYTES[match[2] or ""])


@dataclass(frozen=True)
class Plain:
    """A value that is taken as it is: text, a path, or true or false.

    Attributes:
        type: str, Path or bool; of an item where the option may be repeated.
        several: whether it may be repeated; the value is a tuple then.
    """

    type: type = str
    several: bool = False

    def __call__(self, name: str, value: Any) -> Any:
        """Return the value."""
        return tuple(value or ()) if self.several else self.type(value)

    @property
    def metavar(self) -> str:
        """What stands for a value in the help."""
        return {bool: "", str: "NAME"}.get(self.type, "FILE")

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of a value."""
        return {"type": "array" if self.several else "boolean" if self.type is bool else "string"}


class Pairs:
    """KEY=VALUE, repeated; or a mapping."""

    type, several = str, True
    metavar: ClassVar = "KEY=VALUE"
    schema: ClassVar = {"type": "object", "properties": {}, "additionalProperties": True}

    def __call__(self, name: str, value: Any) -> dict[str, Any]:
        """Return {key: value}.

        Raises:
            UsageError: one has no "=".
        """
        if isinstance(value, Mapping):
            return dict(value)
        split = [str(pair).partition("=") for pair in value or ()]
        for key, equals, _ in split:
            if not equals or not key:
                raise UsageError(f"a setting has the form KEY=VALUE, not '{key}'", "for example forget_bias=1")
        return {key.strip(): text.strip() for key, _, text in split}


FLAG, TEXT, FILE = Plain(bool), Plain(str), Plain(Path)


def _whole(text: str) -> int | None:
    text = text.strip().replace("_", "")
    factor = SUFFIXES.get(text[-1:].lower(), 1)
    digits = text[:-1] if factor > 1 else text
    if re.fullmatch(r"[+-]?[0-9]{1,40}", digits):
        return int(digits) * factor
    try:
        value = float(digits) * factor
    except ValueError:
        return None
    return int(value) if math.isfinite(value) and value == int(value) else None


@dataclass(frozen=True)
class Where:
    """Where an option has an effect.

    Attributes:
        holds: takes the settings and kinds of what they are for; returns whether an option has an effect there.
        reason: follows the name of the option where it has none.
        hint: what to do then.
    """

    holds: Callable[[Any, Collection[str]], bool]
    reason: str
    hint: str


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        help: what the option means, without its default and without a full stop; {names} are the plug-ins of `room`,
            {suffixes} those that write files.
        panel: part of the help.
        parser: takes (name, value); returns the value.
        default: value where nothing is given.
        metavar: what stands for a value in the help; "" for the usual word of the parser.
        where: conditions under which the option has an effect.
        usual: the default in words, where the value does not say enough.
        flags: as typed; () for the name.
        room: plug-ins whose names complete a value.
        commands: which commands take it.
        python: whether `gradscope.analyze` takes it.
        record: NEVER, GIVEN, ALWAYS or SHOWN.
        repeat: whether a suggested command carries it.
        more: for the command line alone.
        name: of the field.
    """

    help: str
    panel: str
    parser: Any
    default: Any
    metavar: str = ""
    where: tuple[Where, ...] = ()
    usual: str = ""
    flags: tuple[str, ...] = ()
    room: str = ""
    commands: tuple[str, ...] = ("analyze", "compare")
    python: bool = False
    record: int = GIVEN
    repeat: bool = True
    more: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def flag(self) -> str:
        """The long option."""
        return self.flags[-1] if self.flags else f"--{self.name.replace('_', '-')}"

    def typed(self, value: Any) -> str:
        """Return a value as it is typed: 16, "full"."""
        words = {number: word for word, number in getattr(self.parser, "words", {}).items()}
        return str(words.get(value, value))

    @property
    def shown_default(self) -> str:
        """The default in words; "" for none, and for a flag."""
        if self.usual or isinstance(self.default, bool) or self.default in (None, {}, ()):
            return self.usual
        return f"{self.default:g}" if isinstance(self.default, float) else str(self.default)

    @property
    def text(self) -> str:
        """The help, with names and the default."""
        names = plugins.names(self.room) if "{" in self.help else ()
        suffixes = ", ".join(f".{n}" for n in names if n != "text")
        words = self.help.format(names=", ".join(names), suffixes=suffixes)
        return f"{words} ({self.shown_default})." if self.shown_default else f"{words}."

    def unmet(self, settings: Any, kinds: Collection[str]) -> Where | None:
        """Return the condition for which the option has no effect; None if it has one."""
        return next((w for w in self.where if not w.holds(settings, kinds)), None)

    def parsed(self, name: str, value: Any) -> Any:
        """Return a value as the option takes it; `name` is for messages.

        Raises:
            UsageError: the option does not take it.
        """
        return value if value is None and self.default is None else self.parser(name, value)


def option(default: Any, help: str, parser: Any, panel: str, **more: Any) -> Any:
    """Declare a field of a dataclass that is an option; see `Option`."""
    row = Option(help, panel, parser, default, **more)
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata={"option": row})
    return field(default=default, metadata={"option": row})


@lru_cache
def table(bag: type) -> Mapping[str, Option]:
    """Return the options of a dataclass by name, in order."""
    fields: Any = dataclasses.fields(bag)
    return {f.name: dataclasses.replace(f.metadata["option"], name=f.name) for f in fields}
