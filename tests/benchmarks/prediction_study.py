"""Does what is measured before training say which networks will learn, and is the verdict on trained ones true?

    python tests/benchmarks/prediction_study.py train     # hours, PyTorch; stops and goes on where it stopped
    python tests/benchmarks/prediction_study.py measure   # of the networks that were trained, before training
    python tests/benchmarks/prediction_study.py trained   # of networks that solve their task, after training
    python tests/benchmarks/prediction_study.py report    # writes docs/explanation/prediction.md from the record

Every phase appends a line to its record for each piece of work that is done, and skips what the record has. Weights
are drawn, and data made, from seeds of the network's index: nothing but the record passes from phase to phase, except
for the weights of trained networks, which `train` writes to build/prediction.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import prediction_grid as grid
import prediction_record as record

WEIGHTS = record.HERE.parents[1] / "build" / "prediction"
SAVED = 800  # of the first so many networks, the trained weights of those that solve their task are saved
SECOND = 4  # one in so many networks is trained twice, whatever comes out; and all that are near the boundary
NEAR = 0.15  # of the way from chance to a perfect score: a network that gets there has learned something


def near_boundary(line: Mapping[str, Any], budget: int) -> bool:
    """Whether another seed might have changed what came out of a training: slow to learn, or more than chance."""
    if line["solved"]:
        return bool(line["updates"] > budget / 2)
    chance = grid.TASKS[line["task"]].chance
    return line["best"] is not None and bool(line["best"] > chance + NEAR * (1 - chance))


def trained_again(line: Mapping[str, Any], budget: int) -> bool:
    """Whether a network is trained with a second seed, from the line of the first."""
    return line["index"] % SECOND == 0 or near_boundary(line, budget)


def train(folder: Path, networks: int, weights: Path = WEIGHTS) -> int:
    """Train the networks that the record lacks; return how many trainings that were."""
    import prediction_training as training
    import torch

    torch.set_num_threads(1)
    path = record.path_of(folder, record.TRAININGS)
    done = {(line["index"], line["training"]): line for line in record.lines(path)}
    for line in done.values():
        grid.check_parameters(line)
    for first in {grid.network(i).cell: grid.network(i) for i in range(len(grid.CELLS) * len(grid.TASKS))}.values():
        print(f"{first.cell}: states of PyTorch and gradscope differ by {training.check_states(first):.1e}", flush=True)
    count = 0
    for index in range(networks):
        for seed in (0, 1):
            if (index, seed) in done or (seed and not trained_again(done[index, 0], training.UPDATES)):
                continue
            network, began = grid.network(index), time.perf_counter()
            result, arrays = training.train(network, seed)
            line = network.parameters | {"training": seed} | result
            if result["solved"] and not seed and index < SAVED:
                weights.mkdir(parents=True, exist_ok=True)
                np.savez(weights / f"{index}.npz", **{k: v.astype(np.float32) for k, v in arrays.items()})
            record.append(path, line)
            done[index, seed] = line
            count += 1
            print(line, f"{time.perf_counter() - began:.1f} s", flush=True)
    return count


def main(arguments: Sequence[str]) -> None:
    """Run a phase."""
    parser = argparse.ArgumentParser(description="what measures of untrained networks say about training")
    parser.add_argument("phase", choices=("train",))
    parser.add_argument("--networks", type=int, default=grid.NETWORKS, help="the first so many networks of the grid")
    parser.add_argument("--folder", type=Path, default=record.HERE, help="where the record is")
    options = parser.parse_args(arguments)
    train(options.folder, options.networks)


if __name__ == "__main__":
    main(sys.argv[1:])
