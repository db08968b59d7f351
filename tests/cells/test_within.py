"""What new parts of a state give one another within a step, where several maps make up the step."""

from dataclasses import replace

import numpy as np
import pytest

from gradscope import create, plugins
from gradscope.networks.cell import cell_class
from gradscope.testing import check_cell, derivatives

H, M = 5, 3


def sigma(a):
    return 1 / (1 + np.exp(-a))


def point(cell, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(M), rng.standard_normal(cell.state_size), rng.standard_normal((cell.state_size, 1))


def test_oscillators():
    """y' = y + dt z': dy'/dz' = dt."""
    cell = create("cornn", hidden_size=H, input_size=M)
    x, s, u = point(cell)
    found = cell.jacobian(x, s).vjp_within(u)
    assert not found[:H].any()
    assert found[H:] == pytest.approx(cell.dt * u[:H], rel=1e-14)


def test_long_expressive_memory():
    """y' = (1 - d2) y + d2 tanh(U_y z' + ...): dy'/dz' crosses U_y."""
    cell = create("lem", hidden_size=H, input_size=M, gain=2.0)
    x, s, u = point(cell)
    y, z = s[:H], s[H:]
    a = np.split(cell.W @ x + cell.b_ih + cell.b_hh, 4)
    U = np.split(cell.U, 4)
    d1, d2 = sigma(a[0] + U[0] @ y), sigma(a[1] + U[1] @ y)
    z = (1 - d1) * z + d1 * np.tanh(a[2] + U[2] @ y)
    slope = d2 * (1 - np.tanh(a[3] + U[3] @ z) ** 2)
    found = cell.jacobian(x, s).vjp_within(u)
    assert not found[:H].any()
    assert found[H:, 0] == pytest.approx(U[3].T @ (slope * u[:H, 0]), rel=1e-12)


def test_structurally_constrained():
    """h' = sigmoid(P c' + ...): dh'/dc' crosses P, and c' passes two maps on its way out."""
    cell = create("scrn", hidden_size=H, input_size=M)
    x, s, u = point(cell)
    h = cell.step(x, s)[:H]
    found = cell.jacobian(x, s).vjp_within(u)
    assert not found[:H].any()
    assert found[H:, 0] == pytest.approx(cell.P.T @ (h * (1 - h) * u[:H, 0]), rel=1e-12)


def test_projected_lstm():
    """h' = W_hr (o tanh c'): dh'/dc' crosses W_hr."""
    rng = np.random.default_rng(1)
    W, U, b, W_hr = (rng.standard_normal(n) for n in ((4 * H, M), (4 * H, 2), 4 * H, (2, H)))
    cell = cell_class("lstm")(W, U, b, None, W_hr)
    x, s, u = point(cell)
    c = cell.step(x, s)[2:]
    o = sigma((W @ x + b + U @ s[:2])[3 * H :])
    found = cell.jacobian(x, s).vjp_within(u)
    assert not found[:2].any()
    assert found[2:, 0] == pytest.approx(o * (1 - np.tanh(c) ** 2) * (W_hr.T @ u[:2, 0]), rel=1e-12)


@pytest.mark.parametrize(("name", "settings"), [("gru", {"reset": "before"}), ("mgu", {}), ("minimal_rnn", {})])
def test_cells_of_one_part(name, settings):
    """Maps in a row, but one part at the end: it cannot reach itself."""
    cell = create(name, hidden_size=H, input_size=M, **settings)
    x, s, u = point(cell)
    assert not cell.jacobian(x, s).vjp_within(u).any()


def left_out(name):
    """Return a cell that states nothing of what its new parts give one another."""
    cls = cell_class(name)

    class Silent(cls):
        def partials(self, p, s):
            return replace(super().partials(p, s), within=None)

    return Silent


@pytest.mark.parametrize(
    ("name", "said"), [("lstm", {("h", "c")}), ("peephole_lstm", {("h", "c")}), ("unicornn", set())]
)
def test_what_is_left_out_is_remarked_where_it_shows(name, said):
    """h' = o tanh(c') moves with c', and with o alone. y' = y + dt z' could as well give z' = (y' - y) / dt."""
    rows = [d for d in derivatives(left_out(name)) if d.remark]
    assert {(d.part, d.of) for d in rows} == said
    assert all(d.right and d.path == "within" and "in proportion" in d.remark for d in rows)
    check_cell(left_out(name))


@pytest.mark.parametrize("name", plugins.names("cells"))
def test_nothing_is_to_be_remarked_of_the_room(name):
    assert not [d for d in derivatives(cell_class(name)) if d.remark]
