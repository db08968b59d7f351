"""Text tables: .csv and .tsv, good and bad. Row numbers are those of the table of bad inputs."""

from __future__ import annotations

import numpy as np
import pytest

from gradscope.errors import GradscopeError
from gradscope.files.data._load import load_inputs
from gradscope.numerics.nonfinite import NonFinite

WANTED = [[1.5, 2.0], [3.0, -4.25]]


def table(tmp_path, content, name="x.csv", size=2, **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_inputs(path, input_size=size, **options)


def refused(tmp_path, content, exit_code, *words, **options):
    with pytest.raises(GradscopeError) as caught:
        table(tmp_path, content, **options)
    text = f"{caught.value.message} {caught.value.hint}"
    assert caught.value.exit_code == exit_code, text
    for word in words:
        assert word in text, text
    assert text.isprintable()


def test_row_68_header(tmp_path):
    inputs = table(tmp_path, "temp,wind\n1.5,2\n3,-4.25\n")
    assert inputs.values.tolist() == [WANTED]
    assert inputs.columns == ("temp", "wind")
    assert "header" in inputs.notes[0]
    plain = table(tmp_path, "1.5,2\n3,-4.25\n")
    assert plain.values.tolist() == [WANTED]
    assert (plain.columns, plain.notes) == ((), ())


def test_header_of_numbers(tmp_path):
    """What pandas writes for numbered columns with their index; and a first row that only might be one."""
    indexed = table(tmp_path, ",0,1\n0,1.5,2\n1,3,-4.25\n", columns="0,1")
    assert indexed.columns == ("0", "1")
    assert indexed.values.tolist() == [WANTED]
    refused(tmp_path, ",0,1\n0,1.5,2\n1,3,-4.25\n", 4, "--columns 0,1")
    doubtful = table(tmp_path, "0,1,2\n0.5,0.1,0.2\n", size=3)
    assert doubtful.values.shape == (1, 2, 3)
    assert doubtful.warnings[0][0] == "GS-HEADER"
    refused(tmp_path, "error,1.5\n2,3\n", 4, "line 1", "'error'")  # data with a stray word is no header


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfa,b\r\n1.5,2\r\n3,-4.25\r\n",  # row 69
        b"\xef\xbb\xbf1.5,2\r\n3,-4.25",
        b"1.5,2\r3,-4.25\r",
        b"a;b\n1,5;2\n3;-4,25\n",  # row 70
        b"1,5;2,0\n3,0;-4,25\n",
        b"1.5;2\n3;-4.25\n",
        b"sep=;\r\na;b\r\n1,5;2\r\n3;-4,25\r\n",
        b"a|b\n1.5|2\n3|-4.25\n",
        b"# a comment, with commas\n 1.5   2.0\n 3e0  -4.25 \n",
        b'"a, b","c"\n"1.5","2"\n"3","-4.25"\n',
        b"a, b\n1.5, 2\n\n3, -4.25\n\n",
        b"1.5,2,\n3,-4.25,\n",
        b"a,b\n1.5,2,\n3,-4.25,\n",
    ],
)
def test_rows_69_and_70_ways_to_write_one_table(tmp_path, content):
    assert table(tmp_path, content).values.tolist() == [WANTED]


def test_row_70_said(tmp_path):
    assert table(tmp_path, "1,5\n2,5\n", size=1, decimal=",").values.ravel().tolist() == [1.5, 2.5]
    assert table(tmp_path, "1:2\n3:4\n", delimiter=":").values.tolist() == [[[1, 2], [3, 4]]]
    assert "decimal comma" in " ".join(table(tmp_path, "1,5;2\n3;4\n").notes)
    refused(tmp_path, "1,5\n2,5\n", 4, "2 features", "--decimal", size=1)
    refused(tmp_path, "1.234,5;2\n3;4\n", 4, "'1.234,5'", "--delimiter", "--decimal")
    refused(tmp_path, "1;2\n", 2, "both", delimiter=",", decimal=",")
    refused(tmp_path, "1;2\n", 2, "one character", delimiter=";;")
    refused(tmp_path, "1;2\n", 2, "'.' or ','", decimal=";")


def test_row_71_ragged(tmp_path):
    refused(tmp_path, "a,b\n1,2\n\n3\n", 4, "line 4", "1 cells", "has 2", "--delimiter")
    refused(tmp_path, "1,2,3\n1,2\n", 4, "line 2", size=3)


def test_row_72_text(tmp_path):
    dated = "date,price,volume\n2020-01-01,1.5,2\n2020-01-02,3,-4.25\n"
    refused(tmp_path, dated, 4, "line 2", "('date')", "2020-01-01", "--columns price,volume")
    assert table(tmp_path, dated, columns="price,volume").values.tolist() == [WANTED]
    assert table(tmp_path, dated, columns="1, 2").columns == ("price", "volume")
    refused(tmp_path, dated, 2, "no column 'prize'", "did you mean price", columns="prize")
    refused(tmp_path, "2020-01-01,1\n2020-01-02,2\n", 4, "line 1", "column 0", "--columns 1")
    refused(tmp_path, "a,b\n1,2020_01\n", 4, "2020_01")
    refused(tmp_path, "a,a\n1,2\n", 2, "several columns", columns="a")
    assert table(tmp_path, '"p, q",b\n1,2\n', columns='"p, q"', size=1).values.tolist() == [[[1]]]


def test_row_73_empty(tmp_path):
    refused(tmp_path, "", 4, "empty")
    refused(tmp_path, "\n\n", 4, "no rows")
    refused(tmp_path, "# only a comment\n", 4, "no rows")
    refused(tmp_path, "a,b\n", 4, "header (a, b)", "no rows")


def test_empty_cells_are_nan(tmp_path):
    inputs = table(tmp_path, "a,b\n1,\nNA,2\n,inf\n")
    assert np.isnan(inputs.values).sum() == 3
    assert inputs.nonfinite[0] == NonFinite("data", "nan", 3, (0, 0, 1))
    refused(tmp_path, "a,b\n1,\n2,3\n", 4, "step 0, column 1 ('b')", nan="error")


def test_index_column_is_pointed_out(tmp_path):
    refused(tmp_path, ",p,q\n0,1.5,2\n1,3,4\n", 4, "3 features", "numbers the rows", "--columns p,q")
    refused(tmp_path, "p,q,r\n0,1.5,2\n7,3,4\n", 4, "input size is 2", "columns: p, q, r")


def test_encodings(tmp_path):
    refused(tmp_path, "a,b\n1,2\n".encode("utf-16"), 4, "UTF-16", "UTF-8")
    refused(tmp_path, b"a,b\n1,2\n\xff\xfe,3\n", 4, "not UTF-8")
    assert table(tmp_path, "größe,温度\n1,2\n").columns == ("größe", "温度")


def test_names_are_escaped(tmp_path):
    refused(tmp_path, "\x1b]0;x\x07,b\ntext,2\n1,2\n", 4, "\\x1b]0;x\\x07")
    assert table(tmp_path, "\x1b[31ma,b\n1,2\n").columns == ("\\x1b[31ma", "b")


def test_long_lines(tmp_path, monkeypatch):
    wide = ",".join(["0.123456789012345"] * 9000)  # longer than the first look at a file
    assert table(tmp_path, f"{wide}\n{wide}\n", size=9000).values.shape == (1, 2, 9000)
    monkeypatch.setattr("gradscope.files.data.csv.MAX_LINE_BYTES", 1000)
    refused(tmp_path, f"1,2\n{wide}\n", 4, "line 2", "longer than")
    refused(tmp_path, '1,2\n"' + "x\n" * 140_000, 4, "quote")


def test_memory_limit(tmp_path):
    refused(tmp_path, "1,2\n" * 100, 5, "limit", max_bytes=800)


def test_options_of_tables_only(tmp_path):
    np.save(tmp_path / "x.npy", np.ones((2, 2)))
    with pytest.raises(GradscopeError, match="text tables") as caught:
        load_inputs(tmp_path / "x.npy", input_size=2, decimal=",")
    assert caught.value.exit_code == 2


def test_tsv(tmp_path):
    assert table(tmp_path, "a\tb\n1.5\t2\n3\t-4.25\n", "x.tsv").values.tolist() == [WANTED]
    assert table(tmp_path, "a\tb\n1,5\t2\n3\t-4,25\n", "x.tsv").values.tolist() == [WANTED]
    refused(tmp_path, "1,2\n3,4\n5.5,6\n", 4, "--delimiter", name="x.tsv")
    assert table(tmp_path, "1,2\n3,4\n", "x.tsv", delimiter=",").values.shape == (1, 2, 2)
