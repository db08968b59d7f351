"""Which options decide on what a command writes, and where? The second table, beside the settings of an analysis."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gradscope import plugins
from gradscope.cli._config import apply_config
from gradscope.errors import UsageError
from gradscope.options import FILE, FLAG, TEXT, Choice, Plain, Where, option

RUNS = ("analyze", "compare")
REPORTS = (*RUNS, "report")
WRITES = (*REPORTS, "inspect")
PICTURES = Where(
    lambda _, kinds: "picture" in kinds,
    "applies only to pictures, and none is requested",
    "give -o FILE.png, or omit it",
)
_row = partial(option, panel="Output")


@dataclass(frozen=True)
class Output:
    """What a command writes, and where."""

    format: str | None = _row(
        None,
        "Format of standard output: {names}",
        Choice(room="render"),
        room="render",
        usual="text",
        commands=WRITES,
    )
    json: bool = _row(
        False, "JSON on standard output", FLAG, commands=(*WRITES, "cells", "check-cell", "explain", "doctor")
    )
    output: tuple[Path, ...] = _row(
        (),
        "Write a file, in the format of its suffix: {suffixes}. Repeatable",
        Plain(Path, several=True),
        room="render",
        flags=("-o", "--output"),
        commands=(*WRITES, "cells"),
    )
    diagram: bool = _row(
        False,
        "Draw the diagram of the cell instead of panels, each line as wide as its share of the gradient",
        FLAG,
        where=(PICTURES,),
        commands=REPORTS,
    )
    force: bool = _row(False, "Replace existing files", FLAG, commands=(*WRITES, "cells"))
    mkdir: bool = _row(False, "Create missing directories", FLAG, commands=(*WRITES, "cells"))
    fail_on: str | None = _row(
        None,
        "Exit with code 3 for these verdicts (exploding,vanishing), or if 'reach < 50' holds",
        TEXT,
        metavar="LIST|EXPR",
    )
    reproducible: bool = _row(
        False, "Leave out times and versions, so that two runs give the same bytes", FLAG, commands=REPORTS
    )
    dry_run: bool = _row(False, "Print the memory and operations that the run would take, and stop", FLAG)
    config: Path | None = _row(
        None,
        "Options from a TOML file, by their long names; the command line takes precedence",
        FILE,
        metavar="FILE.toml",
        more={"is_eager": True, "callback": apply_config},
    )
    quiet: bool = _row(False, "Only the first line", FLAG, flags=("-q", "--quiet"), commands=(*WRITES, "check-cell"))
    verbose: bool = _row(
        False,
        "Also list conversions, and tables of products, exponents, gates and paths",
        FLAG,
        flags=("-v", "--verbose"),
        commands=REPORTS,
    )
    color: str = _row("auto", "Colours", Choice("auto", "always", "never"), commands=WRITES)
    progress: str = _row("auto", "Progress on standard error", Choice("auto", "plain", "none"), commands=RUNS)

    @property
    def stdout_format(self) -> str:
        """Format of standard output.

        Raises:
            UsageError: --json and --format contradict each other.
        """
        if self.json and self.format not in (None, "json"):
            raise UsageError(f"--json and --format {self.format} contradict each other", "give only one of them")
        return "json" if self.json else self.format or "text"

    @property
    def output_kinds(self) -> set[str]:
        """{"picture"} if one is drawn, for `Where`."""
        formats = (self.stdout_format, *(path.suffix[1:].lower() for path in self.output))
        return {"picture"} if any(map(is_picture, formats)) else set()


def is_picture(name: str) -> bool:
    """Return whether an output format is one that draws."""
    constants: dict[str, Any] = plugins.outline("render", name).constants if name in plugins.names("render") else {}
    return bool(constants.get("PICTURE"))
