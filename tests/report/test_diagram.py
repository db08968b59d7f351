"""The diagram of a cell says what its Jacobian says: which part depends on which, and on what road."""

import json

import numpy as np
import pytest

import gradscope
from gradscope import closed_loop, create, from_step, plugins
from gradscope.checking.create import directions
from gradscope.errors import InputError
from gradscope.maps.jacobian import ranges
from gradscope.networks.cell import cell_class
from gradscope.report.diagram import cell_report, diagrams, with_diagrams
from gradscope.report.saved_cell import saved_cell

CASES = [(n, {}) for n in plugins.names("cells")]
CASES += [(n, {k: v}) for n in plugins.names("cells") for k, values in cell_class(n).choices.items() for v in values]
IDS = ["-".join([n, *v.values()]) for n, v in CASES]


def reached(edges, start):
    """Return the nodes that lines lead to."""
    found = {start}
    for _ in edges:
        found |= {e.end for e in edges if e.start in found}
    return found


@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_paths_are_the_blocks_of_the_jacobian(name, settings):
    """A block d new / d old is not zero where a path leads there, and its part around the weights likewise."""
    cell = create(name, hidden_size=8, input_size=3, seed=1, **settings)
    (drawn,) = diagrams(cell)
    rng = np.random.default_rng(2)
    J = cell.jacobian(rng.standard_normal(cell.input_size), rng.standard_normal(cell.state_size))
    whole, around = J.dense(), J.jvp_skip(np.eye(cell.state_size))
    entering = J.jvp_input(np.eye(cell.input_size))
    slices = dict(zip(cell.parts, ranges(cell.sizes.values()), strict=True))
    free = [e for e in drawn.edges if e.path != "weights"]
    marked = [e for e in drawn.edges if e.path == "around"]
    for p, rows in slices.items():
        assert bool(entering[rows].any()) == (f"new {p}" in reached(drawn.edges, "input")), p
        for q, columns in slices.items():
            assert bool(whole[rows, columns].any()) == (f"new {p}" in reached(drawn.edges, f"old {q}")), (p, q)
            assert bool(around[rows, columns].any()) == (f"new {p}" in reached(free, f"old {q}")), (p, q)
            assert (f"new {p}" in reached(free, f"old {q}")) == (f"new {p}" in reached(marked, f"old {q}")), (p, q)


def same_when_saved(cell):
    """Hold what is drawn of a saved result against what is drawn where it was measured."""
    result = gradscope.analyze(cell, steps=6, batch=2, lags=0)
    document = json.loads(json.dumps(result.document))
    fresh, again = (with_diagrams(result.report, {"": c}).diagrams for c in (cell, saved_cell(document)))
    assert again == fresh
    return document


@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
def test_a_saved_result_is_drawn_as_a_fresh_one(name, settings):
    same_when_saved(create(name, hidden_size=8, input_size=3, seed=1, **settings))


def test_networks_are_drawn_as_fresh_ones():
    """Of several layers what made them tells that they are alike: the command line, or a checkpoint."""
    both = directions("lstm", hidden_size=6, input_size=3, layers=2)
    for cell in (closed_loop(create("gru", hidden_size=6, input_size=3)), both["l0"], both["l1.reverse"]):
        same_when_saved(cell)
    plain = create("lstm", hidden_size=8, input_size=3, layers=2, projection=3)
    other = create("gru", hidden_size=8, input_size=3, layers=3, reset="before", residual=True, norm="rms")
    for cell in (plain, other, closed_loop(plain)):
        result = gradscope.analyze(cell, steps=6, batch=2, lags=0)
        with pytest.raises(InputError, match="does not describe the layers"):
            saved_cell(result.document)
        result.document["model"]["source"] = "init"
        fresh, again = (with_diagrams(result.report, {"": c}).diagrams for c in (cell, saved_cell(result.document)))
        assert again == fresh


class Mine(cell_class("lstm")):
    """A subclass is another cell than the one in the room, and is called by its name."""


def test_what_a_saved_result_does_not_hold():
    mine = Mine(**create("lstm", hidden_size=4, input_size=2).weights())
    own = from_step(lambda x, s: np.tanh(s), state_size=4, input_size=2)
    jacobians = gradscope.JacobianChain.from_arrays(np.tile(np.eye(3) / 2, (5, 1, 1)))
    rows = [
        (mine, "the formulas of the user-defined cell Mine"),
        (own, "the formulas of the user-defined cell function"),
        (jacobians, "does not hold the step function"),
    ]
    for cell, words in rows:
        steps = {} if cell is jacobians else {"steps": 5}
        with pytest.raises(InputError, match=words):
            saved_cell(gradscope.analyze(cell, lags=0, **steps).document)


def test_what_does_not_fit_is_not_drawn():
    document = same_when_saved(create("lstm", hidden_size=8, input_size=3, projection=3))
    spoilt = ("settings", {}), ("settings", {"projection": "wide"}), ("settings", 3), ("hidden_size", -1)
    for key, value in (*spoilt, ("hidden_size", None), ("state", [{"name": "h"}]), ("layers", 2), ("cell", "gru")):
        with pytest.raises(InputError):
            saved_cell(document | {"model": document["model"] | {key: value}})


def lines(name, **settings):
    (drawn,) = diagrams(create(name, hidden_size=8, input_size=3, **settings))
    return {(e.start, e.end, e.path, e.label) for e in drawn.edges}


def into_gates(gates, part="old h", label="U"):
    return {(part, f"gate {g}", "weights", label) for g in gates} | {
        ("input", f"gate {g}", "input", "W") for g in gates
    }


def test_rnn():
    assert lines("rnn") == into_gates("h") | {("gate h", "new h", "gate", "")}


def test_lstm():
    """h' hangs on o and c' alone: what else reaches it, it has from c'."""
    given = {(f"gate {g}", "new c", "gate", "") for g in "ifg"} | {("gate o", "new h", "gate", "")}
    around = {("old c", "new c", "around", ""), ("new c", "new h", "around", "")}
    assert lines("lstm") == into_gates("ifgo") | given | around


def test_gru_reset_after():
    given = {(f"gate {g}", "new h", "gate", "") for g in "rzn"}
    assert lines("gru") == into_gates("rzn") | given | {("old h", "new h", "around", "")}


def test_gru_reset_before():
    """r reaches h' only through q = r h and the weights of n; no path through q is one around the weights."""
    made = {("old h", "value q", "value", ""), ("gate r", "value q", "gate", "")}
    given = {(f"gate {g}", "new h", "gate", "") for g in "zn"} | {("old h", "new h", "around", "")}
    assert lines("gru", reset="before") == into_gates("rz") | into_gates("n", "value q") | made | given


def test_lru():
    """No weights to go through: all four blocks are around."""
    enter = {("input", f"gate {p}", "input", "W") for p in ("re", "im")}
    given = {(f"gate {p}", f"new {p}", "gate", "") for p in ("re", "im")}
    around = {(f"old {p}", f"new {q}", "around", "") for p in ("re", "im") for q in ("re", "im")}
    assert lines("lru") == enter | given | around


def test_slstm():
    given = {
        (f"gate {g}", f"new {p}", "gate", "") for p, gates in (("q", "ifz"), ("l", "if"), ("h", "o")) for g in gates
    }
    around = {("old q", "new q"), ("old l", "new q"), ("old l", "new l"), ("new q", "new h")}
    assert lines("slstm") == into_gates("ifzo") | given | {(*e, "around", "") for e in around}


def test_lem_reads_the_new_part_and_scrn_its_own_arrays():
    assert ("new z", "gate y", "weights", "U") in lines("lem")
    assert {("input", "gate b", "input", "B"), ("new c", "gate p", "weights", "P")} <= lines("scrn")


def test_projection():
    cell = create("lstm", hidden_size=6, input_size=3)
    narrow = cell.replace(U=cell.U[:, :4], W_hr=np.ones((4, 6)))
    (drawn,) = diagrams(narrow)
    assert ("value m", "gate p", "weights", "W_hr") in {(e.start, e.end, e.path, e.label) for e in drawn.edges}
    assert {n.name: n.note for n in drawn.nodes if n.kind == "new"} == {"new h": "4", "new c": "6"}


def shares(drawn):
    """Return the share of every road of some diagrams, each once."""
    found = {e.path: e.share for d in drawn for e in d.edges if e.path == "around"}
    found |= {(i, e.end): e.share for i, d in enumerate(drawn) for e in d.edges if e.path == "weights"}
    return found | {
        (i, "input"): e.share for i, d in enumerate(drawn) for e in d.edges if e.path == "input" and e.share
    }


@pytest.mark.parametrize(("name", "settings"), CASES, ids=IDS)
@pytest.mark.parametrize("layers", [1, 3])
def test_widths_add_up_to_the_whole_gradient(name, settings, layers):
    """Shares of a step add up to one, so do their means: to rounding, in sums of some dozen terms of either sign."""
    cell = create(name, hidden_size=4, input_size=3, layers=layers, seed=3, **settings)
    result = gradscope.analyze(cell, steps=12, batch=2, lags=0)
    found = shares(with_diagrams(result.report, {"": cell}).diagrams)
    known = [s for s in found.values() if s is not None]
    if "gate_share" not in result.metrics:  # one road: there is nothing to share out
        assert not known
        return
    assert sum(known) == pytest.approx(1, abs=1e-9 * max(1, *map(abs, known)))


def test_a_loop_has_the_share_of_its_readout():
    loop = gradscope.closed_loop(create("gru", hidden_size=4, input_size=3))
    result = gradscope.analyze(loop, steps=12, batch=2, lags=0)
    (drawn,) = with_diagrams(result.report, {"": loop}).diagrams
    entering = {e.share for e in drawn.edges if e.path == "input"}
    assert entering == {result.metrics["gate_share"]["readout"]}
    assert sum(shares([drawn]).values()) == pytest.approx(1, abs=1e-9)


def test_lines_of_a_gate_are_as_wide_as_its_share():
    cell = create("lstm", hidden_size=4, input_size=3)
    result = gradscope.analyze(cell, steps=12, batch=2, lags=0)
    (drawn,) = with_diagrams(result.report, {"": cell}).diagrams
    for gate, share in result.metrics["gate_share"].items():
        assert {e.share for e in drawn.edges if f"gate {gate}" in (e.start, e.end) and e.path != "input"} == {share}
    assert {e.share for e in drawn.edges if e.path == "around"} == {result.metrics["around_share"]}


def test_a_comparison_is_drawn_model_by_model():
    cells = {n: create(n, hidden_size=4, input_size=3) for n in ("rnn", "lstm")}
    report = with_diagrams(gradscope.compare(cells, steps=8, batch=2, lags=0).report, {"lstm": cells["lstm"]})
    assert [d.title for d in report.diagrams] == ["lstm"]


def test_choices_that_change_the_structure_are_drawn():
    assert [d.title for d in cell_report("gru", "").diagrams] == ["reset after", "reset before"]
    assert [d.title for d in cell_report("rnn", "").diagrams] == [""]


def test_a_function_is_a_box():
    cell = gradscope.from_step(lambda x, s: np.tanh(s), state_size=3, input_size=0, parts={"a": 1, "b": 2})
    (drawn,) = diagrams(cell)
    assert {n.name for n in drawn.nodes} == {"old a", "old b", "gate through", "new a", "new b"}
    assert "not known" in drawn.note
