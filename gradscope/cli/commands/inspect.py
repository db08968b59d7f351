"""gradscope inspect: what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradscope import plugins
from gradscope.cli._blas import one_blas_thread
from gradscope.cli._files import seekable
from gradscope.cli._options import Output, is_picture
from gradscope.cli._output import Sink
from gradscope.cli._signature import with_options
from gradscope.errors import UsageError, shown
from gradscope.settings import Settings

EPILOG = "Example: gradscope inspect model.pt"


@with_options
def command(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=f"A checkpoint ({' '.join(plugins.suffixes('checkpoints'))}, or a plug-in format), "
            "or - for standard input.",
            show_default=False,
            readable=False,
        ),
    ],
    *,
    settings: Settings,
    output: Output,
) -> None:
    """List the recurrent layers of a checkpoint and the assumptions made in reading it. No code is executed."""
    if drawn := [path for path in output.output if is_picture(path.suffix[1:].lower())]:
        raise UsageError(f"a list of layers cannot be drawn: {shown(drawn[0])}", "write json, csv, tsv or md")
    one_blas_thread()
    with Sink(output) as sink:
        from gradscope.files.layouts._base import LayoutOptions, refuse_idle
        from gradscope.files.layouts._load import read_checkpoint
        from gradscope.report.inspection import inspection_document
        from gradscope.report.present import from_document

        with seekable(file) as path:
            checkpoint = read_checkpoint(
                path, key=settings.key, activation=settings.activation, gate_order=settings.gate_order
            )
        refuse_idle(checkpoint.layers, LayoutOptions(settings.activation, settings.gate_order))
        sink.write(from_document(inspection_document(checkpoint)))
