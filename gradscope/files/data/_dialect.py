"""How is a text table written?  Its delimiter, its decimal sign and its header, from its first rows."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from gradscope.errors import UsageError

SAMPLE_ROWS = 100
NAMED_DELIMITERS = {"tab": "\t", "\\t": "\t", "space": " "}
CANDIDATES = "\t;|, "  # the comma late, because it may be a decimal sign; the space last, because text holds spaces
MISSING = {"", "na", "n/a", "#n/a", "null", "none"}
COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
DOT = re.compile(r"[+-]?\d*\.\d*([eE][+-]?\d+)?", re.ASCII)
ALMOST = re.compile(r"[+-]?\d[\d.,' ]*", re.ASCII)  # a number in another notation: no name of a column
LABEL = re.compile(r"\d{1,9}", re.ASCII)
COMMENT = re.compile(r"\s*#")
SEPARATOR = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # Excel's own first line


class Dialect(NamedTuple):
    """How a table is written, as detected or given, and its first rows."""

    delimiter: str
    decimal: str
    header: bool
    trailing: bool  # every row ends with a delimiter
    rows: list[list[str]]


def number(cell: str, decimal: str) -> float | None:
    """Return a cell's number, nan where it is empty, None where it is text."""
    text = cell.strip()
    if text.lower() in MISSING:
        return math.nan
    if decimal == ",":
        text = "_" if "." in text else text.replace(",", ".")
    if "_" in text or not text.isascii():  # float() takes 2020_01 for a number
        return None
    try:
        return float(text)
    except ValueError:
        return None


def detect(lines: Sequence[str], delimiter: str | None, decimal: str | None) -> Dialect:
    """Return the dialect of a table, from its first lines and what the user said.

    Raises:
        UsageError: the delimiter or the decimal sign cannot be one.
    """
    delimiter = NAMED_DELIMITERS.get(delimiter or "", delimiter)
    _check_given(delimiter, decimal)
    content = [_content(line) for line in lines]
    delimiter = delimiter or _stated(lines) or _delimiter(content, decimal)
    rows = _rows(content, delimiter)
    decimal = decimal or _decimal(rows, delimiter)
    trailing = bool(rows) and all(len(row) > 1 and not row[-1] for row in rows)
    header = _header([row[:-1] for row in rows] if trailing else rows, decimal)
    return Dialect(delimiter, decimal, header, trailing, rows)


def _stated(lines: Sequence[str]) -> str:
    """Return the delimiter that the first line states, as Excel's "sep=;" does, or ""."""
    stated = SEPARATOR.fullmatch(lines[0]) if lines else None
    return stated[1] if stated else ""


def _content(line: str) -> str:
    """Return a line, or "" if it is a comment or states the delimiter."""
    return "" if COMMENT.match(line) or SEPARATOR.fullmatch(line) else line


def _check_given(delimiter: str | None, decimal: str | None) -> None:
    """Check what the user said of a table.

    Raises:
        UsageError: the delimiter or the decimal sign cannot be one.
    """
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0#.' or delimiter.isalnum()):
        raise UsageError("--delimiter must be one character, or 'tab' or 'space'", "for example --delimiter ';'")
    if decimal not in (None, ".", ","):
        raise UsageError("--decimal must be '.' or ','")
    if delimiter == "," == decimal:
        raise UsageError("the delimiter and the decimal separator are both ','", "give another --delimiter")


def _decimal(rows: list[list[str]], delimiter: str) -> str:
    """Return the decimal sign: a comma if some cells have one and none has a point."""
    if delimiter == ",":
        return "."
    cells = [cell.strip() for row in rows for cell in row]
    return "," if any(map(COMMA.fullmatch, cells)) and not any(map(DOT.fullmatch, cells)) else "."


def _rows(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    rows: list[list[str]] = []
    stripped = (line.strip() for line in lines) if delimiter == " " else iter(lines)
    try:
        for row in csv.reader(stripped, delimiter=delimiter, skipinitialspace=True):
            if row:
                rows.append(row)
            if len(rows) == SAMPLE_ROWS:
                break
    except csv.Error:  # reported with its line number when the whole file is read
        pass
    return rows


def _delimiter(lines: Sequence[str], decimal: str | None) -> str:
    """Return the first candidate with which all rows have the same width, else one with which most have."""
    ragged = ""
    for candidate in CANDIDATES.replace(decimal or "\0", ""):
        widths = Counter(len(row) for row in _rows(lines, candidate))
        if len(widths) == 1 and min(widths) > 1:
            return candidate
        width, count = (*widths.most_common(1), (1, 0))[0]
        if width > 1 and 2 * count >= widths.total() and candidate != " ":
            ragged = ragged or candidate
    return ragged or ("," if decimal != "," else ";")


def _header(rows: list[list[str]], decimal: str) -> bool:
    """Return whether the first row is a header: text where the second row has numbers, or text throughout."""
    if not rows:
        return False
    first, second = [cell.strip() for cell in rows[0]], [*rows, []][1]
    text = [i for i, cell in enumerate(first) if number(cell, decimal) is None]
    if not text:
        return _numbered(first, second)
    if not _may_be_labels(first, text):
        return False
    is_text_throughout = len(text) == len(list(filter(None, first)))
    return is_text_throughout or any(_is_number(second, i, decimal) for i in text)


def _may_be_labels(cells: list[str], text: list[int]) -> bool:
    """Return whether no text looks like a number in another notation, and all else are small whole numbers."""
    numbers = [cell for i, cell in enumerate(cells) if cell and i not in text]
    return not any(ALMOST.fullmatch(cells[i]) for i in text) and all(map(LABEL.fullmatch, numbers))


def _numbered(first: list[str], second: list[str]) -> bool:
    """Return whether a row is a header such as ",0,1,2": pandas writes an index without a name so."""
    labels = first[1:] == [str(i) for i in range(len(first) - 1)]
    return len(first) > 1 and not first[0] and labels and bool(second) and bool(second[0].strip())


def _is_number(row: list[str], i: int, decimal: str) -> bool:
    return i < len(row) and bool(row[i].strip()) and number(row[i], decimal) is not None
