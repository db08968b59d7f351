"""Ctrl-C and SIGTERM while a run goes on: real signals, sent when a progress line says where it is."""

import json
import signal

import jsonschema
import pytest

PLAIN = ("--progress", "plain")
# Long enough that a signal that is sent when a part begins comes while it is measured.
RUN = ("--hidden", "12", "--steps", "4000", "--batch", "4", "--lags", "6", *PLAIN)
SHORT = ("--hidden", "12", "--steps", "1000", "--batch", "4", "--lags", "2", *PLAIN)  # where much of it is done
SPECTRA = ["products", "Lyapunov exponents", "eigenvalues of the product", "single-step spectra"]
GRU = "gru:hidden=200"
INT, TERM = signal.SIGINT, signal.SIGTERM


@pytest.fixture
def schema():
    from gradscope.report import schema as report_schema

    return report_schema.schema()


def interrupted(process, sent, begins, *arguments, again=None):
    """Run, send a signal when a line begins so, and another one when the next line does; return code, out, err."""
    started = process(*arguments)
    lines = []
    for number, words in [(sent, begins)] + ([again] if again else []):
        while not (line := started.stderr.readline()).startswith(words.encode()):
            assert line, lines
            lines.append(line)
        started.send_signal(number)
    out, err = started.communicate(timeout=60)
    assert b"Traceback" not in err, err
    return started.returncode, out.decode(), err.decode().splitlines()


@pytest.mark.parametrize(("sent", "code"), [(INT, 130), (TERM, 143)])
def test_what_is_measured_is_written(process, tmp_path, schema, sent, code):
    files = [tmp_path / name for name in ("r.json", "r.md", "r.png")]
    options = [x for f in files for x in ("-o", f)]
    done = interrupted(process, sent, "products ...", "analyze", "--cell", "gru", *RUN, *options, "--json")
    assert done[0] == code
    assert done[2][-1] == f"interrupted: partial results written, exit code {code}"
    document = json.loads(done[1])
    jsonschema.validate(document, schema)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f.name for f in files)
    assert json.loads(files[0].read_text()) == document
    assert files[2].read_bytes().startswith(b"\x89PNG")
    (note,) = (w for w in document["warnings"] if w["code"] == "GS-INTERRUPTED")
    assert note["message"] == f"Interrupted; not measured: {', '.join(SPECTRA)}."
    assert note["message"] in files[1].read_text()
    assert document["verdict"]["state"] == "vanishing"
    assert len(document["series"]["log10_gradient_norm"]["h"]["median"]) == 4001
    assert "paths" in document["series"]
    assert not {"product", "lyapunov", "singular", "product_eigenvalues", "eigenvalues"} & set(document["series"])
    assert not {"lyapunov_1", "log10_product", "step_spectral_radius"} & set(document["metrics"])


def test_what_was_measured_before_is_kept_whole(process):
    """The same numbers as those of a run that nobody stops."""
    line = ("analyze", "--cell", "gru", *SHORT, "--json", "--reproducible")
    code, out, _ = interrupted(process, INT, "Lyapunov exponents ...", *line)
    assert code == 130
    short = json.loads(out)
    whole, _ = process(*line[:-2], "--json", "--reproducible", "--progress", "none").communicate(timeout=120)
    long = json.loads(whole)
    assert short["warnings"][-1]["message"] == f"Interrupted; not measured: {', '.join(SPECTRA[1:])}."
    assert short["series"]["product"] == long["series"]["product"]
    assert short["series"]["singular"] == long["series"]["singular"]
    assert short["metrics"]["log10_gain"] == long["metrics"]["log10_gain"]
    assert "lyapunov" in long["series"]
    assert "lyapunov" not in short["series"]


def test_before_gradients_are_known(process, tmp_path):
    line = ("analyze", "--cell", "lstm", "--steps", "100000", *PLAIN, "-o", tmp_path / "r.json")
    assert interrupted(process, INT, "running the cell", *line) == (130, "", ["interrupted"])
    assert list(tmp_path.iterdir()) == []


def test_the_second_time_it_stops_at_once(process, tmp_path):
    line = ("analyze", "--cell", "gru", *RUN, "-o", tmp_path / "r.png")
    code, out, err = interrupted(process, INT, "products ...", *line, again=(INT, "interrupted: writing"))
    assert (code, out, err[-1]) == (130, "", "interrupted")
    assert list(tmp_path.iterdir()) == []


def test_in_text(process):
    code, out, _ = interrupted(process, INT, "products ...", "analyze", "--cell", "rnn", *RUN)
    assert code == 130
    assert out.startswith("VANISHING")
    assert "note (GS-INTERRUPTED): Interrupted; not measured: products, Lyapunov exponents," in " ".join(out.split())


def test_remedies_are_left_out(process):
    code, out, _ = interrupted(process, INT, "products ...", "analyze", "--cell", "gru", *RUN, "--remedies", "--json")
    assert code == 130
    document = json.loads(out)
    assert "remedies" not in document
    assert document["warnings"][-1]["message"].endswith("single-step spectra, remedies.")
    code, out, _ = interrupted(process, INT, "remedies", "analyze", "--cell", "gru", *SHORT, "--remedies", "--json")
    assert code == 130
    document = json.loads(out)
    assert "remedies" not in document
    assert document["warnings"][-1]["message"] == "Interrupted; not measured: remedies."
    assert "lyapunov" in document["series"]


@pytest.mark.parametrize(("begins", "names"), [(f"{GRU}: products ...", ["rnn", GRU]), (f"{GRU}: input", ["rnn"])])
def test_a_comparison_keeps_what_is_finished(process, schema, begins, names):
    """A model whose gradients are known is kept as far as it is measured."""
    code, out, _ = interrupted(process, INT, begins, "compare", "rnn", GRU, "lstm", *SHORT, "--json")
    assert code == 130
    document = json.loads(out)
    jsonschema.validate(document, schema)
    assert [r["name"] for r in document["results"]] == names
    missing = [n for n in (GRU, "lstm") if n not in names]
    assert document["warnings"][-1] == {
        "code": "GS-INTERRUPTED",
        "message": f"Interrupted; not measured: {', '.join(missing)}.",
        "where": "results",
    }
    assert "lyapunov" in document["results"][0]["series"]


@pytest.mark.parametrize(("sent", "code"), [(INT, 130), (TERM, 143)])
def test_several_threads(process, schema, sent, code):
    """Each model that is being measured is kept as far as it is; one that has not begun is left out."""
    line = ("compare", GRU, "gru:hidden=201", "rnn", *SHORT, "--threads", "2", "--json")
    done, out, _ = interrupted(process, sent, f"{GRU}: products ...", *line)
    assert done == code
    document = json.loads(out)
    jsonschema.validate(document, schema)
    assert GRU in [r["name"] for r in document["results"]]
    assert "rnn" not in [r["name"] for r in document["results"]]
    assert document["warnings"][-1]["code"] == "GS-INTERRUPTED"
    notes = document["results"][0]["warnings"]
    assert "Lyapunov exponents" in next(w["message"] for w in notes if w["code"] == "GS-INTERRUPTED")


def test_several_threads_the_second_time(process, tmp_path):
    line = ("compare", GRU, "gru:hidden=201", *SHORT, "--threads", "2", "-o", tmp_path / "r.json")
    code, out, err = interrupted(process, INT, f"{GRU}: products ...", *line, again=(INT, "gru"))
    assert (code, out, err[-1]) == (130, "", "interrupted")
    assert list(tmp_path.iterdir()) == []
