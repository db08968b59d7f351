"""The common way of `analyze` and `compare`: gather models, measure them, put the results together, write, exit.

Heavy modules are imported inside the functions, after the number of BLAS threads has been set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gradscope.cli._blas import one_blas_thread
from gradscope.cli._diagrams import drawn
from gradscope.cli._fail_on import parse
from gradscope.cli._inputs import lengths
from gradscope.cli._measure import measure_all, sorted_out
from gradscope.cli._options import Output
from gradscope.cli._output import Sink, write_stdout
from gradscope.cli._plan import plan_text
from gradscope.cli._progress import note, progress
from gradscope.cli._signals import Stop, end_if_stopped, stoppable
from gradscope.cli._targets import Target
from gradscope.cli._user_cell import aside
from gradscope.errors import UsageError
from gradscope.settings import Settings

if TYPE_CHECKING:
    from gradscope.dynamics.progress import Progress
    from gradscope.networks.network import Network
    from gradscope.report.model import Report
    from gradscope.result import Result


def run(
    settings: Settings,
    output: Output,
    gather: Callable[[], list[Target]],
    *,
    comparison: bool,
    notes: Callable[[], list[dict[str, Any]]] = list,
) -> None:
    """Measure the targets and write the report; or write the plan of --dry-run.

    Args:
        settings: of all targets.
        output: what is written, and where.
        gather: returns the targets.
        comparison: whether one result is a comparison, too.
        notes: returns warnings for the document.

    Raises:
        SystemExit: interrupted by a signal; partial results have been written.
        typer.Exit: --fail-on holds.
    """
    one_blas_thread()
    condition = None if output.fail_on is None else parse(output.fail_on)
    if condition:
        condition.check_measured(settings.lags)
    if str(settings.data) == "-":
        raise UsageError("--data cannot be read from standard input", "save it to a file and pass its path")
    with Sink(output) as sink:
        with stoppable() as stop:
            with progress(output.progress, output.quiet) as report_progress, aside():
                noted = notes()
                targets = gather()
                models = [model for target in targets for model in target.models]
                if settings.threads > 1 and len(models) < 2 and not output.quiet:
                    note(f"warning: --threads {settings.threads} has no effect: it is for several models")
                if output.dry_run:
                    plan = plan_text([(m, *lengths(m)) for m in models])
                else:
                    results, cells, missing = _results(targets, settings.threads, report_progress, stop)
                    stop.hold()
                    report = _report(results, missing, noted, comparison=comparison)
                    report_progress("writing", 0, 0)
                    if output.diagram:
                        report = drawn(report, cells)
        if output.dry_run:
            write_stdout(plan)
            return
        sink.write(report if output.verbose else report.brief())
    end_if_stopped(stop)
    if condition:
        condition.end_if_it_holds(results)


def _results(
    targets: list[Target], threads: int, report_progress: Progress, stop: Stop
) -> tuple[dict[str, Result], dict[str, Network], list[str]]:
    """Return results and cells by name, and the names of models that an interrupt left out.

    Names that occur twice are numbered.
    """
    outcomes = measure_all([target.models for target in targets], threads, report_progress, stop)
    results: dict[str, Result] = {}
    cells: dict[str, Network] = {}
    missing: list[str] = []
    for target, measured in zip(targets, outcomes, strict=True):
        missing += [m.label for m, outcome in zip(target.models, measured, strict=True) if outcome is None]
        models = {m.label: m.cell for m in target.models}
        for label, result in (target.saved or sorted_out(target.models, measured)).items():
            again = sum(name == label or name.startswith(f"{label} (") for name in results)
            name = f"{label} ({again + 1})" if again else label
            results[name] = result
            cells |= {name: models[label]} if label in models else {}
    return results, cells, missing


def _report(results: dict[str, Result], missing: list[str], notes: list[dict[str, Any]], *, comparison: bool) -> Report:
    """Put results together, and note what is missing."""
    from gradscope.api import combine, cut_short

    one = next(iter(results.values())) if len(results) == 1 and not comparison else None
    result = one or combine(results)
    result.document["warnings"] += notes
    result.document["warnings"] += [cut_short(missing, "results" if comparison else "model")] if missing else []
    return result.report
