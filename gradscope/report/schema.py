"""The JSON Schema of everything that is written: what documents have in common, and the fields of all sections."""

from __future__ import annotations

from functools import cache
from typing import Any

from gradscope.report import section
from gradscope.report.fields import (
    Field,
    Fields,
    array,
    boolean,
    choice,
    constant,
    integer,
    interval,
    number,
    record,
    ref,
    string,
)
from gradscope.report.remedy import LARGER_REACH, MORE_STEPS
from gradscope.report.sections.reach import METRICS as REACH
from gradscope.report.verdict import DECADES
from gradscope.settings import config_schema

STATES = ("vanishing", "stable", "exploding", "inconclusive", "nonfinite")
MEMORY_STATES = ("remembers", "latched", "forgets", "chaotic", "unknown")
SHA256 = r"^[0-9a-f]{64}$"
CODE = r"^GS-[A-Z-]+$"


def _envelope(kind: str) -> Fields:
    """Return what every document begins with."""
    return {
        "schema_version": string(
            "Schema version, major.minor; within a major version fields are only added.",
            pattern=r"^1\.[0-9]+$",
        ),
        "kind": constant("Kind of the document.", kind),
        "tool": ref("The program that wrote the document.", "tool"),
        "config": ref("All settings used, with defaults resolved.", "config"),
    }


ANALYSIS: Fields = {
    **_envelope("analysis"),
    "model": ref("The model that was measured.", "model"),
    "verdict": record(
        "The verdict.",
        {
            "state": choice(
                f"Whether the gradient vanishes (the tail of its decay loses {DECADES:g} decades over the run), "
                f"explodes (gains {DECADES:g}), neither (stable), is not determined (inconclusive), or is not "
                "finite.",
                *STATES,
            ),
            "memory": record(
                "What the state remembers, measured without a gradient.",
                {
                    "state": choice(
                        "Whether the final state still depends on what came before the run (remembers; latched where "
                        "the gradient vanishes all the same), does not (forgets), depends on perturbations of any "
                        "size (chaotic), or whether that is not determined (unknown).",
                        *MEMORY_STATES,
                    ),
                    "steps": number(
                        "Memory length, steps; null: it does not end within the run, or is not determined.", minimum=0
                    ),
                    "steps_ci95": interval("95 % confidence interval of the memory length; null if not determined."),
                },
                optional=True,
            ),
            "sentence": string("The verdict in one sentence."),
            "findings": array("Findings beside the verdict.", ref("A finding beside the verdict.", "finding")),
        },
    ),
    "metrics": ref("Scalar metrics.", "metrics"),
    "remedies": array(
        "Effect of changes of the weights, each alone and on the same inputs, best first: those that help, by reach "
        "(if the gradient vanishes), then by distance of the rate from zero. Only with --remedies; empty if no change "
        "was tried, and a finding states why.",
        ref("A change of the weights.", "remedy"),
        optional=True,
    ),
    "series": ref("Numbers by time step, by lag and by gate.", "series"),
    "nonfinite": array(
        "Nonfinite values in the model, the data and this document: in the document they are null, and this "
        "list holds their place and kind.",
        ref("One array, or one number of this document.", "nonfinite"),
    ),
    "warnings": array("Assumptions, conversions and omissions.", ref("One note.", "warning")),
    "run": ref("Place and time of the run; left out with --reproducible.", "run", optional=True),
}

RESULT: Fields = {"name": string("Name of the model in this comparison."), **ANALYSIS}

COMPARISON: Fields = {
    **_envelope("comparison"),
    "verdict": record(
        "The verdict.",
        {
            "sentence": string("The verdict in one sentence."),
            "order": array(
                "Names of the models, largest reach first; of the same reach, those that explode last, since an "
                "exploding gradient reaches the whole run; models whose reach is null, or that are nonfinite, at the "
                "end.",
                string(""),
            ),
        },
    ),
    "results": array("One analysis per model, in the given order.", ref("One of the models.", "result"), minItems=1),
    "warnings": array("Notes on the comparison itself.", ref("One note.", "warning")),
    "run": ref("Place and time of the run, durations added up; left out with --reproducible.", "run", optional=True),
}

INSPECTION: Fields = {
    **_envelope("inspection"),
    "file": record(
        "The checkpoint.",
        {
            "name": string("File name, without the folder."),
            "format": string("Name of the reader that recognised it."),
            "sha256": string("Its SHA-256, hexadecimal.", pattern=SHA256),
            "size_bytes": integer("Its size in bytes.", minimum=0),
        },
    ),
    "verdict": record(
        "The verdict.",
        {
            "sentence": string("The verdict in one sentence."),
        },
    ),
    "layers": array(
        "Recurrent networks, in the order of the file.",
        record(
            "One recurrent network.",
            {
                "layer": string("Its name in the file."),
                "cell": string("Name of the cell."),
                "input_size": integer("Number of inputs.", minimum=1),
                "hidden_size": integer("Units of a layer.", minimum=1),
                "layers": integer("Layers of the network.", minimum=1),
                "bidirectional": boolean("Whether the network is bidirectional."),
                "settings": record("Settings of the cell that differ from their defaults.", {}, others=True),
                "state": ref("Parts of the state.", "state"),
                "assumptions": array(
                    "What the file does not say, and where the Jacobian of a function comes from, one sentence each.",
                    string(""),
                ),
                "parameters": array("Names of its tensors in the file.", string("")),
            },
        ),
    ),
    "other_tensors": array(
        "Tensors that belong to no recurrent network.",
        record(
            "A tensor.",
            {
                "name": string("Name of the tensor."),
                "shape": array("Its shape.", integer("")),
                "dtype": string("Type of its numbers."),
            },
        ),
    ),
    "warnings": array("Assumptions, conversions and omissions.", ref("One note.", "warning")),
}

CHECK: Fields = {
    **_envelope("check"),
    "model": record(
        "The cell that was checked.",
        {
            "cell": string("Name of the cell, of the class or of the function."),
            "function": boolean("Whether the cell is a step function; then facts are listed instead of derivatives."),
            "path": string("Name of its file, without the folder, if user-defined.", optional=True),
            "sha256": string("SHA-256 of that file, hexadecimal.", optional=True, pattern=SHA256),
        },
    ),
    "verdict": record(
        "The verdict.",
        {
            "passed": boolean("Whether every check passed."),
            "sentence": string("The verdict in one sentence."),
        },
    ),
    "derivatives": array(
        "Every derivative that the cell states or should state; none of a function, of a stack, or where there "
        "are no grids.",
        record(
            "One of them.",
            {
                "map": integer("Which of the maps that make up a step, from 1.", minimum=1),
                "part": string("The new part of the state that is derived."),
                "road": choice(
                    "What it is derived by: the preactivation of a gate, an old part, or another new part.",
                    "through",
                    "entry",
                    "around",
                    "within",
                ),
                "of": string("Name of that preactivation or part; n_x is the input preactivation of gate n."),
                "error": number(
                    "Largest difference from the derivative of the step over units and states, relative to the "
                    "largest derivative; null if nonfinite.",
                    minimum=0,
                ),
                "allowed": number("Allowed rounding error.", null=False, minimum=0),
                "right": boolean("Whether the error is within the allowed one."),
                "remark": string("How what is stated has to do with what it should be; empty where that is not known."),
            },
        ),
    ),
    "facts": array(
        "Properties of a step function.",
        record(
            "One property.",
            {
                "what": string("Name of the property."),
                "found": string("The verdict."),
                "right": boolean("Whether the property is as required."),
            },
        ),
    ),
}

KINDS = {
    "analysis": record("How far gradients reach in one model.", ANALYSIS),
    "comparison": record("Several models on the same inputs, side by side.", COMPARISON),
    "inspection": record("The recurrent layers of a checkpoint.", INSPECTION),
    "check": record("Whether a cell's Jacobian is the derivative of its step.", CHECK),
}

DEFINITIONS = {
    "result": record("One of the models.", RESULT),
    "tool": record(
        "The program.",
        {
            "name": constant("Its name.", "gradscope"),
            "version": string("Version of the program."),
        },
    ),
    "config": record(
        "Every setting that was used, resolved: what was not given has its default here.",
        {
            **{name: Field(meaning, schema, optional=True) for name, (meaning, schema) in config_schema().items()},
            "cell": string(
                "Name of the cell, as gradscope cells lists them, or FILE.py:NAME for one of the user's own; "
                "of a cell with random weights, or a function.",
                null=True,
                optional=True,
            ),
            "norm": choice("Normalisation of the input of every layer above the first.", "layer", "rms", optional=True),
            "input_size": integer("Number of input features of a cell that is checked.", optional=True, minimum=1),
            "lead_in": integer("Warm-up steps before the run, if any.", optional=True, minimum=1),
            "loss": string("The loss: last, mean or sum of a random readout; or given.", optional=True),
            "step_spectra": integer(
                "Number of time steps whose Jacobian spectrum was computed.", optional=True, minimum=0
            ),
        },
        others=True,
    ),
    "model": record(
        "The model: its source and sizes.",
        {
            "source": choice("Source: random weights, a file, or a Python object.", "init", "checkpoint", "python"),
            "cell": string(
                "Name of the cell, or of the class or function in a file of the user's own; function or "
                "jacobians where it was made in Python."
            ),
            "input_size": integer("Number of inputs m.", minimum=0),
            "hidden_size": integer("Units of a layer.", minimum=1),
            "layers": integer("Layers of the network.", minimum=1),
            "residual": boolean(
                "Whether a layer is given the sum of the outputs below it, and the loss reads the sum of all; "
                "where that is so.",
                optional=True,
            ),
            "norm": string(
                "Normalisation of the input of every layer above the first, layer or rms; if any.",
                optional=True,
            ),
            "state": ref("Parts of the state.", "state"),
            "settings": record("Settings of the cell that differ from their defaults.", {}, others=True),
            "assumptions": array(
                "What the file does not say, and where the Jacobian of a function comes from, one sentence each.",
                string(""),
            ),
            "unused": array(
                "Names of the tensors of the same module in the file that were not used, without the path of the "
                "module; where there are any.",
                string(""),
                optional=True,
            ),
            "init": string("Name of the initialisation; of random weights.", optional=True),
            "path": string(
                "Name of the file, without its folder; of a checkpoint, or of a cell of the user's own.", optional=True
            ),
            "sha256": string(
                "SHA-256 of the file, hexadecimal; of a checkpoint, or of a cell of the user's own.",
                optional=True,
                pattern=SHA256,
            ),
            "format": string("Name of the reader that recognised the file; of a checkpoint.", optional=True),
            "layer": string("Name of the layer in the file, or of the direction.", optional=True),
            "readout": string(
                "What feeds the output back as the next input: names of tensors in the checkpoint, random, or "
                "given (in Python); of a closed loop.",
                optional=True,
            ),
        },
    ),
    "state": array(
        "Parts of the state, in order.",
        record(
            "A part of the state.",
            {
                "name": string("Name of the part."),
                "size": integer("Number of variables.", minimum=1),
            },
        ),
    ),
    "finding": record(
        "A finding.",
        {
            "code": string("Stable code, GS-...", pattern=CODE),
            "level": choice("Severity.", "info", "warning", "error"),
            "message": string("Message, with the number."),
            "remedy": string("Suggested action; empty if none."),
        },
    ),
    "warning": record(
        "A note on an assumption, conversion or omission.",
        {
            "code": string("Stable code, GS-...", pattern=CODE),
            "message": string("Message, one sentence."),
            "where": string("The part of the document or input concerned."),
        },
    ),
    "nonfinite": record(
        "Nonfinite values of one kind in one array.",
        {
            "path": string("The array: data, inputs, states, model.weights.NAME; or a field of this document."),
            "kind": choice("Kind of value; the log10 of an exact zero is -inf.", "nan", "inf", "-inf"),
            "count": integer("Number of values.", minimum=1),
            "first": array(
                "Index of the first one, from 0: of data (sequence, step, column), of inputs (step, input, "
                "sequence), of states (step, unit, sequence).",
                integer(""),
            ),
        },
    ),
    "remedy": record(
        "A change of the weights and its effect.",
        {
            "change": string("The change in words, such as forget bias +1."),
            "state": choice("Verdict of the changed cell.", *STATES),
            "rate": REACH["rate"],
            "rate_ci95": REACH["rate_ci95"],
            "rate_change_ci95": interval(
                "95 % interval of how much the rate differs from that of the cell as it is, sequences paired."
            ),
            "reach": REACH["reach"],
            "log10_gain": REACH["log10_gain"],
            "helps": boolean(
                "Whether the rate comes nearer to zero from the side that it was on, by more than rate_change_ci95 "
                "leaves open, or the verdict becomes stable, or, if the gradient vanishes, the reach becomes at least "
                f"{LARGER_REACH} times as large and {MORE_STEPS} steps larger; and the verdict does not become the "
                "opposite or nonfinite. A gradient that was exactly zero in every sequence is helped by any that is "
                "not."
            ),
        },
    ),
    "run": record(
        "Place and time of the run.",
        {
            "started": string("Local time with offset, or UTC, ISO 8601.", format="date-time"),
            "duration_s": number("Wall time of the analysis, seconds.", null=False, minimum=0),
            "python": string("Version of Python."),
            "numpy": string("Version of numpy."),
            "scipy": string("Version of scipy."),
            "blas": string("Name and version of numpy's BLAS."),
            "threads": integer("BLAS threads set by the environment; null if not set.", null=True),
            "host": string("Name of the machine."),
        },
    ),
}

METRICS = (
    "Single numbers of one model. Magnitudes are log10; rates are natural logs in nats per step. Null: not "
    "determined, or not finite (see nonfinite). A metric that was not measured is left out."
)
SERIES = "Arrays. By time step: index t is the state s_t, 0 to T. By lag: steps back from the last one."


@cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of all kinds of documents."""
    measured = {
        "metrics": record(METRICS, section.fields("METRICS")),
        "series": record(SERIES, section.fields("SERIES")),
    }
    definitions = {**KINDS, **DEFINITIONS, **measured, **section.fields("DEFINITIONS")}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Results of gradscope",
        "description": "What gradscope writes as JSON. Natural logs are called rate and are in nats per step; "
        "magnitudes are log10. A number that is not determined or not finite is null. "
        "Within 1.x fields are only added.",
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in KINDS],
        "$defs": {name: field.node for name, field in definitions.items()},
    }
