"""The one way out: standard output and files, checked before the work and never half-written."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from gradscope import plugins
from gradscope.cli._progress import silence
from gradscope.errors import InputError, ResourceError, UsageError, shown

if TYPE_CHECKING:
    from gradscope.cli._options import Output
    from gradscope.report.model import Report

CLOSED_PIPE = 141  # 128 + SIGPIPE


class Sink:
    """Where a report goes. Opened before the work, so that an output that cannot be written is known at once."""

    def __init__(self, options: Output) -> None:
        self._options, self._format = options, options.stdout_format
        outputs = options.output
        self._files: list[tuple[Path, str, Path | None]] = []
        if sys.stdout.isatty() and plugins.outline("render", self._format).constants.get("BINARY"):
            hint = f"-o FILE.{self._format} writes a file"
            raise UsageError(f"{self._format} is binary and standard output is a terminal", hint)
        formats = [_format_of(path) for path in outputs]
        try:
            for path in outputs:
                if not options.force and _is_file(path):
                    raise UsageError(f"{shown(path)} exists", "--force overwrites it")
            for path, name in zip(outputs, formats, strict=True):
                self._files.append((path, name, _temporary(path, options.mkdir)))
        except BaseException:
            self._clean()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self._clean()

    def _clean(self) -> None:
        for _, _, temporary in self._files:
            if temporary is not None:
                with suppress(OSError):
                    temporary.unlink(missing_ok=True)

    def write(self, report: Report) -> None:
        """Write the files, then standard output.

        Raises:
            ResourceError: the disk is full, or an output cannot be written.
        """
        self.write_files(report)
        write_stdout(self.text(report))

    def write_files(self, report: Report) -> None:
        """Write the files alone.

        Raises:
            ResourceError: as `write`.
        """
        for path, name, temporary in self._files:
            content = plugins.load("render", name).render(report, reproducible=self._options.reproducible)
            try:
                _replace(path, temporary, _encoded(content))
            except OSError as error:
                raise _cannot_write(path, error) from error

    def text(self, report: Report) -> str | bytes:
        """Return what standard output gets."""
        terminal = sys.stdout.isatty()
        encoding = (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "")
        if self._options.quiet and self._format == "text":
            return f"{report.sentence}\n"
        options = {"ascii_only": not encoding.startswith("utf")} if self._format == "text" else {}
        color = color_wanted(self._options.color, terminal)
        rendered: str | bytes = plugins.load("render", self._format).render(
            report,
            width=terminal_width() if terminal or color else None,
            color=color,
            reproducible=self._options.reproducible,
            **options,
        )
        # what other programs read is UTF-8, whatever the terminal speaks
        return rendered if self._format == "text" else _encoded(rendered)


def _encoded(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.encode("utf-8", "replace")


def _cannot_write(path: Path, error: OSError | ValueError) -> ResourceError:
    reason = getattr(error, "strerror", None) or error
    return ResourceError(f"cannot write {shown(path)}: {reason}", "choose another path")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero byte
        raise _cannot_write(path, error) from error


def _temporary(path: Path, mkdir: bool) -> Path | None:
    """Make an empty file beside the output, to be renamed; None for a device or a pipe."""
    import tempfile

    try:
        if path.is_dir():
            raise UsageError(f"{shown(path)} is a directory", "give the path of a file in it")
        if path.exists() and not path.is_file():
            return None
        # a symbolic link is followed: its target is replaced, not the link
        folder = path.resolve().parent
        if not folder.is_dir():
            if not mkdir:
                raise InputError(f"there is no directory {shown(folder)}", "--mkdir creates it")
            folder.mkdir(parents=True, exist_ok=True)
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        longest = os.pathconf(folder, "PC_NAME_MAX") if hasattr(os, "pathconf") else 255
        if len(os.fsencode(path.name)) > longest:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        handle, name = tempfile.mkstemp(dir=folder, prefix=".gradscope-", suffix=".part")
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from error
    os.close(handle)
    return Path(name)


def terminal_width() -> int:
    """Return the columns of the terminal."""
    import shutil

    return max(20, shutil.get_terminal_size().columns)


def color_wanted(choice: str, terminal: bool) -> bool:
    """Decide on colour: the option, then NO_COLOR and FORCE_COLOR, then whether it is a terminal."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return terminal and os.environ.get("TERM") != "dumb"


def _format_of(path: Path) -> str:
    suffix = path.suffix.lstrip(".").lower()
    known = [n for n in plugins.names("render") if n != "text"]
    if suffix not in known:
        what = f"the suffix .{suffix} is not an output format"
        what = what if suffix else f"{shown(path)} has no suffix that states the format"
        raise UsageError(what, f"{plugins.suggest(suffix, known)}supported: {', '.join('.' + n for n in known)}")
    return suffix


def _replace(path: Path, temporary: Path | None, data: bytes) -> None:
    if temporary is None:
        with path.open("wb") as f:
            f.write(data)
        return
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    with temporary.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    temporary.chmod(mode)
    temporary.replace(path.resolve())


def _umask() -> int:
    current = os.umask(0o077)
    os.umask(current)
    return current


def write_stdout(content: str | bytes) -> None:
    """Write to standard output and flush.

    Raises:
        ResourceError: it cannot be written.
        SystemExit: the reader has closed the pipe (141, silently).
    """
    try:
        if isinstance(content, bytes):
            sys.stdout.flush()
            sys.stdout.buffer.write(content)
        else:
            encoding = sys.stdout.encoding or "utf-8"
            sys.stdout.write(content.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
        raise SystemExit(CLOSED_PIPE) from None
    except OSError as error:
        silence(sys.stdout)
        raise ResourceError(f"cannot write to standard output: {error.strerror}") from error
