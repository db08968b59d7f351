"""Write files like those of torch.save by hand, honest and evil ones, without torch."""

from __future__ import annotations

import json
import struct
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "i1": "Char", "c8": "ComplexFloat", "b1": "Bool"}


@dataclass
class Name:
    module: str
    attribute: str


@dataclass
class Call:
    function: Name
    args: tuple = ()
    state: Any = None


@dataclass
class Pid:
    value: tuple


@dataclass
class Ordered:
    """An OrderedDict with attributes, as `state_dict()` returns."""

    items: dict
    attributes: dict


@dataclass
class Tensor:
    """An array, and lies about it."""

    array: np.ndarray
    storage: str = ""
    lies: dict[str, Any] = field(default_factory=dict)  # shape, strides, offset, numel


class Pickler:
    """Opcodes of protocol 2 for a value; collects the storages."""

    def __init__(self) -> None:
        self.storages: dict[str, tuple[int, bytes]] = {}

    def tensor(self, t: Tensor) -> Call:
        flat = np.ascontiguousarray(t.array)
        key = str(len(self.storages))
        self.storages[key] = (flat.size, flat.tobytes())
        storage = t.storage or STORAGES[flat.dtype.str[1:]] + "Storage"
        strides = tuple(s // flat.itemsize for s in flat.strides)
        facts = {"shape": flat.shape, "strides": strides, "offset": 0, "numel": flat.size} | t.lies
        pid = Pid(("storage", Name("torch", storage), key, "cpu", facts["numel"]))
        args = (pid, facts["offset"], facts["shape"], facts["strides"], False, Call(Name("collections", "OrderedDict")))
        return Call(Name("torch._utils", "_rebuild_tensor_v2"), args)

    def emit(self, value: Any) -> bytes:
        match value:
            case Ordered():
                items = b"".join(self.emit(k) + self.emit(v) for k, v in value.items.items())
                made = self.emit(Call(Name("collections", "OrderedDict")))
                return made + b"(" + items + b"u" + self.emit(value.attributes) + b"b"
            case None:
                return b"N"
            case bool():
                return b"\x88" if value else b"\x89"
            case int():
                raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
                return b"\x8a" + bytes([len(raw)]) + raw
            case float():
                return b"G" + struct.pack(">d", value)
            case str():
                raw = value.encode()
                return b"X" + struct.pack("<I", len(raw)) + raw
            case tuple():
                return b"(" + b"".join(map(self.emit, value)) + b"t"
            case list():
                return b"](" + b"".join(map(self.emit, value)) + b"e"
            case dict():
                return b"}(" + b"".join(self.emit(k) + self.emit(v) for k, v in value.items()) + b"u"
            case Name():
                return f"c{value.module}\n{value.attribute}\n".encode()
            case Pid():
                return self.emit(value.value) + b"Q"
            case Call():
                state = b"" if value.state is None else self.emit(value.state) + b"b"
                return self.emit(value.function) + self.emit(value.args) + b"R" + state
            case np.ndarray():
                return self.emit(self.tensor(Tensor(value)))
            case Tensor():
                return self.emit(self.tensor(value))
        raise TypeError(value)

    def dump(self, value: Any) -> bytes:
        return b"\x80\x02" + self.emit(value) + b"."


def save_zip(
    path: Path, tree: Any, *, compress: int = zipfile.ZIP_STORED, extra: dict[str, bytes] | None = None
) -> Path:
    """Write `tree` as torch.save has done since 1.6."""
    pickler = Pickler()
    main = pickler.dump(tree)
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("archive/data.pkl", main)
        for key, (_, raw) in pickler.storages.items():
            archive.writestr(f"archive/data/{key}", raw)
        for name, raw in (extra or {}).items():
            archive.writestr(name, raw)
    return path


def save_legacy(path: Path, tree: Any) -> Path:
    """Write `tree` as torch.save did before 1.6."""
    pickler = Pickler()
    main = pickler.dump(tree)
    head = [Pickler().dump(v) for v in (MAGIC, 1001, {"protocol_version": 1001, "little_endian": True})]
    storages = b"".join(struct.pack("<q", n) + raw for n, raw in pickler.storages.values())
    path.write_bytes(b"".join(head) + main + Pickler().dump(list(pickler.storages)) + storages)
    return path


def save_safetensors(path: Path, header: dict[str, Any] | bytes, data: bytes = b"") -> Path:
    """Write a header, whatever it says, and data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def tensors(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    """Write an honest safetensors file; uint16 stands for bfloat16."""
    kinds = {"<f4": "F32", "<f8": "F64", "<f2": "F16", "<u2": "BF16", "|i1": "I8", "<c8": "C64", "<i8": "I64"}
    header, data = {}, b""
    for name, array in arrays.items():
        start, data = len(data), data + array.tobytes()
        header[name] = {"dtype": kinds[array.dtype.str], "shape": list(array.shape), "data_offsets": [start, len(data)]}
    return save_safetensors(path, header, data)


def lstm(
    inputs: int = 3, hidden: int = 4, gates: int = 4, suffix: str = "_l0", prefix: str = "", seed: int = 0
) -> dict:
    """Return the tensors of one layer, in float32."""
    rng = np.random.default_rng(seed)
    shapes = {"weight_ih": (gates * hidden, inputs), "weight_hh": (gates * hidden, hidden)}
    shapes |= {"bias_ih": (gates * hidden,), "bias_hh": (gates * hidden,)}
    return {f"{prefix}{k}{suffix}": rng.normal(size=s).astype("f4") for k, s in shapes.items()}
