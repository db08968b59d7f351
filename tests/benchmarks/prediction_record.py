"""The record of the study of predictions: a line of JSON for each piece of work that is done, in the order of doing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TRAININGS, MEASURES, REPORTS, TRAINED = "trainings", "measures", "reports", "trained"


def path_of(folder: Path, phase: str) -> Path:
    """Return the file of a phase."""
    return folder / f"prediction_{phase}.jsonl"


def lines(path: Path) -> list[dict[str, Any]]:
    """Read a record; none is an empty one. What an interruption left of a last line is cut off.

    Raises:
        ValueError: another line is not JSON.
    """
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole, encoding="utf-8")  # else the next line would be appended to the fragment
    return [json.loads(line) for line in whole.splitlines()]


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Write a line and close the file, so that a study that is stopped loses no more than what it was doing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
