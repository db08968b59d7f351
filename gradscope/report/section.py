"""The sections of a report: each says all that document, schema, tables, picture and findings know of one question.

A section is a file of `report/sections`; where it reports an analysis, it has the name of that analysis. All of its
names are optional:

    METRICS, SERIES, DEFINITIONS   {name: Field}, of which the JSON Schema and the reference page are made
    CODES                          {code: fields of `report.codes.Code`}, literally, for `gradscope explain`
    ABSENT                         what stands for the answer where there is none, for the document and for findings
    metrics(answer, case)          its part of the document's `metrics`
    series(answer, case)           its part of the document's `series`
    findings(answer, case)         list of Finding
    warnings(answer, case)         list of {code, message, where}
    rows(document)                 list of rows of the first table
    tables(document)               list of Table
    panels(document)               list of Panel
    comparison(results)            list of Panel, of several models
    data(document)                 Table, the numbers behind the first panel

What takes a document is given saved ones, too: it has to bear what is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

from gradscope import plugins
from gradscope.report.case import Case
from gradscope.report.model import Finding, Panel, Table

Document = dict[str, Any]

# The order of what is there since version 1.0. What is not named comes after it, in the order of the names.
ORDER = {
    "metrics": "reach memory precision depth steps products lyapunov timescales facts paths predictability inputs",
    "series": "gradients memory timescales steps products eigen lyapunov gates paths",
    "findings": "source finite inputs gradients verdict predictability reach unread memory precision depth gates "
    "timescales paths steps lyapunov products",
    "warnings": "source gradients reach",
    "rows": "precision memory predictability steps paths timescales facts",
    "tables": "reach remedies inputs gradients depth products lyapunov gates paths",
    "comparison": "gradients memory products lyapunov",
}
EXPERT = "products lyapunov gates paths".split()  # sections whose tables are left out of a short report
PANELS = (
    "decay memory layers eigenvalues product start fisher lyapunov convergence gates times road crossings step"
).split()


def _rank(name: str, order: Sequence[str]) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)


def _sections(what: str) -> Iterator[tuple[str, ModuleType]]:
    """Yield the sections that have a name, in its order."""
    order = ORDER.get(what.lower(), "").split()
    for name, section in sorted(plugins.loaded("sections"), key=lambda item: _rank(item[0], order)):
        if hasattr(section, what):
            yield name, section


def _answered(what: str, case: Case) -> Iterator[tuple[str, ModuleType, Any]]:
    """Yield the sections that have a name and an answer, or what stands for one, with that."""
    for name, section in _sections(what):
        answer = case.answers.get(name, getattr(section, "ABSENT", None))
        if answer is not None:
            yield name, section, answer


def documented(what: str, case: Case) -> Document:
    """Return the document's `metrics` or `series`."""
    document: Document = {}
    for _, section, answer in _answered(what, case):
        document |= getattr(section, what)(answer, case)
    return document


def findings(case: Case, verdict: Sequence[Finding]) -> list[Finding]:
    """Return the findings of all sections, and among them those of the verdict."""
    entries = {name: s.findings(answer, case) for name, s, answer in _answered("findings", case)}
    order = ORDER["findings"].split()
    by_section = sorted((entries | {"verdict": verdict}).items(), key=lambda item: _rank(item[0], order))
    return [finding for _, some in by_section for finding in some]


def warnings(case: Case) -> list[Document]:
    """Return the notes of all sections."""
    return [note for _, s, answer in _answered("warnings", case) for note in s.warnings(answer, case)]


def rows(document: Document) -> list[tuple[Any, ...]]:
    """Return the rows of the first table, but for those of the verdict."""
    return [row for _, section in _sections("rows") for row in section.rows(document)]


def tables(document: Document) -> tuple[Table, ...]:
    """Return the tables of one analysis, the most important first; what was not measured is left out."""
    named = [(name, table) for name, section in _sections("tables") for table in section.tables(document)]
    return tuple(replace(table, expert=name in EXPERT) for name, table in named)


def panels(document: Document) -> tuple[Panel, ...]:
    """Return the panels of one analysis; what was not measured is left out."""
    entries = [panel for _, section in _sections("panels") for panel in section.panels(document)]
    entries.sort(key=lambda panel: _rank(panel.name, PANELS))
    # The first panel is wide, but not where the last one would be left with a row of its own.
    return (replace(entries[0], wide=len(entries) % 3 != 0 or len(entries) == 3), *entries[1:])


def comparison(results: list[Document]) -> tuple[Panel, ...]:
    """Return the panels of several analyses, one colour for each."""
    return tuple(panel for _, section in _sections("comparison") for panel in section.comparison(results))


def data(document: Document) -> Table:
    """Return the numbers behind the first panel, for csv and tsv."""
    table: Table = next(section.data(document) for _, section in _sections("data"))
    return table


def single_numbers() -> dict[str, str]:
    """Return {metric: its section} of the metrics that are single numbers, in the order of the document."""
    sections = _sections("METRICS")
    return {metric: name for name, section in sections for metric, field in section.METRICS.items() if field.is_number}


def fields(what: str) -> Document:
    """Return METRICS, SERIES or DEFINITIONS of all sections."""
    return {name: field for _, section in _sections(what) for name, field in getattr(section, what).items()}
