"""Forward steps against the layers of torch, in float32."""

import pytest

torch = pytest.importorskip("torch")

from forward import B, H, M, agree, inputs, made  # noqa: E402
from torch import nn  # noqa: E402

pytestmark = [pytest.mark.formats, pytest.mark.filterwarnings("ignore:LSTM with projections")]  # another kernel


def arrays(layer):
    names = {
        "W": "weight_ih_l0",
        "U": "weight_hh_l0",
        "b_ih": "bias_ih_l0",
        "b_hh": "bias_hh_l0",
        "W_hr": "weight_hr_l0",
    }
    return {ours: getattr(layer, k).detach().numpy() for ours, k in names.items() if hasattr(layer, k)}


def layer(kind, seed, **options):
    torch.manual_seed(seed)
    return getattr(nn, kind)(M, H, batch_first=True, **options)


SEEDS = pytest.mark.parametrize("seed", range(3))


@SEEDS
@pytest.mark.parametrize("kind", ["tanh", "relu"])
def test_rnn(kind, seed):
    theirs, xs = layer("RNN", seed, nonlinearity=kind), inputs(seed)
    with torch.no_grad():
        h, _ = theirs(torch.from_numpy(xs))
    agree(made("rnn", **arrays(theirs), activation=kind), xs, h=h)


@SEEDS
def test_gru(seed):
    theirs, xs = layer("GRU", seed), inputs(seed)
    with torch.no_grad():
        h, _ = theirs(torch.from_numpy(xs))
    agree(made("gru", **arrays(theirs)), xs, h=h)


@SEEDS
@pytest.mark.parametrize("projection", [0, 7])
def test_lstm(projection, seed):
    """The layer returns h at every step, and c at the last one only: one step at a time."""
    theirs, xs = layer("LSTM", seed, proj_size=projection), inputs(seed)
    state, rows = None, []
    with torch.no_grad():
        for x in torch.from_numpy(xs).split(1, dim=1):
            _, state = theirs(x, state)
            rows.append([part[0] for part in state])
        h, _ = theirs(torch.from_numpy(xs))
    c = torch.stack([c for _, c in rows], dim=1)
    assert c.shape[0] == B
    agree(made("lstm", **arrays(theirs), projection=projection), xs, h=h, c=c)
