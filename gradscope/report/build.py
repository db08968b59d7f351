"""From answers to the JSON document: verdict, metrics, series, and what is not finite."""

from __future__ import annotations

import dataclasses
from typing import Any

from gradscope._version import __version__
from gradscope.report.case import Case
from gradscope.report.model import share
from gradscope.report.remedy import Remedy, with_remedies
from gradscope.report.section import documented
from gradscope.report.strict import record, strict
from gradscope.report.verdict import Verdict, judge

SCHEMA_VERSION = "1.0"
NAMED = 5  # models that the sentence of a comparison names

Document = dict[str, Any]


def envelope(kind: str, config: Document) -> Document:
    """Return what every document begins with."""
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "tool": {"name": "gradscope", "version": __version__},
        "config": config,
    }


def analysis_document(case: Case, notes: list[Document], remedies: tuple[Remedy, ...] | None = None) -> Document:
    """Build the document of kind "analysis"; see `gradscope schema` for what each field means.

    Args:
        case: what was measured, and of which model.
        notes: {code, message, where} of what was converted, assumed or left out.
        remedies: changes that were tried, best first; None where none was asked for.
    """
    verdict = judge(case)
    if remedies is not None:
        verdict = with_remedies(verdict, case.reach, remedies, "lead-in" if "readout" in case.model else "inputs")
    document = envelope("analysis", case.config) | {
        "model": case.model,
        "verdict": _verdict(verdict),
        "metrics": documented("metrics", case),
        "series": documented("series", case),
        "warnings": notes,
    }
    if remedies is not None:
        document["remedies"] = [_remedy(r) for r in remedies]
    records = [record(r) for r in case.answers.get("finite", ())]
    cleaned: Document = strict(document, "", records)
    return cleaned | {"nonfinite": records}


def comparison_document(results: list[Document], names: list[str], config: Document) -> Document:
    """Build the document of kind "comparison" from documents of kind "analysis"."""
    order = sorted(range(len(results)), key=lambda i: -_reached(results[i]))
    first, *rest = [(_title(results[i], names[i]), _far(results[i])) for i in order[:NAMED]]
    others = [f"{name} {far}" for name, far in rest]
    if len(order) > NAMED:
        others.append(f"the other {len(order) - NAMED} at most {_reached(results[order[NAMED - 1]])}")
    bars = {r["metrics"]["reach_threshold"] for r in results}
    bar = share(bars.pop()) if len(bars) == 1 else "the threshold fraction"
    lengths = {_steps(r) for r in results}
    seed = {r["config"].get("seed") for r in results}
    facts = [f"{lengths.pop()} steps"] if len(lengths) == 1 else []
    facts += [f"seed {seed.pop()}"] if len(seed) == 1 else []
    tail = f" ({', '.join(facts)})" if facts else ""
    plural = "step" if _reached(results[order[0]]) == 1 else "steps"
    sentence = ", ".join([f"{first[0]} keeps {bar} of the gradient for {first[1]} {plural}", *others]) + tail
    return envelope("comparison", config) | {
        "verdict": {"sentence": sentence, "order": [names[i] for i in order]},
        "results": [
            {"name": n} | {k: v for k, v in r.items() if k != "run"} for n, r in zip(names, results, strict=True)
        ],
        "warnings": _unlike(results),
    }


def _far(result: Document) -> str:
    reached = _reached(result)
    return f"all {reached}" if reached == _steps(result) else str(reached)


def _title(result: Document, name: str) -> str:
    """Return the name of a model in a sentence: "GRU" for the cell gru, and what the user wrote otherwise."""
    model = result["model"]
    builtin = model["source"] == "init" and "path" not in model and name == model["cell"]
    return name.upper().replace("_", " ") if builtin else name


def _unlike(results: list[Document]) -> list[Document]:
    """Warn where the models were not run alike."""
    differences = []
    for key in ("steps", "batch", "warmup", "data", "drive", "input_scale", "loss", "seed", "threshold", "dtype"):
        values = list(dict.fromkeys(str(r["config"].get(key, "none")) for r in results))
        differences += [f"{key} {' and '.join(values)}"] if len(values) > 1 else []
    # a direction of a bidirectional network sees what its layer does, not what the network is given
    directed = [any(w["code"] == "GS-DIRECTIONS" for w in r["warnings"]) for r in results]
    given = [r for r, one in zip(results, directed, strict=True) if not (one or r["config"].get("data"))]
    inputs = list(dict.fromkeys(str(r["model"]["input_size"]) for r in given))
    differences += [f"inputs {' and '.join(inputs)}"] if len(inputs) > 1 else []
    if not differences:
        return []
    text = f"The models were run with different settings: {'; '.join(differences)}."
    return [{"code": "GS-UNLIKE", "message": text, "where": "config"}]


def _reached(result: Document) -> int:
    reach = result["metrics"]["reach"]
    return reach if isinstance(reach, int) else 0


def _steps(result: Document) -> int:
    return int(result["series"]["timestep"][-1])


def _verdict(verdict: Verdict) -> Document:
    findings = [dataclasses.asdict(f) for f in verdict.findings]
    return {"state": verdict.state, "sentence": verdict.sentence, "findings": findings}


def _remedy(r: Remedy) -> Document:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(r).items()}
