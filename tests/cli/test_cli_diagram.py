"""Pictures of cells: `gradscope cells NAME -o FILE`, and `gradscope analyze ... --diagram`."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

QUICK = ("--hidden", "8", "--steps", "20", "--lags", "4")
GRU = ("analyze", "--cell", "gru", *QUICK)


@pytest.mark.parametrize(("suffix", "begins"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF-")])
def test_a_cell_is_drawn_beside_its_page(run, tmp_path, suffix, begins):
    path = tmp_path / f"lstm.{suffix}"
    done = run("cells", "lstm", "-o", path)
    assert done.code == 0 and done.err == ""
    assert done.out == run("cells", "lstm").out
    assert path.read_bytes().startswith(begins)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_picture_that_exists_stays_unless_forced(run, refused, tmp_path):
    path = tmp_path / "gru.svg"
    path.write_text("precious")
    refused(2, ["exists", "--force"], "cells", "gru", "-o", path)
    assert path.read_text() == "precious"
    assert run("cells", "gru", "-o", path, "--force").code == 0
    assert path.read_text().startswith("<?xml")


def test_what_cannot_be_drawn(refused, tmp_path):
    refused(2, "-o draws one cell", "cells", "-o", tmp_path / "all.png")
    refused(2, ["is not a picture", ".svg"], "cells", "gru", "-o", tmp_path / "gru.json")
    refused(2, "there is no cell named 'gro'", "cells", "gro", "-o", tmp_path / "gro.png")
    assert not list(tmp_path.iterdir())


def test_a_diagram_instead_of_panels(run, tmp_path):
    """The rest of the report is the same."""
    drawn, panels = tmp_path / "diagram.svg", tmp_path / "panels.svg"
    done = run(*GRU, "--diagram", "-o", drawn, "--reproducible")
    assert done.code == 0 and done.err == ""
    assert done.out == run(*GRU, "-o", panels, "--reproducible").out
    assert 0 < drawn.stat().st_size < panels.stat().st_size


def test_both_directions_are_drawn(run, tmp_path):
    path = tmp_path / "two.pdf"
    assert run(*GRU, "--bidirectional", "--diagram", "-o", path).code == 0
    assert path.read_bytes().startswith(b"%PDF-")


def test_a_diagram_needs_a_picture(refused, run, tmp_path):
    for more in ([], ["-o", tmp_path / "x.json"], ["--format", "csv"]):
        refused(2, "--diagram applies only to pictures", *GRU, "--diagram", *more)
    assert run(*GRU, "--diagram", "--format", "svg").out.startswith("<?xml")


@pytest.fixture
def projected(tmp_path):
    """Write an LSTM of two layers with projections, PyTorch's names."""
    rng, path = np.random.default_rng(0), tmp_path / "model.npz"
    shapes = {"ih_l0": (32, 3), "hh_l0": (32, 5), "hr_l0": (5, 8), "ih_l1": (32, 5), "hh_l1": (32, 5), "hr_l1": (5, 8)}
    np.savez(path, **{f"rnn.weight_{k}": 0.3 * rng.standard_normal(shape) for k, shape in shapes.items()})
    return path


@pytest.mark.parametrize(
    "model",
    [
        ("--cell", "gru", "--set", "reset=before", "--hidden", "8"),
        ("--cell", "lru", "--layers", "3", "--residual", "--norm", "layer", "--hidden", "8"),
        ("--cell", "lstm", "--bidirectional", "--hidden", "8"),
        ("--cell", "cornn", "--drive", "self", "--hidden", "8"),
        "checkpoint",
    ],
    ids=lambda m: m if isinstance(m, str) else m[1],
)
def test_a_saved_result_is_drawn_as_it_was(run, tmp_path, projected, model):
    model = (projected,) if model == "checkpoint" else model
    fresh, again, saved = (tmp_path / name for name in ("fresh.svg", "again.svg", "saved.json"))
    options = ("--steps", "20", "--lags", "0", "--diagram", "--reproducible", "-o", fresh, "-o", saved)
    assert run("analyze", *model, *options).code == 0
    done = run("report", saved, "--diagram", "-o", again, "--reproducible")
    assert (done.code, done.err) == (0, "")
    assert again.read_bytes() == fresh.read_bytes()


def test_what_of_a_saved_result_cannot_be_drawn(run, refused, tmp_path, projected):
    mine, saved, both, listed = (tmp_path / name for name in ("mine.py", "saved.json", "both.json", "listed.json"))
    mine.write_text("def step(x, s):\n    return s / 2\n")
    assert run("analyze", "--cell", mine, *QUICK, "-o", saved).code == 0
    refused(2, "--diagram applies only to pictures", "report", saved, "--diagram")
    refused(
        4,
        "does not hold the formulas of the user-defined cell step",
        "report",
        saved,
        "--diagram",
        "-o",
        tmp_path / "x.png",
    )
    assert run("compare", "rnn", mine, *QUICK, "-o", both).code == 0
    done = run("report", both, "--diagram", "-o", tmp_path / "x.png")
    assert done.code == 0
    assert done.err.startswith(
        "warning: mine.py is not drawn: a saved result does not hold the formulas of the user-defined cell step"
    )
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    listed.write_text(run("inspect", projected, "--json").out)
    refused(4, "an inspection holds no gradient shares", "report", listed, "--diagram", "-o", tmp_path / "y.png")


# --- cells of one's own

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def boxes(svg):
    """Return the words in a picture."""
    return set(re.findall(r"<!-- (.*?) -->", svg.read_text(encoding="utf-8")))


def test_a_class_of_a_file_is_drawn(run, tmp_path):
    path = tmp_path / "drip.svg"
    done = run("cells", EXAMPLES / "drip.py", "-o", path)
    assert (done.code, done.err) == (0, "")
    assert {"Drip: A leaky recurrent network", "h", "h'", "x"} <= boxes(path)
    assert "settings  leak=0.1, hidden_bias  (--set KEY=VALUE)" in done.out
    assert "(1 - leak) h + leak tanh(U h + W x + b)" in done.out
    assert re.search("^paper     Jaeger 2007$", done.out, re.MULTILINE)


def test_a_class_of_a_file_as_json(run):
    row = json.loads(run("cells", f"{EXAMPLES / 'drip.py'}:Drip", "--json").out)
    assert (row["name"], row["state"], row["gates"]) == ("Drip", ["h"], {"h": "hidden"})
    assert row["settings"] == {"leak": 0.1, "hidden_bias": None}
    assert (row["products"], row["around"]) == (None, None)  # nothing tests what a file of somebody else states


def test_a_function_of_a_file_is_drawn_and_has_no_page(run, refused, tmp_path):
    path = tmp_path / "tiring.svg"
    done = run("cells", EXAMPLES / "tiring.py", "-o", path)
    assert (done.code, done.out, done.err) == (0, "", "")
    assert {"h", "t", "h'", "t'", "step"} <= boxes(path)
    refused(2, ["is a function", "-o FILE.png draws it"], "cells", EXAMPLES / "tiring.py")


def test_settings_have_no_place_in_a_list(refused):
    refused(2, ["settings go to --set"], "cells", "lstm:forget_bias=1")
    words = ["'lstm:hidden=4,forget_bias=1': settings go to --set", "--cell lstm --hidden 4 --set forget_bias=1;"]
    refused(2, words, "analyze", "--cell", "lstm:hidden=4,forget_bias=1")
