"""Which networks does the study of predictions look at, and what are they asked to learn?

`network(index)` is a function of its index alone. Every block of 20 indices has each of five cells once with each of
four tasks, in random order; settings, sizes and delays are drawn so that each comes up equally often (delays: in
proportion to `DELAYS`). So the first few hundred networks are a fair sample of all of them, wherever a study stops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

import gradscope
from gradscope.networks.cell import Cell

SEED = 13  # of everything in the study
INPUTS = 4  # two channels that carry symbols, and two of noise
NOISE = 1.0  # standard deviation of the channels of noise
NETWORKS = 2400  # of a whole study

SECOND = 5  # one in so many networks is trained twice, whatever comes out; and all that are near the boundary
NEAR = 0.15  # of the way from chance to a perfect score: a network that gets there has learned something

# Delay in steps: relative frequency. Long ones cost the most.
DELAYS = {10: 2, 15: 2, 20: 3, 30: 4, 40: 4, 60: 4, 100: 2, 200: 1}
HIDDEN = (16, 24, 32, 48, 64, 96)

_COMMON: tuple[dict[str, Any], ...] = (
    {"init": "pytorch"},
    {"init": "keras"},
    {"init": "orthogonal"},
    {"init": "gaussian", "gain": 1.0},
    {"init": "gaussian", "gain": 2.0},
)


def _gated(bias: str) -> tuple[dict[str, Any], ...]:
    chrono = tuple({"init": "chrono", "tmax": tmax} for tmax in (20.0, 100.0))
    return *_COMMON, {"init": "pytorch", bias: 1.0}, {"init": "pytorch", bias: 3.0}, *chrono


SETTINGS: dict[str, tuple[dict[str, Any], ...]] = {
    "rnn": (
        *_COMMON,
        {"init": "gaussian", "gain": 0.5},
        {"init": "gaussian", "gain": 1.5},
        {"init": "identity"},
        {"init": "identity", "activation": "relu"},  # the IRNN of Le, Jaitly & Hinton (2015)
    ),
    "lstm": _gated("forget_bias"),
    "gru": _gated("update_bias"),
    "ugrnn": _gated("update_bias"),
    "mingru": (  # without recurrent weights: a gate near 1 forgets, so that a negative bias keeps
        {"init": "pytorch"},
        {"init": "keras"},
        {"init": "pytorch", "update_bias": 2.0},
        {"init": "pytorch", "update_bias": -1.0},
        {"init": "pytorch", "update_bias": -2.0},
        {"init": "pytorch", "update_bias": -4.0},
        {"init": "chrono", "tmax": 20.0},
        {"init": "chrono", "tmax": 100.0},
        {"init": "chrono", "tmax": 400.0},
    ),
}
CELLS = tuple(SETTINGS)


@dataclass(frozen=True)
class Task:
    """What a network is asked at the end of a sequence.

    Attributes:
        name: name on the page.
        classes: answers to choose from; 0 for a number.
        needed: directions of the first input that an answer depends on.
        chance: score of a network that ignores its input.
        solved: score that counts as solved.
        updates: budget of a training.
    """

    name: str
    classes: int
    needed: int
    chance: float
    solved: float = 0.97
    updates: int = 600


TASKS = {
    "sign": Task("one sign", 2, 1, 0.5),
    "signs": Task("two signs", 4, 2, 0.25),
    "order": Task("order of two symbols", 2, 1, 0.5),
    "adding": Task("adding", 0, 1, 0.0, 0.9, 1500),
}


@dataclass(frozen=True)
class Network:
    """A network of the study, before training.

    Attributes:
        index: place in the study.
        cell: name of the cell.
        settings: what `gradscope.create` is called with, beside sizes and seed.
        hidden: units.
        task: name of the task.
        delay: steps from the first input of a sequence to its last state that is read, less one: Jacobians between.
    """

    index: int
    cell: str
    settings: Mapping[str, Any] = field(hash=False)
    hidden: int
    task: str
    delay: int

    @property
    def parameters(self) -> dict[str, Any]:
        """What identifies the network in a record."""
        where = {"cell": self.cell, "settings": dict(self.settings), "hidden": self.hidden}
        return {"index": self.index, **where, "task": self.task, "delay": self.delay}

    @property
    def setting(self) -> str:
        """Return the settings as text: "gaussian, gain 2"."""
        init, *others = self.settings.items()
        return ", ".join([str(init[1]), *(f"{k} {v:g}" if not isinstance(v, str) else v for k, v in others)])

    def create(self) -> Cell:
        """Return the cell with its untrained weights, in float64."""
        cell = gradscope.create(
            self.cell, hidden_size=self.hidden, input_size=INPUTS, seed=[SEED, 1, self.index], **self.settings
        )
        assert isinstance(cell, Cell)
        return cell

    def rng(self, *purpose: int) -> np.random.Generator:
        """Return the generator of one purpose."""
        return np.random.default_rng([SEED, 2, self.index, *purpose])


def network(index: int) -> Network:
    """Return the network at a place of the study."""
    block, place = divmod(index, len(CELLS) * len(TASKS))
    cell, task = _pairs(block)[place]
    turn = _turn(cell, task)
    setting = turn.permuted(SETTINGS[cell], block, 0)
    delays = [delay for delay, often in DELAYS.items() for _ in range(often)]
    return Network(index, cell, setting, turn.permuted(HIDDEN, block, 1), task, turn.permuted(delays, block, 2))


def _pairs(block: int) -> list[tuple[str, str]]:
    pairs = [(cell, task) for cell in CELLS for task in TASKS]
    return [pairs[i] for i in np.random.default_rng([SEED, 0, block]).permutation(len(pairs))]


@dataclass(frozen=True)
class _Turn:
    """Random order in which the values of a setting come up, for one cell and task."""

    stream: tuple[int, int]

    def permuted(self, values: Sequence[Any], block: int, which: int) -> Any:
        """Return the value of a block: all values come up once before any comes up again."""
        round_, place = divmod(block, len(values))
        order = np.random.default_rng([SEED, 3, *self.stream, which, round_]).permutation(len(values))
        return values[order[place]]


@lru_cache
def _turn(cell: str, task: str) -> _Turn:
    return _Turn((CELLS.index(cell), list(TASKS).index(task)))


def draw(
    task: str, delay: int, count: int, rng: np.random.Generator, dtype: Any = np.float32
) -> tuple[np.ndarray, np.ndarray]:
    """Draw sequences of a task and their answers.

    Channels 0 and 1 carry what matters, and are zero elsewhere; channels 2 and 3 are white noise at every step.

    one sign: channel 0 of step 0 is +1 or -1; the answer is which.
    two signs: channels 0 and 1 of step 0 are +1 or -1; the answer is which of the four pairs.
    order: a 1 in channel 0 within the first fifth of the delay and a 1 in channel 1 in the second, or the other way
        round; the answer is which came first (after the temporal order problem of Hochreiter & Schmidhuber 1997).
    adding: channel 0 is uniform in (-1, 1) at every step, channel 1 is 1 at one step in the first tenth of the delay
        and at one between there and the middle; the answer is the sum of the two marked numbers, scaled to variance 1
        (the adding problem of Hochreiter & Schmidhuber 1997).

    Args:
        task: name of the task.
        delay: Jacobians between the state after step 0 and the last one.
        count: sequences.
        rng: source of randomness.
        dtype: of the inputs.

    Returns:
        inputs (count, delay + 1, INPUTS), and answers (count,): classes, or numbers for `adding`.
    """
    x = np.zeros((count, delay + 1, INPUTS), dtype)
    x[:, :, 2:] = NOISE * rng.standard_normal((count, delay + 1, INPUTS - 2))
    each = np.arange(count)
    if task in ("sign", "signs"):
        bits = rng.integers(0, 2, (count, TASKS[task].needed))
        x[:, 0, : bits.shape[1]] = 2 * bits - 1
        return x, bits @ (1 << np.arange(bits.shape[1]))
    if task == "order":
        fifth = max(1, delay // 5)
        first, second = rng.integers(0, fifth, count), rng.integers(fifth, 2 * fifth, count)
        answer = rng.integers(0, 2, count)
        x[each, first, answer] = 1
        x[each, second, 1 - answer] = 1
        return x, answer
    tenth, half = max(1, delay // 10), max(2, delay // 2)
    first, second = rng.integers(0, tenth, count), rng.integers(tenth, half, count)
    x[:, :, 0] = rng.uniform(-1, 1, (count, delay + 1))
    x[each, first, 1] = x[each, second, 1] = 1
    return x, (np.sqrt(1.5) * (x[each, first, 0] + x[each, second, 0])).astype(dtype)


def check_parameters(line: Mapping[str, Any]) -> None:
    """Refuse a line of a record that is not of the network at its index.

    Raises:
        ValueError: the record is that of another grid.
    """
    parameters = network(line["index"]).parameters
    if parameters != {key: line.get(key) for key in parameters}:
        raise ValueError(f"the record has another network at index {line['index']}: remove it, or undo the change")


def near_boundary(line: Mapping[str, Any]) -> bool:
    """Whether another seed might have changed what came out of a training: slow to learn, or more than chance."""
    task = TASKS[line["task"]]
    if line["solved"]:
        return bool(line["updates"] > task.updates / 2)
    return line["best"] is not None and bool(line["best"] > task.chance + NEAR * (1 - task.chance))


def trained_again(line: Mapping[str, Any]) -> bool:
    """Whether a network is trained with a second seed, from the line of the first."""
    return line["index"] % SECOND == 0 or near_boundary(line)
