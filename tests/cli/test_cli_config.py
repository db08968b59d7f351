"""--config: defaults from a file; what is wrong in it is named with its line."""

import json

import pytest


@pytest.fixture
def config(tmp_path):
    def write(text):
        path = tmp_path / "run.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_options_from_a_file(run, config):
    path = config(
        'cell = "lstm"\nhidden = 8\nsteps = "1e2"\nlags = 0\nset = ["forget_bias=1"]\njson = true\nseed = 3\n'
    )
    done = run("analyze", "--config", path)
    assert (done.code, done.err) == (0, "")
    settings = json.loads(done.out)["config"]
    assert (settings["cell"], settings["steps"], settings["set"]) == ("lstm", 100, {"forget_bias": 1.0})


def test_the_command_line_wins(run, config):
    done = run(
        "analyze", "--config", config('cell = "gru"\nhidden = 8\nlags = 0\nsteps = 50\n'), "--steps", "20", "--json"
    )
    assert json.loads(done.out)["config"]["steps"] == 20


def test_underscores_and_lists(run, config, tmp_path):
    outputs = [str(tmp_path / "a.json"), str(tmp_path / "b.csv")]
    text = 'cell = "gru"\nhidden = 8\nsteps = 20\nlags = 0\ninput_size = 3\nset = "update_bias=1"\n'
    text += f"output = {json.dumps(outputs)}\n"
    assert run("analyze", "--config", config(text)).code == 0
    assert json.loads((tmp_path / "a.json").read_text())["model"]["input_size"] == 3
    assert (tmp_path / "b.csv").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hidden = 8\nstepz = 20\n", ["line 2", "no option 'stepz'", "did you mean steps?"]),
        ("config = 'x'\n", ["line 1", "no option 'config'"]),
        ("[analyze]\nsteps = 20\n", ["no option 'analyze'"]),
        ("hidden = 8\nsteps = 'many'\n", ["line 2", "--steps must be an integer"]),
        ("steps = 1.5\n", ["line 1", "--steps must be an integer"]),
        ("steps = true\n", ["line 1", "'steps' must be one value, not True"]),
        ("steps = [1, 2]\n", ["line 1", "'steps' must be one value"]),
        ("json = 'yes'\n", ["line 1", "'json' must be true or false"]),
        ("input-scale = inf\n", ["line 1", "finite number"]),
        ("loss = 'lst'\n", ["line 1", "did you mean last?"]),
        ("steps = \n", ["run.toml", "line 1", "toml.io"]),
    ],
)
def test_mistakes(refused, config, text, words):
    refused(2, words, "analyze", "--cell", "gru", "--config", config(text))


def test_unreadable(refused, tmp_path):
    refused(4, "No such file", "analyze", "--config", tmp_path / "none.toml")
    refused(4, "directory", "analyze", "--config", tmp_path)
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    refused(4, "not UTF-8", "analyze", "--config", tmp_path / "x.toml")


def test_output_with_a_zero_byte(run, config):
    done = run("analyze", "--config", config('cell = "gru"\noutput = "a\\u0000b.json"\n'))
    assert done.code in (2, 5)
    assert "null byte" in done.err
