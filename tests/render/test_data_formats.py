from __future__ import annotations

import csv as reader
import io
import json as standard
import math

import pytest
import samples

from gradscope.render import csv, json, md, tsv
from gradscope.report.model import Column, Report, Table


def _report(*rows):
    return Report("analysis", "s", data=Table("t", tuple(Column(f"c{k}") for k in range(len(rows[0]))), rows))


def test_json_is_the_document_with_arrays_on_one_line():
    document = samples.analysis().document
    found = json.render(samples.analysis())
    assert standard.loads(found) == document
    assert "[0.0, -1.5]," in found and '"timestep": [0, 1, 2]' in found
    assert "β σ" in found
    assert list(standard.loads(found)) == list(document)


@pytest.mark.parametrize("value", [math.nan, math.inf, [1.0, -math.inf], {"a": [[math.nan]]}])
def test_json_refuses_what_is_not_finite(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        json.render(Report("analysis", "s", document={"x": value}))


def test_json_refuses_keys_that_are_not_strings():
    with pytest.raises(TypeError, match="keys"):
        json.render(Report("analysis", "s", document={"x": {1: 2}}))


def test_reproducible_json_leaves_out_each_run():
    found = standard.loads(json.render(samples.comparison(), reproducible=True))
    assert "run" not in found and not any("run" in r for r in found["results"])
    assert "run" in samples.comparison().document
    assert standard.loads(json.render(samples.comparison())) == samples.comparison().document


def test_json_holds_no_raw_control_characters():
    found = json.render(samples.hostile())
    assert standard.loads(found) == samples.hostile().document
    assert not {c for c in found if not c.isprintable()} - {"\n"}


def test_numbers_keep_every_digit_and_none_is_empty():
    value = 0.1 + 0.2
    lines = csv.render(_report((1, value, None, True, -2.5, 10**20))).split("\n")
    assert lines[1] == f"1,{value!r},,true,-2.5,100000000000000000000"
    assert float(lines[1].split(",")[1]) == value


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@SUM(A1)", "\tx", "\rx", "＝x"])
@pytest.mark.parametrize("module", [csv, tsv])
def test_text_that_a_spreadsheet_would_run_is_quoted(module, text):
    found = module.render(_report((text, -1.0)))
    assert found.split("\n")[1].lstrip('"').startswith("'")
    assert found.endswith("-1.0\n")


def test_csv_cells_survive_delimiters_and_quotes():
    found = csv.render(_report(('a,"b"', "c\nd")))
    assert list(reader.reader(io.StringIO(found)))[1] == ['a,"b"', "c\\nd"]


def test_without_data_the_first_table_is_written():
    report = Report("inspection", "s", tables=(Table("t", (Column("a"),), ((1,),)),))
    assert tsv.render(report) == "a\n1\n"


def test_markdown_shows_texts_as_they_are():
    found = md.render(samples.hostile())
    assert "\\[bold\\]x\\[/bold\\] \\$x\\_1\\$" in found or "\\[bold\\]x\\[/bold\\] \\$x_1\\$" in found
    assert "\\|pipe\\|" in found and "\\<b\\>" in found
    rows = [line for line in found.split("\n") if line.startswith("| ")]
    assert len(rows) == 7
    assert all(line.replace("\\|", "").count("|") == 3 for line in rows)


def test_markdown_has_the_sentence_first_and_the_state_in_bold():
    found = md.render(samples.analysis())
    assert found.startswith("**VANISHING**: the gradient halves")
    assert "| reach | 13 |" in found and "| --- | ---: | --- |" in found
