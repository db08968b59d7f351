"""Pictures of cells: `gradscope cells NAME -o FILE`, and `gradscope analyze ... --diagram`."""

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
    refused(2, ["is no picture", ".svg"], "cells", "gru", "-o", tmp_path / "gru.json")
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
        refused(2, "--diagram is for pictures", *GRU, "--diagram", *more)
    assert run(*GRU, "--diagram", "--format", "svg").out.startswith("<?xml")
