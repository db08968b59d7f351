"""compare and report: cells, checkpoints and saved results, side by side and drawn again."""

import json

import numpy as np
import pytest

SIZE = ("--hidden", "8", "--steps", "20", "--lags", "4")


@pytest.fixture
def saved(run, tmp_path):
    path = tmp_path / "saved.json"
    assert run("analyze", "--cell", "rnn", *SIZE, "-o", path).code == 0
    return path


def test_cells(run):
    done = run("compare", "rnn", "lstm", "gru", *SIZE)
    assert (done.code, done.err) == (0, "")
    first = done.out.splitlines()[0]
    assert " keeps 0.1 % of the gradient for " in first
    assert all(name in first for name in ("RNN", "LSTM", "GRU", "20 steps"))


def test_cells_checkpoints_and_results(run, checkpoint, saved):
    done = run("compare", "lstm:forget_bias=1", "lstm", checkpoint(), saved, *SIZE, "--json")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert document["kind"] == "comparison"
    assert [r["name"] for r in document["results"]] == ["lstm:forget_bias=1", "lstm", "model", "saved.json"]
    assert sorted(document["verdict"]["order"]) == sorted(r["name"] for r in document["results"])


STEP = "import numpy as np\n{}\n\n\ndef step(x, s, *, rate=0.5):\n    return rate * np.tanh(s + x[:1])\n"


@pytest.fixture
def functions(tmp_path):
    """Write two functions of a file: of five units, and of as many as are asked for."""
    for name, size in (("five.py", "state_size = 5"), ("open.py", "")):
        (tmp_path / name).write_text(STEP.format(size))
    return tmp_path / "five.py", tmp_path / "open.py"


def test_options_without_effect_on_some(run, functions, tmp_path):
    """A note names those, for options that were typed alone."""
    options = ("--steps", "20", "--lags", "0", "--json")
    five, other = functions
    done = run("compare", five, "rnn", f"{other}:rate=0.1", "--gain", "2", "--hidden", "3", *options)
    assert done.code == 0
    document = json.loads(done.out)
    notes = {w["message"] for w in document["warnings"] if w["code"] == "GS-NO-EFFECT"}
    assert notes == {
        "--hidden has no effect on five.py: the file determines it.",
        "--gain has no effect on five.py, open.py:rate=0.1: the file determines it.",
    }
    assert [r["model"]["hidden_size"] for r in document["results"]] == [5, 3, 3]
    (tmp_path / "options.toml").write_text("gain = 2.0\nhidden = 3\n")
    done = run("compare", five, "rnn", "--config", tmp_path / "options.toml", *options)
    assert "GS-NO-EFFECT" not in done.out


@pytest.mark.parametrize("option", [("--gain", "2"), ("--layers", "2"), ("--init", "gaussian")])
def test_options_without_effect_on_all(functions, refused, checkpoint, saved, option):
    refused(2, f"{option[0]} applies only to cells with random weights", "compare", *functions, *option)
    refused(2, f"{option[0]} applies only to cells", "compare", functions[0], checkpoint(), saved, *option)


def test_the_size_of_a_file(functions, refused, run):
    refused(2, "five.py sets state_size = 5", "compare", functions[0], "--hidden", "3")
    done = run("compare", *functions, "--hidden", "3", "--steps", "20", "--lags", "0")
    assert done.code == 0
    assert "note (GS-NO-EFFECT): --hidden has no effect on five.py: the file determines it." in done.out


def test_the_same_name_twice(run):
    document = json.loads(run("compare", "gru", "gru", "gru", *SIZE, "--json").out)
    assert [r["name"] for r in document["results"]] == ["gru", "gru (2)", "gru (3)"]
    assert len({json.dumps(r["metrics"]) for r in document["results"]}) == 1


def test_settings_of_one_cell(run):
    document = json.loads(run("compare", "gru", "gru:init=chrono,tmax=200", "gru:hidden=4,seed=3", *SIZE, "--json").out)
    assert [r["model"]["hidden_size"] for r in document["results"]] == [8, 8, 4]
    assert [r["config"]["init"] for r in document["results"]] == ["pytorch", "chrono", "pytorch"]
    assert "init" not in document["config"]


def test_a_comparison_can_be_extended_and_drawn(run, tmp_path):
    path = tmp_path / "c.json"
    assert run("compare", "rnn", "gru", *SIZE, "-o", path).code == 0
    document = json.loads(run("compare", path, "lstm", *SIZE, "--json").out)
    assert [r["name"] for r in document["results"]] == ["rnn", "gru", "lstm"]
    assert run("report", path, "-o", tmp_path / "c.svg").code == 0


@pytest.mark.parametrize(
    ("targets", "code", "words"),
    [
        (["lsmt", "gru"], 2, ["'lsmt' is neither a cell nor a file", "did you mean lstm?"]),
        (["lstm:bogus=1"], 2, ["no setting named 'bogus'", "forget_bias"]),
        (["lstm:forget_bias"], 2, ["KEY=VALUE"]),
        (["lstm:init=pytorhc"], 2, ["did you mean pytorch?"]),
        (["gru:hidden=0"], 2, ["hidden must be at least 1"]),
        (["gru:gain=inf"], 2, ["gain must be a finite number"]),
        (["gru:"], 2, ["neither a cell nor a file"]),
        (["none.pt"], 4, ["no file"]),
        (["none.json"], 4, ["No such file"]),
        ([], 2, ["missing argument"]),
    ],
)
def test_mistakes(refused, targets, code, words):
    refused(code, words, "compare", *targets, "--steps", "20000")


def test_fail_on_any_of_them(run):
    assert run("compare", "linear", "rnn", *SIZE, "--fail-on", "vanishing").code == 3
    assert run("compare", "linear", "rnn", *SIZE, "--fail-on", "nonfinite").code == 0


DAMAGED = {
    "empty": ("", "is empty"),
    "not json": ("hello", "not JSON"),
    "nan": ('{"kind": "analysis", "x": NaN}', "NaN is not a number in JSON"),
    "list": ("[1, 2]", "not a result of gradscope"),
    "foreign": ('{"name": "other"}', "not a result of gradscope"),
    "unknown kind": ('{"kind": "recipe", "schema_version": "1.0"}', "'recipe'"),
    "later": ('{"kind": "analysis", "schema_version": "2.0"}', "upgrade gradscope"),
    "hollow": ('{"kind": "analysis", "schema_version": "1.0"}', "damaged"),
    "deep": ("[" * 100_000, "not JSON"),
    "binary": ("\x00\x01\x02", "not JSON"),
}


@pytest.mark.parametrize("command", ["report", "compare"])
@pytest.mark.parametrize(("text", "words"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_results(refused, tmp_path, command, text, words):
    path = tmp_path / "r.json"
    path.write_text(text)
    refused(4, words, command, path)


@pytest.mark.parametrize("field", ["verdict", "metrics", "series", "config", "tool"])
def test_results_without_a_field(refused, saved, field):
    document = json.loads(saved.read_text())
    del document[field]
    saved.write_text(json.dumps(document))
    refused(4, "damaged", "report", saved)
    refused(4, "damaged", "compare", saved, "gru", *SIZE)


def test_an_inspection_is_nothing_to_compare(run, refused, checkpoint, tmp_path):
    path = tmp_path / "i.json"
    assert run("inspect", checkpoint(), "-o", path).code == 0
    assert run("report", path).code == 0
    refused(4, "which cannot be compared", "compare", path, "gru")


@pytest.mark.parametrize("name", ["text", "json", "csv", "md"])
def test_a_saved_result_is_shown_as_a_fresh_one(run, tmp_path, name):
    line = ("analyze", "--cell", "lstm", *SIZE, "--reproducible", "--format", name)
    fresh = run(*line, "-o", tmp_path / "r.json").out
    again = run("report", tmp_path / "r.json", "--reproducible", "--format", name).out
    assert again == fresh


def test_report_refuses_its_own_input(refused, saved):
    refused(2, "exists", "report", saved, "-o", saved)
    refused(4, "No such file", "report", saved.parent / "none.json")
    refused(4, "directory", "report", saved.parent)


def test_directions_of_one_network_are_run_alike(run):
    """An upper layer sees as many inputs as those below have outputs; what the network is given is the same."""
    small = ("--hidden", "4", "--steps", "12", "--batch", "2", "--lags", "0")
    done = run("analyze", "--cell", "gru", "--layers", "2", "--bidirectional", *small, "--json")
    assert "GS-UNLIKE" not in {w["code"] for w in json.loads(done.out)["warnings"]}
    done = run("compare", "gru:layers=2", "rnn", *small)
    assert "GS-UNLIKE" not in done.out


def test_models_of_other_width_are_not_run_alike(run, tmp_path):
    path = tmp_path / "narrow.py"
    path.write_text("state_size, input_size = 3, 2\ndef step(x, s):\n    return 0.5 * s + x[0]\n", encoding="utf-8")
    done = run("compare", "rnn", str(path), "--steps", "12", "--batch", "2", "--lags", "0")
    assert "The models were run with different settings: inputs 32 and 2." in done.out


def test_it_takes_what_analyze_takes(run, tmp_path):
    size = ("--hidden", "6", "--steps", "20", "--lags", "2")
    document = json.loads(run("compare", "gru", "rnn", *size, "--bidirectional", "--json").out)
    assert [r["name"] for r in document["results"]] == ["gru.l0", "gru.l0.reverse", "rnn.l0", "rnn.l0.reverse"]
    document = json.loads(run("compare", "gru", "gru:hidden=4", *size, "--set", "update_bias=1", "--json").out)
    assert [r["config"]["set"] for r in document["results"]] == [{"update_bias": 1.0}] * 2


def test_settings_after_the_colon_win(run, refused):
    size = ("--hidden", "6", "--steps", "20", "--lags", "2", "--json")
    document = json.loads(run("compare", "gru:update_bias=2", "gru", *size, "--set", "update_bias=1").out)
    assert [r["config"]["set"]["update_bias"] for r in document["results"]] == [2.0, 1.0]


def test_a_plan_of_several(run):
    out = run("compare", "gru", "lstm", "--hidden", "6", "--dry-run").out
    assert [line.partition(":")[0] for line in out.splitlines() if "with warm-up" in line] == [
        "GRU, 6 units",
        "LSTM, 6 units",
    ]


def test_diagrams_of_several(run, tmp_path):
    saved, drawn = tmp_path / "lstm.json", tmp_path / "c.svg"
    size = ("--hidden", "6", "--steps", "20", "--lags", "2")
    assert run("analyze", "--cell", "lstm", *size, "-o", saved).code == 0
    assert run("compare", "gru", saved, *size, "--diagram", "-o", drawn).code == 0
    text = drawn.read_text()
    assert "gru" in text
    assert "lstm.json" in text


@pytest.fixture
def tokens(tmp_path, checkpoint):
    """Write a checkpoint with an embedding, and tokens."""
    rng = np.random.default_rng(3)
    embedding = rng.standard_normal((7, 3))
    np.save(tmp_path / "t.npy", rng.integers(0, 7, (2, 20)))
    return checkpoint(**{"emb.weight": embedding}), tmp_path / "t.npy", embedding


def test_a_cell_reads_the_embedding_of_a_checkpoint(run, tokens, tmp_path):
    """Its numbers are those on the rows that the tokens stand for, and its input size is the width of the embedding."""
    path, ids, embedding = tokens
    options = ("--hidden", "8", "--lags", "0", "--json")
    done = run("compare", path, "gru", "--data", ids, "--embedding", "emb", *options)
    assert (done.code, done.err) == (0, "")
    of_file, of_cell = json.loads(done.out)["results"]
    assert of_cell["model"]["input_size"] == of_file["model"]["input_size"] == 3
    note = {"code": "GS-NOTE", "message": "Tokens are looked up in 'emb' of 'model.npz'.", "where": "input"}
    assert note in of_cell["warnings"]
    np.save(tmp_path / "x.npy", embedding[np.load(ids)])
    alone = json.loads(run("analyze", "--cell", "gru", "--data", tmp_path / "x.npy", *options).out)
    assert of_cell["metrics"] == alone["metrics"]


def test_which_embedding_a_cell_reads(run, refused, tokens, checkpoint):
    path, ids, embedding = tokens
    other = checkpoint("other.npz", **{"emb.weight": 2 * embedding})
    line = ("--data", ids, "--embedding", "emb", "--lags", "0")
    done = run("compare", "rnn", other, path, *line)
    note = "Tokens are looked up in 'emb' of 'other.npz', the first checkpoint: each checkpoint reads its own."
    assert f"note (GS-ASSUME): rnn: {note}" in done.out
    refused(2, "--embedding applies only to checkpoints", "compare", "rnn", "gru", *line)
    refused(4, "the embedding 'emb' has width 3; the model has 5 inputs", "compare", path, "rnn:input_size=5", *line)
    refused(2, ["cannot read the embedding", "save the checkpoint"], "compare", "rnn", "-", *line)


def test_one_chain_of_many_that_explodes(run, tmp_path):
    """A file of 24 recurrent layers: the first line names the one, within two lines of a terminal."""
    rng, arrays = np.random.default_rng(0), {}
    for i in range(24):
        scale = 2.5 if i == 17 else 0.4
        arrays |= {
            f"encoder.{i}.weight_ih_l0": np.full((4, 2), 1e-3),
            f"encoder.{i}.weight_hh_l0": scale * np.linalg.qr(rng.standard_normal((4, 4)))[0],
        }
    np.savez(tmp_path / "m.npz", **arrays)
    done = run(
        "analyze", tmp_path / "m.npz", "--input-scale", "1e-9", "--steps", "12", "--warmup", "0", "--lags", "0", "-q"
    )
    start = "encoder.17 explodes (its gradient grows 6.0e4-fold); "
    assert (
        done.out == f"{start}the others keep 0.1 % of the gradient for 7 steps each (white noise, 12 steps, seed 0)\n"
    )


def test_the_order_of_a_run_does_not_depend_on_what_is_typed_first(run, checkpoint):
    paths = [checkpoint(f"epoch{i}.npz", scale=0.3 + 0.01 * i) for i in range(12)]
    done = run("compare", *paths[6:], *paths[:6], "--steps", "30", "--lags", "0")
    table = done.out.partition("\ncomparison\n")[2].splitlines()[1:13]
    assert [line.split()[0] for line in table] == [f"epoch{i}" for i in range(12)]
    assert done.out.startswith("epoch0 to epoch11 keep 0.1 % of the gradient for ")
