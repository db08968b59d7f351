"""From answers to the JSON document: verdict, metrics, series, and what is not finite."""

from __future__ import annotations

import dataclasses
from typing import Any

from gradscope._version import __version__
from gradscope.report.case import Case
from gradscope.report.comparison import order_by_reach, sentence
from gradscope.report.remedy import Remedy, with_remedies
from gradscope.report.section import documented
from gradscope.report.strict import record, strict
from gradscope.report.verdict import Memory, Verdict, judge

SCHEMA_VERSION = "1.0"

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
        document["remedies"] = [_plain(r) for r in remedies]
    records = [record(r) for r in case.answers.get("finite", ())]
    cleaned: Document = strict(document, "", records)
    return cleaned | {"nonfinite": records}


def comparison_document(results: list[Document], names: list[str], config: Document) -> Document:
    """Build the document of kind "comparison" from documents of kind "analysis"."""
    return envelope("comparison", config) | {
        "verdict": {"sentence": sentence(results, names), "order": [names[i] for i in order_by_reach(results)]},
        "results": [
            {"name": n} | {k: v for k, v in r.items() if k != "run"} for n, r in zip(names, results, strict=True)
        ],
        "warnings": _unlike(results),
    }


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


def _verdict(verdict: Verdict) -> Document:
    findings = [dataclasses.asdict(f) for f in verdict.findings]
    memory = {} if verdict.memory is None else {"memory": _plain(verdict.memory)}
    return {"state": verdict.state, **memory, "sentence": verdict.sentence, "findings": findings}


def _plain(record: Remedy | Memory) -> Document:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(record).items()}
