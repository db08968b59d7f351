"""Which numbers does a text table hold?  Comma- and tab-separated values, read line by line with bounded memory.

`;`, `|` and spaces are recognised as delimiters too, and so is the decimal comma.
"""

from __future__ import annotations

import csv
import io
import re
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

import numpy as np

from gradscope.errors import InputError
from gradscope.files.data._base import DataOptions, RawData, fit, pick_columns
from gradscope.files.data._dialect import COMMENT, SEPARATOR, Dialect, detect, number
from gradscope.files.display import listing, printable
from gradscope.files.opening import opened

SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
OPTIONS = ("delimiter", "decimal")
TABS = (".tsv", ".tab")
HEAD_BYTES = 1 << 16  # enough for the dialect of most tables
MAX_LINE_BYTES = 16 << 20
NAMES = {"\t": "tab", " ": "space"}


def sniff(head: bytes, path: Path) -> bool:
    """Return False: any text may be a table, so the name decides."""
    return False


def read(path: Path, options: DataOptions) -> RawData:
    """Read the table: one sequence, a row for every step.

    Raises:
        InputError: the file cannot be read, or is not a table of numbers.
        ResourceError: the table is over the memory limit.
        UsageError: there are no such columns, or the delimiter and decimal sign cannot be.
    """
    what = f"'{printable(path.name)}'"
    delimiter = options.delimiter or ("\t" if path.suffix.lower() in TABS else None)
    with opened(path, "data file") as (stream, size):
        dialect = detect(_first_lines(stream, size, what), delimiter, options.decimal)
        stream.seek(0)
        return _Table(what, dialect, options).read(stream)


def _first_lines(stream: BinaryIO, size: int, what: str) -> list[str]:
    head = stream.read(HEAD_BYTES)
    while head.count(b"\n") < 3 and len(head) < min(size, 2 * MAX_LINE_BYTES):  # very wide tables
        head += stream.read(len(head))
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError(f"{what} is UTF-16 text, which is not supported", "save it as UTF-8")
    lines = re.split(r"\r\n|\r|\n", head.decode("utf-8-sig", errors="replace"))
    return lines[:-1] if size > len(head) and len(lines) > 1 else lines


class _Table:
    """Reads one file into an array."""

    def __init__(self, what: str, dialect: Dialect, options: DataOptions) -> None:
        self.what, self.dialect, self.options = what, dialect, options
        first = dialect.rows[0] if dialect.rows else []
        self.width = len(first) - dialect.trailing
        header = [cell.strip() for cell in first[: self.width]] if dialect.header else []
        self.names = [name or f"column {i}" for i, name in enumerate(header)]
        wanted = options.columns
        self.picked = pick_columns(wanted, self.names, self.width) if wanted is not None and self.width else None

    def read(self, stream: BinaryIO) -> RawData:
        with io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
            cells = self._numbers(text)
        width = self.width if self.picked is None else len(self.picked)
        if not self.dialect.rows:
            raise InputError(f"{self.what} holds no rows")
        if not cells:
            raise InputError(f"{self.what} holds a header ({listing(self.names)}) and no rows")
        values = np.frombuffer(cells, dtype=np.float64).reshape(-1, width)
        names = self.names if self.picked is None else [self.names[i] for i in self.picked if self.names]
        shown = tuple(printable(name, 60) for name in names)
        return RawData(values, shown, self._notes(), self._warnings(), self._hint(values))

    def _numbers(self, text: TextIO) -> array[float]:
        cells = array("d")
        dialect, limit = self.dialect, self.options.max_bytes // 8
        skip = dialect.header
        reader = csv.reader(self._lines(text), delimiter=dialect.delimiter, skipinitialspace=True)
        try:
            for row in reader:
                if not row:
                    continue
                if len(row) == self.width + 1 and not row[-1]:
                    row.pop()
                if len(row) != self.width:
                    raise self._ragged(len(row), reader.line_num)
                if skip:
                    skip = False
                    continue
                cells.extend(self._row(row, reader.line_num))
                if len(cells) > limit:
                    fit(8 * len(cells), self.options, self.what)
        except csv.Error as error:
            raise InputError(f"{self.what}, line {reader.line_num}: {error}", "is a quote left open?") from error
        return cells

    def _lines(self, text: TextIO) -> Iterator[str]:
        spaces = self.dialect.delimiter == " "
        count = 0
        try:
            while line := text.readline(MAX_LINE_BYTES + 1):
                count += 1
                if len(line) > MAX_LINE_BYTES:
                    raise InputError(f"{self.what}, line {count} is longer than 16 MiB", "is it a table of numbers?")
                # A blank line keeps the reader's line numbers right.
                blank = COMMENT.match(line) or (count == 1 and SEPARATOR.fullmatch(line))
                yield "\n" if blank else line.strip() if spaces else line
        except UnicodeDecodeError as error:
            raise InputError(f"{self.what}, after line {count}: the text is not UTF-8", "save it as UTF-8") from error

    def _row(self, row: list[str], line: int) -> list[float]:
        chosen = row if self.picked is None else [row[i] for i in self.picked]
        text = "".join(chosen)
        if self.dialect.decimal == "." and "_" not in text and text.isascii():
            try:
                return list(map(float, chosen))
            except ValueError:  # an empty cell, or text
                pass
        values = [number(cell, self.dialect.decimal) for cell in chosen]
        numbers = [x for x in values if x is not None]
        if len(numbers) < len(values):
            place = values.index(None)
            raise self._text(chosen[place], place if self.picked is None else self.picked[place], line)
        return numbers

    def _ragged(self, count: int, line: int) -> InputError:
        shown = NAMES.get(self.dialect.delimiter, self.dialect.delimiter)
        message = f"{self.what}, line {line} has {count} cells where the first row has {self.width}"
        return InputError(message, f"cells were taken to be separated by '{shown}'; if not, pass --delimiter")

    def _text(self, cell: str, column: int, line: int) -> InputError:
        label = f"column {column}" + (f" ('{printable(self.names[column], 60)}')" if self.names else "")
        message = f"{self.what}, line {line}: {label} holds '{printable(cell.strip(), 40)}', which is not a number"
        sample = self.dialect.rows[self.dialect.header :]
        good = [
            i
            for i in range(self.width)
            if i != column and all(i < len(row) and number(row[i], self.dialect.decimal) is not None for row in sample)
        ]
        hint = f"choose columns of numbers: --columns {self._labels(good)}" if good else ""
        if not good or re.search(r"\d[,;.]\d", cell):
            hint += "; " if hint else ""
            hint += "if the table uses another format, pass --delimiter and --decimal"
        return InputError(message, hint)

    def _labels(self, columns: Sequence[int]) -> str:
        """Write columns as `--columns` takes them: by name where that needs no quotes."""
        plain = all(re.fullmatch(r"[\w.-]+", name) for name in (self.names[i] for i in columns if self.names))
        named = self.names and plain and len(set(self.names)) == len(self.names)
        return ",".join(self.names[i] if named else str(i) for i in columns[:12])

    def _notes(self) -> tuple[str, ...]:
        dialect = self.dialect
        notes = [f"the first row of {self.what} was read as a header"] if dialect.header else []
        if dialect.delimiter != ",":
            notes.append(f"cells are separated by '{NAMES.get(dialect.delimiter, dialect.delimiter)}'")
        if dialect.decimal == ",":
            notes.append("numbers have a decimal comma")
        if dialect.trailing:
            notes.append("an empty last column was ignored")
        return tuple(notes)

    def _warnings(self) -> tuple[tuple[str, str], ...]:
        first = [cell.strip() for cell in self.dialect.rows[0]]
        if self.dialect.header or len(first) < 3 or first != [str(i) for i in range(len(first))]:
            return ()
        sentence = f"the first row of {self.what} is 0 to {len(first) - 1} and was read as data; it may be a header"
        return (("GS-HEADER", sentence),)

    def _hint(self, values: np.ndarray) -> str:
        if self.picked is not None or self.width == self.options.input_size:
            return ""
        known = f" (columns: {listing(self.names)})" if self.names else ""
        hint = f"choose with --columns{known}"
        if self.width == self.options.input_size + 1 and len(values) > 1 and (np.diff(values[:, 0]) == 1).all():
            hint = f"the first column numbers the rows; exclude it: --columns {self._labels(range(1, self.width))}"
        comma = self.dialect.delimiter == "," and self.options.delimiter is None
        return hint + ("; if commas are decimal signs, pass --decimal ','" if comma else "")
