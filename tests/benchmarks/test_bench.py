"""What the benchmark reads off its timings, how the page gets its tables, and that the peers compute what we do."""

import json
import math
import re

import bench
import bench_exponents
import bench_gradients
import bench_page
import bench_table
import bench_timing
import numpy as np
import pytest
from bench_timing import Line, geometric_mean, paired, power_law, rounds_of

EXPONENTS = {"rnn": "exponents-rnn-128", "gru": "exponents-gru-64", "lstm": "exponents-lstm-128"}
NORMS = "norms-rnn-256"


def test_ratios_are_those_of_each_round():
    """A machine that is ten times slower in one round changes no ratio, but would change a ratio of means."""
    ours, other = [1.0, 10.0, 1.0, 1.0, 1.0], [3.0, 30.0, 4.0, 2.0, 3.0]
    found = paired(ours, other)
    assert (found.ratio, found.low, found.high, found.rounds) == (3.0, 3.0, 3.0, 5)
    assert (found.ours, found.other) == (1.0, 3.0)
    assert paired(ours, other, other_times=10).ratio == 30.0
    assert paired([2.0], [1.0]).ratio == 0.5


def test_everyone_takes_a_turn_in_every_round():
    """And another one is the first each time."""
    called = []
    times = rounds_of({name: lambda name=name: called.append(name) for name in "abc"}, 0.0, least=6)
    assert {len(t) for t in times.values()} == {6}
    assert all(t > 0 for seconds in times.values() for t in seconds)
    runs = re.findall(r"a+|b+|c+", "".join(called))
    assert set(map(len, runs[:3])) == {2}  # once to warm up, and once to see how often
    turns = [run[0] for run in runs[3:]]
    assert {turns.count(name) for name in "abc"} <= {4, 5, 6}  # neighbours of two rounds run into one
    assert bench_timing.SHORTEST > 0


def test_power_law():
    """Exact for a power; the standard error is that of the textbook."""
    x = [1.0, 2.0, 4.0, 8.0, 16.0]
    fit = power_law(x, [3 * v**1.5 for v in x])
    assert fit.slope == pytest.approx(1.5, rel=1e-14)
    assert fit.factor == pytest.approx(3, rel=1e-14)
    assert fit.error < 1e-7  # a root of rounding
    y = np.exp(np.random.default_rng(0).standard_normal(5))
    design = np.stack([np.ones(5), np.log(x)], axis=1)
    solution, left, *_ = np.linalg.lstsq(design, np.log(y), rcond=None)
    error = np.sqrt(left[0] / 3 * np.linalg.inv(design.T @ design)[1, 1])
    assert power_law(x, y.tolist())[:2] == pytest.approx((solution[1], error), rel=1e-12)
    assert math.isnan(power_law(x[:2], [1.0, 2.0]).error)


def test_geometric_mean():
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ({"ratio": 2.0, "target": 1.5}, "ok"),
        ({"ratio": 1.0, "target": 1.5}, "below"),
        ({"ratio": 1.0}, ""),
        ({"ratio": 2.0, "target": 1.5, "error": 1e-9, "allowed": 1e-12}, "differs"),
        ({"ratio": 2.0, "target": 1.5, "error": math.nan, "allowed": 1e-12}, "differs"),
        ({"note": "failed: x"}, "failed"),
        ({"note": "not installed: torch"}, "missing"),
    ],
)
def test_verdicts(settings, verdict):
    entry = Line("a / b", "c", **settings)
    assert entry.verdict == verdict
    assert bench_timing.line(json.loads(json.dumps(entry.as_dict()))) == entry or math.isnan(entry.error or 0)
    text = bench_table.row(entry.as_dict())
    assert verdict in text.lower()
    assert entry.note in text


def record():
    lines = [
        Line("gradient norms / torch", "x", 1.0, 4.0, 4.0, 3.9, 4.1, 5, 1.5, 1e-14, 1e-12),
        Line("gradient norms / torch", "y", 1.0, 1.0, 1.0, 0.9, 1.1, 5, 1.5, 1e-13, 1e-12),
        Line("gradient norms / jax", "x", 1.0, 3.0, 3.0, 2.9, 3.1, 5),
        Line("memory", "long", 2.0, 1.0, 0.5, target=1.0, unit="GiB"),
    ]
    curve = {"analysis": "products", "over": "units H", "fixed": "T = 2", "x": [1, 2, 4, 8], "seconds": [1, 2, 4, 8]}
    facts = dict.fromkeys(("cpu", "cores", "system", "python", "blas", "blas architecture", "threads"), "some")
    return {
        "machine": facts | {"OPENBLAS_CORETYPE": "not set", "torch": "1"},
        "lines": [entry.as_dict() for entry in lines],
        "points": {"scaling-products-H": curve},
    }


def test_means_and_who_is_below():
    found = {g["group"]: g for g in bench_table.groups(record()["lines"])}
    assert found["gradient norms / torch"]["mean"] == pytest.approx(2.0)
    assert found["gradient norms / torch"]["below"] == ["y"]
    assert found["gradient norms / torch"]["verdict"] == "below"
    assert found["gradient norms / jax"]["verdict"] == "ok"


def test_tables_go_between_their_markers():
    names = ("machine", "means", "lines", "growth")
    page = "".join(f"before {n}\n{bench_page.begin(n)}\nold {n}\n{bench_page.END}\n" for n in names)
    once = bench_page.written(page, record())
    assert once == bench_page.written(once, record())
    assert "old" not in once
    assert re.findall(r"before (\w+)", once) == list(names)
    assert "| x | 1 s | 4 (1.5) | 3 | 1e-14 |" in once
    assert "| y | 1 s | *1 (1.5)* |  | 1e-13 |" in once
    assert "| long | 2 GiB | *0.5 (1)* |  |" in once
    assert "1.00 ± 0.00" in once
    with pytest.raises(ValueError, match="no place for 'machine'"):
        bench_page.written("no marker", record())


def test_rows_are_renewed_one_by_one(tmp_path):
    """Those that were not measured stay; what another machine measured does not."""
    file = tmp_path / "record.json"
    old = {"machine": "m", "lines": [{"row": r, "n": 1} for r in ("a", "b", "b", "c")], "points": {"p": 1, "q": 1}}
    new = {"machine": "m", "lines": [{"row": "b", "n": 2}], "points": {"q": 2}}
    order = ["q", "c", "b", "a", "p"]
    assert bench_page.renewed(new, order, file) == new
    file.write_text(json.dumps(old), encoding="utf-8")
    found = bench_page.renewed(new, order, file)
    assert [(e["row"], e["n"]) for e in found["lines"]] == [("c", 1), ("b", 2), ("a", 1)]
    assert list(found["points"].items()) == [("q", 2), ("p", 1)]
    assert bench_page.renewed(new | {"machine": "other"}, order, file)["lines"] == new["lines"]


def test_the_picture_is_drawn(tmp_path):
    bench_page.draw(record()["points"], tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_shows_its_record():
    kept = json.loads(bench_page.RECORD.read_text(encoding="utf-8"))
    page = bench_page.PAGE.read_text(encoding="utf-8")
    assert bench_page.written(page, kept) == page
    measured = {bench_timing.line(entry).group for entry in kept["lines"]}
    assert set(bench_table.MEANS) < measured
    assert not [e["case"] for e in kept["lines"] if e["verdict"] in ("failed", "differs", "missing")]


def test_every_row_is_listed_and_a_failure_is_a_line(capsys):
    names = bench.names()
    assert len(names) == len(set(names))
    assert bench.main(["--list"]) == 0
    assert capsys.readouterr().out.split() == names
    assert Line(**{k: v for k, v in bench.failed("x-1", "why").items() if k != "verdict"}).verdict == "failed"


@pytest.mark.formats
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("peer", ["torch", "torch, weights not frozen", "jax"])
def test_peers_find_the_same_gradients(kind, peer):
    pytest.importorskip(peer.split(",")[0])
    lines = bench_gradients.measure(f"gradients-{kind}-64-8", 0.0, steps=20)
    (found,) = [entry for entry in lines if entry.group == f"gradient norms / {peer}"]
    assert found.error <= bench_gradients.ALLOWED
    assert found.ratio > 0


@pytest.mark.formats
@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("peer", ["torch", "torch as published", "jax"])
def test_peers_find_the_same_exponents(kind, peer):
    pytest.importorskip(peer.split(" ")[0])
    lines = bench_exponents.measure(EXPONENTS[kind], 0.0, steps=20)
    found = [entry for entry in lines if entry.group == f"full spectrum / {peer}"]
    if found or peer != "torch as published":  # it is timed where it can be waited for
        assert found[0].error <= bench_exponents.ALLOWED


@pytest.mark.formats
def test_peers_find_the_same_norms():
    pytest.importorskip("torch")
    import bench_norms

    (found,) = bench_norms.measure(NORMS, 0.0, steps=5)
    assert found.error <= bench_norms.ALLOWED
