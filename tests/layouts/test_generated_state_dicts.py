"""Whatever stands in a state dict: the network is exact, refused, or what was assumed stands in the first lines.

A recurrent module as PyTorch writes it, with extra, missing, renamed and raw tensors in it and around it. Whether a
module is complete is decided here by its names alone, and a complete one is held against formulas of its own.
"""

import math
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradscope.api import combine
from gradscope.cli._measure import measure_all, sorted_out
from gradscope.cli._models import models_of_file
from gradscope.cli._signals import Stop
from gradscope.dynamics.progress import no_progress
from gradscope.errors import GradscopeError
from gradscope.files.layouts._base import find_layers
from gradscope.networks.stack import Direction
from gradscope.render import text
from gradscope.settings import Settings

H, M = 3, 2
GATES = {"rnn": 1, "gru": 3, "lstm": 4}
LINES, WIDTH = 24, 80  # of a terminal
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
INSIDE = ["ln.weight", "norm.0.bias", "weight_ch", "weight_ph", "alpha", "bias", "weight_ih", "weight_hh_l00",
          "weight_hh_l0_g", "bias_hh_l7", "num_batches_tracked", "inner.weight_ih"]  # fmt: skip
BESIDE = {"embedding.weight": (5, M), "fc.weight": (2, H), "fc.bias": (2,), "encoder.norm.weight": (H,)}


def names_of(depth, ways, biases, cell=False):
    """Return the names of the parameters of a module, as PyTorch writes them."""
    kinds = PARAMETERS if biases else PARAMETERS[:2]
    if cell:
        return list(kinds)
    return [f"{p}_l{k}{'_reverse' * w}" for k in range(depth) for w in range(ways) for p in kinds]


@st.composite
def modules(draw):
    """Return the kind of a module, its path, and its tensors."""
    kind = draw(st.sampled_from(list(GATES)))
    path = draw(st.sampled_from(["", "rnn", "layers.0.cell", "model.lstms.1"]))
    cell = draw(st.booleans())
    depth, ways = (1, 1) if cell else (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    tensors = {}
    for name in names_of(depth, ways, draw(st.booleans()), cell):
        below = M if "_l0" in name or cell else H * ways
        shape = {"weight_ih": (below,), "weight_hh": (H,)}.get(name[:9], ())
        tensors[f"{path}.{name}".strip(".")] = rng.normal(size=(GATES[kind] * H, *shape))
    return kind, path, tensors


@st.composite
def state_dicts(draw):
    """Return a kind, a path, and the tensors of a file with up to three changes."""
    kind, path, tensors = draw(modules())
    start = f"{path}." if path else ""
    for change in draw(
        st.lists(st.sampled_from(["inside", "beside", "missing", "renamed", "raw", "list"]), max_size=3)
    ):
        name = draw(st.sampled_from(sorted(tensors)))
        if change == "inside":
            shape = draw(st.sampled_from([(), (H,), (4 * H,), (H, H), (GATES[kind] * H, H)]))
            tensors[start + draw(st.sampled_from(INSIDE))] = np.ones(shape)
        elif change == "beside" and path:
            tensors |= {k: np.ones(s) for k, s in BESIDE.items()}
        elif change == "missing" and len(tensors) > 1:
            del tensors[name]
        elif change == "renamed":
            new = draw(st.sampled_from([f"{name}_x", f"sub.{name}", name.replace("_l0", "_l2"), name.replace("_l0", ""),
                                        name.replace("_ih", "_xh"), name.replace("_l1", "_l0")]))  # fmt: skip
            tensors = {new if k == name else k: v for k, v in tensors.items()}
        elif change == "raw":
            where = draw(st.sampled_from([name, ".".join(name.split(".")[:-2] + name.split(".")[-1:])]))
            tensors[f"{where}_raw"] = tensors[name] / 2
        elif change == "list" and path:
            other = re.sub(r"\d", "7", path) if re.search(r"\d", path) else f"{path}2"
            tensors |= {other + k.removeprefix(path): v for k, v in tensors.items() if k.startswith(start)}
    return kind, path, tensors


def sigma(a):
    return 1 / (1 + np.exp(-a))


def stepped(kind, group, x, h, c):
    """Return h and c after one step of a layer, by the formulas of PyTorch's documentation."""
    a = group["weight_ih"] @ x + group.get("bias_ih", 0)
    b = group["weight_hh"] @ h + group.get("bias_hh", 0)
    if kind == "rnn":
        return np.tanh(a + b), c
    if kind == "gru":
        (a_r, a_z, a_n), (b_r, b_z, b_n) = np.split(a, 3), np.split(b, 3)
        z = sigma(a_z + b_z)
        return (1 - z) * np.tanh(a_n + sigma(a_r + b_r) * b_n) + z * h, c
    i, f, g, o = np.split(a + b, 4)
    c = sigma(f) * c + sigma(i) * np.tanh(g)
    return sigma(o) * np.tanh(c), c


def check_exact(layer, path, tensors):
    """Hold one step of a network, or of a direction, against the formulas."""
    start = f"{path}." if path else ""
    reverse = isinstance(layer.cell, Direction) and layer.cell.reverse
    first = int(re.search(r"\.l(\d+)(\.reverse)?$", layer.name)[1]) if re.search(r"\.l\d", layer.name) else 0
    rows = range(first, first + 1) if isinstance(layer.cell, Direction) else range(layer.layers)
    rng = np.random.default_rng(1)
    cell = layer.cell.cell if isinstance(layer.cell, Direction) else layer.cell
    x, s = rng.normal(size=cell.input_size), rng.normal(size=cell.state_size)
    parts, seen, news = iter(np.split(s, cell.state_size // H)), x, []
    for k in rows:
        suffix = f"_l{k}{'_reverse' * reverse}"
        group = {p: tensors[start + p + suffix] for p in PARAMETERS if start + p + suffix in tensors}
        h = next(parts)
        seen, c = stepped(layer.kind, group, seen, h, next(parts) if layer.kind == "lstm" else h)
        news += [seen, c] if layer.kind == "lstm" else [seen]
    assert np.allclose(cell.step(x, s), np.concatenate(news), rtol=1e-12, atol=1e-14)


def is_complete(layer, path, tensors):
    """Return whether the tensors below a path are just those that PyTorch writes for a module with its own loop."""
    start = f"{path}." if path else ""
    below = {k.removeprefix(start) for k in tensors if k.startswith(start)}
    ways = 1 + layer.bidirectional
    return any(below == set(names_of(layer.layers, ways, biases)) for biases in (False, True))


def first_lines(tensors, folder):
    """Analyze a file as the command does; return the first lines of a terminal as one line, and the documents."""
    np.savez(folder / "m.npz", **tensors)
    models = models_of_file(Settings(steps=4, batch=1, warmup=0, lags=0), folder / "m.npz")
    (outcomes,) = measure_all([models], 1, no_progress, Stop())
    results = sorted_out(models, outcomes)
    result = next(iter(results.values())) if len(results) == 1 else combine(results)
    lines = text.render(result.report.brief(), width=WIDTH).splitlines()[:LINES]
    head = lines[: next((i for i, line in enumerate(lines) if line.startswith("╭")), LINES)]
    return " ".join(" ".join(head).split()), [r.document for r in results.values()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("generated")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(drawn=state_dicts())
def test_exact_refused_or_flagged(folder, drawn):
    _, path, tensors = drawn
    try:
        layers = find_layers(tensors)
    except GradscopeError:
        return
    for layer in layers:
        where = "" if layer.path == "(root)" else layer.path
        complete = is_complete(layer, where, tensors)
        if complete and layer.path not in ("model.lstms.7", "layers.7.cell"):
            assert layer.kind == "rnn" or layer.assumptions == [], "an ordinary module has nothing to be said of it"
            check_exact(layer, where, tensors)
        raw = any("read as the weights" in note for note in layer.notes)
        assert complete or raw or layer.assumptions, (path, sorted(tensors))
    head, documents = first_lines(tensors, folder)
    for document in documents:
        for sentence in document["model"]["assumptions"]:
            words = sentence.partition(": ")[2].split(";")[0].split(" of the same module")[0][:40]
            assert words in head, (sentence, head)
    assert math.isclose(len(documents), len(layers))
