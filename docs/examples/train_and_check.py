"""Train a small character model with PyTorch, analyze it with gradscope, and compare with autograd.

Needs torch and gradscope. Half a minute on one core. Writes into the current folder:

    untrained.pt, model.pt   state dicts, float32
    batch.npy                inputs of the LSTM: 9 sequences of 200 embedded characters, (9, 200, 16), float32
    ids.npy                  the same characters as numbers, (9, 200)
    g.npy                    dL/dh_t of the mean cross-entropy of all characters, (9, 200, 64)
    g_last.npy               dL/dh_T of the cross-entropy of the last character alone, (9, 64)

The text is the source of Python's standard library, so figures differ a little between Python versions.
"""

import json
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import torch
from torch import nn

import gradscope

HIDDEN, EMBEDDED, LENGTH, BATCH = 64, 16, 100, 32
UPDATES = 1200


class CharModel(nn.Module):
    """Predict the next character."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, EMBEDDED)
        self.lstm = nn.LSTM(EMBEDDED, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, symbols)

    def forward(self, ids):
        return self.head(self.lstm(self.embedding(ids))[0])


def text() -> torch.Tensor:
    """Return the standard library's top-level modules as numbers: 0 for what is not printable ASCII."""
    files = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    data = b"\n".join(f.read_bytes() for f in files)
    codes = torch.from_numpy(np.frombuffer(data, np.uint8).astype(np.int64))
    return torch.where(codes == 10, 1, torch.where((codes >= 32) & (codes < 127), codes - 30, 0))


def pick(codes: torch.Tensor, count: int, length: int) -> torch.Tensor:
    starts = torch.randint(len(codes) - length - 1, (count,))
    return torch.stack([codes[s : s + length + 1] for s in starts])


def train(model: CharModel, codes: torch.Tensor) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for update in range(UPDATES + 1):
        ids = pick(codes, BATCH, LENGTH)
        logits = model(ids[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        if update % 300 == 0:
            print(f"update {update:4}: {loss.item() / np.log(2):.2f} bits per character")
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()


def save_batch(model: CharModel, ids: torch.Tensor) -> None:
    """Save the inputs of the LSTM, and the gradient of the loss with respect to its outputs."""
    with torch.no_grad():
        x = model.embedding(ids[:, :-1])
    np.save("ids.npy", ids[:, :-1].numpy())
    np.save("batch.npy", x.numpy())
    output, _ = model.lstm(x)
    output.retain_grad()
    logits = model.head(output)
    losses = nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    losses.mean().backward(retain_graph=True)
    np.save("g.npy", output.grad.numpy())  # output.grad is dL/dh_t without the contribution of later steps
    output.grad = None
    losses[:, -1].sum().backward()
    np.save("g_last.npy", output.grad[:, -1].numpy())


def by_autograd(g: np.ndarray, dtype: torch.dtype) -> dict[str, np.ndarray]:
    """Return {name: |dL/d...| at every t, (T + 1, B)} from an LSTMCell loop over the same files."""
    state = torch.load("model.pt", weights_only=True)
    cell = nn.LSTMCell(EMBEDDED, HIDDEN)
    cell.load_state_dict({k[5:-3]: w for k, w in state.items() if k.startswith("lstm.")})
    cell.to(dtype)
    x = torch.from_numpy(np.load("batch.npy")).to(dtype)
    direct = torch.from_numpy(g).to(dtype)
    h = torch.zeros(len(x), HIDDEN, dtype=dtype, requires_grad=True)
    c = torch.zeros_like(h, requires_grad=True)
    loss, states = 0.0, []
    for t in range(x.shape[1] + 1):
        passed = c * 1  # c_t as read by the next step: its gradient excludes the path through h_t
        for tensor in (h, c, passed):
            tensor.retain_grad()
        states.append((h, passed, c))
        if t < x.shape[1]:
            h, c = cell(x[:, t], (h, passed))
            if direct.ndim == 3:
                loss = loss + (h * direct[:, t]).sum()
    (loss if direct.ndim == 3 else (h * direct).sum()).backward()
    zero = torch.zeros_like(h)
    rows = [[zero if s.grad is None else s.grad for s in row] for row in states]
    named = {
        "state": [torch.cat([a, b], 1) for a, b, _ in rows],
        "h": [a for a, _, _ in rows],
        "c": [b for _, b, _ in rows],
        "c_total": [d for _, _, d in rows],
    }
    return {k: torch.stack(v).double().norm(dim=2).numpy() for k, v in named.items()}


def by_hand(g: np.ndarray, dtype: type) -> np.ndarray:
    """Return |dL/dh_t| of a loss at the last step from textbook formulas, with 1 - tanh^2 as autograd has it."""
    state = torch.load("model.pt", weights_only=True)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    W, U, b_ih, b_hh = (state[f"lstm.{n}"].numpy().astype(dtype) for n in names)
    x, h = np.load("batch.npy").astype(dtype), np.zeros(g.shape, dtype)
    c, tape = h, []
    for t in range(x.shape[1]):
        i, f, k, o = np.split(x[:, t] @ W.T + h @ U.T + b_ih + b_hh, 4, axis=1)
        i, f, o, k = 1 / (1 + np.exp(-i)), 1 / (1 + np.exp(-f)), 1 / (1 + np.exp(-o)), np.tanh(k)
        tape.append((i, f, k, o, c))
        c = f * c + i * k
        h = o * np.tanh(c)
    dh, dc = g.astype(dtype), np.zeros_like(h)
    norms = [np.sqrt((dh**2).sum(1))]
    for i, f, k, o, old in reversed(tape):
        y = np.tanh(f * old + i * k)
        total = dc + dh * o * (1 - y**2)
        gates = (total * k * i * (1 - i), total * old * f * (1 - f), total * i * (1 - k**2), dh * y * o * (1 - o))
        dh, dc = np.concatenate(gates, axis=1) @ U, total * f
        norms.append(np.sqrt((dh**2).sum(1)))
    return np.array(norms[::-1])


def measured(gradient: str) -> dict[str, np.ndarray]:
    """Run the command and return {name: log10 of the median norm at every t}."""
    command = ["analyze", "model.pt", "--data", "batch.npy", "--layer", "lstm", "--loss-gradient", gradient, "--json"]
    done = subprocess.run([sys.executable, "-m", "gradscope", *command], check=True, stdout=subprocess.PIPE, text=True)
    series = json.loads(done.stdout)["series"]["log10_gradient_norm"]
    return {k: np.array([-np.inf if y is None else y for y in v["median"]]) for k, v in series.items()}


def difference(ours: np.ndarray, norms: np.ndarray) -> str:
    """Return the largest relative difference over t of the median over sequences."""
    with np.errstate(divide="ignore", invalid="ignore"):
        theirs = np.median(np.log10(norms.astype(float)), axis=1)
        error = np.abs(np.expm1((ours - theirs) * np.log(10)))
    both = np.isfinite(ours) & np.isfinite(theirs)
    return f"{error[both].max():.1e} at {both.sum()} steps"


def compare(gradient: str) -> None:
    ours, g = measured(gradient), np.load(gradient)
    print(f"\n{gradient}: largest relative difference from gradscope")
    for dtype in (torch.float64, torch.float32):
        for name, norms in by_autograd(g, dtype).items():
            print(f"  {str(dtype)[6:]} autograd  {name:8} {difference(ours[name], norms)}")
    if g.ndim == 2:
        print(f"  80-bit, by hand   h        {difference(ours['h'], by_hand(g, np.longdouble))}")
        print(f"  float64, by hand  h        {difference(ours['h'], by_hand(g, np.float64))}")


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    codes = text()
    model = CharModel(97)
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, gradscope {gradscope.__version__}"
    print(f"{len(codes)} characters; {versions}")
    torch.save(model.state_dict(), "untrained.pt")
    train(model, codes)
    torch.save(model.state_dict(), "model.pt")
    save_batch(model, pick(codes, 9, 200))
    compare("g_last.npy")
    compare("g.npy")


if __name__ == "__main__":
    main()
