from __future__ import annotations

import re
from dataclasses import replace

import pytest
import samples
from rich.cells import cell_len

from gradscope.render import text
from gradscope.report.model import Column, Report, Table

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def test_piped_text_begins_with_the_sentence_and_wraps_nothing():
    report = samples.analysis()
    lines = text.render(report).split("\n")
    assert lines[0] == report.sentence
    (reach,) = (line for line in lines if line.startswith("reach "))
    assert reach.endswith("13  steps, at least 0.1 % of the gradient left")
    assert not set("─│╭|+") & set("".join(lines))
    assert lines[-2] == report.footer


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("width", [20, 40, 80, 120])
@pytest.mark.parametrize("name", samples.ALL)
def test_no_line_is_wider_than_the_terminal(name, width, color):
    lines = ESCAPES.sub("", text.render(samples.ALL[name](), width=width, color=color)).split("\n")
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("width", [40, 80, None])
def test_no_number_is_broken_and_all_is_said(width):
    report = samples.analysis()
    shown = " ".join(text.render(report, width=width).replace("│", " ").split())
    for table in report.tables:
        for row in table.text():
            assert all(cell in shown for cell, c in zip(row, table.columns, strict=True) if c.numeric)
    for f in report.findings:
        assert f.code in shown and f.message in shown and f.level in shown and f.remedy in shown


def test_boxes_are_for_wide_terminals():
    assert "╭" in text.render(samples.analysis(), width=80)
    assert "╭" not in text.render(samples.analysis(), width=40)


def test_colour_marks_the_state_in_bold():
    shown = text.render(samples.analysis(), width=80, color=True)
    assert shown.startswith("\x1b[1;34mVANISHING\x1b[0m: the gradient")


def test_markup_in_a_name_is_only_text():
    report = Report("analysis", "see [bold]x[/bold] :smile: [link=a]b[/link] $x_1$")
    for width in (None, 80):
        assert text.render(report, width=width) == report.sentence + "\n"


@pytest.mark.parametrize("width", [None, 40, 80])
def test_ascii_terminals_get_ascii(width):
    report = replace(samples.analysis(), sentence="λ₁ = −0.36 ± 0.01 × 2… ‖J‖ é")
    shown = text.render(report, width=width, ascii_only=True)
    assert shown.isascii()
    assert shown.startswith("lambda1 = -0.36 +/- 0.01 x 2... |J| e\n")


def test_the_environment_decides_nothing(monkeypatch):
    before = text.render(samples.analysis(), width=80)
    for key in ("FORCE_COLOR", "COLUMNS", "NO_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.setenv(key, "1")
    assert text.render(samples.analysis(), width=80) == before
    assert "\x1b[" in text.render(samples.analysis(), width=80, color=True)


def test_a_negative_zero_has_no_sign_and_none_is_a_dash():
    table = Table("t", (Column("a", ".2f"), Column("b", ".0%")), ((-0.001, -0.001), (None, -0.51)))
    assert text.render(Report("analysis", "s", tables=(table,))).split("\n")[4:6] == ["0.00    0%", "   -  -51%"]
