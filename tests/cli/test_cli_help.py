"""Help, completion and the list of cells say the same as the code."""

import json
import re

import pytest
import typer

from gradscope import plugins
from gradscope.cli._group import convert_plainly
from gradscope.cli.app import COMMANDS, build

GROUP = typer.main.get_command(build())


def test_every_file_of_commands_is_a_command():
    from pathlib import Path

    import gradscope.cli.commands as folder

    files = {p.stem.replace("_", "-") for p in Path(folder.__file__).parent.glob("[!_]*.py")}
    assert files == set(COMMANDS) == set(GROUP.commands)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_what_the_command_says(name):
    assert " ".join(GROUP.commands[name].help.split("\n\n")[0].split()) == COMMANDS[name]


def test_help_of_all(run):
    out = " ".join(re.sub("[│\n]", " ", run("--help").out).split())
    for name, text in COMMANDS.items():
        assert f" {name} {text}" in out
    for parameter in GROUP.params:
        assert f" {parameter.opts[0]} {parameter.help}" in out
    assert " ".join(GROUP.epilog.split()) in out


def test_help_of_a_plain_terminal(run, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    out = run("--help").out
    assert "│" not in out
    assert all(name in out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_explained(name):
    command = GROUP.commands[name]
    assert len(command.help.splitlines()[0]) > 20
    for parameter in command.params:
        if parameter.name != "help":
            assert parameter.help, parameter.name
            assert parameter.help.rstrip().endswith("."), parameter.name


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(run, name):
    done = run(name, "-h")
    assert (done.code, done.err) == (0, "")
    assert f"gradscope {name}" in done.out
    assert done.out == run(name, "--help").out


def test_panels_of_analyze(run):
    out = run("analyze", "--help").out
    places = [out.index(f" {panel} ") for panel in ("Model", "Input", "Analysis", "Output")]
    assert places == sorted(places)
    assert "Example" in out


def test_defaults_in_the_help_are_the_defaults():
    """The number in brackets at the end of an option's help is its default."""
    for parameter in GROUP.commands["analyze"].params:
        told = re.search(r"\((-?[\w.-]+)\)\.$", parameter.help or "")
        if told and parameter.default is not None:
            shown = {"1e-3": "0.001"}.get(told[1], told[1])
            assert shown == str(parameter.default).removesuffix(".0"), parameter.name


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("gradscope ana", ["analyze"]),
        ("gradscope analyze --cell g", ["gru"]),
        ("gradscope analyze --cell ", list(plugins.names("cells"))),
        ("gradscope analyze --init o", ["orthogonal"]),
        ("gradscope analyze --step", ["--steps", "--step-spectra"]),
        ("gradscope compare ls", ["lstm"]),
        ("gradscope cells ls", ["lstm"]),
        ("gradscope explain GS-V", ["GS-VANISHING"]),
        ("gradscope explain va", ["vanishing"]),
        ("gradscope explain gs-va", ["gs-vanishing"]),
        ("gradscope analyze --format j", ["json"]),
    ],
)
def test_completion(run, monkeypatch, tmp_path, words, found):
    monkeypatch.chdir(tmp_path)  # where there are no files to name
    monkeypatch.setenv("_GRADSCOPE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split(" ")) - 1))
    done = run()
    assert done.out.split() == found
    assert done.err == ""


def test_cells(run):
    done = run("cells")
    assert (done.code, done.err) == (0, "")
    for name in plugins.names("cells"):
        assert re.search(rf"^{name} +\S", done.out, re.M)
    rows = json.loads(run("cells", "--json").out)
    assert [r["name"] for r in rows] == list(plugins.names("cells"))


@pytest.mark.parametrize("name", plugins.names("cells"))
def test_one_cell(run, name):
    out = run("cells", name).out
    assert out.startswith(f"{name}: ")
    assert "state " in out
    row = json.loads(run("cells", name, "--json").out)
    assert row["equations"]
    assert row["summary"] in out


def test_an_unknown_cell(refused):
    refused(2, "did you mean lstm?", "cells", "lsmt")


def test_version(run):
    from gradscope import __version__

    assert run("--version") == (0, f"gradscope {__version__}\n", "")


def test_debug_shows_where(run):
    done = run("analyze", "none.pt", "--debug")
    assert done.code == 4
    assert "Traceback" in done.err
    assert "error: " in done.err


@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_converted_as_typer_does(name):
    """What is left out of typer's own conversion makes no difference."""
    texts = ("gru", "7", "1e-1", "2GiB", "tanh", "btf", "keep", "json", "last", "auto", "noise", "float32", "zeros")
    for parameter in typer.main.get_command(build()).commands[name].params:
        if not hasattr(parameter, "type_descriptor"):
            continue
        several = parameter.multiple or parameter.nargs == -1
        values = [None, parameter.default, *([list(texts)] if several else texts)]
        for value in values:
            if isinstance(value, bool):
                continue
            found = []
            for plain in (True, False):
                parameter._runtime_param = None
                if plain:
                    convert_plainly([parameter])
                try:
                    found.append(parameter.get_runtime_param().coerce(value, param=parameter, ctx=None))
                except Exception as error:
                    found.append((type(error), str(error)))
            assert found[0] == found[1], (parameter.name, value)
