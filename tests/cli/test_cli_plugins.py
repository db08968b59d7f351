"""Plug-ins of other packages: found; left out where they fail or bear a built-in's name; never a reason to crash."""

import json
import re

import numpy as np
import pytest

GOOD = '''
"""A linear recurrence from elsewhere."""
from dataclasses import dataclass
import gradscope.cells.linear as own

@dataclass(frozen=True, eq=False)
class Elsewhere(own.LinearCell):
    """s' = W s, from another package."""
'''
READER = '''
"""A reader of files that begin with FOREIGN."""
SUFFIXES = (".foreign",)

def sniff(head, path):
    return head.startswith(b"FOREIGN")

def read(path):
    raise NotImplementedError
'''
H5 = '''
"""A container of another package, whose files end in .h5: names and arrays, one after the other."""
import io
import numpy as np
from gradscope.errors import InputError
from gradscope.files import Tensors

SUFFIXES = (".h5",)
MAGIC = b"\\x89HDF\\r\\n\\x1a\\n"

def sniff(head, path):
    return head.startswith(MAGIC)

def read(path):
    rest = io.BytesIO(path.read_bytes()[len(MAGIC):])
    try:
        with np.load(rest, allow_pickle=False) as arrays:
            return Tensors(dict(arrays))
    except Exception as error:
        raise InputError("it is damaged", "save it again") from error
'''
SIZE = ("--hidden", "4", "--steps", "20", "--lags", "0", "--quiet")


@pytest.fixture
def install(tmp_path, finished):
    """Pretend that a package with modules and entry points is installed; return a runner that sees it."""
    site = tmp_path / "site"

    def call(modules, points, name="other", version="1.0"):
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("".join(f"[{g}]\n{n} = {m}\n" for g, n, m in points))
        for module, text in modules.items():
            (site / f"{module}.py").write_text(text)
        return lambda *arguments, **env: finished(*arguments, env={"PYTHONPATH": str(site), **env})

    return call


def test_a_good_one(install):
    run = install({"elsewhere": GOOD}, [("gradscope.cells", "elsewhere", "elsewhere")])
    assert "elsewhere" in run("analyze", "--help").out
    listed = run("cells")
    assert (listed.code, listed.err) == (0, "")
    assert "A linear recurrence from elsewhere" in listed.out
    told = run("cells", "elsewhere").out  # its file is not tested here, and does not say
    assert all(re.search(rf"^{what} +not stated$", told, re.MULTILINE) for what in ("cost", "skip"))
    done = run("analyze", "--cell", "elsewhere", *SIZE)
    assert (done.code, done.err) == (0, "")
    assert "ELSEWHERE, 4 units" in done.out


@pytest.mark.parametrize("switch", ["--no-plugins", "GRADSCOPE_NO_PLUGINS"])
def test_left_out_on_request(install, switch):
    run = install({"broken": "1 / 0"}, [("gradscope.cells", "broken", "broken")])
    option, env = ([switch], {}) if switch.startswith("-") else ([], {switch: "1"})
    done = run("cells", *option, **env)
    assert (done.code, done.err) == (0, "")
    assert "broken" not in done.out
    assert run("analyze", *option, "--cell", "broken", **env).code == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("import a_package_that_is_not_there", "ModuleNotFoundError"),
        ("def f(:", "SyntaxError"),
    ],
)
def test_one_that_fails_on_import(install, text, words):
    run = install({"broken": text}, [("gradscope.cells", "broken", "broken")])
    listed = run("cells")
    assert listed.code == 0
    assert "lstm" in listed.out
    assert listed.err.startswith("warning: the plug-in 'broken' (broken) fails on import: ")
    assert words in listed.err
    assert "--no-plugins" in listed.err
    assert listed.err.count("warning: ") == 1
    assert "Traceback" not in listed.err


def test_the_rest_works_beside_one_that_fails(install):
    run = install({"broken": "1 / 0"}, [("gradscope.cells", "broken", "broken")])
    others = run("analyze", "--cell", "gru", *SIZE)
    assert (others.code, others.err) == (0, "")
    used = run("analyze", "--cell", "broken", *SIZE)
    assert used.code == 2
    assert used.err.startswith("error: the plug-in 'broken'")


def test_a_reader_that_fails_on_import(install, checkpoint):
    run = install({"broken": "1 / 0"}, [("gradscope.readers", "foreign", "broken")])
    done = run("inspect", checkpoint())
    assert (done.code, done.err) == (0, "")  # another reader knew the file before
    (checkpoint().parent / "x.foreign").write_bytes(b"FOREIGN")
    done = run("inspect", checkpoint().parent / "x.foreign")
    assert done.code == 4
    assert "warning: the plug-in 'foreign' (broken) fails on import" in done.err
    assert "error: " in done.err


def test_a_built_in_wins(install):
    run = install({"elsewhere": GOOD}, [("gradscope.cells", "gru", "elsewhere")])
    done = run("analyze", "--cell", "gru", *SIZE)
    assert done.code == 0
    assert done.out.startswith("VANISHING")
    warning, hint = done.err.splitlines()
    assert warning == "warning: the plug-in 'gru' of elsewhere is ignored: the built-in one has the same name"
    assert hint.startswith("hint: ")
    assert run("analyze", "--cell", "gru", "--no-plugins", *SIZE).err == ""


def test_completion_is_not_disturbed(install):
    run = install({"broken": "1 / 0"}, [("gradscope.cells", "gru", "broken")])
    env = {"_GRADSCOPE_COMPLETE": "complete_bash", "COMP_WORDS": "gradscope analyze --cell gru", "COMP_CWORD": "3"}
    done = run(**env)
    assert (done.code, done.out.split(), done.err) == (0, ["gru"], "")


def test_a_foreign_distribution_of_the_same_name(install):
    run = install({}, [], name="gradscope", version="9.9")
    done = run("doctor")
    assert done.code == 0
    assert "another distribution named gradscope (9.9)" in done.out
    assert "pip uninstall gradscope" in done.out


def test_doctor(finished):
    done = finished("doctor")
    assert (done.code, done.err) == (0, "")
    assert "another distribution" not in done.out
    assert "WRONG" not in done.out
    assert done.out.count("\nok ") >= 5


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    "line", [["analyze", "--cell", "elsewhere"], ["compare", "elsewhere", "gru"], ["cells", "elsewhere"]]
)
def test_no_plugins_holds_for_every_command(install, line, place):
    run = install({"elsewhere": GOOD}, [("gradscope.cells", "elsewhere", "elsewhere")])
    size = () if line[0] == "cells" else SIZE
    assert run(*line, *size).code == 0
    done = run(*line[:place], "--no-plugins", *line[place:], *size)
    assert (done.code, done.out) == (2, "")
    assert "elsewhere" in done.err
    assert "known: " in done.err or "cells: " in done.err


def test_one_that_fails_is_named_by_who_needs_it_and_disturbs_nobody_else(install):
    """Help and completion list names and import nothing: there is nothing that could fail."""
    run = install({"broken": "1 / 0"}, [("gradscope.cells", "broken", "broken")])
    shown = run("analyze", "--help")
    assert (shown.code, shown.err) == (0, "")
    env = {"_GRADSCOPE_COMPLETE": "complete_bash", "COMP_WORDS": "gradscope analyze --cell l", "COMP_CWORD": "3"}
    done = run(**env)
    assert (done.code, done.err) == (0, "")
    assert "lstm" in done.out.split()
    for line in (["cells", "broken"], ["compare", "broken", "gru", *SIZE]):
        done = run(*line)
        assert done.code == 2
        assert done.err.startswith("error: the plug-in 'broken' (broken) fails on import: ZeroDivisionError")
        assert "Traceback" not in done.err


def test_a_plug_in_may_make_cells_in_threads(install):
    run = install({"elsewhere": GOOD}, [("gradscope.cells", "elsewhere", "elsewhere")])
    size = ("--hidden", "24", "--steps", "300", "--json", "--reproducible")
    one, two = run("compare", "elsewhere", "gru", *size), run("compare", "elsewhere", "gru", *size, "--threads", "2")
    assert (one.code, two.code) == (0, 0), two.err
    assert one.out == two.out


NONE, TWO = '"""Nothing at all."""\n', GOOD + GOOD.replace("class Elsewhere", "class Anywhere")


@pytest.mark.parametrize(("text", "words"), [(NONE, "defines none"), (TWO, "defines Elsewhere, Anywhere")])
def test_a_module_that_is_no_cell_is_left_out_of_the_list(install, text, words):
    run = install({"odd": text, "elsewhere": GOOD}, [("gradscope.cells", n, n) for n in ("odd", "elsewhere")])
    listed = run("cells")
    assert listed.code == 0
    assert re.search("^elsewhere ", listed.out, re.MULTILINE)
    assert not re.search("^odd ", listed.out, re.MULTILINE)
    warning, hint = listed.err.splitlines()
    assert warning.startswith("warning: the plug-in 'odd': odd must define exactly one public cell, and it ")
    assert words in warning
    assert warning.endswith("it is ignored")
    assert "--no-plugins" in hint
    for line in (["cells", "odd"], ["analyze", "--cell", "odd", *SIZE], ["check-cell", "odd"]):
        done = run(*line)
        assert (done.code, done.out) == (2, "")
        assert words in done.err


def test_a_plug_in_is_checked_by_name(install):
    run = install({"elsewhere": GOOD}, [("gradscope.cells", "elsewhere", "elsewhere")])
    done = run("check-cell", "elsewhere")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("elsewhere\nderivative ")


def test_a_hidden_one_is_told_where_its_name_is_used(install):
    run = install({"elsewhere": GOOD}, [("gradscope.cells", "gru", "elsewhere")])
    silent = (["analyze", "--cell", "lstm", *SIZE], ["compare", "lstm", "rnn", *SIZE], ["cells", "lstm"], ["doctor"])
    for line in (*silent, ["analyze", "--help"], ["explain"]):
        assert run(*line).err == "", line
    for line in (["cells"], ["cells", "gru"], ["compare", "gru", "rnn", *SIZE], ["check-cell", "gru"]):
        told = run(*line).err.splitlines()
        assert len(told) == 2, line
        assert told[0] == "warning: the plug-in 'gru' of elsewhere is ignored: the built-in one has the same name"
    assert run("cells", "--no-plugins").err == ""


def test_who_turned_plug_ins_off_is_told_so(install):
    run = install({"elsewhere": GOOD}, [("gradscope.cells", "elsewhere", "elsewhere")])
    for line in (
        ["analyze", "--cell", "elsewhere"],
        ["cells", "elsewhere"],
        ["check-cell", "elsewhere"],
        ["compare", "elsewhere:leak=1", "gru"],
    ):
        done = run("--no-plugins", *line)
        assert done.code == 2
        assert (
            "there is no cell named 'elsewhere' without plug-ins: it is provided by the plug-in elsewhere" in done.err
        )
        assert "hint: --no-plugins, or the variable GRADSCOPE_NO_PLUGINS, turns plug-ins off; known: " in done.err
    assert "without plug-ins" not in run("--no-plugins", "cells", "elsewhere2").err


@pytest.fixture
def h5(checkpoint):
    """Return a checkpoint in a container that ends in .h5 and begins as HDF5 does."""
    path = checkpoint().with_suffix(".h5")
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + checkpoint().read_bytes())
    return path


def test_a_reader_is_asked_before_a_file_is_called_unsupported(install, h5, checkpoint):
    """One file in another package, and its .h5 files are read as any other checkpoint."""
    run = install({"h5_reader": H5}, [("gradscope.readers", "h5", "h5_reader")])
    size = ("--steps", "20", "--lags", "4", "--json", "--reproducible")
    done = run("inspect", h5, "--json")
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    assert document["file"]["format"] == "h5"
    assert document["layers"][0]["cell"] == "gru"
    done = run("analyze", h5, *size)
    assert (done.code, done.err) == (0, "")
    document = json.loads(done.out)
    builtin = json.loads(run("analyze", checkpoint(), *size).out)
    assert document["model"]["format"] == "h5"
    assert document["metrics"] == builtin["metrics"]
    off = run("inspect", h5, "--no-plugins")
    assert off.code == 4
    assert off.err.startswith(f"error: {h5.name} is an HDF5 file; it cannot be read as a checkpoint")
    h5.write_bytes(h5.read_bytes()[:100])
    done = run("inspect", h5)
    assert (done.code, done.err) == (4, f"error: {h5.name}: it is damaged\nhint: save it again\n")


def test_a_plugin_reads_an_unsupported_format_by_its_suffix_alone(install, h5):
    text = H5.replace("return head.startswith(MAGIC)", "return False")
    done = install({"h5_reader": text}, [("gradscope.readers", "h5", "h5_reader")])("inspect", h5, "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)["layers"][0]["cell"] == "gru"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Tensors(dict(arrays))", "dict(arrays)", "read returns dict, not gradscope.files.Tensors"),
        ("rest = ", "rest = 1 / 0 # ", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_reader_that_fails_is_named(install, h5, old, new, words):
    text = H5.replace(old, new).replace("except Exception", "except KeyError")
    done = install({"h5_reader": text}, [("gradscope.readers", "h5", "h5_reader")])("inspect", h5)
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith(f"error: {h5.name}: the plug-in 'h5' fails to read it: ")
    assert words in done.err
    assert "Traceback" not in done.err


def test_a_reader_whose_sniff_fails_is_ignored(install, h5, checkpoint):
    run = install(
        {"h5_reader": H5.replace("return head", "return 1 / 0 or head")}, [("gradscope.readers", "h5", "h5_reader")]
    )
    done = run("inspect", h5)
    assert done.code == 4
    assert "warning: the plug-in 'h5' (h5_reader) fails in sniff: ZeroDivisionError" in done.err
    assert "is an HDF5 file" in done.err
    assert run("inspect", checkpoint()).err == ""


def test_every_room_takes_plug_ins(install, checkpoint, tmp_path):
    """An initialisation, a renderer, a data format and a layout, each in one file of another package."""
    init = "from gradscope.inits.gaussian import initialise\n"
    word = '''
"""One word, by a public class: what the file states counts all the same."""
BINARY = False
PICTURE = True

class Word:
    shown = True

def render(report, *, width=None, color=False, reproducible=False):
    return report.kind + "\\n"
'''
    rows = '''
"""Rows of numbers behind a mark."""
import numpy as np
from gradscope.files import RawData

SUFFIXES = (".rows",)

def sniff(head, path):
    return head.startswith(b"ROWS")

def read(path, options):
    return RawData(np.loadtxt(path, skiprows=1, ndmin=2))
'''
    layout = '''
"""Networks whose tensors have a suffix."""
from dataclasses import replace
from gradscope.files.layouts import torch

def find(tensors, options):
    names = {k.removesuffix("!"): k for k in tensors if k.endswith("!")}
    layers = torch.find({k: tensors[v] for k, v in names.items()}, options)
    return [replace(x, name=x.name + "_marked", parameters=tuple(names[p] for p in x.parameters)) for x in layers]
'''
    points = [("inits", "other_init"), ("renderers", "word"), ("data", "rows"), ("layouts", "marked")]
    modules = {"other_init": init, "word": word, "rows": rows, "marked": layout}
    run = install(modules, [(f"gradscope.{group}", name, name) for group, name in points])
    (tmp_path / "x.rows").write_text("ROWS\n" + "0.5 1\n1 0.25\n" * 10)
    data = ("--data", tmp_path / "x.rows", "--init", "other_init", "--format", "word")
    done = run("analyze", "--cell", "gru", "--hidden", "4", "--lags", "0", *data)
    assert (done.code, done.out, done.err) == (0, "analysis\n", "")
    assert "cannot be drawn" in run("inspect", checkpoint(), "-o", tmp_path / "x.word").err
    with np.load(checkpoint()) as arrays:
        np.savez(tmp_path / "marked.npz", **{f"{k}!": v for k, v in arrays.items()})
    assert json.loads(run("inspect", tmp_path / "marked.npz", "--json").out)["layers"][0]["layer"] == "rnn_marked"


COUNTED = '''
"""How many steps were run?"""
NEEDS = ("gradients",)
TITLE = "counting"
def measure(run, settings):
    return run.chain.steps
'''
SAID = '''
"""How many steps were run."""
from gradscope.report.fields import integer
from gradscope.report.model import Column, Table
METRICS = {"counted": integer("Steps.", optional=True, minimum=1)}
def metrics(count, case):
    return {"counted": count}
def tables(document):
    count = document["metrics"].get("counted")
    return [Table("Counted", (Column("steps", "d"),), ((count,),))] if count else []
'''


def test_an_analysis_with_its_section(install):
    points = [("gradscope.analyses", "counted", "counted"), ("gradscope.sections", "counted", "counted_section")]
    run = install({"counted": COUNTED, "counted_section": SAID}, points)
    done = run("analyze", "--cell", "gru", *SIZE[:-1])
    assert (done.code, done.err) == (0, "")
    assert "Counted" in done.out
    assert json.loads(run("analyze", "--cell", "gru", *SIZE[:-1], "--json").out)["metrics"]["counted"] == 20
    assert '"counted"' in run("schema", "analysis").out
    assert "Counted" not in run("analyze", "--cell", "gru", *SIZE[:-1], GRADSCOPE_NO_PLUGINS="1").out


def test_a_section_that_fails_on_import_is_left_out(install):
    run = install({"bad_section": "raise RuntimeError('no')"}, [("gradscope.sections", "bad", "bad_section")])
    done = run("analyze", "--cell", "gru", *SIZE)
    assert done.code == 0
    assert "bad_section" in done.err and "no" in done.err
