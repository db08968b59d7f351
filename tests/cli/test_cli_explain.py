"""gradscope explain: every code, however it is typed, at every width."""

import ast
import json
import re

import pytest

from gradscope.cli.commands import explain
from gradscope.report import codes as texts
from gradscope.report.codes import codes

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


def test_all_are_listed_with_a_line_each(run):
    done = run("explain")
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()] == list(codes())
    assert [r["code"] for r in json.loads(run("explain", "--json").out)] == list(codes())


@pytest.mark.parametrize("typed", ["GS-VANISHING", "gs-vanishing", "vanishing", "Vanishing"])
def test_case_and_prefix_do_not_matter(run, typed):
    done = run("explain", typed)
    assert done.out.startswith("GS-VANISHING (warning): ")
    assert json.loads(run("explain", typed, "--json").out)["code"] == "GS-VANISHING"


@pytest.mark.parametrize(("typed", "meant"), [("vanishng", "GS-VANISHING"), ("GS-ROAD-CANCEL", "GS-ROADS-CANCEL")])
def test_a_mistyped_code_is_guessed(refused, typed, meant):
    refused(2, [f"no finding is called '{typed}'", f"did you mean {meant}?"], "explain", typed)


def test_an_unknown_code(refused):
    assert "did you mean" not in refused(2, "gradscope explain lists all", "explain", "zzz")


@pytest.mark.parametrize("code", codes())
def test_piped_text_is_plain_and_whole(run, code):
    out, c = run("explain", code).out, codes()[code]
    assert "\x1b" not in out and "`" not in out
    for text in (c.means, c.decided, c.remedy):
        assert f"  {text.replace('`', '')}\n" in out
    assert not re.search(r"[{}]", out), "a constant was not filled in"


@pytest.mark.parametrize("width", [20, 40, 80])
@pytest.mark.parametrize("code", [None, *codes()])
def test_no_line_is_wider_than_the_terminal(run, monkeypatch, code, width):
    typed = [code] if code else []
    piped = run("explain", *typed).out
    monkeypatch.setattr(explain, "terminal_width", lambda: width)
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as far as width and bold letters go
    wrapped = run("explain", *typed).out
    assert "\x1b[1m" in wrapped
    plain = ESCAPES.sub("", wrapped)
    # a path of the documentation is one word and stays whole, and so does code
    code_lines = {line for text in (codes()[code].examples.values() if code else ()) for line in text.splitlines()}
    prose = [line for line in plain.splitlines() if line not in code_lines]
    assert all(len(line) <= width or len(line.split()) == 1 for line in prose)
    assert all(len(line) <= 80 for line in code_lines)
    if code:
        assert plain.split() == piped.split()


def test_constants_are_those_of_the_source():
    """Against the imported modules, for every constant that a text names."""
    import importlib

    named = set(texts.CONSTANT.findall((texts.PACKAGE / "report" / "codes.toml").read_text("utf-8")))
    assert len(named) > 8
    for module, name, _ in named:
        value = getattr(importlib.import_module(f"gradscope.{module}"), name)
        assert texts._constant(module, name) == value


def test_a_constant_that_is_not_there_is_a_bug():
    with pytest.raises(LookupError, match="NOWHERE"):
        texts._filled("{report.verdict.NOWHERE}")


def test_the_report_says_how_to_ask(run, quick):
    done = run("analyze", "--cell", "rnn", "--steps", "100", "--hidden", "8", "--lags", "0")
    named = re.search(r"^Details: gradscope explain (GS-[A-Z-]+)", done.out, re.M)
    assert named and run("explain", named[1]).code == 0
    assert done.out.count("gradscope explain") == 1
    assert "explain" not in run("analyze", "--cell", "rnn", *quick, "--quiet").out


REMEDIED = ("GS-VANISHING", "GS-EXPLODING", "GS-SATURATED", "GS-DEPTH", "GS-DEAD")


@pytest.mark.parametrize("code", REMEDIED)
def test_code_that_applies_a_remedy(run, code):
    """It is shown as it is typed, in the text and in the JSON; tests/formats runs it."""
    out, document = run("explain", code).out, json.loads(run("explain", code, "--json").out)
    assert list(document["examples"]) == ["PyTorch", "Keras", "Flax"]
    for framework, text in document["examples"].items():
        assert f"\nRemedy in {framework}\n{text}\n" in out
        ast.parse(text)
    assert {c for c, row in codes().items() if row.examples} == set(REMEDIED)
