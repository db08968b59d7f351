"""What does a pickle hold?  A machine that reads pickles and runs nothing.

The machine knows the opcodes, a stack, marks and a memo. Names that a pickle asks to import stay names; calling a
name gives an inert `Thing`, or what `World.call` returns. So nested lists, memo bombs and hostile names cost
no more than the bytes they are written in, and a pickle is refused for its contents before any harm.
Opcodes: `pickletools` of the Python standard library, protocols 0 to 5.
"""

from __future__ import annotations

import pickletools
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from gradscope.errors import InputError
from gradscope.files.display import printable

MAX_OPCODES = 1_000_000  # a tensor takes about 40


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
    """What stands for the result of a call that is never made; it holds what it is given and does nothing."""

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
    """The stack, the marks and the memo of a pickle, and what each kind of instruction does to them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, op: str, arg: Any) -> None:
        """Carry out one instruction.

        Raises:
            ValueError: the instruction is not supported, or makes no sense here.
            InputError: it imports a name that `world` refuses.
        """
        if op in VALUES:
            self.stack.append(arg)
        elif op in FRESH:
            self.stack.append(FRESH[op]())
        elif op in INSTRUCTIONS:
            INSTRUCTIONS[op](self, arg)
        else:
            raise ValueError(f"the opcode {op} is not supported")

    def above_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def pop(self, _: Any) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def pop_mark(self, _: Any) -> None:
        self.above_mark()

    def duplicate(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def tuple_of(self, n: int) -> None:
        if len(self.stack) < n:
            raise IndexError("the stack is too short for a tuple")
        self.stack[-n:] = [(*self.stack[-n:],)]

    def tuple_above_mark(self, _: Any) -> None:
        self.stack.append(tuple(self.above_mark()))

    def list_above_mark(self, _: Any) -> None:
        self.stack.append(self.above_mark())

    def frozenset_above_mark(self, _: Any) -> None:
        self.above_mark()
        self.stack.append(Thing("frozenset"))

    def dict_above_mark(self, _: Any) -> None:
        items = self.above_mark()
        self.stack.append({})
        self.put_items(items)

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.put_items([key, value])

    def set_items(self, _: Any) -> None:
        self.put_items(self.above_mark())

    def put_items(self, items: list[Any]) -> None:
        """Put keys and values, which alternate, into the dictionary on top of the stack."""
        target = self.stack[-1]
        table = target.items if isinstance(target, Thing) else target
        if not isinstance(table, dict):
            raise ValueError("it sets items of something that is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if key is None or isinstance(key, (str, int, float, bytes)):  # hashing others may recurse
                table[key] = value

    def append_one(self, _: Any) -> None:
        self.append([self.stack.pop()])

    def append_above_mark(self, _: Any) -> None:
        self.append(self.above_mark())

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Thing):
            raise ValueError("it appends to something that is no list")

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def get(self, index: int) -> None:
        self.stack.append(self.memo[index])

    def import_name(self, text: str) -> None:
        self.stack.append(self.imported(*text.split(" ", 1)))

    def import_from_stack(self, _: Any) -> None:
        attribute, module = self.stack.pop(), self.stack.pop()
        self.stack.append(self.imported(module, attribute))

    def imported(self, module: Any, attribute: Any) -> Name:
        if not (isinstance(module, str) and isinstance(attribute, str)):
            raise ValueError("a name that is no text")
        name = Name(module, attribute)
        self.world.name(name)
        return name

    def call(self, _: Any) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        self.stack.append(self.called(function, args))

    def call_with_keywords(self, _: Any) -> None:
        self.stack.pop()  # keywords
        self.call(None)

    def call_named(self, text: str) -> None:
        args = tuple(self.above_mark())
        self.stack.append(self.called(self.imported(*text.split(" ", 1)), args))

    def call_above_mark(self, _: Any) -> None:
        function, *args = self.above_mark()
        self.stack.append(self.called(function, tuple(args)))

    def called(self, function: Any, args: Any) -> Any:
        if isinstance(function, Name) and isinstance(args, tuple):
            return self.world.call(function, args)
        return Thing(str(function) if isinstance(function, Name) else "an object")

    def build(self, _: Any) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Thing):
            self.stack[-1].state = state

    def persistent(self, _: Any) -> None:
        self.stack.append(self.world.persistent(self.stack.pop()))

    def ignore(self, _: Any) -> None:
        pass


# Instructions that push their argument, that push a fresh value, and all others.
VALUES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
FRESH: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False, "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": lambda: Thing("set"),
}  # fmt: skip
INSTRUCTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.ignore, "FRAME": _Machine.ignore, "READONLY_BUFFER": _Machine.ignore,
    "MARK": _Machine.mark, "POP": _Machine.pop, "POP_MARK": _Machine.pop_mark, "DUP": _Machine.duplicate,
    "TUPLE1": lambda machine, _: machine.tuple_of(1), "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3), "TUPLE": _Machine.tuple_above_mark,
    "LIST": _Machine.list_above_mark, "DICT": _Machine.dict_above_mark, "FROZENSET": _Machine.frozenset_above_mark,
    "APPEND": _Machine.append_one, "APPENDS": _Machine.append_above_mark, "ADDITEMS": _Machine.pop_mark,
    "SETITEM": _Machine.set_item, "SETITEMS": _Machine.set_items, "BUILD": _Machine.build,
    "PUT": _Machine.put, "BINPUT": _Machine.put, "LONG_BINPUT": _Machine.put, "MEMOIZE": _Machine.memoize,
    "GET": _Machine.get, "BINGET": _Machine.get, "LONG_BINGET": _Machine.get, "BINPERSID": _Machine.persistent,
    "GLOBAL": _Machine.import_name, "STACK_GLOBAL": _Machine.import_from_stack,
    "REDUCE": _Machine.call, "NEWOBJ": _Machine.call, "NEWOBJ_EX": _Machine.call_with_keywords,
    "INST": _Machine.call_named, "OBJ": _Machine.call_above_mark,
}  # fmt: skip


def unpickle(stream: Stream, world: World) -> Any:
    """Read one pickle; the stream stands behind it afterwards.

    Raises:
        InputError: the pickle is damaged, too long, or refused by `world`.
    """
    machine = _Machine(world)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in text
            for count, (op, arg, _) in enumerate(pickletools.genops(stream)):  # type: ignore[arg-type]
                if count >= MAX_OPCODES:
                    raise InputError(f"refused: its pickle has more than {MAX_OPCODES} instructions")
                if op.name == "STOP":
                    return machine.stack.pop()
                machine.run(op.name, arg)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as error:
        raise InputError(f"its pickle is damaged ({printable(error)})", "download or save it again") from None
    raise InputError("its pickle is damaged (no end)", "download or save it again")
