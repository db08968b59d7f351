"""The closed forms hold here, and a planted error is found by the check that is about it."""

import json
import math

import numpy as np
import pytest
from scipy.integrate import quad

from gradscope import selftest
from gradscope.cli.app import main
from gradscope.dynamics.chain import JacobianChain
from gradscope.selftest import _check, exponents, networks, products
from gradscope.selftest._check import Check, gap


def failing(*modules):
    """Return the names of the checks that fail."""
    return [c.name for m in modules for make in m.CHECKS for c in make() if not c.passed]


def test_every_closed_form_holds():
    found = selftest.run_selftest(full=True)
    assert all(c.passed for c in found), [c for c in found if not c.passed]
    assert len(found) > 30
    assert [c.group for c in found] == sorted((c.group for c in found), key=list(selftest.GROUPS.values()).index)
    assert len({c.name for c in found}) == len(found)
    assert all(c.why and 0 < c.allowed < 10 for c in found)


def test_the_short_test_is_a_part_of_it():
    quick = [c.name for c in selftest.run_selftest()]
    assert len(quick) == 5
    assert quick == [c.name for make in products.QUICK for c in make()]
    assert set(products.QUICK) < set(products.CHECKS)


def from_arrays(monkeypatch, change):
    right = JacobianChain.from_arrays.__func__
    monkeypatch.setattr(JacobianChain, "from_arrays", classmethod(lambda cls, J: right(cls, change(np.asarray(J)))))


@pytest.mark.parametrize(
    "change", [lambda J: J[::-1], lambda J: J.swapaxes(1, 2)], ids=["backwards", "rows for columns"]
)
def test_a_chain_in_the_wrong_order(monkeypatch, change):
    from_arrays(monkeypatch, change)
    found = failing(products, exponents)
    assert any(name.startswith("order of the product") for name in found)
    assert any(name.startswith("order in time") for name in found)


def test_matrices_that_are_a_little_too_large(monkeypatch):
    """One part in 10^10, ten times what the least exact of these allow."""
    from_arrays(monkeypatch, lambda J: J * (1 + 1e-10))
    found = failing(products, exponents)
    told = ("order", "Jordan", "two matrices", "8 singular", "8 eigen", "radius 0", "a shear", "orthogonal", "logistic")
    assert all(any(name.startswith(t) for name in found) for t in told)


@pytest.mark.parametrize(
    ("module", "name", "wrong", "told"),
    [
        (exponents, "psi", lambda x: x, "Gaussian matrices"),
        (exponents, "lyapunov", None, "radius 0"),
        (networks, "lyapunov", None, "one tanh unit"),
        (networks, "singular_values", None, "lstm: singular"),
        (products, "singular_values", None, "8 singular"),
        (products, "eigenvalues", None, "8 eigen"),
        (networks, "quad", lambda f, a, b: quad(f, a, b - 60), "chrono"),
    ],
)
def test_a_wrong_function(monkeypatch, module, name, wrong, told):
    right = getattr(module, name)

    def twice(*args, **options):
        """Everything twice as large, in the logarithm."""
        found = right(*args, **options)
        fields = {k: 2 * getattr(found, k) for k in ("exponents", "logs") if hasattr(found, k)}
        return type("Wrong", (), fields)

    monkeypatch.setattr(module, name, wrong or twice)
    assert any(n.startswith(told) for n in failing(module))


def test_the_right_trajectory_is_not_enough(monkeypatch):
    """A tanh whose derivative is 1 - tanh(a)^2 + 1e-9 runs the same, and is found out."""
    from gradscope.networks import elementwise

    activation = elementwise.ACTIVATIONS["tanh"]
    wrong = activation._replace(df=lambda a: activation.df(a) + 1e-9)
    monkeypatch.setitem(elementwise.ACTIVATIONS, "tanh", wrong)
    assert any(name.startswith("one tanh unit") for name in failing(networks))


def test_what_is_not_a_number_is_not_right():
    c = Check("c", math.nan, 1.0, "")
    assert not c.passed and math.isnan(c.scaled)
    assert not Check("c", math.inf, 1.0, "").passed
    assert Check("c", 1.0, 2.0, "").scaled == 0.5


def test_max_difference():
    assert gap([1, -np.inf], [1.5, -np.inf]) == 0.5
    assert gap([1.0], [-np.inf]) == np.inf
    assert math.isnan(gap([np.nan], [0.0]))
    assert gap([1.0, 2.0], [1.0]) == np.inf


@pytest.fixture
def some(monkeypatch):
    """Leave out what takes longest."""
    monkeypatch.setattr(networks, "CHECKS", networks.CHECKS[:2])


def doctor(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main(["doctor", *arguments])
    return stop.value.code, capsys.readouterr().out


def test_the_command(some, capsys):
    code, out = doctor(capsys, "--selftest")
    assert code == 0
    assert "WRONG" not in out
    for title in selftest.GROUPS.values():
        assert f"\n\n{title}\nok " in out
    assert "closed form" in out and "below 1: passed" in out


def test_the_json(some, capsys):
    code, out = doctor(capsys, "--selftest", "--json")
    rows = json.loads(out, parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))["checks"]
    assert code == 0
    assert {r["group"] for r in rows} == set(selftest.GROUPS.values())
    for r in rows:
        assert r["passed"] and r["tolerance"]
        assert r["scaled_residual"] == r["residual"] / r["allowed"] <= 1


def test_a_planted_error_ends_with_one(some, capsys, monkeypatch):
    from_arrays(monkeypatch, lambda J: J[::-1])
    code, out = doctor(capsys, "--selftest")
    assert code == 1
    assert "\nWRONG  order of the product" in out and "\nWRONG  order in time" in out
    assert doctor(capsys)[0] == 1
    monkeypatch.setattr(products, "QUICK", [lambda: [Check("none", math.nan, 1.0, "no reason")]])
    code, out = doctor(capsys, "--json")
    (row,) = json.loads(out)["checks"]
    assert (code, row["passed"], row["residual"], row["scaled_residual"]) == (1, False, None, None)


def test_lines_are_broken_on_a_narrow_terminal(capsys, monkeypatch):
    from gradscope.cli.commands import doctor as command

    checks = [Check("a name", 1.0, 2.0, "a reason that is long enough for a line of its own")]
    monkeypatch.setattr(command.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(command, "terminal_width", lambda: 60)
    assert command._table(checks)[1:] == [
        "ok     a name       0.5",
        "         of 2 (a reason that is long enough for a line of its own)",
    ]


def test_frames_allow_less_where_all_steps_are_alike():
    (steady, _), (any_, why) = _check.frame_allowance(4, steady=True), _check.frame_allowance(4)
    assert steady < 1e-10 < any_ < 1e-4
    assert "of an interval" in why
