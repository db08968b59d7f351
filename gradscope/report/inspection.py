"""From what a checkpoint holds to the document of kind "inspection"."""

from __future__ import annotations

from typing import Any

from gradscope.files.layouts._load import Checkpoint
from gradscope.networks.stack import cells_of
from gradscope.report.build import envelope


def inspection_document(checkpoint: Checkpoint) -> dict[str, Any]:
    """Build the document of kind "inspection"."""
    layers = [
        {
            "layer": f.name,
            "cell": f.kind,
            "input_size": f.input_size,
            "hidden_size": f.hidden_size,
            "layers": max(len(cells_of(f.cell)), 1),
            "bidirectional": f.bidirectional,
            "settings": next((c.changed_settings() for c in cells_of(f.cell)), {}),
            "state": [{"name": n, "size": k} for n, k in f.cell.sizes.items()],
            "assumptions": list(f.assumptions),
            "parameters": list(f.parameters),
        }
        for f in checkpoint.layers
    ]
    count = len(layers)
    names = ", ".join(f"{x['layer']} ({str(x['cell']).upper()}, {x['hidden_size']} units)" for x in layers[:3])
    sentence = f"{count} recurrent network{'s'[: count != 1]}: {names}{', ...' if count > 3 else ''}"
    assumed = [{"code": "GS-ASSUME", "message": a, "where": f.name} for f in checkpoint.layers for a in f.assumptions]
    notes = [{"code": "GS-NOTE", "message": n, "where": "file"} for n in checkpoint.notes]
    notes += [{"code": "GS-NOTE", "message": n, "where": f.name} for f in checkpoint.layers for n in f.notes]
    warnings = {str(n["message"]): n for n in assumed + notes}  # directions of one network have the same sentences
    return envelope("inspection", {"key": checkpoint.key} if checkpoint.key else {}) | {
        "file": {
            "name": checkpoint.path.name,
            "format": checkpoint.format,
            "sha256": checkpoint.sha256,
            "size_bytes": checkpoint.size_bytes,
        },
        "verdict": {"sentence": sentence},
        "layers": layers,
        "other_tensors": [{"name": n, "shape": list(s), "dtype": d} for n, (s, d) in checkpoint.others.items()],
        "warnings": list(warnings.values()),
    }
