"""What is not finite, in words and in strict JSON: null, with a record of where and what it was."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradscope.numerics.nonfinite import NonFinite


Document = dict[str, Any]

# What the axes of arrays are; counting begins at 0, as in arrays.
AXES = {
    "jacobians": ("step",),
    "data": ("sequence", "step", "column"),
    "inputs": ("step", "input", "sequence"),
    "states": ("step", "unit", "sequence"),
}


def place(r: NonFinite) -> str:
    """Say where values stop being finite."""
    axes = AXES.get(r.path)
    where = ", ".join(f"{a} {i}" for a, i in zip(axes, r.first, strict=True)) if axes else f"at {list(r.first)}"
    plural = "value is" if r.count == 1 else "values are"
    return f"{r.count} {plural} {r.kind} in {r.path.removeprefix('model.')}, first {where}"


def record(r: NonFinite) -> Document:
    """Return the entry of the document's `nonfinite`."""
    return {"path": r.path, "kind": r.kind, "count": r.count, "first": list(r.first)}


def strict(value: Any, path: str, records: list[Document]) -> Any:
    """Replace numbers that are not finite by None, and note them: one record for an array and a kind."""
    if isinstance(value, dict):
        return {k: strict(v, f"{path}.{k}" if path else k, records) for k, v in value.items()}
    if isinstance(value, list):
        cleaned = [strict(v, f"{path}[{i}]", records) if isinstance(v, dict | list) else v for i, v in enumerate(value)]
        return _strict_numbers(cleaned, path, records)
    return _strict_numbers([value], path, records)[0]


def _strict_numbers(values: list[Any], path: str, records: list[Document]) -> list[Any]:
    bad = [(i, repr(v)) for i, v in enumerate(values) if isinstance(v, float) and not math.isfinite(v)]
    for kind in dict.fromkeys(k for _, k in bad):
        at = [i for i, k in bad if k == kind]
        records.append({"path": path, "kind": kind, "count": len(at), "first": [at[0]]})
    lost = {i for i, _ in bad}
    return [None if i in lost else v for i, v in enumerate(values)]
