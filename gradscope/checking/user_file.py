"""Which cell does a user's Python file define? A class, a function step(x, s), or a function that makes one of these.

Nothing else runs a user's Python file, and only where the user names the file: never for a checkpoint. The file is
compiled here and not imported by name, so that it shadows no module and leaves no compiled file behind.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from gradscope import plugins
from gradscope.checking.declarations import check_class, kind
from gradscope.checking.function import from_step
from gradscope.checking.trial import check_user_cell
from gradscope.errors import GradscopeError, InputError, UsageError
from gradscope.files.opening import opened
from gradscope.networks.cell import Cell
from gradscope.networks.function import FunctionCell
from gradscope.networks.instantiate import checked
from gradscope.networks.network import Network

PREFIX = "_gradscope_file_"  # of the names of modules
MAKER = ("hidden", "input_size", "rng")  # arguments of a function that makes a step or a cell
SIZES = "--hidden and --input-size set these sizes, or state_size = ... and input_size = ... in the file"
CELLS = "a cell is a subclass of gradscope's Cell, or a function step(x, s) that returns the new state"


@dataclass(frozen=True, eq=False)
class UserFile:
    """What a user's file defines under one name.

    Attributes:
        path: the file.
        name: of the class or function.
        what: the class, or the function.
        module: the file, after it was run.
        sha256: of the file.
    """

    path: Path
    name: str
    what: Any
    module: ModuleType
    sha256: str

    @property
    def cell_class(self) -> type[Cell] | None:
        """The class; None for a function."""
        return self.what if isinstance(self.what, type) else None

    @property
    def settings(self) -> dict[str, Any]:
        """What --set may change, with the defaults: of a function, its keyword-only arguments."""
        if self.cell_class is not None:
            return self.cell_class.settings()
        return {
            p.name: p.default for p in _parameters(self.what) if p.kind is p.KEYWORD_ONLY and p.default is not p.empty
        }

    def size(self, name: str) -> int | None:
        """Return `state_size` or `input_size` of the file; None where the file leaves it open.

        Raises:
            InputError: it is no whole number, or too small.
        """
        value = getattr(self.module, name, None)
        least = 0 if name == "input_size" else 1
        if value is None or callable(value):
            return None
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise InputError(f"{self.path}: {name} must be an integer of at least {least}, not {value!r}")
        return int(value)


def load(path: str | Path, name: str | None = None) -> UserFile:
    """Run a file and return the cell in it.

    Args:
        path: the file.
        name: which class or function; None where there is one public cell, or one function `step` or `make`.

    Raises:
        InputError: the file cannot be read, or fails when it is run.
        UsageError: there is no such cell, or there are several and none was named.
    """
    path = Path(path)
    source = _read(path)
    module = _run(path, source)
    cells = _cells_in(module)
    if name is None and len(cells) != 1:
        if not cells:
            raise _no_cell(path, module)
        known = ", ".join(f"{path.name}:{n}" for n in cells)
        raise UsageError(f"{path} defines several cells: {', '.join(cells)}", f"name one: {known}")
    name = name or cells[0]
    if name not in vars(module):
        raise UsageError(f"{path} defines no cell named '{name}'", f"there: {', '.join(cells)}" if cells else "")
    what = vars(module)[name]
    if isinstance(what, type) and not issubclass(what, Cell):
        raise UsageError(f"'{name}' of {path} is a class, but not a cell", "a cell is a subclass of gradscope's Cell")
    if not callable(what):
        raise UsageError(f"'{name}' of {path} is neither a cell nor a function, but of type {type(what).__name__}")
    return UserFile(path, name, what, module, hashlib.sha256(source).hexdigest())


def _read(path: Path) -> bytes:
    if path.suffix.lower() != ".py":
        raise InputError(f"{path} is not a Python file", "its name must end in .py")
    with opened(path, "Python file") as (stream, _):
        return stream.read()


def _run(path: Path, source: bytes) -> ModuleType:
    """Run a file, once as long as it stays the same, and return it as a module."""
    name = PREFIX + hashlib.sha256(str(path.resolve()).encode() + b"\0" + source).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    try:
        code = compile(source, str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""  # none where it has null bytes
        raise InputError(f"{path}{line}: {error.msg}") from error
    except ValueError as error:  # null bytes, where that is no error of syntax
        raise InputError(f"{path} is not Python: {error}") from error
    module = ModuleType(name)
    module.__file__ = str(path.resolve())
    module.__dict__["__spec_path__"] = str(path)  # as it is in tracebacks
    sys.modules[name] = module  # dataclasses look their module up there
    beside = str(path.resolve().parent)
    sys.path.append(beside)  # at the end: a file beside it is found, and hides no other module
    try:
        exec(code, module.__dict__)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise InputError(f"{path}{_line(error, str(path))} fails when executed: {_words(error)}") from error
    finally:
        sys.path.remove(beside)
    return module


def _words(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def _line(error: BaseException, path: str) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    return f", line {lines[-1]}," if lines else ""


def error_in_file(error: BaseException) -> str:
    """Return file, line and words of an error that came out of a user's file; "" for any other error."""
    for module in [m for n, m in sys.modules.items() if n.startswith(PREFIX)]:
        path = str(module.__dict__["__spec_path__"])
        if line := _line(error, path):
            return f"{path}{line} {_words(error)}"
    return ""


def _cells_in(module: ModuleType) -> list[str]:
    """Return names of the public cells that a file defines, and of its functions step and make."""
    classes = [n for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, Cell) and n[0] != "_"]
    cells = [n for n in classes if vars(module)[n].__module__ == module.__name__]
    return cells + [n for n in ("step", "make") if callable(getattr(module, n, None))]


def _no_cell(path: Path, module: ModuleType) -> UsageError:
    functions = [n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__]
    other = f"; for a function with another name, write {path.name}:{functions[0]}" if functions else ""
    return UsageError(f"{path} defines no cell", f"{CELLS}{other}")


def build(
    user_file: UserFile,
    hidden: int,
    inputs: int,
    seed: int = 0,
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    examine: bool = True,
) -> Network:
    """Build the cell of a function: of a step, or of one that makes a step or a cell.

    Args:
        user_file: a function.
        hidden: size of the state, where the file has no `state_size`.
        inputs: number of inputs, where the file has no `input_size`.
        seed: of the generator that a function which makes a cell is given.
        settings: of its keyword-only arguments.
        examine: whether a step must be a function of x and s alone, and a Jacobian in the file its derivative.

    Raises:
        InputError: the function fails, or does not return what it must.
        UsageError: a setting is not known.
    """
    hidden = user_file.size("state_size") or hidden
    inputs = inputs if (size := user_file.size("input_size")) is None else size
    known = user_file.settings
    for key in settings:
        if key not in known:
            names = f"known for {user_file.name}: {', '.join(known)}" if known else "it has none"
            raise UsageError(f"there is no setting named '{key}'", f"{plugins.suggest(key, [*known])}{names}")
    values = {k: checked(k, v, known[k]) for k, v in settings.items()}
    function = partial(user_file.what, **values) if values else user_file.what
    try:
        if {*_positional(user_file.what)} & {*MAKER}:
            function = _from_maker(user_file, function, hidden, inputs, seed)
        cell = (
            function if isinstance(function, Network) else _cell_of_step(user_file, function, hidden, inputs, examine)
        )
    except (InputError, UsageError) as error:
        path, cause = str(user_file.path), error.__cause__
        line = _line(cause, path).rstrip(",") if cause else ""
        hint = error.hint or (SIZES if cause and user_file.size("state_size") is None else "")
        where = "" if error.message.startswith(path) else f"{path}{line}: "
        raise type(error)(f"{where}{error.message}", hint) from cause
    if isinstance(cell, Cell):
        check_class(type(cell))
        check_user_cell(cell)
    return cell


def _from_maker(user_file: UserFile, function: Callable[..., Any], hidden: int, inputs: int, seed: int) -> Any:
    """Call a function that makes a step or a cell, with those of the three arguments that it has."""
    arguments = {"hidden": hidden, "input_size": inputs, "rng": np.random.default_rng(seed)}
    wanted = _positional(user_file.what)
    if not {*wanted} <= {*MAKER}:
        hint = f"a function that makes a step or a cell may take {', '.join(MAKER)}, and settings after a *"
        raise InputError(f"{user_file.name} takes {', '.join(wanted)}", hint)
    try:
        returned = function(**{k: arguments[k] for k in wanted})
    except GradscopeError:
        raise
    except Exception as error:  # a user's function may fail in any way
        raise InputError(f"{user_file.name} fails: {_words(error)}") from error
    if not callable(returned) and not isinstance(returned, Network):
        what = "it must return a function step(x, s) or a cell"
        raise InputError(f"{user_file.name} returned {kind(returned)}; {what}")
    return returned


def _cell_of_step(user_file: UserFile, step: Any, hidden: int, inputs: int, examine: bool) -> FunctionCell:
    """Return the cell of a step, whose state is finite after the zero state, where every run begins."""
    module = user_file.module
    jacobian = getattr(module, "jacobian", None) if user_file.name == "step" else None
    cell = from_step(
        step,
        state_size=hidden,
        input_size=inputs,
        jacobian=jacobian,
        parts=getattr(module, "parts", None),
        surrogate=getattr(module, "surrogate", False) is True,
        examine=examine,
    )
    with np.errstate(all="ignore"):
        new = cell.once(np.random.default_rng(0).standard_normal(cell.inputs), np.zeros(cell.n))
    if not np.isfinite(new).all():
        at = int(np.flatnonzero(~np.isfinite(new))[0])
        raise InputError(f"the step returns {new[at]} at index {at} for the zero state, which is the initial state")
    return cell


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of functions in C it may not be known
        return []


def _positional(function: Any) -> list[str]:
    return [p.name for p in _parameters(function) if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty]
