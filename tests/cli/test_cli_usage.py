"""Names and numbers that cannot be, options that conflict: exit 2 before any work, with what was meant."""

import pytest

GRU = ("analyze", "--cell", "gru")


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["--cell", "grru"], ["no cell named 'grru'", "did you mean gru?", "linear, lru, lstm, ltc"]),
        (["--cell", "GRU"], ["no cell named 'GRU'", "did you mean gru?"]),
        (["--cell", "gru", "--init", "pytorhc"], ["no initialisation named 'pytorhc'", "did you mean pytorch?"]),
        (["--cell", "gru", "--loss", "lst"], ["--loss: there is no 'lst'", "did you mean last?"]),
        (["--cell", "gru", "--drive", "nois"], ["--drive", "did you mean noise?"]),
        (["--cell", "gru", "--dtype", "float16"], ["--dtype", "known: float64, float32"]),
        (["--cell", "gru", "--format", "jsn"], ["--format", "did you mean json?"]),
        (["--cell", "gru", "--set", "updte_bias=1"], ["no setting named 'updte_bias'", "did you mean update_bias?"]),
        (["--cell", "gru", "--set", "update_bias"], ["has the form KEY=VALUE", "for example"]),
        (["--cell", "gru", "--set", "update_bias=nan"], ["update_bias must be a finite number"]),
        (["--cell", "gru", "--set", "update_bias=much"], ["update_bias must be a number"]),
        (["--cell", "gru", "--stepz", "4"], ["no option '--stepz'", "did you mean --steps?"]),
        (["--cell", "gru", "--steps"], ["option '--steps' requires an argument"]),
        (["a.pt", "b.pt"], ["unexpected extra argument"]),
        (["--cell", "gru", "model.pt"], ["not both"]),
        ([], ["name a checkpoint, or a cell with --cell", "gradscope analyze --cell gru"]),
        (["gru"], ["no file 'gru'", "--cell gru"]),
    ],
)
def test_names(refused, typed, words):
    refused(2, words, "analyze", *typed)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--steps", "0", "--steps must be at least 1, not 0"),
        ("--steps", "-5", "--steps must be at least 1, not -5"),
        ("--steps", "1.5", "--steps must be an integer, not '1.5'"),
        ("--steps", "nan", "an integer"),
        ("--steps", "inf", "an integer"),
        ("--steps", "many", "1000, 1e3, 1k and 1_000 are equivalent"),
        ("--hidden", "0", "--hidden must be at least 1"),
        ("--layers", "0", "--layers must be at least 1"),
        ("--batch", "0", "--batch must be at least 1"),
        ("--input-size", "0", "--input-size must be at least 1"),
        ("--warmup", "-1", "--warmup must be at least 0"),
        ("--lags", "-1", "--lags must be at least 0"),
        ("--spectrum", "0", "--spectrum must be at least 1"),
        ("--threads", "0", "--threads must be at least 1"),
        ("--seed", "-1", "--seed must be at least 0"),
        ("--seed", "abc", "--seed must be an integer, not 'abc'"),
        ("--input-scale", "nan", "--input-scale must be a finite number, not nan"),
        ("--input-scale", "inf", "--input-scale must be a finite number, not inf"),
        ("--gain", "-inf", "--gain must be a finite number"),
        ("--gain", "1e400", "--gain must be a finite number"),
        ("--gain", "big", "--gain must be a number, not 'big'"),
        ("--threshold", "0", "--threshold must lie between 0 and 1"),
        ("--threshold", "2", "--threshold must lie between 0 and 1"),
        ("--step-spectra", "some", "--step-spectra must be an integer"),
        ("--max-memory", "lots", "not a memory size"),
        ("--max-memory", "9" * 400, "for example 500M or 2GiB"),
    ],
)
def test_numbers(refused, option, value, words):
    refused(2, words, *GRU, option, value)


@pytest.mark.parametrize(
    ("typed", "meant"), [("1e2", 100), ("0.1k", 100), ("1_0_0", 100), ("+100", 100), (" 100 ", 100)]
)
def test_counts_as_people_type_them(run, typed, meant):
    done = run(*GRU, "--hidden", "4", "--lags", "0", "--steps", typed, "--quiet")
    assert (done.code, done.err) == (0, "")
    assert f"{meant} steps" in done.out


def test_more_lags_than_steps(run, quick):
    assert run(*GRU, *quick, "--lags", "1e12").code == 0


def test_input_that_overflows(run, quick):
    done = run(*GRU, *quick, "--input-scale", "1e308")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("NONFINITE")


def test_a_seed_of_any_size(run, quick):
    done = run(*GRU, *quick, "--seed", 2**70)
    assert (done.code, done.err) == (0, "")
    assert f"seed {2**70}" in done.out


@pytest.mark.parametrize(
    "conflict",
    [
        ["--json", "--format", "csv"],
        ["--fail-on", "explodng"],
        ["--fail-on", "rech < 5"],
        ["--fail-on", "reach <"],
        ["--fail-on", "__import__('os').system('true')"],
        ["--fail-on", "reach.real < 5"],
        ["--fail-on", ""],
        ["--fail-on", "1"],
        ["--fail-on", "reach"],
        ["--fail-on", "reach == True"],
        ["--fail-on", "reach < 1e999"],
        ["--fail-on", "reach < 'a'"],
        ["--fail-on", "(reach < 5) < 3"],
        ["--fail-on", "(" * 5000],
        ["--data", "-"],
    ],
)
def test_told_before_the_run(refused, conflict):
    """A run of these sizes would take minutes."""
    err = refused(2, [], *GRU, "--steps", "20000", *conflict)
    assert "Invalid value" not in err
    assert "hint: " in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--cell", "gru", "--layer", "rnn"], "--layer applies only to checkpoints"),
        (["--cell", "gru", "--gate-order", "rzn"], "--gate-order applies only to checkpoints"),
        (["model.pt", "--gain", "2"], "--gain applies only to cells with random weights"),
        (["model.pt", "--set", "forget_bias=1"], "--set applies only to cells with random weights"),
        (["model.pt", "--hidden", "128"], "--hidden applies only to cells with random weights"),
        (["model.pt", "--columns", "a"], "--columns applies only to real input"),
        (["model.pt", "--data", "x.npy", "--drive", "sine"], "--drive applies only to synthetic input"),
    ],
)
def test_options_that_would_do_nothing(refused, options, words):
    refused(2, words, "analyze", *options)


def test_options_that_would_do_nothing_in_a_comparison(refused):
    refused(2, "--layer applies only to checkpoints", "compare", "gru", "lstm", "--layer", "rnn")
    refused(2, "--hidden applies only to cells", "compare", "a.pt", "b.pt", "--hidden", "8")


def test_fail_on_suggests(refused):
    refused(2, ["no verdict 'explodng'", "did you mean exploding?"], *GRU, "--fail-on", "explodng")
    refused(2, ["no metric 'rech'", "did you mean reach?"], *GRU, "--fail-on", "rech < 50")


def test_standard_input_for_two_things(refused):
    refused(2, "standard input", "analyze", "-", "--data", "-")
    refused(2, "only once", "compare", "-", "-")


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        (["--steps", "10000000000"], ["TiB", "for inputs", "use fewer steps"]),
        (["--max-memory", "1M"], ["Python and its libraries alone"]),
        (["--batch", "1e12"], ["for inputs", "sequences (--batch)"]),
        (["--hidden", "100000"], ["1.6", "TiB", "the weights alone", "--lags 0", "does not help", "use fewer units"]),
        (["--hidden", "1e300"], ["more than a million EiB"]),
        (["--layers", "1e12"], ["EiB"]),
        (["--hidden", "6000", "--max-memory", "3GiB"], ["for dense Jacobians", "--lags 0 needs 1."]),
        (["--steps", "1e5", "--max-memory", "700M", "--lags", "0"], ["--dtype float32 needs"]),
    ],
)
def test_more_memory_than_there_is(refused, sizes, words):
    refused(5, [*words, "--max-memory raises the limit"], *GRU, *sizes)


@pytest.mark.parametrize("cell", [("exprnn",), ("mingru", "--layers", "2"), ("mingru", "--drive", "self")])
def test_what_mixes_units_is_refused_before_it_is_drawn(refused, monkeypatch, cell):
    """Recurrent weights that are made of others, layers, what comes back as input: their spectra take matrices."""
    monkeypatch.setattr("gradscope.checking.create.instantiate", lambda *_, **__: pytest.fail("drawn"))
    sizes = ["--hidden", "6000", "--max-memory", "3GiB", "--dry-run"]
    refused(5, ["for dense Jacobians", "--lags 0 needs"], "analyze", "--cell", *cell, *sizes)


def test_units_on_their_own_take_no_matrix(run):
    """50000 squared is 19 GiB."""
    assert run("analyze", "--cell", "mingru", "--hidden", "50000", "--max-memory", "3GiB", "--dry-run").code == 0


def test_the_advice_on_memory_is_true(run):
    sizes = ["--hidden", "3000", "--max-memory", "800M", "--dry-run"]
    refusal = run(*GRU, *sizes)
    assert refusal.code == 5
    assert "--lags 0 needs" in refusal.err
    assert run(*GRU, *sizes, "--lags", "0").code == 0


def test_no_arguments(run):
    done = run()
    assert (done.code, done.out) == (2, "")
    assert done.err.count("gradscope analyze") == 2
    assert "usage: gradscope COMMAND" in done.err


def test_unknown_command(refused):
    refused(2, ["no command 'anaylze'", "did you mean analyze?"], "anaylze")
    refused(2, ["no command 'xyz'", "known: analyze, compare"], "xyz")
    refused(2, ["no option '--verison'", "did you mean --version?"], "--verison")


def test_threads_of_one_model_have_no_effect(run):
    assert "--threads 2 has no effect" in run(*GRU, "--steps", "20", "--lags", "0", "--threads", "2").err
    assert "--threads" not in run("compare", "gru", "rnn", "--steps", "20", "--lags", "0", "--threads", "2").err
