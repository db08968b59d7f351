"""Residual connections and norms between layers, against networks written out."""

import dataclasses

import numpy as np
import pytest

import gradscope
from gradscope import Norm, closed_loop, create, stack
from gradscope.analysis.gradients import gradient_norms
from gradscope.checking.create import directions
from gradscope.dynamics.chain import linearise
from gradscope.dynamics.loss import given_loss
from gradscope.dynamics.trajectory import run
from gradscope.errors import InputError, UsageError
from gradscope.networks.stack import Stack
from gradscope.testing import check_cell

H, M, T = 5, 3, 12
EXACT = 1e-12  # a few hundred roundings
WAYS = [
    {"residual": True},
    {"norm": "layer"},
    {"norm": "rms"},
    {"residual": True, "norm": "layer"},
    {"residual": True, "norm": "rms"},
]
NAMED = pytest.mark.parametrize("way", WAYS, ids=lambda w: "-".join(map(str, w.values())))


def normalised(x, norm):
    """A norm of one vector, written out."""
    x = x - x.mean() if norm == "layer" else x
    return x / np.sqrt(np.mean(x**2) + 1e-5) if norm != "none" else x


def network_step(cells, x, s, *, residual=False, norm="none"):
    """Return (new state, what a loss sees) of one state, layer by layer."""
    new, stream = [], None
    for k, cell in enumerate(cells):
        start = sum(c.state_size for c in cells[:k])
        own = cell.step(x if k == 0 else normalised(stream, norm), s[start : start + cell.state_size])
        new.append(own)
        h = own[: cell.output.stop]
        stream = h + stream if residual and k else h
    return np.concatenate(new), stream


@NAMED
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "mingru"])
def test_step_is_the_network_written_out(name, way):
    network = create(name, layers=4, hidden_size=H, input_size=M, seed=1, **way)
    rng = np.random.default_rng(0)
    x, s = rng.standard_normal(M), rng.standard_normal(network.state_size)
    want, seen = network_step(list(network.layers.values()), x, s, **way)
    new = network.step(x, s)
    np.testing.assert_allclose(new, want, rtol=0, atol=EXACT)
    np.testing.assert_allclose(sum(new[rows] for rows in network.outputs), seen, rtol=0, atol=EXACT)
    np.testing.assert_allclose(run(network, x[None, None], start=s).states[1, :, 0], want, rtol=0, atol=EXACT)


@NAMED
@pytest.mark.parametrize("loss", ["last", "all"])
def test_gradient_is_that_of_the_loss(way, loss):
    """dL/ds_0 by the complex step through the whole network, for a loss that reads what the network returns."""
    network = create("gru", layers=3, hidden_size=H, input_size=M, seed=2, **way)
    cells = list(network.layers.values())
    rng = np.random.default_rng(1)
    xs, start = rng.standard_normal((T, M)), rng.standard_normal(network.state_size)
    direct = rng.standard_normal((T, H))
    direct[: T - 1] *= loss == "all"
    chain = linearise(run(network, xs, start=start))
    found = gradient_norms(chain, given_loss(chain, direct[None]), keep=True)
    want = np.zeros(len(start))
    for i in range(len(start)):
        s = start.astype(complex)
        s[i] += 1e-30j
        for x, w in zip(xs, direct, strict=True):
            s, seen = network_step(cells, x.astype(complex), s, **way)
            want[i] += w @ seen.imag / 1e-30
    ours = found.cotangents[0][:, 0] * np.exp(found.state[0, 0])
    np.testing.assert_allclose(ours, want, rtol=0, atol=EXACT * np.abs(want).max())


@NAMED
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru", "mingru", "linear", "unicornn"])
def test_rules_of_cells(name, way):
    check_cell(create(name, layers=3, hidden_size=4, input_size=2, seed=3, **way))


def weighted(width, seed, **more):
    gain, bias = np.random.default_rng(seed).uniform(0.5, 2, (2, width))
    return Norm(gain=gain, bias=bias, **more)


def mixed():
    """Layers of three kinds, one norm with weights, one without a mean, between some of them."""
    cells = [
        create("lstm", hidden_size=4, input_size=M, seed=4),
        create("gru", hidden_size=4, input_size=4, seed=5),
        create("rnn", hidden_size=4, input_size=4, seed=6),
    ]
    norms = {"b": weighted(4, 7), "top": weighted(4, 8, centred=False, eps=1e-3)}
    return stack(dict(zip(("a", "b", "top"), cells, strict=True)), residual=True, norm=norms)


def test_layers_of_several_kinds():
    network = mixed()
    check_cell(network)
    check_cell(closed_loop(network))
    assert {"b.norm.gain", "top.norm.bias"} <= set(network.weights())
    single = stack({n: c.astype(np.float32) for n, c in network.layers.items()}, norm=weighted(4, 7))
    assert {w.dtype for w in single.weights().values()} == {np.dtype(np.float32)}


def test_a_norm_does_not_see_size_and_mean():
    """Without eps the derivative has no part along x - mean x, and none along the mean where that is taken off."""
    x = np.random.default_rng(9).standard_normal((7, 2))
    for norm, gone in ((Norm(eps=0.0), (x, np.ones_like(x))), (Norm(centred=False, eps=0.0), (x,))):
        J = norm.linearise(x)
        for v in gone:
            assert np.abs(J.jvp(v)).max() < EXACT
        assert np.abs(J.jvp(np.eye(7)[:, :2])).max() > 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("centred", [True, False])
def test_a_norm_of_what_is_large(dtype, centred):
    """Squares beyond the range of numbers: y is that of x / 10^k, since eps is nothing beside either."""
    k = 20 if dtype == np.float32 else 200
    x = np.array([[1.0], [3.0], [-2.0], [0.5]])
    norm = Norm(centred)
    large = norm.apply((x * 10.0**k).astype(dtype))
    near = norm.apply((x * 1e4).astype(dtype))
    assert large.dtype == dtype
    np.testing.assert_allclose(large, near, rtol=0, atol=1e-8 if dtype == np.float64 else 1e-6)  # eps / 10^8; rounding
    J = norm.linearise((x * 10.0**k).astype(dtype))
    pushed = J.jvp(np.full((4, 1), 10.0**k, dtype) * np.array([[1], [0], [0], [0]], dtype))
    want = norm.linearise(x * 1e4).jvp(np.array([[1e4], [0], [0], [0]]))
    np.testing.assert_allclose(pushed, want, rtol=0, atol=1e-8 if dtype == np.float64 else 1e-6)


def test_names_of_norms_by_layer_and_words_for_residual():
    network = stack(cells(2, 3, 3, 3), norm={"l1": "rms", "l2": "none"})
    assert {n: norm.name for n, norm in network.norms.items()} == {"l1": "rms"}
    assert not create("gru", layers=2, hidden_size=3, residual="false").residual


def test_roads_between_layers_are_those_of_the_blocks():
    """J, block by block: a road from a to b is u . S_b W_b N (what stayed around the weights of a)."""
    network = mixed()
    rng = np.random.default_rng(10)
    x, s, u, v = (rng.standard_normal((k, 1)) for k in (M, *[network.state_size] * 3))
    J = network.linearise(x, s)
    roads = J.path_shares(u, v)
    shares = [*roads.through.values(), roads.around]
    np.testing.assert_allclose(sum(shares), (u * J.jvp(v)).sum(axis=0), rtol=EXACT)
    names = {n for n in roads.through if " to " in n}
    assert names == {"a to b", "a to top", "b to top"}
    below, steps = list(network._steps(x, s)), J.layers
    norm = {z.name: network.norms[z.name].linearise(z.below) for z in below[1:]}
    rows = dict(zip(network.layers, J._slices, strict=True))
    top_from = norm["top"].vjp(steps[2].vjp_input(u[rows["top"]]))
    b_from = norm["b"].vjp(steps[1].vjp_input(u[rows["b"]] + top_from))
    kept = {n: step.jvp_skip(v[rows[n]])[:4] for n, step in zip(network.layers, steps, strict=True)}
    want = {"a to b": b_from * kept["a"], "a to top": top_from * kept["a"], "b to top": top_from * kept["b"]}
    for name, terms in want.items():
        np.testing.assert_allclose(roads.through[name], terms.sum(axis=0), rtol=1e-10)


def test_a_residual_connection_keeps_the_loss_in_reach_of_every_layer():
    """A network whose upper layers ignore their input has no gradient below them, unless their input goes by them."""
    deaf = {}
    for residual in (False, True):
        network = create("lstm", layers=3, hidden_size=H, input_size=M, residual=residual)
        cut = {n: c if n == "l0" else c.replace(W=np.zeros_like(c.W)) for n, c in network.layers.items()}
        document = gradscope.analyze(network.over(cut), steps=10, batch=2, lags=0).document
        deaf[residual] = document["series"]["log10_gradient_norm"]["l0.c"]["median"][5]
    assert deaf[False] is None and np.isfinite(deaf[True])


def test_directions_see_the_sum_in_the_order_of_the_data():
    made = directions("rnn", hidden_size=2, input_size=M, layers=3, residual=True, norm="layer")
    inputs = np.random.default_rng(11).standard_normal((1, T, M))
    stream, given = None, inputs
    for k in range(3):
        ahead = run(made[f"l{k}"].cell, given).states[1:]
        back = run(made[f"l{k}.reverse"].cell, given[:, ::-1]).states[1:][::-1]
        for name, states in ((f"l{k}", ahead), (f"l{k}.reverse", back[::-1])):
            np.testing.assert_allclose(run(made[name], inputs).states[1:], states, rtol=0, atol=EXACT)
            check_cell(made[name])
        both = np.concatenate([ahead, back], axis=1)
        stream = both + stream if k else both
        given = np.stack([normalised(z, "layer") for z in stream[..., 0]])[None]


def test_closed_loop_reads_the_sum():
    network = create("rnn", layers=2, hidden_size=H, input_size=M, residual=True)
    loop = closed_loop(network)
    s = np.random.default_rng(12).standard_normal(network.state_size)
    want = network.step(loop.readout @ (s[:H] + s[H:]) + loop.bias, s)
    np.testing.assert_allclose(loop.step(np.zeros(0), s), want, rtol=0, atol=EXACT)


def test_results_say_what_is_between_layers():
    document = gradscope.analyze(mixed(), steps=8, batch=1, lags=0).document
    assert document["model"]["residual"] is True and document["model"]["norm"] == "layer, rms"
    plain = gradscope.analyze(create("rnn", layers=2, hidden_size=3, input_size=2), steps=8, batch=1, lags=0).document
    assert not {"residual", "norm"} & set(plain["model"])


def test_both_are_tried_as_changes():
    changes = create("gru", layers=2, hidden_size=H, input_size=M).changes(2.0, 50)
    assert changes["residual connections between layers"]().residual
    assert set(changes["layer norm between layers"]().norms) == {"l1"}
    there = create("gru", layers=2, hidden_size=H, input_size=M, residual=True, norm="rms").changes(2.0, 50)
    assert not [name for name in there if "between layers" in name]
    other = [create("gru", hidden_size=n, input_size=m) for n, m in ((4, 3), (5, 4))]
    assert "residual connections between layers" not in stack(other).changes(2.0, 50)


def cells(*sizes):
    return [create("rnn", hidden_size=n, input_size=m) for m, n in zip(sizes, sizes[1:], strict=False)]


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: create("gru", residual=True), UsageError, "between layers, but there is only one"),
        (lambda: create("gru", norm="layer"), UsageError, "between layers, but there is only one"),
        (lambda: directions("gru", norm="layer"), UsageError, "between layers, but there is only one"),
        (lambda: create("gru", layers=2, norm="batch"), UsageError, "no norm named 'batch'"),
        (lambda: stack([]), UsageError, "at least one layer"),
        (lambda: stack(["gru"]), UsageError, "layer l0 is not a cell but a str"),
        (lambda: stack({"a to b": cells(2, 3)[0]}), UsageError, "may hold letters"),
        (lambda: stack(cells(2, 3) + cells(4, 3)), InputError, "l1 has 4 inputs, but l0 below it has 3"),
        (lambda: stack(cells(2, 3, 4), residual=True), UsageError, "3 of l0, 4 of l1"),
        (lambda: stack(cells(2, 3, 3), norm=3), UsageError, "a norm is none, layer, rms or a gradscope.Norm, not 3"),
        (lambda: stack(cells(2, 3, 3), norm={"l1": Norm}), UsageError, "a norm is none, layer, rms"),
        (lambda: stack(cells(2, 3), norm="layer"), UsageError, "between layers, but there is only one"),
        (lambda: Norm(eps=-1), UsageError, "eps of a norm must be a nonnegative number, not -1"),
        (lambda: Norm(eps=None), UsageError, "eps of a norm must be a nonnegative number"),
        (lambda: Norm(gain=np.array([1j])), InputError, "gain of a norm must be real numbers, not complex128"),
        (lambda: Norm(bias="abc"), InputError, "bias of a norm must be real numbers"),
        (lambda: create("gru", layers=2, residual="maybe"), UsageError, "residual must be true or false"),
        (lambda: stack(cells(2, 3, 3), norm={"l0": Norm()}), UsageError, "no output below a layer l0"),
        (lambda: stack(cells(2, 3, 3), norm=weighted(4, 0)), InputError, "shape (4,); the layer below has 3"),
    ],
)
def test_refused(make, error, said):
    with pytest.raises(error) as caught:
        make()
    assert said in str(caught.value)


def with_norms(J, change):
    return dataclasses.replace(J, norms=tuple(change(n) for n in J.norms))


PLANTS = {
    "nothing": lambda J: J,
    "no residual": lambda J: dataclasses.replace(J, residual=False),
    "no norm": lambda J: dataclasses.replace(J, norms=()),
    "mean left in": lambda J: with_norms(J, lambda n: dataclasses.replace(n, centred=False)),
    "wrong scale": lambda J: with_norms(J, lambda n: dataclasses.replace(n, scale=n.scale**2)),
    "no gain": lambda J: with_norms(J, lambda n: dataclasses.replace(n, gain=None)),
}


@pytest.mark.parametrize("plant", PLANTS)
def test_planted_errors_are_found(plant):
    """A residual connection or a norm that the Jacobian does not know of, or knows otherwise."""

    @dataclasses.dataclass(frozen=True, eq=False)
    class Planted(Stack):
        def linearise(self, x, s):
            return PLANTS[plant](super().linearise(x, s))

    layers = create("lstm", layers=3, hidden_size=4, input_size=2).layers
    network = Planted(layers, True, {"l1": weighted(4, 1), "l2": weighted(4, 2)})
    if plant == "nothing":
        check_cell(network)
        return
    with pytest.raises(AssertionError, match="is not the derivative of the step"):
        check_cell(network)
