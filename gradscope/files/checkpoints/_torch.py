"""What the two containers of torch.save share: names, storages, tensors, and the tree of dictionaries.

Format: `torch/serialization.py` and `torch/_utils.py` of PyTorch 0.4 to 2.13.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gradscope.errors import InputError
from gradscope.files.checkpoints._base import Array, Tensors, decode
from gradscope.files.checkpoints._pickle import Name, Stream, Thing, World, unpickle
from gradscope.files.checkpoints._state import state_prefix
from gradscope.files.display import printable
from gradscope.files.unsupported import SAVE_STATE_DICT

STORAGES = {
    "FloatStorage": "f4", "DoubleStorage": "f8", "HalfStorage": "f2", "BFloat16Storage": "bfloat16",
    "LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1",
    "BoolStorage": "?", "ComplexFloatStorage": "c8", "ComplexDoubleStorage": "c16", "UntypedStorage": "u1",
}  # fmt: skip
DTYPES = {
    "float32": "f4", "float64": "f8", "float16": "f2", "bfloat16": "bfloat16", "int64": "i8", "int32": "i4",
    "int16": "i2", "int8": "i1", "uint8": "u1", "uint16": "u2", "uint32": "u4", "uint64": "u8", "bool": "?",
    "complex64": "c8", "complex128": "c16",
}  # fmt: skip
TENSORS = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3")
PARAMETERS = ("_rebuild_parameter", "_rebuild_parameter_with_state")
QUANTISED = ("ScriptObject", "_rebuild_qtensor", "QInt8Storage", "QUInt8Storage", "QInt32Storage")

# Nothing is ever imported; these lists decide between "refused" and "left aside" alone.
STANDARD = frozenset(sys.stdlib_module_names) | {"__builtin__", "commands", "copy_reg", "pip", "setuptools"}
HARMLESS_MODULES = frozenset(("collections", "datetime", "decimal", "enum", "fractions", "pathlib", "uuid"))
HARMLESS = frozenset(
    "argparse.Namespace types.SimpleNamespace _codecs.encode copyreg._reconstructor copy_reg._reconstructor "
    "functools.partial re._compile".split()
    + [
        f"{module}.{name}"
        for module in ("builtins", "__builtin__")
        for name in "set frozenset list dict tuple int long float complex str unicode bytes bytearray bool object "
        "slice range".split()
    ]
)
HOSTILE = ("torch.hub", "torch.utils.cpp_extension", "torch.jit", "torch.package", "numpy.testing", "numpy.f2py")
MAX_DEPTH = 32  # of dictionaries in dictionaries
MAX_DIMENSIONS = 32
MAX_SIZE = 2**48  # of any one axis, stride, offset or storage, in elements
MAX_SHAPE_BITS = 60  # of an empty tensor, so that numpy can represent its shape
MAX_NAMES = 10_000  # that a pickle may ask to import


class Storage(NamedTuple):
    """A range of elements of a file: which one, of what type, how many, and from where."""

    key: str
    kind: str
    size: int
    offset: int = 0


@dataclass(frozen=True, eq=False)
class TensorRef:
    """A tensor as its pickle describes it; nothing of it was checked."""

    storage: Any
    offset: Any
    shape: Any
    strides: Any
    kind: str = ""


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_SIZE


def _size(value: Any, what: str) -> int:
    if not _is_size(value):
        raise InputError(f"its pickle is damaged ({what} is not a size)", "download or save it again")
    return int(value)


def _kind(dtype: Name) -> str:
    """Return the code of a dtype such as torch.uint16."""
    if re.fullmatch(r"float8_[a-z0-9]{1,20}", dtype.attribute):
        return dtype.attribute
    if dtype.attribute not in DTYPES:
        raise InputError(f"a tensor has the type {printable(dtype)}, which is not supported")
    return DTYPES[dtype.attribute]


class TorchWorld(World):
    """The names that torch.save writes; others become inert things."""

    def __init__(self) -> None:
        self.foreign: set[str] = set()
        self.storages: dict[str, Storage] = {}

    def name(self, name: Name) -> None:
        module, attribute = name
        top = module.split(".")[0]
        full = printable(name)
        if top == "torch" and attribute in QUANTISED:
            hint = "save the float model, before quantising it: torch.save(model.state_dict(), ...)"
            raise InputError(f"it holds quantised weights ({full}), which are not supported", hint)
        harmless = (module in HARMLESS_MODULES and "." not in attribute) or str(name) in HARMLESS
        if (top in STANDARD and not harmless) or module.startswith(HOSTILE):
            hint = f"do not load this file with torch.load; {SAVE_STATE_DICT}"
            raise InputError(f"refused: asks to import {full}", hint)
        if top not in ("torch", "numpy") and top not in STANDARD:
            self.foreign.add(full)
            if len(self.foreign) > MAX_NAMES:
                raise InputError(f"refused: asks to import more than {MAX_NAMES} names")

    def call(self, name: Name, args: tuple[Any, ...]) -> Any:
        if name == ("torch._tensor", "_rebuild_from_type_v2") and len(args) == 4 and isinstance(args[0], Name):
            name, args = args[0], args[2]  # a subclass of Tensor
        module, attribute = name
        if module == "torch._utils" and attribute in TENSORS and len(args) >= 4:
            return _tensor(attribute, args)
        if args and _is_wrapper(name):
            return args[0]
        if module == "collections" and attribute in ("OrderedDict", "defaultdict"):
            return _dictionary(args)
        if module in ("copyreg", "copy_reg") and isinstance(next(iter(args), None), Name):
            name = args[0]  # the class of the object
        return Thing(printable(name))

    def persistent(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or len(pid) < 2:
            raise ValueError("a persistent id that is no tuple")
        if pid[0] == "module":
            return pid[1]
        if pid[0] != "storage" or len(pid) not in (5, 6) or not isinstance(pid[1], Name):
            raise ValueError("a persistent id that is no storage")
        kind = STORAGES.get(pid[1].attribute)
        if kind is None or not isinstance(pid[2], (str, int)):
            raise ValueError(f"a storage of type {printable(pid[1])}")
        storage = Storage(str(pid[2])[:200], kind, _size(pid[4], "a storage"))
        self.storages.setdefault(storage.key, storage)
        view = pid[5] if len(pid) == 6 else None
        if isinstance(view, tuple) and len(view) == 3:  # files of before 2018
            return storage._replace(offset=_size(view[1], "an offset"), size=_size(view[2], "a storage"))
        return storage


def _is_wrapper(name: Name) -> bool:
    """Return whether a function gives its first argument back: that of a parameter, and torch.Size."""
    return name == ("torch", "Size") or (name[0] == "torch._utils" and name[1] in PARAMETERS)


def _tensor(function: str, args: tuple[Any, ...]) -> TensorRef:
    """Return the tensor that a function of `TENSORS` rebuilds from its first four arguments, and v3 from a dtype."""
    dtype = args[6] if function.endswith("v3") and len(args) > 6 else None
    storage, offset, shape, strides = args[:4]
    return TensorRef(storage, offset, shape, strides, _kind(dtype) if isinstance(dtype, Name) else "")


def _itemsize(kind: str) -> int:
    """Return the bytes of an element; those of types that numpy does not know are float8."""
    return {"bfloat16": 2, "?": 1}.get(kind) or (int(kind[1:]) if kind[1:].isdigit() else 1)


def _check_geometry(name: str, ref: TensorRef) -> int:
    """Return the number of elements of a tensor, once its numbers are sizes.

    Raises:
        InputError: shape, strides or offset are no sizes, or repeat elements.
    """
    shape, strides = ref.shape, ref.strides
    if not (isinstance(ref.storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)):
        raise InputError(f"the tensor {name} is damaged: it has no storage")
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise InputError(f"the tensor {name} is damaged: its shape is not a shape")
    if not all(map(_is_size, (ref.offset, *shape, *strides))):
        raise InputError(f"the tensor {name} is damaged: a size or stride is negative, too large, or no number")
    count = math.prod(shape)
    if count == 0 and sum(map(int.bit_length, shape)) > MAX_SHAPE_BITS:
        raise InputError(f"the tensor {name} is damaged: its shape is too large for any memory")
    if count and (0, True) in zip(strides, (n > 1 for n in shape), strict=True):
        raise InputError(f"the tensor {name} repeats one element (stride 0)", "save tensor.contiguous() instead")
    return count


def _dictionary(args: tuple[Any, ...]) -> dict[str, Any]:
    """Return a dictionary of the pairs that OrderedDict is called with."""
    pairs = args[0] if args and isinstance(args[0], list) else []
    return {p[0]: p[1] for p in pairs if isinstance(p, (list, tuple)) and len(p) == 2 and isinstance(p[0], str)}


def _array(name: str, ref: TensorRef, data: Callable[[str], NDArray[np.uint8]], big_endian: bool) -> tuple[Array, str]:
    """Return the elements of a tensor as a view of the file, and a note on a conversion or "".

    Raises:
        InputError: the tensor does not fit the bytes that are there.
    """
    count = _check_geometry(name, ref)
    storage, shape, kind = ref.storage, ref.shape, ref.kind or ref.storage.kind
    if count == 0:
        return np.zeros(shape, np.float32 if kind == "bfloat16" else kind if kind[1:].isdigit() else np.uint8), ""
    itemsize = _itemsize(kind)
    unit = 1 if ref.kind else _itemsize(storage.kind)  # of sizes and offsets: bytes, if the tensor names its type
    raw = data(storage.key)
    first = storage.offset * unit
    if first + storage.size * unit > len(raw):
        claims = f"its storage claims {storage.size * unit} bytes, the file holds {len(raw)}"
        raise InputError(f"the tensor {name} is damaged: {claims}")
    held = storage.size * unit // itemsize
    last = ref.offset + sum((n - 1) * stride for n, stride in zip(shape, ref.strides, strict=True))
    if last >= held or count > held:
        needs = f"it needs {max(last + 1, count)} elements, its storage has {held}"
        raise InputError(f"the tensor {name} is damaged: {needs}")
    flat, note = decode(raw[first : first + held * itemsize], kind, big_endian)
    bytewise = [stride * flat.itemsize for stride in ref.strides]
    return np.lib.stride_tricks.as_strided(flat[ref.offset :], shape, bytewise, writeable=False), note


def _is_weight(path: tuple[str, ...]) -> bool:
    return len(path) == 1 or not path[0].startswith("optim")


def read_tree(stream: Stream, world: TorchWorld) -> dict[tuple[str, ...], TensorRef]:
    """Read the pickle; return its tensors by path, through dictionaries and lists alike.

    Raises:
        InputError: the pickle is damaged or refused, or holds a whole model.
    """
    root = unpickle(stream, world)
    tensors: dict[tuple[str, ...], TensorRef] = {}
    models: list[str] = []
    seen: set[int] = set()
    todo: list[tuple[tuple[str, ...], Any]] = [((), root)]  # a list and no recursion: nesting is up to the file
    while todo:
        path, value = todo.pop()
        if isinstance(value, TensorRef):
            tensors[path or ("tensor",)] = value
            continue
        models += _module_name(value)
        table = value.items if isinstance(value, Thing) else value
        if isinstance(table, (dict, list, tuple)) and id(table) not in seen and len(path) < MAX_DEPTH:
            seen.add(id(table))
            todo += [((*path, key), inner) for key, inner in reversed(_children(table))]
    _check_holds_tensors(root, tensors, models)
    return tensors


def _check_holds_tensors(root: Any, tensors: Collection[tuple[str, ...]], models: Sequence[str]) -> None:
    """Refuse a pickle of a whole model, or of another object without tensors."""
    if models and not any(map(_is_weight, tensors)):
        raise InputError(
            f"it holds a whole model ({models[0]}), which can be loaded only by executing code", SAVE_STATE_DICT
        )
    if not tensors and isinstance(root, Thing):
        raise InputError(f"it holds an object of type {root.name}, no tensors", SAVE_STATE_DICT)


def _module_name(value: Any) -> list[str]:
    """Return the name of the class of a pickled nn.Module, in a list; [] for anything else."""
    is_module = isinstance(value, Thing) and isinstance(value.state, dict) and "_modules" in value.state
    return [value.name] if is_module else []


def _children(table: Any) -> list[tuple[str, Any]]:
    """Return the entries of a dictionary, list or tuple whose keys are names or small numbers."""
    pairs = list(table.items() if isinstance(table, dict) else enumerate(table))
    return [(str(k), v) for k, v in pairs if isinstance(k, str) or (type(k) is int and abs(k) < 10**9)]


def tensors_of(
    tree: dict[tuple[str, ...], TensorRef],
    data: Callable[[str], NDArray[np.uint8]],
    world: TorchWorld,
    big_endian: bool = False,
) -> Tensors:
    """Turn the tensors of a tree into arrays; those of optimisers are left out.

    Raises:
        InputError: a tensor does not fit the bytes of its storage.
    """
    arrays: dict[str, Array] = {}
    notes: dict[str, None] = {}
    states: dict[str, None] = {}
    left_out: dict[str, int] = {}
    for path, ref in tree.items():
        if not _is_weight(path):
            left_out[path[0]] = left_out.get(path[0], 0) + 1
            continue
        name = ".".join(path)
        if name in arrays:
            raise InputError(f"two tensors are named {printable(name)}")
        arrays[name], note = _array(printable(name), ref, data, big_endian)
        notes |= {note: None} if note else {}
        states[state_prefix(path[:-1])] = None
    lines = [f"left out {printable(k)} ({n} tensors)" for k, n in left_out.items()]
    if world.foreign:
        names = ", ".join(sorted(world.foreign)[:5])
        lines.append(f"ignored, never imported: {names}{' ...' if len(world.foreign) > 5 else ''}")
    return Tensors(arrays, [*notes, *lines], states=tuple(states) or ("",))
