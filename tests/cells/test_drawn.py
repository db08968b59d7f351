"""What cells draw for themselves has the distributions of their papers, and the constants are theirs.

A sample of n lies within eps of its distribution function, everywhere, but for a chance of 2 exp(-2 n eps^2)
(Dvoretzky, Kiefer & Wolfowitz; Massart 1990): 1e-7 for the numbers here.
"""

import numpy as np
import pytest

from gradscope import create
from gradscope.networks.cell import cell_class

COUNT, EPS = 4000, 0.046


def drawn(name, hidden=COUNT, inputs=2, **settings):
    cls = cell_class(name)
    return cls.init_parameters(hidden, inputs, np.random.default_rng(11), **cls.settings() | settings)


def is_uniform(values, low, high):
    values = np.sort(np.ravel(values))
    assert low <= values[0] and values[-1] <= high
    wanted = (values - low) / (high - low)
    ranks = np.arange(len(values) + 1) / len(values)
    gap = max(np.abs(wanted - ranks[1:]).max(), np.abs(wanted - ranks[:-1]).max())
    return 2 * np.exp(-2 * len(values) * gap**2) > 1e-7


def test_the_measure_itself():
    rng = np.random.default_rng(0)
    assert is_uniform(rng.uniform(2, 3, COUNT), 2, 3)
    assert not is_uniform(2 + rng.uniform(0, 1, COUNT) ** 1.3, 2, 3)


def test_ring_of_the_linear_recurrent_unit():
    """Uniform on the ring: the squared modulus is uniform, not the modulus (Orvieto et al., lemma 3.2)."""
    own = drawn("lru")
    modulus, angle = np.exp(-np.exp(own["nu"])), np.exp(own["theta"])
    assert is_uniform(modulus**2, 0.9**2, 0.999**2)
    assert is_uniform(angle, 0, 2 * np.pi)
    assert is_uniform(np.exp(-np.exp(drawn("lru", r_min=0.0, r_max=1.0)["nu"])) ** 2, 0, 1)
    B = own["W"][:COUNT] + 1j * own["W"][COUNT:]
    assert np.mean(np.abs(B) ** 2) == pytest.approx(1 / 2, rel=0.05)  # 1 / inputs; 8000 draws: 4.5 deviations


def test_what_the_linear_recurrent_unit_keeps_of_noise():
    """White input of variance 1 makes |z|^2 = |B|^2 = 1 on average, however long the memory: what gamma is for."""
    cell = create("lru", hidden_size=200, input_size=8)
    (m,) = cell.maps
    L = m.eigenvalues[0] + 1j * m.eigenvalues[1]
    stationary = (np.abs(m.W[:200] + 1j * m.W[200:]) ** 2).sum(axis=1) / (1 - np.abs(L) ** 2)
    wanted = (np.abs(cell.W[:200] + 1j * cell.W[200:]) ** 2).sum(axis=1)
    assert np.allclose(stationary, wanted, rtol=1e-10)  # 1 - |L|^2 is 2e-3 at the least


def test_decay_of_the_gated_linear_recurrent_unit():
    assert is_uniform((1 / (1 + np.exp(-drawn("rglru")["L"]))) ** 8, 0.9, 0.999)


@pytest.mark.parametrize("name", ["s4d", "s5"])
def test_steps_of_state_spaces(name):
    assert is_uniform(drawn(name)["log_dt"], np.log(0.001), np.log(0.1))
    assert np.allclose(np.exp(drawn(name, 20)["A"][0]), 0.5, rtol=1e-12)


def normal_part(n):
    """HiPPO-LegS, its normal part, from the definition: A + p p^T."""
    root = np.sqrt(2 * np.arange(n) + 1.0)
    A = -np.tril(np.outer(root, root), -1) - np.diag(np.arange(n) + 1.0)
    p = np.sqrt(np.arange(n) + 0.5)
    return A + np.outer(p, p)


def test_eigenvalues_of_s5():
    wanted = np.linalg.eigvals(normal_part(24))
    wanted = np.sort(wanted[wanted.imag > 0].imag)
    own = drawn("s5", 12)["A"]
    assert np.allclose(np.sort(own[1]), wanted, rtol=1e-11)


def test_sum_and_product_of_eigenvalues_of_s5():
    """Squares add up to half the squares of all entries; the determinant is the product of (2 j + 1) / 2.

    It is these times that of +-1 above and below the diagonal, 1. Of 4000 dimensions the definition takes minutes.
    """
    odd = 2 * np.arange(4000) + 1.0
    omega = drawn("s5", 2000)["A"][1]
    assert (np.diff(omega) > 0).all()
    # sums of 2000 terms, each a root to a few roundings
    assert np.sum(omega**2) == pytest.approx((np.sum(odd) ** 2 - np.sum(odd**2)) / 8, rel=1e-12)
    assert 2 * np.sum(np.log(omega)) == pytest.approx(np.sum(np.log(odd / 2)), rel=1e-12)


def test_eigenvalues_of_s4d():
    """Lin counts in steps of pi; inv follows the largest eigenvalues of HiPPO, better the more there are."""
    assert np.allclose(drawn("s4d", 1, states=5)["A"][1, 0], np.pi * np.arange(5))
    gaps = []
    for count in (8, 32, 128):
        own = drawn("s4d", 1, states=count, a_init="inv")["A"][1, 0]
        assert (own > 0).all()
        gaps.append(abs(own.max() / np.linalg.eigvals(normal_part(2 * count)).imag.max() - 1))
    assert gaps[0] < 0.1 and gaps[1] < gaps[0] / 3 and gaps[2] < gaps[1] / 3


def test_selective_state_space():
    own = drawn("selective_ssm", states=3)
    assert is_uniform(np.log(np.log1p(np.exp(own["b_d"]))), np.log(0.001), np.log(0.1))
    assert np.allclose(np.exp(own["A_log"]), [1, 2, 3])
    assert own["D_1"].shape == (COUNT // 16, COUNT) and own["D_2"].shape == (COUNT, COUNT // 16)


def test_decay_of_rwkv():
    w = drawn("rwkv", 9)["w"]
    assert (w[0], w[-1]) == (-5, 3) and np.allclose(w, -5 + 8 * np.linspace(0, 1, 9) ** 0.7)


def test_orthogonal_by_the_exponential_map():
    own = drawn("exprnn", 2000)
    assert is_uniform(own["A"][np.arange(0, 2000, 2), np.arange(1, 2000, 2)], -np.pi, np.pi)
    assert np.count_nonzero(own["A"]) == 1000 and is_uniform(own["b"], -0.01, 0.01)
    (m,) = create("exprnn", hidden_size=7, input_size=2).maps
    assert np.abs(m.U @ m.U.T - np.eye(7)).max() < 1e-14


def test_ranges():
    for name, array, low, high in (
        ("unicornn", "w", 0, 1),
        ("unicornn", "c", -0.1, 0.1),
        ("indrnn", "u", 0, 1),
        ("sru", "u", -np.sqrt(1.5), np.sqrt(1.5)),
        ("ltc", "A", -1, 1),
    ):
        assert is_uniform(drawn(name)[array], low, high)


def test_constants():
    assert (drawn("fastgrnn", 3)["b"] == 1).all() and (drawn("ltc", 3)["tau"] == 1).all()
    assert not drawn("minimal_rnn", 3)["b_z"].any()
    b = drawn("mlstm", 64)["b"]
    assert np.allclose(b[1], np.linspace(3, 6, 8)) and np.std(drawn("mlstm")["b"][0]) == pytest.approx(0.1, rel=0.15)
    U = drawn("antisymmetric", 200)["U"]
    assert np.var(U) == pytest.approx(1 / 200, rel=0.05)  # 40000 draws: 7 deviations


@pytest.mark.parametrize(("hidden", "head", "units"), [(5, 8, 5), (17, 8, 17), (20, 8, 10), (64, 8, 8), (12, 5, 6)])
def test_heads_divide_the_units(hidden, head, units):
    cell = create("mlstm", hidden_size=hidden, input_size=2, head=head)
    assert hidden // cell.b.shape[1] == units
    assert cell.state_size == hidden * (units + 1)
