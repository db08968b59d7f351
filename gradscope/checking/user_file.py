"""A cell from a Python file of one's own: a class, a function step(x, s), or a function that makes one of these.

Nothing else runs a Python file of somebody else, and it does so for who names the file: never for a checkpoint. The
file is compiled here and not imported by name, so that it shadows no module and leaves no compiled file behind it.
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
from gradscope.errors import GradscopeError, InputError, UsageError
from gradscope.networks.cell import Cell
from gradscope.networks.create import checked
from gradscope.networks.function import FunctionCell, unproven
from gradscope.networks.network import Network
from gradscope.networks.sound import refuse_unsound_cell, refuse_unsound_class

__all__ = ["Own", "blamed", "made_of", "own_in", "run_file"]

PREFIX = "_gradscope_file_"
MAKER = ("hidden", "input_size", "rng")  # arguments of a function that makes a step or a cell


@dataclass(frozen=True, eq=False)
class Own:
    """What a file defines under one name.

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
        """The class; None where it is a function."""
        return self.what if isinstance(self.what, type) else None

    @property
    def makes(self) -> bool:
        """Whether it is a function that makes a step or a cell."""
        return self.cell_class is None and {*_positional(self.what)} & {*MAKER} != set()

    @property
    def settings(self) -> dict[str, Any]:
        """Return what --set may change, with the defaults: of a function, its keyword-only arguments."""
        if self.cell_class is not None:
            return self.cell_class.settings()
        kept = [p for p in _parameters(self.what) if p.kind is p.KEYWORD_ONLY and p.default is not p.empty]
        return {p.name: p.default for p in kept}

    def size(self, name: str) -> int | None:
        """Return `state_size` or `input_size` of the file; None where it leaves it open.

        Raises:
            InputError: it is no whole number, or too small.
        """
        value = getattr(self.module, name, None)
        least = 0 if name == "input_size" else 1
        if value is None or callable(value):
            return None
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
            raise InputError(f"{self.path}: {name} must be a whole number from {least} on, not {value!r}")
        return int(value)


def run_file(path: str | Path) -> ModuleType:
    """Run a Python file, once as long as it stays the same, and return it as a module.

    Raises:
        InputError: it cannot be read, or fails.
    """
    path = Path(path)
    source = _read(path)
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
        raise InputError(f"{path}{_line(error, str(path))} fails when it is run: {_words(error)}") from error
    finally:
        sys.path.remove(beside)
    return module


def _read(path: Path) -> bytes:
    if path.suffix.lower() != ".py":
        raise InputError(f"{path} is not a Python file", "its name has to end in .py")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a directory, and no Python file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"cannot read {path}: {reason}") from error


def _words(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def _line(error: BaseException, path: str) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
    return f", line {lines[-1]}," if lines else ""


def blamed(error: BaseException) -> str:
    """Return file, line and words of an error that came out of such a file; "" where it did not."""
    for module in [m for n, m in sys.modules.items() if n.startswith(PREFIX)]:
        path = str(module.__dict__["__spec_path__"])
        if line := _line(error, path):
            return f"{path}{line} {_words(error)}"
    return ""


def own_in(path: str | Path, name: str | None = None) -> Own:
    """Run a file and find the cell in it.

    Args:
        path: the file.
        name: which class or function; None where there is one public cell, or one function `step` or `make`.

    Raises:
        InputError: the file cannot be read, or fails when it is run.
        UsageError: there is no such cell, or there are several and none was named.
    """
    path = Path(path)
    module = run_file(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    found = _candidates(module)
    if name is None:
        if len(found) == 1:
            name = found[0]
        elif found:
            known = ", ".join(f"{path.name}:{n}" for n in found)
            raise UsageError(f"{path} defines several cells: {', '.join(found)}", f"name one: {known}")
        else:
            raise _no_cell(path, module)
    if name not in vars(module):
        known = f"there: {', '.join(found)}" if found else ""
        raise UsageError(f"{path} defines no cell named '{name}'", known)
    what = vars(module)[name]
    if isinstance(what, type) and not issubclass(what, Cell):
        raise UsageError(f"'{name}' of {path} is a class, but no cell", "a cell is a subclass of gradscope's Cell")
    if not callable(what):
        raise UsageError(f"'{name}' of {path} is neither a cell nor a function, but of type {type(what).__name__}")
    return Own(path, name, what, module, digest)


def _candidates(module: ModuleType) -> list[str]:
    """Return names of the public cells that the file defines, and of its functions step and make."""

    def is_cell(value: Any) -> bool:
        return isinstance(value, type) and issubclass(value, Cell) and value.__module__ == module.__name__

    cells = [n for n, value in vars(module).items() if n[0] != "_" and is_cell(value)]
    functions = [n for n in ("step", "make") if callable(getattr(module, n, None))]
    return cells + functions


def _no_cell(path: Path, module: ModuleType) -> UsageError:
    others = [n for n, f in vars(module).items() if inspect.isfunction(f) and f.__module__ == module.__name__]
    hint = "a cell is a subclass of gradscope's Cell, or a function step(x, s) that returns the new state"
    if others:
        hint += f"; a function of another name is written {path.name}:{others[0]}"
    return UsageError(f"{path} defines no cell", hint)


def made_of(
    own: Own,
    hidden: int,
    inputs: int,
    seed: int = 0,
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    prove: bool = True,
) -> Network:
    """Make a cell of a function: of a step, or of one that makes a step or a cell.

    Args:
        own: what `own_in` found, a function.
        hidden: size of the state, where the file has no `state_size`.
        inputs: number of inputs, where it has no `input_size`.
        seed: of the generator that a function which makes a cell is given.
        settings: of its keyword-only arguments.
        prove: whether it is asked that it is a function of x and s alone, and a Jacobian in the file its derivative.

    Raises:
        InputError: the function fails, or does not return what it must.
        UsageError: a setting is not known.
    """
    hidden, inputs = own.size("state_size") or hidden, inputs if (k := own.size("input_size")) is None else k
    for key in settings:
        if key not in own.settings:
            known = f"known for {own.name}: {', '.join(own.settings)}" if own.settings else "it has none"
            raise UsageError(f"there is no setting named '{key}'", f"{plugins.suggest(key, [*own.settings])}{known}")
    values = {k: checked(k, v, own.settings[k]) for k, v in settings.items()}
    try:
        function: Any = partial(own.what, **values) if values else own.what
        if own.makes:
            function = _from_maker(own, function, hidden, inputs, seed)
        if isinstance(function, Network):
            cell = function
        else:
            jacobian = getattr(own.module, "jacobian", None) if own.name == "step" else None
            parts = getattr(own.module, "parts", None)
            cell = unproven(function, state_size=hidden, input_size=inputs, jacobian=jacobian, parts=parts)
            if prove:
                cell.prove(surrogate=getattr(own.module, "surrogate", False) is True)
    except (InputError, UsageError) as error:
        line = _line(error.__cause__, str(own.path)).rstrip(",") if error.__cause__ else ""
        hint = error.hint or (SIZES if error.__cause__ and own.size("state_size") is None else "")
        where = "" if error.message.startswith(str(own.path)) else f"{own.path}{line}: "
        raise type(error)(f"{where}{error.message}", hint) from error.__cause__
    if isinstance(cell, Cell):
        refuse_unsound_class(type(cell))
        refuse_unsound_cell(cell)
    if isinstance(cell, FunctionCell):
        _starts(own, cell)
    return cell


SIZES = "--hidden and --input-size set these sizes, or state_size = ... and input_size = ... in the file"


def _from_maker(own: Own, function: Callable[..., Any], hidden: int, inputs: int, seed: int) -> Any:
    """Call a function that makes a step or a cell, with those of the three arguments that it has."""
    given = {"hidden": hidden, "input_size": inputs, "rng": np.random.default_rng(seed)}
    wanted = _positional(own.what)
    if not {*wanted} <= {*MAKER}:
        hint = f"a function that makes a step or a cell may take {', '.join(MAKER)}, and settings after a *"
        raise InputError(f"{own.name} takes {', '.join(wanted)}", hint)
    try:
        made = function(**{k: given[k] for k in wanted})
    except GradscopeError:
        raise
    except Exception as error:  # a user's function may fail in any way
        raise InputError(f"{own.name} fails: {_words(error)}") from error
    if not callable(made) and not isinstance(made, Network):
        found = "None" if made is None else f"something of type {type(made).__name__}"
        raise InputError(f"{own.name} returned {found}; it must return a function step(x, s) or a cell")
    return made


def _starts(own: Own, cell: FunctionCell) -> None:
    """Refuse a step that has no number at the zero state, where every run begins."""
    with np.errstate(all="ignore"):
        new = cell.once(np.random.default_rng(0).standard_normal(cell.inputs), np.zeros(cell.n))
    if not np.isfinite(new).all():
        at = int(np.flatnonzero(~np.isfinite(new))[0])
        text = f"the step returns {new[at]} at index {at} for the zero state, where a run begins"
        raise InputError(f"{own.path}: {text}")


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of functions in C it may not be known
        return []


def _positional(function: Any) -> list[str]:
    return [p.name for p in _parameters(function) if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty]
