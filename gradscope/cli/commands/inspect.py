"""gradscope inspect: what a checkpoint holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gradscope.cli import _options as o
from gradscope.cli._models import seekable
from gradscope.cli._output import Sink, shown
from gradscope.cli._request import one_blas_thread
from gradscope.errors import UsageError

EPILOG = "Example: gradscope inspect model.pt"


def command(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="A checkpoint: .pt .pth .ckpt .safetensors .npz; - is standard input.",
            show_default=False,
            readable=False,
        ),
    ],
    key: o.Key = None,
    activation: o.Activation = None,
    gate_order: o.GateOrder = None,
    format: o.Format = None,
    as_json: o.Json = False,
    output: o.Outputs = None,
    force: o.Force = False,
    mkdir: o.Mkdir = False,
    quiet: o.Quiet = False,
    color: o.Color = "auto",
) -> None:
    """List the recurrent layers of a checkpoint, and what was assumed to read them. Nothing in it is executed."""
    name = o.format_of(format, as_json)
    if drawn := [path for path in output or () if path.suffix.lower() in (".png", ".svg", ".pdf")]:
        raise UsageError(
            f"there is nothing to draw of a list of layers: {shown(drawn[0])}", "write json, csv, tsv or md"
        )
    one_blas_thread()
    with Sink(name, output or (), force=force, mkdir=mkdir, color=color, quiet=quiet) as sink:
        from gradscope.files.layouts._load import read_checkpoint
        from gradscope.report.inspection import inspection_document
        from gradscope.report.present import from_document

        with seekable(file) as path:
            checkpoint = read_checkpoint(path, key=key, activation=activation, gate_order=gate_order)
        sink.write(from_document(inspection_document(checkpoint)))
