"""Is what is said of the derivative of a step function true where its units are saturated, and in single precision?"""

import numpy as np
import pytest

from gradscope import from_step
from gradscope.checking.function import points
from gradscope.errors import InputError
from gradscope.testing import check_cell, derivatives

NETWORKS = [(n, gain, k) for n in (1, 2, 3, 4) for gain in (1, 2, 3, 5, 10) for k in range(10)]


def network(n, gain, k):
    """Return tanh(U s + w x), with the textbook derivative: of y near 1, 1 - y^2 has no digits."""
    rng = np.random.default_rng([n, gain, k])
    U, w = gain * rng.standard_normal((n, n)) / np.sqrt(n), rng.standard_normal(n)

    def step(x, s):
        return np.tanh(U @ s + w * x[0])

    return U, step, lambda x, s: (1 - step(x, s) ** 2)[:, None] * U


def test_random_networks_are_analytic_and_their_derivatives_right():
    for n, gain, k in NETWORKS:
        _, step, jacobian = network(n, gain, k)
        cell = from_step(step, state_size=n, input_size=1, jacobian=jacobian)
        assert (cell.analytic, cell.single) == (True, False)
        assert "agrees with the complex step at 4 random states" in cell.assumption
        assert all(fact.right for fact in derivatives(cell))
        check_cell(cell)


@pytest.mark.parametrize("error", [1e-4, 0.5, 2.0])  # of all entries, relative; 2 is the wrong sign
def test_errors_of_size_are_found(error):
    for n, gain, k in NETWORKS:
        _, step, jacobian = network(n, gain, k)
        with pytest.raises(InputError, match="off the complex step"):
            from_step(step, state_size=n, input_size=1, jacobian=lambda x, s, J=jacobian: (1 - error) * J(x, s))


def test_errors_of_kind_are_found():
    for n, gain, k in NETWORKS:
        U, step, jacobian = network(n, gain, k)
        wrong = [lambda x, s, U=U: U]  # without the factor 1 - y^2
        if n > 1:
            wrong += [lambda x, s, y=step, U=U: (1 - y(x, s) ** 2)[:, None] * U.T, lambda x, s, J=jacobian: J(x, s).T]
        for other in wrong:
            with pytest.raises(InputError, match="off the complex step"):
                from_step(step, state_size=n, input_size=1, jacobian=other)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda f, x, s: np.abs(f(x, s)),
        lambda f, x, s: f(x, np.abs(s)),
        lambda f, x, s: f(x, np.real(s)),
        lambda f, x, s: np.clip(np.real(f(x, s)), -2, 2),
        lambda f, x, s: f(x, s + np.abs(s) ** 2),
        lambda f, x, s: np.array([float(v) for v in f(x, s)]),
    ],
    ids=["abs of saturated", "abs", "real", "clip", "square", "float"],
)
def test_what_is_not_analytic_is_found_among_what_is_saturated(spoil):
    for n, gain, k in NETWORKS:
        _, step, _ = network(n, gain, k)
        cell = from_step(lambda x, s, f=step: spoil(f, x, s), state_size=n, input_size=1)
        assert not cell.analytic


def test_all_units_saturated():
    """The derivative at every random state is about 4 exp(-60): neither 0 nor eps is wrong there, and 1e-6 is."""
    options = {"state_size": 1, "input_size": 1}

    def step(x, s):
        return np.tanh(s + 30)

    for stated in (0.0, float(np.finfo(float).eps)):
        cell = from_step(step, **options, jacobian=lambda x, s, J=stated: np.full((1, 1), J))
        assert cell.analytic
        assert "agrees" not in cell.assumption
    assert "differences see no derivative" in from_step(step, **options).assumption
    with pytest.raises(InputError, match="is not the derivative"):
        from_step(step, **options, jacobian=lambda x, s: np.full((1, 1), 1e-6))


def test_a_step_that_is_not_defined_everywhere():
    """It fails beside one of the states: differences of h see nothing of that, and those of 2 h fail."""
    options = {"state_size": 1, "input_size": 1, "jacobian": lambda x, s: np.sign(s)[:, None]}
    at, v = next((s[0], v[0]) for _, s, v in points(from_step(lambda x, s: s, state_size=1, input_size=1)))
    h = float(np.cbrt(np.finfo(float).eps)) * abs(v)

    def step(x, s):
        if s[0] != at and 1.5 * h < abs(s[0] - at) < 3 * h:
            raise ValueError("not here")
        return np.abs(s)

    assert "agrees with central differences" in from_step(step, **options).assumption


# --- single precision


def single(n, gain, k):
    """Return the network in single precision, widened at the end, with U and the exact derivative."""
    U, _, _ = network(n, gain, k)
    w = np.random.default_rng(k).standard_normal(n).astype("f")

    def step(x, s):
        return np.tanh(U.astype("f") @ np.real(s).astype("f") + w * np.float32(np.real(x[0]))).astype(float)

    return U, step, lambda x, s: (1 - np.tanh(U @ s + w * x[0]) ** 2)[:, None] * U


FEW = [(n, gain, k) for n in (1, 3, 8) for gain in (1, 2) for k in range(4)]


def test_single_precision_is_seen_and_said():
    """Differences of step h = eps^(1/3) err by eps / h and h^2 f'''/6, 2e-5 |f'''|: f''' is up to 2 |U|^3 of a tanh."""
    for n, gain, k in FEW:
        U, step, jacobian = single(n, gain, k)
        cell = from_step(step, state_size=n, input_size=1)
        assert (cell.analytic, cell.single) == (False, True)
        assert "to about 1e-4: the function computes in single precision" in cell.assumption
        x, s = np.random.default_rng(k).standard_normal((2, n))
        h = np.finfo(np.float32).eps ** (1 / 3) * max(np.abs(s).max(), 1)
        room = h**2 / 3 * np.abs(U).max() ** 3 + 30 * np.finfo(np.float32).eps / h
        assert np.abs(cell.matrix(x[:1], s) - jacobian(x[:1], s)).max() < room
        check_cell(from_step(step, state_size=n, input_size=1, jacobian=jacobian))
        assert all(fact.right for fact in derivatives(from_step(step, state_size=n, input_size=1, jacobian=jacobian)))


def test_complex_numbers_in_single_precision():
    """The complex step holds there too, with h above the smallest number: its digits are those of single precision."""
    for n, gain, k in FEW:
        U, _, _ = network(n, gain, k)

        def step(x, s, U=U):
            kind = np.complex64 if np.iscomplexobj(s) else np.float32
            return np.tanh(U.astype("f") @ s.astype(kind)).astype(np.result_type(s.dtype))

        options = {"state_size": n, "input_size": 1}
        cell = from_step(step, **options, jacobian=lambda x, s, U=U: (1 - np.tanh(U @ s) ** 2)[:, None] * U)
        assert (cell.analytic, cell.single) == (True, True)
        assert all(fact.right for fact in derivatives(cell))
        check_cell(cell)
        with pytest.raises(InputError, match="off the complex step"):
            from_step(step, **options, jacobian=lambda x, s, U=U: U)


def test_wrong_derivatives_of_what_is_single():
    for n, gain, k in FEW:
        U, step, jacobian = single(n, gain, k)
        wrong = [lambda x, s, J=jacobian: -J(x, s)]
        wrong += [lambda x, s, U=U: U, lambda x, s, J=jacobian: J(x, s).T] if n > 1 else []
        for other in wrong:
            with pytest.raises(InputError, match="off central differences"):
                from_step(step, state_size=n, input_size=1, jacobian=other)


@pytest.mark.parametrize(
    "step",
    [
        lambda x, s: np.sign(s),
        lambda x, s: (s > 0) / 2.0,
        lambda x, s: 0 * s,
        lambda x, s: np.abs(s),
        lambda x, s: 0.9 * np.abs(s) + np.round(s),
    ],
)
def test_what_is_single_by_chance_is_not(step):
    assert not from_step(step, state_size=3, input_size=1).coarse


def test_one_part_in_single_precision():
    def step(x, s):
        return np.concatenate([np.tanh(np.real(s[:1]).astype("f")), 0.9 * np.abs(s[1:])]).astype(float)

    assert from_step(step, state_size=3, input_size=1).coarse
