"""Recorded formulas do what the formulas do, to the bit, whatever is recorded and wherever results go."""

import numpy as np
import pytest

from gradscope.kernels.tape import Player, record

RNG = np.random.default_rng(0)
SHAPE = (3, 4, 2)


def played(function, arguments):
    """Record, and evaluate for other values than those that were there when it was recorded."""
    tape = record(function, [np.full_like(a, 0.5) for a in arguments])
    assert tape is not None
    expected = function(*arguments)
    results = [np.full(np.shape(x), np.nan, np.asarray(x).dtype) for x in expected]
    calls = Player(tape).calls(arguments, results)
    for call, inputs in calls:
        call(*inputs)
    return expected, results, calls


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(
    "function",
    [
        lambda a, v: (a + v, a * v),
        lambda a, v: (np.tanh(a + v)[0], (a + v)[1:] ** 2, 1 - np.tanh(a + v)[2]),
        lambda a, v: (np.where(a > v, a, 2 * v), np.maximum(a, 0)),
        lambda a, v: tuple(np.exp(-np.abs(a)) / (1 + v) ** 3),
        lambda a, v: (a, a[0], v[:2].real),
        lambda a, v: (np.tanh(a), np.tanh(a)),
        lambda a, v: ((a > 0).astype(a.dtype) if isinstance(a, np.ndarray) else np.where(a > 0, a * 0 + 1, a * 0),),
        lambda a, v: (np.arctan2(a, 2.0) + np.arange(2), a * np.float32(2)),
    ],
)
def test_the_same_to_the_bit(function, dtype):
    arguments = [RNG.standard_normal(SHAPE).astype(dtype) for _ in range(2)]
    before = [a.copy() for a in arguments]
    expected, results, _ = played(function, arguments)
    for x, y in zip(expected, results, strict=True):
        np.testing.assert_array_equal(x, y)
    for a, b in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_intermediate_values_that_are_needed_again_are_not_written_over():
    def function(a, v):
        x = np.exp(a)
        y = x[0] + x  # reads x twice
        z = y * x
        return (z - x, np.sqrt(y * y) + z, x[1])

    arguments = [RNG.standard_normal(SHAPE) for _ in range(2)]
    expected, results, _ = played(function, arguments)
    for x, y in zip(expected, results, strict=True):
        np.testing.assert_array_equal(x, y)


def test_equal_expressions_are_evaluated_once():
    _, _, calls = played(lambda a: (np.tanh(a + 1), np.tanh(a + 1) * a), [RNG.standard_normal(SHAPE)])
    assert [c for c, _ in calls].count(np.tanh) == 1


def test_numbers_of_different_kind_stay_apart():
    """1 and 1.0 and True are equal in Python; in a formula they need not be."""
    expected, results, _ = played(lambda a: (a > 1, a + 1.0, np.power(a, 2)), [np.arange(4.0)])
    for x, y in zip(expected, results, strict=True):
        np.testing.assert_array_equal(x, y)


def test_results_beside_one_another():
    """A result may be a strided piece of a larger array."""
    a, whole = RNG.standard_normal((5, 4)), np.zeros((5, 3, 4))
    tape = record(lambda a: (a * 2, a + 1), [a])
    for call, inputs in Player(tape).calls([a], [whole[:, 0], whole[:, 2]]):
        call(*inputs)
    np.testing.assert_array_equal(whole, np.stack([a * 2, np.zeros_like(a), a + 1], axis=1))


@pytest.mark.parametrize(
    "function",
    [
        lambda a: (a if (a > 0).any() else -a,),
        lambda a: (a * float(a[0, 0, 0]),),
        lambda a: (np.cumsum(a, axis=0),),
        lambda a: (np.asarray(a) * 2,),
        lambda a: (a.sum() * a,),
        lambda a: (np.modf(a)[0],),
    ],
)
def test_what_cannot_be_recorded(function):
    assert record(function, [np.ones(SHAPE)]) is None


def test_a_function_that_changes_its_mind_is_not_trusted():
    seen = []

    def function(a):
        seen.append(a)
        return (a * len(seen),)

    assert record(function, [np.ones(SHAPE)]) is None
