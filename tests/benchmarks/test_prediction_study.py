"""The study of predictions, in small: its order, its record, what its tables are computed with; nothing is trained."""

import json
from collections import Counter

import numpy as np
import prediction_grid as grid
import prediction_measures as measures
import prediction_page as page
import prediction_record as record
import prediction_study as study
import pytest

BLOCK = len(grid.CELLS) * len(grid.TASKS)


def test_a_block_has_every_cell_with_every_task():
    """Wherever a study stops after whole blocks, cells and tasks are balanced."""
    for block in (0, 1, 7):
        networks = [grid.network(i) for i in range(block * BLOCK, (block + 1) * BLOCK)]
        assert len({(n.cell, n.task) for n in networks}) == BLOCK
    orders = {
        tuple((grid.network(b * BLOCK + i).cell, grid.network(b * BLOCK + i).task) for i in range(4)) for b in range(4)
    }
    assert len(orders) > 1


def test_settings_and_delays_come_up_equally_often():
    """All settings of a cell and task once before any comes up again; delays in proportion."""
    often = sum(grid.DELAYS.values())
    networks = [grid.network(i) for i in range(often * BLOCK)]
    for cell in grid.CELLS:
        chosen = [n for n in networks if (n.cell, n.task) == (cell, "sign")]
        count = len(grid.SETTINGS[cell])
        assert {json.dumps(n.settings) for n in chosen[:count]} == {json.dumps(s) for s in grid.SETTINGS[cell]}
        assert Counter(n.delay for n in chosen) == grid.DELAYS
        assert {n.hidden for n in chosen[: len(grid.HIDDEN)]} == set(grid.HIDDEN)
    assert len({n.setting for n in networks if n.cell == "rnn"}) == len(grid.SETTINGS["rnn"])


def test_a_network_is_a_function_of_its_index():
    for index in (3, 40):
        one, other = grid.network(index), grid.network(index)
        assert one.parameters == other.parameters == json.loads(json.dumps(one.parameters))
        np.testing.assert_array_equal(one.create().W, other.create().W)
    line = grid.network(3).parameters
    grid.check_parameters(line)
    with pytest.raises(ValueError, match="index 3"):
        grid.check_parameters(line | {"delay": line["delay"] + 1})


@pytest.mark.parametrize("cell", grid.CELLS)
def test_every_setting_is_known_to_its_cell(cell):
    for settings in grid.SETTINGS[cell]:
        assert grid.Network(0, cell, settings, 4, "sign", 10).create().network_input_size == grid.INPUTS


@pytest.mark.parametrize("delay", [10, 200])
def test_answers_follow_from_the_inputs(delay):
    rng = np.random.default_rng(0)
    x, y = grid.draw("sign", delay, 200, rng, np.float64)
    assert x.shape == (200, delay + 1, grid.INPUTS)
    assert (y == (x[:, 0, 0] > 0)).all() and not x[:, 1:, :2].any()
    x, y = grid.draw("signs", delay, 200, rng)
    assert (y == (x[:, 0, 0] > 0) + 2 * (x[:, 0, 1] > 0)).all()
    assert set(y) == set(range(grid.TASKS["signs"].classes))
    x, y = grid.draw("order", delay, 200, rng)
    steps = x[:, :, :2].argmax(axis=1)
    assert (x[:, :, :2].sum(axis=1) == 1).all() and (y == (steps[:, 1] < steps[:, 0])).all()
    x, y = grid.draw("adding", delay, 4000, rng, np.float64)
    assert (x[:, :, 1].sum(axis=1) == 2).all()
    np.testing.assert_allclose(y, np.sqrt(1.5) * (x[:, :, 0] * x[:, :, 1]).sum(axis=1), atol=1e-12)
    # the variance of a sum of two uniform numbers, scaled, is 1; its standard error from 4000 is below 0.02
    assert y.var() == pytest.approx(1, abs=0.1)


def test_a_record_goes_on_after_an_interruption(tmp_path):
    """Half a line is dropped, and the next one does not continue it."""
    path = record.path_of(tmp_path / "new", "trainings")
    assert record.lines(path) == []
    record.append(path, {"index": 0})
    with path.open("a") as file:
        file.write('{"index": 1, "so')
    assert record.lines(path) == [{"index": 0}]
    record.append(path, {"index": 1})
    assert record.lines(path) == [{"index": 0}, {"index": 1}]


def test_measuring_skips_what_is_done(tmp_path):
    shortest = [i for i in range(60) if grid.network(i).delay <= 15 and grid.network(i).hidden <= 24][:2]
    for index in shortest:
        record.append(record.path_of(tmp_path, record.TRAININGS), {"index": index, "training": 0})
    for phase in (record.MEASURES, record.REPORTS):
        record.append(record.path_of(tmp_path, phase), {"index": shortest[0]})
    assert study.measure(tmp_path, 60) == 2
    assert study.measure(tmp_path, 60) == 0
    line = grid.network(shortest[1]).parameters
    for phase in (record.MEASURES, record.REPORTS):
        (_, measured) = record.lines(record.path_of(tmp_path, phase))
        assert measured["index"] == shortest[1]
        line |= measured
    assert all(np.isfinite(c.score(line)) for name, c in page.CANDIDATES.items() if name != "any_fisher")


def test_fisher_memory_is_a_mean_over_pairs_of_sequences():
    """G_a^T (C + C_g)^-1 G_b over all a that are not b, and the same with signs."""
    rng = np.random.default_rng(3)
    columns, states = rng.standard_normal((8, 2, 3)) + 1, rng.standard_normal((3, 40))
    signs = rng.choice([-1.0, 1.0], (2, 8))
    values, chance = measures.fisher(columns, states, signs)
    deviations = columns - columns.mean(axis=0)
    noise = np.cov(states) + sum(np.outer(g, g) for d in deviations for g in d) / 7
    inverse = np.linalg.inv(noise)
    for eigenvalues, s in zip([values, *chance], [np.ones(8), *signs], strict=True):
        pairs = [s[a] * s[b] * columns[a] @ inverse @ columns[b].T for a in range(8) for b in range(8) if a != b]
        assert eigenvalues == pytest.approx(
            np.linalg.eigvalsh(sum(pairs) / len(pairs))[::-1], rel=1e-5
        )  # the ridge is 1e-6


@pytest.mark.parametrize("task", grid.TASKS)
def test_contrasts_are_derivatives_of_a_linear_network(task):
    """In a linear network the last output moves by the derivative times the change of the input, in every sequence."""
    network = grid.Network(0, "linear", {"init": "orthogonal"}, 5, task, 12)
    cell = network.create()
    inputs, _ = grid.draw(task, 12, 6, np.random.default_rng(5), np.float64)
    pairs = measures.contrasts(network, cell, inputs)
    assert pairs.shape == (6, grid.TASKS[task].needed, 5)
    response = [np.linalg.matrix_power(cell.U, 12 - t) @ cell.W for t in range(13)]  # of the last output in input t
    for b in range(6):
        first, second = (int(inputs[b, :, c].argmax()) for c in (0, 1))
        if task == "order":  # the earlier symbol in channel 0, less the other way round
            early, late = sorted((first, second))
            expected = [(response[early] - response[late])[:, :2] @ [0.5, -0.5]]
        elif task == "adding":
            expected = [0.5 * response[second][:, 0]]
        else:
            expected = [response[0][:, c] for c in range(grid.TASKS[task].needed)]
        np.testing.assert_allclose(pairs[b], expected, atol=1e-12)


def test_coherence():
    """1 for equal derivatives, near 0 for random signs; sizes of 256 sequences leave 1/16."""
    same = np.broadcast_to(np.arange(6.0).reshape(1, 2, 3), (256, 2, 3))
    assert measures.coherence(same) == pytest.approx(1, abs=1e-12)
    signs = np.random.default_rng(4).choice([-1.0, 1.0], (256, 1, 1))
    assert measures.coherence(signs * same) < 4 / 16
    assert measures.coherence(0 * same) is None


def test_roc_area_is_a_count_of_pairs():
    """Of all pairs of a positive and another, those in order; ties count half."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        values, positive = rng.integers(0, 5, 30).astype(float), rng.random(30) < 0.4
        values[0] = -np.inf
        pairs = [(p > q) + (p == q) / 2 for p in values[positive] for q in values[~positive]]
        assert page.roc_area(values, positive) == pytest.approx(np.mean(pairs), abs=1e-12)
    assert np.isnan(page.roc_area(np.ones(3), np.ones(3, bool)))


def test_the_area_is_that_under_the_curve():
    rng = np.random.default_rng(2)
    values, positive = rng.integers(0, 6, 40).astype(float), rng.random(40) < 0.5
    wrong, right = page.roc_curve(values, positive)
    assert (wrong[0], right[0], wrong[-1], right[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(right, wrong) == pytest.approx(page.roc_area(values, positive), abs=1e-12)


def test_error_of_an_area():
    """None at 1; at 0.5 it is the standard deviation of the Mann-Whitney statistic without a difference."""
    assert page.area_error(1.0, 10, 10) == 0
    m, n = 40, 60
    assert page.area_error(0.5, m, n) == pytest.approx(np.sqrt((m + n + 1) / (12 * m * n)), rel=1e-12)


def test_thresholds_are_chosen_and_applied_to_other_networks():
    values, positive = np.array([-np.inf, 0.0, 1.0, 3.0, 4.0]), np.array([False, False, True, True, True])
    threshold = page.best_threshold(values, positive)
    assert threshold == 0.5
    assert page.balanced_accuracy(values, positive, threshold) == 1
    assert page.balanced_accuracy(values + 1, positive, threshold) == 0.75
    one, other = page.HALVES
    assert not set(one[0]) & set(other[0]) and not set(one[1]) & set(other[1])
    assert set(one[0]) | set(other[0]) == set(grid.CELLS) and set(one[1]) | set(other[1]) == set(grid.TASKS)
    lines = [grid.network(i).parameters for i in range(2 * BLOCK)]
    halves = [page.of_half(lines, half) for half in page.HALVES]
    assert len(halves[0]) == 2 * 3 * 2 and len(halves[1]) == 2 * 2 * 2


def test_who_is_trained_twice():
    line = {"index": 1, "task": "signs", "solved": True, "updates": 100, "best": 1.0}
    budget = grid.TASKS["signs"].updates
    assert not grid.trained_again(line)
    assert grid.trained_again(line | {"index": grid.SECOND})
    assert grid.trained_again(line | {"updates": budget})
    assert not grid.trained_again(line | {"solved": False, "updates": budget, "best": 0.3})
    assert grid.trained_again(line | {"solved": False, "updates": budget, "best": 0.5})


def test_the_page_shows_its_record():
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.written(text, page.study_of(record.HERE)) == text
    with pytest.raises(ValueError, match="no place for 'reached'"):
        page.written("no marker", page.study_of(record.HERE))


@pytest.mark.formats
@pytest.mark.parametrize("cell", grid.CELLS)
def test_what_is_measured_is_what_is_trained(cell):
    """States agree before training, and trained weights make the same cell in gradscope."""
    torch = pytest.importorskip("torch")
    import prediction_training as training

    for settings in grid.SETTINGS[cell]:
        assert training.check_states(grid.Network(0, cell, settings, 6, "signs", 10)) <= training.ALLOWED
    network = grid.Network(1, cell, grid.SETTINGS[cell][0], 6, "signs", 10)
    _, arrays = training.train(network, 0, updates=3)
    del torch
    trained = measures.with_weights(network, arrays)
    assert not np.allclose(trained.W, network.create().W)
    inputs, _ = grid.draw("signs", 10, 4, np.random.default_rng(0), np.float64)
    assert training.difference(trained, cell, inputs) <= training.ALLOWED
