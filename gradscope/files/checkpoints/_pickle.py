"""A machine that reads pickles and runs nothing.

It knows the opcodes, a stack, marks and a memo. Names that a pickle asks to import stay names; calling one
gives an inert `Thing`, or what `World.call` makes of it. So nested lists, memo bombs and hostile names cost
no more than the bytes they are written in, and a pickle is refused for its contents before any harm.
Opcodes: `pickletools` of the Python standard library, protocols 0 to 5.
"""

from __future__ import annotations

import pickletools
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from gradscope.errors import InputError
from gradscope.files.display import printable

__all__ = ["Name", "Thing", "World", "unpickle"]

MAX_OPCODES = 1_000_000  # a tensor takes about 40
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
VALUES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
IGNORED = frozenset(("PROTO", "FRAME", "READONLY_BUFFER"))


class Stream(Protocol):
    """What `pickletools` reads from: bytes in memory, so that a claimed length allocates nothing."""

    def read(self, size: int = ..., /) -> bytes: ...  # noqa: D102
    def readline(self) -> bytes: ...  # noqa: D102


class Name(NamedTuple):
    """A name that a pickle asks to import, such as posix.system; it never is."""

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute}"


@dataclass(eq=False, slots=True)
class Thing:
    """What a call of some name would have made; it holds what it was given and does nothing."""

    name: str
    items: dict[Any, Any] = field(default_factory=dict)
    state: Any = None


class World(ABC):
    """What the names and the persistent ids of a pickle stand for."""

    @abstractmethod
    def name(self, name: Name) -> None:
        """Refuse a name with an `InputError`, or return."""

    @abstractmethod
    def call(self, name: Name, args: tuple[Any, ...]) -> Any:
        """Return a value without side effects."""

    @abstractmethod
    def persistent(self, pid: Any) -> Any:
        """Return what a persistent id stands for."""


class _Machine:
    def __init__(self, world: World) -> None:
        self.world = world
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def above_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def put_items(self, target: Any, items: list[Any]) -> None:
        table = target.items if isinstance(target, Thing) else target
        if not isinstance(table, dict):
            raise ValueError("it sets items of something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if key is None or isinstance(key, (str, int, float, bytes)):  # hashing others may recurse
                table[key] = value

    def append(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Thing):
            raise ValueError("it appends to something that is no list")

    def imported(self, module: Any, attribute: Any) -> Name:
        if not (isinstance(module, str) and isinstance(attribute, str)):
            raise ValueError("a name that is no text")
        name = Name(module, attribute)
        self.world.name(name)
        return name

    def called(self, function: Any, args: Any) -> Any:
        if isinstance(function, Name) and isinstance(args, tuple):
            return self.world.call(function, args)
        return Thing(str(function) if isinstance(function, Name) else "an object")

    def run(self, op: str, arg: Any) -> None:
        stack = self.stack
        match op:
            case _ if op in VALUES:
                stack.append(arg)
            case _ if op in CONSTANTS:
                stack.append(CONSTANTS[op])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_SET":
                stack.append(Thing("set"))
            case "MARK":
                self.marks.append(len(stack))
            case "POP":
                if self.marks and self.marks[-1] == len(stack):
                    self.marks.pop()
                else:
                    stack.pop()
            case "POP_MARK" | "ADDITEMS":
                self.above_mark()
            case "DUP":
                stack.append(stack[-1])
            case "TUPLE":
                stack.append(tuple(self.above_mark()))
            case _ if op in TUPLES:
                n = TUPLES[op]
                stack[-n:] = [(*stack[-n:],)] if len(stack) >= n else stack[n]
            case "LIST":
                stack.append(self.above_mark())
            case "FROZENSET":
                self.above_mark()
                stack.append(Thing("frozenset"))
            case "DICT":
                items = self.above_mark()
                stack.append({})
                self.put_items(stack[-1], items)
            case "APPEND":
                item = stack.pop()
                self.append(stack[-1], [item])
            case "APPENDS":
                items = self.above_mark()
                self.append(stack[-1], items)
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                self.put_items(stack[-1], [key, value])
            case "SETITEMS":
                items = self.above_mark()
                self.put_items(stack[-1], items)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[arg] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[arg])
            case "GLOBAL":
                stack.append(self.imported(*arg.split(" ", 1)))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(self.imported(module, attribute))
            case "REDUCE" | "NEWOBJ":
                args, function = stack.pop(), stack.pop()
                stack.append(self.called(function, args))
            case "NEWOBJ_EX":
                _, args, function = stack.pop(), stack.pop(), stack.pop()
                stack.append(self.called(function, args))
            case "INST":
                args = tuple(self.above_mark())
                stack.append(self.called(self.imported(*arg.split(" ", 1)), args))
            case "OBJ":
                function, *args = self.above_mark()
                stack.append(self.called(function, tuple(args)))
            case "BUILD":
                state = stack.pop()
                if isinstance(stack[-1], Thing):
                    stack[-1].state = state
            case "BINPERSID":
                stack.append(self.world.persistent(stack.pop()))
            case _ if op not in IGNORED:
                raise ValueError(f"the opcode {op} is not supported")


def unpickle(stream: Stream, world: World) -> Any:
    """Read one pickle; the stream stands behind it afterwards.

    Raises:
        InputError: the pickle is damaged, too long, or refused by `world`.
    """
    machine = _Machine(world)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes in text
            for count, (op, arg, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
                if count >= MAX_OPCODES:
                    raise InputError(f"refused: its pickle has more than {MAX_OPCODES} instructions")
                if op.name == "STOP":
                    return machine.stack.pop()
                machine.run(op.name, arg)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise InputError(f"its pickle is damaged ({printable(error)})", "download or save it again") from None
    raise InputError("its pickle is damaged (no end)", "download or save it again")
