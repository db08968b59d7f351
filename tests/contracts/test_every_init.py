"""Every initialisation: shapes, seeds, and the facts that its docstring states."""

import inspect
import tracemalloc

import drawing
import numpy as np
import pytest

from gradscope import create, plugins
from gradscope.errors import UsageError
from gradscope.inits._base import Shape
from gradscope.networks.cell import cell_class
from gradscope.networks.gate import gate_names, keep_signs

CELLS, INITS = plugins.names("cells"), plugins.names("inits")
GATED = [name for name in CELLS if keep_signs(cell_class(name).gates)]
EPS = np.finfo(float).eps
Z = 5.0  # a fixed seed that is 5 sigma out would have been drawn once in a million


BOTH = [(c, i) for c in CELLS for i in INITS if drawing.draws(i, c)]
EVERY = pytest.mark.parametrize(("name", "init"), BOTH, ids=["-".join(b) for b in BOTH])


# Cells whose four usual arrays are what an initialisation draws: no more, no less.
USUAL = [name for name in CELLS if cell_class(name).recurrent_weights and create(name).b_ih is not None]


def total_bias(cell, gate):
    i = list(cell.gates).index(gate) * cell.width
    return np.zeros(cell.width) if cell.bias is None else cell.bias[i : i + cell.width]


def blocks(cell):
    return np.split(cell.U, len(cell.gates))


@EVERY
def test_shapes_and_dtype(name, init):
    cell = create(name, hidden_size=6, input_size=4, init=init)
    rows = 6 * len(cell.gates)
    shapes = {k: w.shape for k, w in cell.weights().items()}
    usual = {"W": (rows, 4), "U": (rows, 6), "b_ih": (rows,), "b_hh": (rows,)}
    assert {k: shapes.get(k, usual[k]) for k in usual} == usual
    assert "U" in shapes and "b_hh" in shapes if name in USUAL else ("U" in shapes) == cell.recurrent_weights
    assert all(np.isfinite(w).all() and w.dtype == np.float64 for w in cell.weights().values())
    assert create(name, hidden_size=2, input_size=1, init=init, dtype=np.float32).dtype == np.float32


@EVERY
def test_no_matrix_is_drawn_in_vain(name, init):
    """A cell without recurrent weights costs no memory of units squared, whatever it is drawn by."""
    if not create(name, hidden_size=4, input_size=1).diagonal:
        return
    size = 2000
    tracemalloc.start()
    try:
        cell = create(name, hidden_size=size, input_size=1, init=init)
        assert tracemalloc.get_traced_memory()[1] < 8 * size**2
    finally:
        tracemalloc.stop()
    assert cell.U is None


@EVERY
def test_seeds(name, init):
    a, b, c = (create(name, hidden_size=5, input_size=3, init=init, seed=s).weights() for s in (7, 7, 8))
    assert all(np.array_equal(a[k], b[k]) for k in a)
    assert not np.array_equal(a["W"], c["W"])


@EVERY
def test_gain_multiplies_recurrent_weights_only(name, init):
    one = create(name, hidden_size=5, input_size=3, init=init)
    if one.U is None:
        with pytest.raises(UsageError, match="no recurrent weights"):
            create(name, hidden_size=5, input_size=3, init=init, gain=3.0)
        return
    three = create(name, hidden_size=5, input_size=3, init=init, gain=3.0)
    assert np.array_equal(three.U, 3.0 * one.U)
    assert all(np.array_equal(w, three.weights()[k]) for k, w in one.weights().items() if k != "U")


@EVERY
def test_bias_settings_fix_the_total(name, init):
    cls = cell_class(name)
    for setting, gate in cls.bias_settings().items():
        cell = create(name, hidden_size=5, input_size=3, init=init, **{setting: 1.5})
        free = create(name, hidden_size=5, input_size=3, init=init)
        assert (total_bias(cell, gate) == 1.5).all()
        for other in set(cls.gates) - {gate}:
            assert np.array_equal(total_bias(cell, other), total_bias(free, other))


@EVERY
def test_layers_differ(name, init):
    stack = create(name, hidden_size=4, input_size=4, layers=2, init=init)
    low, high = stack.layers.values()
    assert not np.array_equal(low.W, high.W)


@pytest.mark.parametrize("init", INITS)
def test_describes_itself(init):
    module = plugins.load("inits", init)
    assert module.__doc__.split("\n")[0].endswith(".")
    assert drawing.draws(init, "lstm")
    parameters = list(inspect.signature(module.initialise).parameters.values())
    assert [p.name for p in parameters[:2]] == ["shape", "rng"]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in parameters[2:])


@pytest.mark.parametrize("name", CELLS)
def test_pytorch_is_uniform(name):
    cell = create(name, hidden_size=64, input_size=32, init="pytorch")
    k = 1 / np.sqrt(64)
    for w in (w for key, w in cell.weights().items() if key in ("W", "U", "b_ih", "b_hh")):
        assert np.abs(w).max() <= k
        assert np.abs(w).max() > k * (1 - 20 / w.size)  # P(no value within 20/N of the ends) = exp(-20)
        assert abs(w.mean()) < Z * k / np.sqrt(3 * w.size)  # variance of a uniform: k^2 / 3
        # variance of u^2 for u uniform in +-k: k^4 (1/5 - 1/9)
        assert abs((w**2).mean() - k**2 / 3) < Z * k**2 * np.sqrt(4 / 45 / w.size)


@pytest.mark.parametrize("name", CELLS)
def test_keras(name):
    cell = create(name, hidden_size=24, input_size=10, init="keras")
    limit = np.sqrt(6 / (10 + len(cell.W)))  # all gates count: kernel is (inputs, gates * hidden)
    assert limit * (1 - 20 / cell.W.size) < np.abs(cell.W).max() <= limit
    assert abs((cell.W**2).mean() - limit**2 / 3) < Z * limit**2 * np.sqrt(4 / 45 / cell.W.size)
    if cell.U is not None:
        assert np.abs(cell.U.T @ cell.U - np.eye(24)).max() < 1e-13  # 24 terms of eps each, with room
    for gate, called in gate_names(cell.gates).items() if cell.bias is not None else ():
        assert (total_bias(cell, gate) == float(called == "forget")).all()
    if "forget" in gate_names(cell.gates).values():
        plain = create(name, hidden_size=24, input_size=10, init="keras", unit_forget_bias=False)
        assert not plain.bias.any()


@pytest.mark.parametrize("name", USUAL)
def test_orthogonal_gate_by_gate(name):
    cell = create(name, hidden_size=24, input_size=5, init="orthogonal")
    for U in blocks(cell):
        assert np.abs(U.T @ U - np.eye(24)).max() < 1e-13
        assert np.abs(U @ U.T - np.eye(24)).max() < 1e-13
    assert not (cell.b_ih.any() or cell.b_hh.any())


def test_orthogonal_is_uniform_in_haar_measure():
    """Of Haar measure E tr Q = 0 and Var tr Q = 1 (Diaconis & Shahshahani 1994); QR alone gives about sqrt(n)."""
    init = plugins.load("inits", "orthogonal").initialise
    shape = Shape("rnn", ("h",), 8, 1, {}, {})
    rng = np.random.default_rng(0)
    traces = np.array([np.trace(init(shape, rng)["U"]) for _ in range(400)])
    assert abs(traces.mean()) < Z / np.sqrt(400)
    assert abs(traces.var() - 1) < Z * np.sqrt(2 / 400)  # the trace is close to normal


@pytest.mark.parametrize("name", USUAL)
def test_identity(name):
    cell = create(name, hidden_size=4, input_size=3, init="identity")
    assert all(np.array_equal(U, np.eye(4)) for U in blocks(cell))
    assert not (cell.b_ih.any() or cell.b_hh.any())


@pytest.mark.parametrize("name", USUAL)
def test_gaussian_variance(name):
    cell = create(name, hidden_size=48, input_size=5, init="gaussian", gain=1.5)
    z = cell.U.ravel() * np.sqrt(48) / 1.5
    assert abs(z.mean()) < Z / np.sqrt(z.size)
    assert abs((z**2).mean() - 1) < Z * np.sqrt(2 / z.size)  # Var z^2 = 2
    assert abs((z**4).mean() - 3) < Z * np.sqrt(96 / z.size)  # Var z^4 = 105 - 9
    assert not (cell.b_ih.any() or cell.b_hh.any())


@pytest.mark.parametrize("name", GATED)
@pytest.mark.parametrize("tmax", [10.0, 200.0])
def test_chrono(name, tmax):
    cell = create(name, hidden_size=400, input_size=3, init="chrono", tmax=tmax)
    keeps = [g for g, sign in keep_signs(cell.gates).items() if sign > 0]
    writes = [g for g, sign in keep_signs(cell.gates).items() if sign < 0]
    kept = total_bias(cell, keeps[0]) if keeps else -total_bias(cell, writes[0])
    times = np.exp(kept)  # U[1, tmax - 1]: what counts is the sum of the two biases
    assert times.min() >= 1 - 4 * EPS
    assert times.max() <= (tmax - 1) * (1 + 4 * EPS)
    width = tmax - 2
    assert abs(times.mean() - tmax / 2) < Z * width / np.sqrt(12 * 400)
    assert times.min() < 1 + width * 20 / 400  # P(no value in the lowest 20/N) = exp(-20)
    assert times.max() > tmax - 1 - width * 20 / 400
    for gate, sign in keep_signs(cell.gates).items():
        assert np.array_equal(total_bias(cell, gate), sign * kept)
    for gate in set(cell.gates) - set(keep_signs(cell.gates)):
        assert not total_bias(cell, gate).any()


@pytest.mark.parametrize("name", sorted(set(CELLS) - set(GATED)))
def test_chrono_needs_a_gate(name):
    with pytest.raises(UsageError, match=f"{name} has none"):
        create(name, init="chrono")


@pytest.mark.parametrize("tmax", [2.0, 1.0, -5.0])
def test_chrono_refuses_short_times(tmax):
    with pytest.raises(UsageError, match="tmax"):
        create("lstm", init="chrono", tmax=tmax)


def test_settings_are_checked():
    with pytest.raises(UsageError, match="no setting named 'forget_bais'") as caught:
        create("lstm", forget_bais=1)
    assert "did you mean forget_bias" in caught.value.hint
    with pytest.raises(UsageError, match="finite"):
        create("lstm", forget_bias=float("nan"))
    with pytest.raises(UsageError, match="must be a number"):
        create("lstm", forget_bias="much")
    with pytest.raises(UsageError, match="true or false"):
        create("lstm", init="keras", unit_forget_bias="perhaps")
    with pytest.raises(UsageError, match="activation 'swish'"):
        create("rnn", activation="swish")
    with pytest.raises(UsageError, match="hidden_size"):
        create("rnn", hidden_size=0)
    with pytest.raises(UsageError, match="did you mean gru"):
        raise_hint(lambda: create("gruu"))


def raise_hint(call):
    """Raise what `call` raises, with its hint as the message."""
    try:
        call()
    except UsageError as error:
        raise UsageError(error.hint) from error


@pytest.mark.parametrize("init", INITS)
def test_projection(init):
    cell = create("lstm", hidden_size=6, input_size=3, init=init, projection=2)
    assert cell.W_hr.shape == (2, 6)
    assert cell.U.shape == (24, 2)
    assert cell.sizes == {"h": 2, "c": 6}
    for wrong in (6, -1, 2.5):
        with pytest.raises(UsageError, match="projection"):
            create("lstm", hidden_size=6, input_size=3, projection=wrong)
