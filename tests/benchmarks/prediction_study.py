"""Does what is measured before training say which networks will learn, and is the verdict on trained ones true?

    python tests/benchmarks/prediction_study.py train     # hours, PyTorch; stops and goes on where it stopped
    python tests/benchmarks/prediction_study.py measure   # of the networks that were trained, before training
    python tests/benchmarks/prediction_study.py trained   # of networks that solve their task, after training
    python tests/benchmarks/prediction_study.py report    # writes docs/explanation/prediction.md from the record
    python tests/benchmarks/prediction_study.py           # all of it

Every phase appends a line to its record for each piece of work that is done, and skips what the record has. Weights
are drawn, and data made, from seeds of the network's index: nothing but the record passes from phase to phase, except
for the weights of trained networks, which `train` writes to build/prediction.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import prediction_grid as grid
import prediction_record as record

WEIGHTS = record.HERE.parents[1] / "build" / "prediction"
SAVED = 800  # of the first so many networks, the trained weights of those that solve their task are saved


def train(folder: Path, networks: int, weights: Path = WEIGHTS, part: tuple[int, int] = (0, 1)) -> int:
    """Train the networks that the record lacks; return how many trainings that were.

    Args:
        folder: where the record is.
        networks: the first so many are trained.
        weights: where trained weights are saved.
        part: (i, n): only each n-th network from the i-th on, so that n processes can share the work and the record.
    """
    import prediction_training as training
    import torch

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # gradients that vanish would take several times as long
    path = record.path_of(folder, record.TRAININGS)
    done = {(line["index"], line["training"]): line for line in record.lines(path)}
    for line in done.values():
        grid.check_parameters(line)
    for first in {grid.network(i).cell: grid.network(i) for i in range(len(grid.CELLS) * len(grid.TASKS))}.values():
        print(f"{first.cell}: states of PyTorch and gradscope differ by {training.check_states(first):.1e}", flush=True)
    count = 0
    for index in range(part[0], networks, part[1]):
        for seed in (0, 1):
            if (index, seed) in done or (seed and not grid.trained_again(done[index, 0])):
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


def measure(folder: Path, networks: int) -> int:
    """Measure the untrained networks that the record lacks, of those that were trained; return how many times."""
    import prediction_measures as measures

    trained = {line["index"] for line in record.lines(record.path_of(folder, record.TRAININGS))}
    count = 0
    # Two records, since reports change with the package, and the study's own measures do not.
    for phase, measured in ((record.MEASURES, measures.candidates), (record.REPORTS, measures.reported)):
        path = record.path_of(folder, phase)
        done = {line["index"] for line in record.lines(path)}
        for index in sorted(i for i in trained - done if i < networks):
            network = grid.network(index)
            record.append(path, {"index": index} | measured(network, network.create()))
            count += 1
    return count


def measure_trained(folder: Path, networks: int, weights: Path = WEIGHTS) -> int:
    """Measure trained networks that solve their task, of which weights are saved; return how many."""
    import prediction_measures as measures

    path = record.path_of(folder, record.TRAINED)
    done = {line["index"] for line in record.lines(path)}
    saved = {int(file.stem): file for file in weights.glob("*.npz")}
    chosen = [i for i in sorted(saved.keys() - done) if i < networks]
    for index in chosen:
        network = grid.network(index)
        record.append(path, {"index": index} | measures.reported(network, measures.trained(network, saved[index])))
    return len(chosen)


def report(folder: Path) -> None:
    """Write the tables of the page from the record."""
    import prediction_page as page

    study = page.study_of(folder)
    page.draw(study, page.PICTURE)
    page.PAGE.write_text(page.written(page.PAGE.read_text(encoding="utf-8"), study), encoding="utf-8")
    print(f"{len(study.networks)} networks, {len(study.trained)} trained ones; written to {page.PAGE}")


PHASES = ("train", "measure", "trained", "report")


def main(arguments: Sequence[str]) -> None:
    """Run phases, all of them unless some are named."""
    parser = argparse.ArgumentParser(description="what measures of untrained networks say about training")
    parser.add_argument("phases", nargs="*", metavar="PHASE", help=f"{', '.join(PHASES)}; all unless given")
    parser.add_argument("--networks", type=int, default=grid.NETWORKS, help="the first so many networks of the grid")
    parser.add_argument("--folder", type=Path, default=record.HERE, help="where the record is")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the weights of trained networks are")
    parser.add_argument("--part", default="0/1", metavar="I/N", help="train each N-th network from the I-th on")
    options = parser.parse_args(arguments)
    phases = options.phases or PHASES
    if unknown := set(phases) - set(PHASES):
        parser.error(f"no phase {', '.join(sorted(unknown))}; there are {', '.join(PHASES)}")
    if "train" in phases:
        train(options.folder, options.networks, options.weights, tuple(map(int, options.part.split("/"))))
    if "measure" in phases:
        measure(options.folder, options.networks)
    if "trained" in phases:
        measure_trained(options.folder, options.networks, options.weights)
    if "report" in phases:
        report(options.folder)


if __name__ == "__main__":
    main(sys.argv[1:])
