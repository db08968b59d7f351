"""What is said of several models, and in which order: what explodes, what is not finite, and who reaches how far.

Models whose names differ in one number, such as the checkpoints of a run, are a series, and stand in its order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gradscope.report.model import share, times

NAMED = 5  # models that a sentence names with their reach
NAMED_FAILURES = 3  # that explode, or are not finite
LEAST_SERIES = 3  # models; two are compared by their reach
LISTED = 12  # models of a series whose reach is listed; of a longer one, the first, the largest and the last
NUMBER = re.compile(r"\d+(?:\.\d+)?")

Document = dict[str, Any]


def order_by_reach(results: Sequence[Document]) -> list[int]:
    """Return the places of the models, largest reach first.

    Of the same reach, those that explode come last: an exploding gradient reaches the whole run. Where the reach is not
    determined, as in a model that is not finite, it counts as less than none.
    """

    def key(i: int) -> tuple[int, bool]:
        reach = _reach(results[i])
        return (1 if reach is None else -reach, _state(results[i]) == "exploding")

    return sorted(range(len(results)), key=key)


def order_in_table(results: Sequence[Document], names: Sequence[str]) -> list[int]:
    """Return the places of the models in the order of the sentence.

    That of a series; else what explodes, largest gain first, then what is not finite, then the largest reach first.
    """
    series = series_order(names)
    if series is not None:
        return series
    ranks = {"exploding": 0, "nonfinite": 1}

    def key(i: int) -> tuple[int, float]:
        state = _state(results[i])
        return (ranks.get(state, 2), -(_gain(results[i]) or 0.0) if state == "exploding" else 0.0)

    return sorted(order_by_reach(results), key=key)


def series_order(names: Sequence[str]) -> list[int] | None:
    """Return the places of names that differ in one number, by that number; None where they do not."""
    numbers = [NUMBER.findall(name) for name in names]
    if len(names) < LEAST_SERIES or len({NUMBER.sub("#", name) for name in names}) > 1:
        return None
    differ = [i for i, column in enumerate(zip(*numbers, strict=True)) if len({*map(float, column)}) > 1]
    if len(differ) != 1:
        return None
    values = [float(row[differ[0]]) for row in numbers]
    return sorted(range(len(names)), key=values.__getitem__) if len({*values}) == len(names) else None


def sentence(results: Sequence[Document], names: Sequence[str]) -> str:
    """Return the verdict of a comparison: what explodes, what is not finite, and the reach of the others."""
    titles = [_title(r, name) for r, name in zip(results, names, strict=True)]
    order = order_in_table(results, names)
    clauses = [_exploding(results, titles), _nonfinite(results, titles)]
    series = series_order(names)
    healthy = [i for i in order if _state(results[i]) not in ("exploding", "nonfinite")]
    far = [i for i in healthy if _reach(results[i]) is not None]
    if far and series is not None:
        clauses.append(_reach_of_series(results, titles, series))
    elif far:
        clauses.append(_reach_of_each(results, titles, far))
    unknown = [titles[i] for i in healthy if _reach(results[i]) is None]
    if unknown and (series is None or not far):
        clauses.append(f"the reach of {_listed(unknown)} is not determined")
    lengths, seeds = {_steps(r) for r in results}, {r["config"].get("seed") for r in results}
    noise = any(f["code"] == "GS-SYNTHETIC-INPUT" for r in results for f in r["verdict"].get("findings", []))
    facts = ["white noise"] if noise else []
    facts += [f"{lengths.pop()} steps"] if len(lengths) == 1 else []
    facts += [f"seed {seeds.pop()}"] if len(seeds) == 1 else []
    return "; ".join(filter(None, clauses)) + (f" ({', '.join(facts)})" if facts else "")


def _exploding(results: Sequence[Document], titles: Sequence[str]) -> str:
    some = [i for i, r in enumerate(results) if _state(r) == "exploding"]
    some.sort(key=lambda i: -(_gain(results[i]) or 0.0))
    gains = [_gain(results[i]) for i in some]
    folds = [f"{times(gain)}-fold" if gain and times(gain) != "1" else "" for gain in gains]
    if len(some) == 1:
        return f"{titles[some[0]]} explodes" + (f" (its gradient grows {folds[0]})" if folds[0] else "")
    names = [f"{titles[i]} ({fold})" if fold else titles[i] for i, fold in zip(some, folds, strict=True)]
    if folds and folds[0]:
        names[0] = f"{titles[some[0]]} (gradient grows {folds[0]})"
    return f"{_listed(names)} explode" if some else ""


def _nonfinite(results: Sequence[Document], titles: Sequence[str]) -> str:
    some = [title for r, title in zip(results, titles, strict=True) if _state(r) == "nonfinite"]
    return f"{_listed(some)} {'is' if len(some) == 1 else 'are'} not finite" if some else ""


def _reach_of_each(results: Sequence[Document], titles: Sequence[str], order: Sequence[int]) -> str:
    """Return who reaches how far, the largest reach first."""
    named = NAMED if len(order) > NAMED + 1 else len(order)
    first, *rest = [(titles[i], _far(results[i])) for i in order[:named]]
    plural = "step" if first[1] == "1" else "steps"
    parts = [f"{first[0]} keeps {_bar(results)} of the gradient for {first[1]} {plural}"]
    parts += [f"{name} {far}" for name, far in rest]
    if len(order) > named:
        parts.append(f"the other {len(order) - named} at most {_far(results[order[named]])}")
    return ", ".join(parts)


def _reach_of_series(results: Sequence[Document], titles: Sequence[str], order: Sequence[int]) -> str:
    """Return the reach of every model of a series, in its order; of a long one, the first, the largest and the last."""
    words = [_in_series(results[i]) for i in order]
    keep = f"keep {_bar(results)} of the gradient for"
    who = f"{titles[order[0]]} to {titles[order[-1]]}"
    measured = {word for word in words if not word.isalpha()}
    if len(measured) == 1:
        (word,) = measured
        who = who if words.count(word) == len(words) else "the others"
        return f"{who} {keep} {word} step{'s'[: word != '1']} each"
    if len(order) <= LISTED:
        last = max(i for i, word in enumerate(words) if word in measured)
        return f"{who} {keep} {', '.join(f'{w} steps' if i == last else w for i, w in enumerate(words))}"
    top = max(order, key=lambda i: _healthy_reach(results[i]))
    at_end = _healthy_reach(results[top]) in [_healthy_reach(results[i]) for i in (order[0], order[-1])]
    largest = f"at most {_far(results[top])}" + (f" ({titles[top]})" if not at_end else "")
    return f"{who} {keep} {words[0]} steps at first, {largest}, {words[-1]} at the end"


def _healthy_reach(result: Document) -> int:
    """Return the reach of a model of a series; -1 where the model explodes, or the reach is not determined."""
    reach = _reach(result)
    return -1 if reach is None or _state(result) == "exploding" else reach


def _in_series(result: Document) -> str:
    state = _state(result)
    if state in ("exploding", "nonfinite"):
        return state
    return "unknown" if _reach(result) is None else _far(result)


def _far(result: Document) -> str:
    reach = _reach(result)
    return f"all {reach}" if reach == _steps(result) else str(reach)


def _bar(results: Sequence[Document]) -> str:
    bars = {r["metrics"]["reach_threshold"] for r in results}
    return share(bars.pop()) if len(bars) == 1 else "the threshold fraction"


def _listed(names: Sequence[str]) -> str:
    """Return names in a sentence: "a, b and c", "a, b, c and 4 others"."""
    shown, more = list(names[:NAMED_FAILURES]), len(names) - NAMED_FAILURES
    if more > 0:
        shown.append(f"{more} other{'s'[: more != 1]}")
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def _title(result: Document, name: str) -> str:
    """Return the name of a model in a sentence: "GRU" for the cell gru, and what the user wrote otherwise."""
    model = result["model"]
    builtin = model["source"] == "init" and "path" not in model and name == model["cell"]
    return name.upper().replace("_", " ") if builtin else name


def _state(result: Document) -> str:
    return str(result["verdict"]["state"])


def _reach(result: Document) -> int | None:
    reach = result["metrics"]["reach"]
    return reach if isinstance(reach, int) and _state(result) != "nonfinite" else None


def _gain(result: Document) -> float | None:
    gain = result["metrics"]["log10_gain"]
    return float(gain) if isinstance(gain, int | float) and gain > 0 else None


def _steps(result: Document) -> int:
    return int(result["series"]["timestep"][-1])
