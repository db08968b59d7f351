"""An element-wise function written in numpy, recorded once and called again without allocating anything.

A cell's formulas cost a dozen small numpy calls a step, each of which makes a new array. Recorded, they are a list of
ufuncs with all of their arrays in place: results go where they are wanted, intermediate values share buffers, equal
expressions are evaluated once. Whoever writes a cell need not know: a function that looks at values, or does something
else that a list of ufuncs cannot, is not recorded, and called as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

Array = NDArray[Any]
Call = tuple[Callable[..., Any], tuple[Any, ...]]


_RECORDED: WeakKeyDictionary[Any, dict[Any, Any]] = WeakKeyDictionary()


def recorded(owner: Any) -> dict[Any, Any]:
    """Return {key: tape} of an object, to be filled; the tapes last as long as the object."""
    return _RECORDED.setdefault(owner, {})


@dataclass(slots=True)
class _Value:
    """One array on the tape: an argument, the result of a call, or a view of another one."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    function: Callable[..., Any] | None = None
    inputs: tuple[Any, ...] = ()  # _Ref, numbers and arrays
    of: int | None = None
    index: Any = None


class _Ref(int):
    """The number of a value, where other numbers are themselves."""


@dataclass(frozen=True)
class Tape:
    """What `record` has seen: values in order, the arguments first, and which of them are the results."""

    arguments: int
    values: list[_Value]
    results: list[int]

    def kinds(self) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
        """Return shape and type of each result."""
        return [(self.values[slot].shape, self.values[slot].dtype) for slot in self.results]


class Player:
    """A tape and the buffers of its intermediate values."""

    def __init__(self, tape: Tape) -> None:
        self.arguments, self.values, self.results = tape.arguments, tape.values, tape.results
        # 1. values that are a result as they are: written straight to where it is wanted
        self._direct = self._wanted()
        # 2. buffers for all others, which stay the same for every list of calls
        self._buffers = self._assigned()
        # 3. the order; a call from buffers to a buffer is the same in every list
        self._order = list(self._ordered())

    def calls(self, arguments: Sequence[Array], results: Sequence[Array]) -> list[Call]:
        """Return the calls that evaluate the function for these arguments into these results.

        Calls made earlier or later share the buffers of intermediate values: they must run after one another.

        Args:
            arguments: arrays of the recorded shapes.
            results: arrays to write to, none of them an argument, in one piece each.
        """
        place: dict[int, Array] = dict(enumerate(arguments)) | self._buffers
        for slot, result in self._direct.items():
            place[slot] = results[result].reshape(self.values[slot].shape)
        # In the order of the recording, so that every input is in place before it is read.
        calls: list[Call] = []
        for slot, fixed in self._order:
            if fixed is not None:
                calls.append(fixed)
                continue
            value = self.values[slot]
            if value.of is not None:
                place[slot] = place[value.of][value.index]
            else:
                inputs = [place[x] if isinstance(x, _Ref) else x for x in value.inputs]
                calls.append(_call(value, inputs, place[slot]))
        # Results that are a part of a value, an argument, or the same as another result, are copied at the end.
        served = set(self._direct.values())
        rest = (i for i in range(len(results)) if i not in served)
        return calls + [(np.copyto, (results[i], place[self.results[i]])) for i in rest]

    def _ordered(self) -> Iterator[tuple[int, Call | None]]:
        """Yield what is to be done in order, with the calls that are the same whatever the arguments are."""
        for slot, value in enumerate(self.values[self.arguments :], self.arguments):
            if value.of is not None and slot in self._buffers:
                continue
            call = None
            if value.function is not None and all(x in self._buffers for x in (slot, *_refs(value))):
                inputs = [self._buffers[x] if isinstance(x, _Ref) else x for x in value.inputs]
                call = _call(value, inputs, self._buffers[slot])
            yield slot, call

    def _root(self, slot: int) -> int:
        of = self.values[slot].of
        return slot if of is None else self._root(of)

    def _wanted(self) -> dict[int, int]:
        """Return {call: number of the result that is all of what it makes}."""
        direct: dict[int, int] = {}
        for i, slot in enumerate(self.results):
            root = self._root(slot)
            whole = np.prod(self.values[root].shape) == np.prod(self.values[slot].shape)
            if root >= self.arguments and root not in direct and whole:
                direct[root] = i
        return direct

    def _assigned(self) -> dict[int, Array]:
        """Return a buffer for every intermediate value, and its views; buffers are used again."""
        last = self._last_uses()
        free: dict[Any, list[Array]] = {}
        used: dict[int, Array] = {}
        buffers: dict[int, Array] = {}
        for slot, value in enumerate(self.values[self.arguments :], self.arguments):
            if value.of is not None:  # a view: of an argument or a result, its place is known only to `calls`
                if value.of in buffers:
                    buffers[slot] = buffers[value.of][value.index]
                continue
            if slot not in self._direct:
                reusable = [x for x in _refs(value) if x in used and last[x] == slot and value.function is not _select]
                buffers[slot] = used[slot] = _buffer(value, reusable, used, free)
            # freed after the value has its buffer: another one that it still reads must not become its buffer
            for unused in [s for s in used if last.get(s, -1) <= slot]:
                buffer = used.pop(unused)
                free.setdefault((buffer.shape, buffer.dtype), []).append(buffer)
        return buffers

    def _last_uses(self) -> dict[int, int]:
        last: dict[int, int] = {}
        # who reads a view reads the buffer of the whole: freed too early, a later value would overwrite the view
        for slot, value in enumerate(self.values):
            for x in _refs(value):
                last[x] = last[self._root(x)] = slot
        for slot in self.results:  # beyond the end: results are copied when everything is done
            last[slot] = last[self._root(slot)] = len(self.values)
        return last


def _buffer(value: _Value, reusable: Sequence[int], used: dict[int, Array], free: dict[Any, list[Array]]) -> Array:
    """Return a buffer for a value: that of an input that nobody needs any more, a free one, or a new one.

    A ufunc may write over its input, which `_select` may not.
    """
    kind = value.shape, value.dtype
    for x in reusable:
        if (used[x].shape, used[x].dtype) == kind:
            return used.pop(x)
    return free[kind].pop() if free.get(kind) else np.empty(*kind)


def _call(value: _Value, inputs: Sequence[Any], out: Array) -> Call:
    assert value.function is not None
    if value.function in (np.maximum, np.minimum):  # numpy 2.4 wants their output named
        return partial(value.function, out=out), tuple(inputs)
    return value.function, (*inputs, out)


def _refs(value: _Value) -> list[_Ref]:
    return [x for x in value.inputs if isinstance(x, _Ref)]


class _Traced(NDArrayOperatorsMixin):
    """Stands for an array while a function is recorded."""

    def __init__(self, tape: _Recorder, slot: int) -> None:
        self._tape, self._slot = tape, slot
        self.shape, self.dtype = tape.values[slot].shape, tape.values[slot].dtype

    @property
    def real(self) -> _Traced:
        return self

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[_Traced]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: Any) -> _Traced:
        return self._tape.view(self._slot, index)

    def __pow__(self, power: Any) -> Any:
        return np.square(self) if isinstance(power, int) and power == 2 else np.power(self, power)

    def __bool__(self) -> bool:
        raise TypeError("a function that looks at values cannot be recorded")

    def __array__(self, *_: Any, **__: Any) -> Array:
        raise TypeError("a function that needs values cannot be recorded")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options or ufunc.nout != 1 or ufunc.signature is not None:
            return NotImplemented
        return self._tape.add(ufunc, inputs)

    def __array_function__(self, function: Any, _: Any, arguments: Any, options: Any) -> Any:
        if function is np.where and len(arguments) == 3 and not options:
            return self._tape.add(_select, arguments)
        return NotImplemented


def _select(condition: Array, x: Any, y: Any, out: Array) -> None:
    """Do what numpy.where does, into an array, which is written before x and the condition are read."""
    np.copyto(out, y)
    np.copyto(out, x, where=condition)


class _Recorder:
    def __init__(self, arguments: Sequence[Array]) -> None:
        self.values = [_Value(a.shape, a.dtype) for a in arguments]
        self._seen: dict[Any, int] = {}
        self._arrays: list[Any] = []  # arrays that are known by their id

    def view(self, slot: int, index: Any) -> _Traced:
        key = ("view", slot, repr(index))
        if key not in self._seen:
            shape = np.empty(self.values[slot].shape, bool)[index].shape
            self._seen[key] = len(self.values)
            self.values.append(_Value(shape, self.values[slot].dtype, of=slot, index=index))
        return _Traced(self, self._seen[key])

    def add(self, function: Any, inputs: Sequence[Any]) -> Any:
        """Append a call, unless the same one is there."""
        # equal expressions are evaluated once; 1 and 1.0 and True are equal, and their results are of different types
        refs = tuple([_Ref(x._slot) if isinstance(x, _Traced) else x for x in inputs])
        key = (function, *[x if isinstance(x, _Ref) else (type(x), _name(x)) for x in refs])
        slot = self._seen.get(key)
        if slot is None:
            # an array that is collected would leave its id to the next one, which would pass for the same
            self._arrays += [x for x in inputs if isinstance(x, np.ndarray)]
            slot = self._seen[key] = len(self.values)
            self.values.append(_Value(*_result_kind(function, inputs), function, refs))
        return _Traced(self, slot)


def _result_kind(function: Any, inputs: Sequence[Any]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return shape and type of the result of a call: the type by a trial with ones, as numpy promotes them."""
    shapes = {x.shape for x in inputs if isinstance(x, _Traced | np.ndarray)}
    shape = shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes)
    ones = [x if isinstance(x, int | float) else x.dtype.type(1) for x in inputs]
    return shape, (np.where if function is _select else function)(*ones).dtype


def _name(x: Any) -> Any:
    return id(x) if isinstance(x, np.ndarray) else x


def record(function: Callable[..., Sequence[Any]], arguments: Sequence[Array]) -> Tape | None:
    """Record a function of arrays; None where it cannot be.

    Args:
        function: takes the arguments, returns a sequence of arrays.
        arguments: arrays of the shapes and types that it is going to be called with; their values are tried.
    """
    recorder = _Recorder(arguments)
    try:
        # 1. the function itself, of arrays that write down what is done to them
        traced = function(*(_Traced(recorder, i) for i in range(len(arguments))))
        tape = Tape(len(arguments), recorder.values, [t._slot for t in traced])
        # 2. the same with numbers, as it is and from the tape
        expected = [np.asarray(x) for x in function(*arguments)]
        results = [np.empty(x.shape, x.dtype) for x in expected]
        for call, inputs in Player(tape).calls(arguments, results):
            call(*inputs)
    except Exception:  # whatever a function does that is not recorded, it may do all the same
        return None
    # 3. whatever the tape has not seen, such as a random number, shows as a difference
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(expected, results, strict=True))
    return tape if same else None
