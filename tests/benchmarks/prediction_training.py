"""Train a small network in PyTorch, from the weights that `gradscope.create` draws: does it learn its task?

The three standard cells are modules of torch.nn; the steps of the other two are written out. `check_states` compares
the states of each with those of gradscope before anything is trained.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import prediction_grid as grid
import torch
from torch import Tensor, nn
from torch.nn import functional

from gradscope.dynamics.trajectory import run
from gradscope.networks.cell import Cell

BATCH = 32  # sequences of an update
RATE = 2e-3  # learning rate of Adam with 32 units: `rate`
CLIP = 1.0  # largest norm of the gradient of all parameters
EVERY = 25  # updates between two tests
FRESH = 256  # sequences of a test
TWICE = 2  # tests in succession that must be passed
ALLOWED = 1e-10  # difference of states in float64


class Steps(nn.Module):
    """A cell that torch.nn does not have: gradscope's weights and a loop over time.

    Args:
        states: (W x + b of every step (T, B, rows), U or None) -> h of every step (T, B, H).
        cell: the weights.
    """

    def __init__(self, states: Callable[[Tensor, Tensor | None], Tensor], cell: Cell) -> None:
        super().__init__()
        self.states = states
        self.W = nn.Parameter(torch.from_numpy(np.array(cell.W)))
        self.U = None if cell.U is None else nn.Parameter(torch.from_numpy(np.array(cell.U)))
        self.b_ih = nn.Parameter(torch.from_numpy(np.array(cell.bias)))  # both biases; b_hh is None

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        """Return h of every step, as a module of torch.nn does; inputs and states are (T, B, *)."""
        return self.states(x @ self.W.T + self.b_ih, self.U), None


def ugrnn(p: Tensor, U: Tensor | None) -> Tensor:
    """Return the states of an update gate RNN: h' = g h + (1 - g) c."""
    assert U is not None
    hidden = U.shape[1]
    h, states = p.new_zeros(p.shape[1], hidden), []
    for p_x in p.unbind():
        both = torch.addmm(p_x, h, U.T)
        h = torch.lerp(torch.tanh(both[:, :hidden]), h, torch.sigmoid(both[:, hidden:]))
        states.append(h)
    return torch.stack(states)


def mingru(p: Tensor, U: Tensor | None) -> Tensor:
    """Return the states of a minimal GRU: h' = (1 - z) h + z n."""
    z_, n = p.chunk(2, dim=2)
    keep, new = torch.sigmoid(-z_), torch.sigmoid(z_) * n
    h, states = torch.zeros_like(n[0]), []
    for keep_t, new_t in zip(keep.unbind(), new.unbind(), strict=True):
        h = torch.addcmul(new_t, keep_t, h)
        states.append(h)
    return torch.stack(states)


def module(cell: Cell, name: str) -> nn.Module:
    """Return a trainable module with the weights of a cell, in float64."""
    if name in ("ugrnn", "mingru"):
        return Steps(ugrnn if name == "ugrnn" else mingru, cell)
    assert cell.W is not None
    sizes: tuple[int, int] = (cell.network_input_size, cell.output.stop)
    if name == "rnn":
        layer: nn.RNNBase = nn.RNN(*sizes, nonlinearity=getattr(cell, "activation"), dtype=torch.float64)  # noqa: B009
    else:
        layer = {"lstm": nn.LSTM, "gru": nn.GRU}[name](*sizes, dtype=torch.float64)
    arrays = {"weight_ih_l0": cell.W, "weight_hh_l0": cell.U, "bias_ih_l0": cell.b_ih, "bias_hh_l0": cell.b_hh}
    with torch.no_grad():
        for key, array in arrays.items():
            getattr(layer, key).copy_(torch.from_numpy(np.array(array)))
    return layer


def weights(layer: nn.Module) -> dict[str, np.ndarray]:
    """Return the weights of a module under gradscope's names."""
    short = {"weight_ih_l0": "W", "weight_hh_l0": "U", "bias_ih_l0": "b_ih", "bias_hh_l0": "b_hh"}
    return {short.get(k, k): v.detach().double().numpy() for k, v in layer.named_parameters()}


def check_states(network: grid.Network) -> float:
    """Compare the states of PyTorch with those of gradscope along the input of the task, in float64.

    Returns:
        the largest difference of two entries of h.

    Raises:
        ArithmeticError: it is above `ALLOWED`, so that not what is measured would be trained.
    """
    inputs, _ = grid.draw(network.task, network.delay, 8, network.rng(9), np.float64)
    largest = difference(network.create(), network.cell, inputs)
    if not largest <= ALLOWED:
        raise ArithmeticError(f"{network.cell}: states of PyTorch and gradscope differ by {largest:.1e}")
    return largest


def difference(cell: Cell, name: str, inputs: np.ndarray) -> float:
    """Return the largest difference of two outputs of PyTorch and gradscope, with the same weights and inputs."""
    ours = run(cell, inputs).states[1:, cell.output].transpose(0, 2, 1)
    with torch.no_grad():
        theirs, _ = module(cell, name)(torch.from_numpy(inputs).transpose(0, 1))
    return float(np.abs(ours - theirs.numpy()).max())


def rate(network: grid.Network) -> float:
    """Return the learning rate: with recurrent weights it is inversely proportional to the number of units.

    Adam changes every weight by about as much, and a preactivation is a sum over units (Yang, Hu et al. 2022).
    """
    return RATE if network.cell == "mingru" else RATE * 32 / network.hidden


def train(network: grid.Network, seed: int, updates: int | None = None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Train a network until it solves its task, or until the budget is used up.

    Args:
        network: the network.
        seed: seed of the training: the readout, and the order of the data.
        updates: the budget; that of the task unless given.

    Returns:
        {"solved", "updates", "score", "best"} and the weights at the end, those of the readout included. The score
        is the accuracy, or the share of the variance that is explained, on the last fresh sequences.
    """
    task = grid.TASKS[network.task]
    budget = updates or task.updates
    torch.manual_seed(int(network.rng(1, seed).integers(1 << 31)))
    layer = module(network.create(), network.cell).float()
    readout = nn.Linear(network.hidden, task.classes or 1)
    parameters = [*layer.parameters(), *readout.parameters()]
    adam = torch.optim.Adam(parameters, lr=rate(network), foreach=True)
    data, fresh = network.rng(2, seed), network.rng(3, seed)
    best, score, passed, done = -math.inf, math.nan, 0, 0
    while done < budget and passed < TWICE:
        x, y = _drawn(network, BATCH, data)
        loss = _loss(task, readout(layer(x)[0][-1]), y)
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        adam.step()
        done += 1
        if done % EVERY == 0:
            score = _score(network, layer, readout, fresh)
            if not math.isfinite(score):
                break
            best, passed = max(best, score), passed + 1 if score >= task.solved else 0
    result = {"solved": passed >= TWICE, "updates": done, "score": _finite(score), "best": _finite(best)}
    return result, weights(layer) | {f"readout_{k}": v for k, v in weights(readout).items()}


def _drawn(network: grid.Network, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    x, y = grid.draw(network.task, network.delay, count, rng)
    return torch.from_numpy(x).transpose(0, 1), torch.from_numpy(y)


def _loss(task: grid.Task, answer: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(answer, y) if task.classes else functional.mse_loss(answer[:, 0], y)


@torch.no_grad()
def _score(network: grid.Network, layer: nn.Module, readout: nn.Module, rng: np.random.Generator) -> float:
    x, y = _drawn(network, FRESH, rng)
    answer = readout(layer(x)[0][-1])
    if not bool(torch.isfinite(answer).all()):
        return math.nan
    if grid.TASKS[network.task].classes:
        return float((answer.argmax(dim=1) == y).double().mean())
    return float(1 - functional.mse_loss(answer[:, 0], y) / (y * y).mean())  # the answers have mean 0


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None
