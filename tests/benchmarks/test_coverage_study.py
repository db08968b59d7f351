"""The study of error bars, in small: what it counts with is the product's own, and its page has all of its rows."""

import coverage_study as study
import numpy as np
import pytest
from scipy.stats import binom

from gradscope.analysis.lyapunov import frame_growth, lyapunov, spectrum


def test_runs_side_by_side_are_what_lyapunov_finds():
    """The frames of the first sequences are the same, whether others lie beside them or not."""
    chain = study.ginibre().chains(24, 60, 0, np.random.default_rng(0)).longer
    alone = lyapunov(chain.first(8), 1, burn=12, seed=5)
    together = spectrum(frame_growth(chain, 1, 12, 5).of(slice(0, 8)))
    # intervals between decompositions may differ: one rounding of each of 48 steps
    assert together.interval == pytest.approx(alone.interval, abs=1e-13)
    assert together.exponents == pytest.approx(alone.exponents, abs=1e-13)


def test_wilson():
    """The ends solve |p - x| = z sqrt(x (1 - x) / n)."""
    for end in study.wilson(93, 100):
        assert abs(0.93 - end) == pytest.approx(study.Z * np.sqrt(end * (1 - end) / 100), rel=1e-9)


def test_quick_study(capsys):
    study.main(["--quick"])
    out = capsys.readouterr().out.splitlines()
    rows = out[out.index(study.table([]).splitlines()[0]) + 2 :][:2]
    for plan, row in zip(study.plans(0.1), rows, strict=False):
        cells = [c.strip() for c in row.strip("|").split("|")]
        assert cells[0] == plan.name
        assert int(cells[4]) == plan.runs
        covered = float(cells[5].strip("*").split(" ")[0]) / 100 * plan.runs
        # 95 % of 100 runs, less what a one-sided chance of 1e-4 in each of two rows allows
        assert binom.ppf(1e-4, plan.runs, 0.95) <= covered <= plan.runs


def test_the_page_has_every_row():
    page = study.PAGE.read_text("utf-8")
    rows = [r for r in page.split(study.BEGIN)[1].split(study.END)[0].splitlines() if r.startswith("|")][2:]
    for plan, row in zip(study.plans(), rows, strict=True):
        cells = [c.strip() for c in row.strip("|").split("|")]
        assert cells[0] == plan.name
        assert (int(cells[2]), int(cells[3])) == (plan.sequences, plan.steps)
        assert int(cells[4]) >= 400
    assert study.written(page, "x").count(study.BEGIN) == 1
