"""The page of the study of predictions: what its record says, in tables between markers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import prediction_grid as grid
import prediction_record as record

from gradscope.report.verdict import DECADES

PAGE = record.HERE.parents[1] / "docs" / "explanation" / "prediction.md"
PICTURE = record.HERE.parents[1] / "docs" / "images" / "prediction.png"
END = "<!-- end -->"
HALVES = (("rnn", "gru", "mingru"), ("sign", "adding")), (("lstm", "ugrnn"), ("signs", "order"))
PROPORTIONAL_STEPS = 100  # runs of fewer have a lower bar, in proportion, in the rule that the verdict is compared with
DELAY_GROUPS = (10, 20), (30, 40), (60, 60), (100, 200), (10, 200)
FAILURES = 12  # networks that are listed on either side
TARGETS = 0.99, 0.95  # areas that the study aims at: one sign, tasks of several items
SEVERAL = ("signs", "order", "adding")  # tasks of more than one item
Z = 1.959964  # 97.5 % quantile of the normal distribution

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A measure that may say which networks learn.

    Attributes:
        name: name in the tables.
        score: of the line of a network; a network with a larger one is expected to learn. None: not determined, which
            counts as the smallest.
        sees_answers: whether it is computed from the answers of the task.
    """

    name: str
    score: Callable[[Line], float | None]
    sees_answers: bool = False


def _field(name: str) -> Callable[[Line], float | None]:
    return lambda line: line[name]


def _above_chance(name: str, chance: str) -> Callable[[Line], float | None]:
    """Return the score of an eigenvalue, or what random signs of sequences give, if that is larger."""
    return lambda line: max((v for v in (line[name], line[chance]) if v is not None), default=None)


def _ratio(name: str) -> Callable[[Line], float | None]:
    return lambda line: None if line[name] is None else line[name] / line["delay"]


def _distance(line: Line) -> float | None:
    return None if line["gain"] is None else -abs(line["gain"])


def _tail(line: Line) -> float | None:
    """Return decades of gain away from one over the earlier half of the delay, where a readout loses nothing once."""
    if line["gain"] is None or line["gain_half"] is None:
        return None
    return -abs(line["gain"] - line["gain_half"])


def _sum(line: Line) -> float | None:
    """Return decades of the tail away from one, and of Fisher memory, a square, below one."""
    distance, fisher = _tail(line), _above_chance("fisher", "chance")(line)
    return None if distance is None or fisher is None else 2 * distance + min(fisher / 2, 0.0)


CANDIDATES = {
    "delay": Candidate("delay alone, negative", lambda line: -line["delay"]),
    "gain": Candidate("gain", _field("gain")),
    "second_singular": Candidate("second singular value", _field("second_singular")),
    "reach": Candidate("reach over delay", _ratio("reach")),
    "lyapunov": Candidate("Lyapunov exponent", _field("lyapunov")),
    "coherence": Candidate("coherence", _field("coherence")),
    "memory_left": Candidate("memory: what is left of a difference", _field("memory_left")),
    "mean_gradient": Candidate("mean gradient, smallest needed direction", _field("mean_gradient")),
    "fisher": Candidate("Fisher memory, smallest needed eigenvalue", _above_chance("fisher", "chance")),
    "contrast": Candidate("Fisher memory of the task's own difference", _above_chance("contrast", "chance_contrast")),
    "fisher_states": Candidate(
        "Fisher memory without the covariance of gradients", _above_chance("fisher_states", "chance_states")
    ),
    "any_fisher": Candidate("Fisher memory of the report, in any direction", _field("any_fisher")),
    "distance": Candidate("distance of the gain from 1", _distance),
    "tail": Candidate("tail of the gain", _tail),
    "sum": Candidate("tail and Fisher memory", _sum),
    "readout": Candidate("linear readout of the untrained network", _field("readout"), sees_answers=True),
}
# colours of Okabe & Ito, which readers with a colour vision deficiency tell from one another
DRAWN = {
    "delay": "#999999",
    "gain": "#0072b2",
    "second_singular": "#56b4e9",
    "coherence": "#e69f00",
    "memory_left": "#009e73",
    "fisher": "#d55e00",
    "contrast": "#cc79a7",
}


class Study(NamedTuple):
    """The record, joined: a line for each network that was trained and measured.

    Attributes:
        networks: parameters, measures and the first training of each.
        twice: (first, second) training of the networks that were trained twice.
        trained: measures of trained networks that solve their task.
        planned: networks of a whole study.
    """

    networks: list[dict[str, Any]]
    twice: list[tuple[Line, Line]]
    trained: list[Line]
    planned: int


def joined(
    trainings: Iterable[Line], measures: Iterable[Line], reports: Iterable[Line], trained: Iterable[Line]
) -> Study:
    """Join the lines of the four records."""
    by_seed: dict[int, dict[int, Line]] = {0: {}, 1: {}}
    for line in trainings:
        by_seed[line["training"]][line["index"]] = line
    direct, reported = ({line["index"]: line for line in lines} for lines in (measures, reports))
    first, second = by_seed[0], by_seed[1]
    whole = sorted(first.keys() & direct.keys() & reported.keys())
    networks = [{**direct[i], **reported[i], **first[i]} for i in whole]
    twice = [(first[i], second[i]) for i in sorted(first.keys() & second.keys())]
    return Study(networks, twice, list(trained), grid.NETWORKS)


def study_of(folder: Path) -> Study:
    """Read and join the record of a folder."""
    phases = (record.TRAININGS, record.MEASURES, record.REPORTS, record.TRAINED)
    return joined(*(record.lines(record.path_of(folder, phase)) for phase in phases))


def scores(lines: Sequence[Line], candidate: Candidate) -> np.ndarray:
    """Return the scores of networks; what is not determined is -inf."""
    values = [candidate.score(line) for line in lines]
    return np.array([-math.inf if v is None or math.isnan(v) else v for v in values], float)


def solved(lines: Sequence[Line]) -> np.ndarray:
    """Return which networks solved their task."""
    return np.array([line["solved"] for line in lines], bool)


def roc_area(values: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the ROC curve: how often a positive has the larger value; ties count half.

    nan where there are only positives, or none. Mann & Whitney (1947).
    """
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return math.nan
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]  # mean rank of equal values, from 1
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def area_error(area: float, positives: int, negatives: int) -> float:
    """Return the standard error of an area; Hanley & McNeil (1982)."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (positives - 1) * (q1 - area**2) + (negatives - 1) * (q2 - area**2)
    return math.sqrt(max(variance, 0.0) / (positives * negatives))


def best_threshold(values: np.ndarray, positive: np.ndarray) -> float:
    """Return the value from which on networks are expected to learn, so that the balanced accuracy is largest.

    The middle between two values, where one lies between two finite ones.
    """
    order = np.unique(values)
    accuracy = [balanced_accuracy(values, positive, value) for value in order]
    best = int(np.argmax(accuracy))
    below = order[best - 1] if best else -math.inf
    return float((below + order[best]) / 2) if math.isfinite(below) else float(order[best])


def balanced_accuracy(values: np.ndarray, positive: np.ndarray, threshold: float) -> float:
    """Return the mean of the shares of learners at or above a threshold, and of others below it."""
    above = values >= threshold
    return float((above[positive].mean() + (~above[~positive]).mean()) / 2)


def of_half(lines: Sequence[Line], half: tuple[Sequence[str], Sequence[str]]) -> list[Line]:
    """Return the networks with the cells and the tasks of a half."""
    cells, tasks = half
    return [line for line in lines if line["cell"] in cells and line["task"] in tasks]


def outcome(line: Line) -> float:
    """Return how well a training went, for ranking: solved early is best, then what was reached."""
    if line["solved"]:
        return 2.0 - line["updates"] * 1e-6
    task = grid.TASKS[line["task"]]
    return -1.0 if line["best"] is None else (line["best"] - task.chance) / (1 - task.chance)


def markdown(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Return a table; the first row is its head, the first columns are aligned to the left."""
    rule = ["---"] * left + ["---:"] * (len(rows[0]) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [rows[0], rule, *rows[1:]])


def percent(part: int, whole: int) -> str:
    """Return a share in words: "3 of 60 (5.0 %)"."""
    return f"{part} of {whole} ({100 * part / whole:.1f} %)" if whole else "none"


def size(study: Study) -> str:
    """Return what was trained, and how many networks of each task and cell solve it."""
    lines = study.networks
    text = f"{len(lines)} networks were measured and trained, {len(study.twice)} of them twice"
    rest = study.planned - len(lines)
    text += f"; the study goes on to {study.planned}." if rest > 0 else "."
    rows = [["solved", *(grid.TASKS[t].name for t in grid.TASKS), "all"]]
    for cell in (*grid.CELLS, None):
        row = [f"`{cell}`" if cell else "all"]
        for task in (*grid.TASKS, None):
            chosen = [x for x in lines if cell in (None, x["cell"]) and task in (None, x["task"])]
            row.append(f"{solved(chosen).sum()} of {len(chosen)}" if chosen else "")
        rows.append(row)
    delays = [["delay", *(str(d) for d in grid.DELAYS)], ["solved"]]
    for delay in grid.DELAYS:
        chosen = [x for x in lines if x["delay"] == delay]
        delays[1].append(f"{solved(chosen).sum()} of {len(chosen)}")
    return f"{text}\n\n{markdown(rows)}\n\n{markdown(delays)}"


def _area(lines: Sequence[Line], candidate: Candidate) -> str:
    positive = solved(lines)
    area = roc_area(scores(lines, candidate), positive) if lines else math.nan
    if math.isnan(area):
        return ""
    return f"{area:.3f} ± {Z * area_error(area, int(positive.sum()), int((~positive).sum())):.3f}"


def measured(lines: Sequence[Line]) -> list[Candidate]:
    """Return the candidates that are determined for any network."""
    return [c for c in CANDIDATES.values() if np.isfinite(scores(lines, c)).any()]


def areas(study: Study) -> str:
    """Return the table of areas: candidates, and columns of tasks."""
    lines = study.networks
    several = [x for x in lines if x["task"] in SEVERAL]
    columns = {task.name: [x for x in lines if x["task"] == key] for key, task in grid.TASKS.items()}
    columns |= {"several items": several, "all": lines}
    columns["several items, without `rnn`"] = [x for x in several if x["cell"] != "rnn"]
    rows = [["measure before training", *columns]]
    for candidate in measured(lines):
        rows.append([candidate.name, *(_area(chosen, candidate) for chosen in columns.values())])
    return markdown(rows)


def thresholds(study: Study) -> str:
    """Return thresholds chosen on one half of cells and tasks, and how they do on the other."""
    rows = [["measure", "threshold", "chosen on", "accuracy there", "accuracy on the other", "area on the other"]]
    for candidate in measured(study.networks):
        for here, there in (HALVES, HALVES[::-1]):
            seen, unseen = of_half(study.networks, here), of_half(study.networks, there)
            if not all(0 < solved(lines).sum() < len(lines) for lines in (seen, unseen)):
                continue
            value = best_threshold(scores(seen, candidate), solved(seen))
            accuracy = [balanced_accuracy(scores(x, candidate), solved(x), value) for x in (seen, unseen)]
            where = f"{', '.join(here[0])}: {' and '.join(grid.TASKS[t].name for t in here[1])}"
            cells = [candidate.name, f"{value:.2g}", where, *map(_share, accuracy)]
            rows.append([*cells, _area(unseen, candidate)])
    return markdown(rows)


def noise(study: Study) -> str:
    """Return what two trainings of a network agree on, and the area that one reaches as a prediction of the other."""
    fair = [(a, b) for a, b in study.twice if a["index"] % grid.SECOND == 0]
    rest = [(a, b) for a, b in study.twice if a["index"] % grid.SECOND]
    same = lambda pairs: sum(a["solved"] == b["solved"] for a, b in pairs)  # noqa: E731
    text = f"Two trainings of a network agree in {percent(same(fair), len(fair))}"
    text += f"; of others, trained again because the first was slow or in between, in {percent(same(rest), len(rest))}."
    columns = {grid.TASKS[t].name: (t,) for t in grid.TASKS} | {"several items": SEVERAL, "all": tuple(grid.TASKS)}
    rows = [["what predicts the first training", *columns], ["the second training"]]
    for tasks in columns.values():
        pairs = [(a, b) for a, b in fair if a["task"] in tasks]
        second = {a["index"]: outcome(b) for a, b in pairs}
        rows[1].append(_area([a for a, _ in pairs], Candidate("", lambda line, of=second: of[line["index"]])))  # type: ignore[misc]
    return f"{text}\n\n{markdown(rows)}"


def failures(study: Study, name: str = "tail") -> str:
    """Return the networks that a candidate is most wrong about, on either side of its best threshold."""
    candidate, lines = CANDIDATES[name], study.networks
    values = scores(lines, candidate)
    value = best_threshold(values, solved(lines))
    order = np.argsort(values)
    learned = [lines[i] for i in order if solved(lines)[i] and values[i] < value]
    failed = [lines[i] for i in order[::-1] if not solved(lines)[i] and values[i] >= value]
    head = ["network", "task", "delay", "gain", "tail", "coherence", "log10 Fisher", "memory", "best score", "updates"]
    texts = [f"On the wrong side of {value:.2g}: {percent(len(learned) + len(failed), len(lines))}."]
    for title, wrong in (("Learned below it", learned), ("Never learned above it", failed)):
        texts.append(f"{title}: {len(wrong)}{_by_cell_and_task(wrong).replace(': ', ', ', 1)}.")
        if wrong:
            texts.append(markdown([head, *map(_failure, wrong[:FAILURES])], left=2))
    return "\n\n".join(texts)


def _failure(line: Line) -> list[str]:
    network = grid.network(line["index"])
    name = f"{network.cell}, {network.setting}, {network.hidden} units"
    numbers = [_number(line["gain"]), _number(_tail(line))]
    numbers += [_number(line[key]) for key in ("coherence", "fisher", "memory_left")]
    return [name, grid.TASKS[network.task].name, str(network.delay), *numbers, f"{line['best']}", str(line["updates"])]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"


def verdicts(study: Study) -> str:
    """Return how often each verdict is given before training, to networks that learn and to those that do not."""
    lines = study.networks
    learned, failed = [x for x in lines if x["solved"]], [x for x in lines if not x["solved"]]
    never = [x for x in failed if not grid.near_boundary(x)]
    counts = [Counter(map(_verdict, x)) for x in (learned, failed, never)]
    rows = [["verdict before training", "learned", "did not learn", "of these, stayed at chance"]]
    for verdict in sorted(set().union(*counts), key=lambda v: (-sum(c[v] for c in counts), v)):
        rows.append([verdict, *(f"{c[verdict]}" for c in counts)])
    rows.append(["all", *(f"{c.total()}" for c in counts)])
    wrong = [x for x in failed if _verdict(x) == "stable, remembers"]
    text = f"Stable and remembering, though the network does not learn: {percent(len(wrong), len(lines))}"
    return f"{markdown(rows)}\n\n{text}{_by_cell_and_task(wrong)}."


def _verdict(line: Line) -> str:
    return line["state"] if line["memory"] is None else f"{line['state']}, {line['memory']}"


def _by_cell_and_task(lines: Sequence[Line]) -> str:
    """Say which cells and tasks networks have: ": rnn, adding (7); ..."."""
    counts = Counter(f"`{x['cell']}`, {grid.TASKS[x['task']].name}" for x in lines)
    return ": " * bool(counts) + "; ".join(f"{name} ({n})" for name, n in counts.most_common())


def trained(study: Study) -> str:
    """Return how often each verdict is given after training, to networks that solve their task."""
    if not study.trained:
        return "None was measured yet."
    counts = Counter(map(_verdict, study.trained))
    rows = [["verdict after training", "networks", "share"]]
    rows += [[verdict, str(n), f"{100 * n / counts.total():.1f} %"] for verdict, n in counts.most_common()]
    table = markdown([*rows, ["all", str(counts.total()), ""]])
    wrong = [x for x in study.trained if _verdict(x) == "vanishing, forgets"]
    text = f"Vanishing and forgetting, though the network solves its task: {percent(len(wrong), len(study.trained))}"
    if not wrong:
        return f"{table}\n\n{text}."
    head = ["network", "task", "delay", "gain", "memory", "reach", "memory length"]
    examples = [head, *map(_counter_example, wrong[:FAILURES])]
    return (
        f"{table}\n\n{text}{_by_cell_and_task([grid.network(x['index']).parameters for x in wrong])}.\n\n"
        + markdown(examples, left=2)
    )


def _counter_example(line: Line) -> list[str]:
    network = grid.network(line["index"])
    name = f"{network.cell}, {network.setting}, {network.hidden} units"
    numbers = [_number(line[key]) for key in ("gain", "memory_left", "reach", "memory_length")]
    return [name, grid.TASKS[network.task].name, str(network.delay), *numbers]


def reached(study: Study) -> str:
    """Return which areas were aimed at, and the best three measures."""
    items = []
    groups = {"one sign": ("sign",), "tasks of several items": SEVERAL}
    for (name, tasks), target in zip(groups.items(), TARGETS, strict=True):
        lines = [x for x in study.networks if x["task"] in tasks]
        gated = [x for x in lines if x["cell"] != "rnn"]
        for where, chosen in ((name, lines), (f"{name}, without `rnn`", gated)):
            positive = solved(chosen)
            if not 0 < positive.sum() < len(chosen):
                continue
            areas = {c.name: roc_area(scores(chosen, c), positive) for c in measured(chosen) if not c.sees_answers}
            best = sorted(areas, key=lambda c: -areas[c])[:3]
            listed = ", ".join(f"{c} ({areas[c]:.3f})" for c in best)
            verdict = "reached" if areas[best[0]] >= target else "not reached"
            items.append(f"- **{where}**: aim {target}, {verdict}. Best: {listed}.")
    return "\n".join(items)


def bars(study: Study) -> str:
    """Return the gain from which on networks learn, for groups of delays, beside the bar of the verdict."""
    fixed, lower = f"with the bar of the verdict, {-DECADES:g}", f"lower in proportion below {PROPORTIONAL_STEPS} steps"
    rows = [["delay", "networks", "best threshold", "accuracy", fixed, lower]]
    for low, high in DELAY_GROUPS:
        lines = [line for line in study.networks if low <= line["delay"] <= high]
        positive, values = solved(lines), scores(lines, CANDIDATES["gain"])
        if not 0 < positive.sum() < len(lines):
            continue
        best = best_threshold(values, positive)
        shares = np.array([min(1.0, line["delay"] / PROPORTIONAL_STEPS) for line in lines])
        over = np.array(values) + DECADES * shares
        row = [f"{low} to {high}", str(len(lines)), f"{best:.2g}", _share(balanced_accuracy(values, positive, best))]
        accuracies = balanced_accuracy(values, positive, -DECADES), balanced_accuracy(over, positive, 0.0)
        rows.append([*row, *map(_share, accuracies)])
    return markdown(rows)


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


TABLES = {
    "reached": reached,
    "bars": bars,
    "size": size,
    "areas": areas,
    "thresholds": thresholds,
    "noise": noise,
    "failures": failures,
    "verdicts": verdicts,
    "trained": trained,
}


def roc_curve(values: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return shares of false and of true positives, from the largest threshold to the smallest."""
    cuts = np.concatenate([[math.inf], np.unique(values)[::-1]])
    above = values[None, :] >= cuts[:, None]
    return above[:, ~positive].mean(axis=1), above[:, positive].mean(axis=1)


def draw(study: Study, path: Path) -> None:
    """Draw ROC curves, a panel for each task."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.4, 3.5), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(grid.TASKS), sharey=True)
    for axis, (key, task) in zip(axes, grid.TASKS.items(), strict=True):
        lines = [line for line in study.networks if line["task"] == key]
        for name, colour in DRAWN.items():
            values, positive = scores(lines, CANDIDATES[name]), solved(lines)
            if 0 < positive.sum() < len(lines):
                area = roc_area(values, positive)
                label = f"{name.replace('_', ' ')}, {area:.3f}"
                axis.plot(*roc_curve(values, positive), color=colour, lw=1.4, label=label)
        axis.plot([0, 1], [0, 1], color="0.7", lw=0.8)
        axis.set_title(f"{task.name}, {len(lines)} networks", fontsize=9)
        axis.set_xlabel("share of the others above")
        axis.legend(fontsize=7, frameon=False, loc="lower right")
    axes[0].set_ylabel("share of learners above")
    figure.savefig(path)


def begin(name: str) -> str:
    """Return the marker before a table."""
    return f"<!-- make prediction-study: {name} -->"


def written(page: str, study: Study) -> str:
    """Return the page with every table replaced.

    Raises:
        ValueError: the page has no marker for a table.
    """
    for name, table in TABLES.items():
        before, marker, rest = page.partition(begin(name))
        _, end, after = rest.partition(END)
        if not marker or not end:
            raise ValueError(f"the page has no place for '{name}'")
        page = f"{before}{marker}\n{table(study)}\n{END}{after}"
    return page
