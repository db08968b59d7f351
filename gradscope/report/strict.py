"""Strict JSON: a number that is not finite becomes null, with a record of where and what it was."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["strict"]

Document = dict[str, Any]


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
