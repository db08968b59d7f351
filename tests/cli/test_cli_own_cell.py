"""--cell FILE.py, compare FILE.py: cells of the user's own, as classes and as functions."""

import json
import sys

import numpy as np
import pytest

from gradscope import analyze, create, from_step
from gradscope.analysis._plan import calls_of
from gradscope.checking.function import points
from gradscope.cli._user_cell import named
from gradscope.errors import UsageError
from gradscope.testing import derivatives, load_cell_file

CELL = '''
from dataclasses import dataclass

import numpy as np

from gradscope.networks import Gate, OneMapCell, Partials, dtanh, tanh


@dataclass(frozen=True, eq=False)
class Seep(OneMapCell):
    """h' = keep h + rate tanh(p)."""

    rate: float = 0.25
    bend: "np.ndarray | None" = None
    gates = {"h": Gate("hidden")}

    @classmethod
    def init_parameters(cls, hidden, inputs, rng, **settings):
        return {"bend": rng.uniform(0.5, 1, hidden)}

    def activations(self, p, s):
        return (tanh(p["h"]),)

    def advance(self, p, s):
        return {"h": self.rate * self.column("bend") * tanh(p["h"]) + (1 - self.rate) * s["h"]}

    def partials(self, p, s):
        through = {"h": self.rate * self.column("bend") * dtanh(p["h"])}
        return Partials(through={"h": through}, around={"h": {"h": 1 - self.rate}})
'''
STEP = """
import numpy as np

state_size, input_size = 6, 3
rng = np.random.default_rng(7)
U, W = rng.standard_normal((6, 6)) / 3, rng.standard_normal((6, 3))


def step(x, s, *, rate=0.5):
    return (1 - rate) * s + rate * np.tanh(U @ s + W @ x)
"""
MAKE = """
import numpy as np


def make(hidden, input_size, rng, *, scale=1.0):
    U = scale * rng.standard_normal((hidden, hidden)) / np.sqrt(hidden)
    W = rng.standard_normal((hidden, input_size))
    return lambda x, s: np.tanh(U @ s + W @ x)
"""
LITTLE = ("--steps", "20", "--batch", "2", "--lags", "0")


@pytest.fixture
def write(tmp_path):
    def call(text, name="mine.py"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return call


@pytest.fixture
def document(run):
    def call(*arguments):
        done = run(*arguments, "--json", "--reproducible")
        assert done.code == 0, done.err
        return json.loads(done.out)

    return call


def numbers(metrics):
    return {k: v for k, v in metrics.items() if isinstance(v, int | float)}


def by_name(name):
    rng = np.random.default_rng(7)
    U, W = rng.standard_normal((6, 6)) / 3, rng.standard_normal((6, 3))
    rate = {"half": 0.5, "tenth": 0.1}[name]
    return from_step(lambda x, s: (1 - rate) * s + rate * np.tanh(U @ s + W @ x), state_size=6, input_size=3)


# --- what names a cell


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("mine.py", ("mine.py", None, "")),
        ("dir/mine.py:Mine", ("dir/mine.py", "Mine", "")),
        ("mine.py:leak=0.1", ("mine.py", None, "leak=0.1")),
        ("mine.py:Mine:leak=0.1,form=a:b", ("mine.py", "Mine", "leak=0.1,form=a:b")),
        ("C:\\cells\\mine.py:Mine", ("C:\\cells\\mine.py", "Mine", "")),
        ("C:/a.b:c/mine.PY", ("C:/a.b:c/mine.PY", None, "")),
        ("odd.py:dir/mine.py:Zelle_ä", ("odd.py:dir/mine.py", "Zelle_ä", "")),
    ],
)
def test_path_name_and_settings(text, wanted):
    found = named(text)
    assert (str(found.path), found.name, found.settings) == wanted


@pytest.mark.parametrize("text", ["lstm", "lstm:forget_bias=1", "model.pt", "run.json", "mine.python", "-"])
def test_what_is_no_cell_of_a_file(text):
    assert named(text) is None


@pytest.mark.parametrize("text", ["mine.py:", "mine.py:not a name", "mine.py:Mine:", "mine.py:Mine:Other"])
def test_what_begins_as_one(text):
    with pytest.raises(UsageError, match="does not name a cell of a file"):
        named(text)


# --- classes


def test_a_class_is_what_create_makes_of_it(write, document):
    path = write(CELL)
    found = document("analyze", "--cell", path, "--hidden", "6", "--set", "rate=0.1", "--seed", "3", *LITTLE)
    cell = create(load_cell_file(path), hidden_size=6, rate=0.1, seed=3)
    wanted = analyze(cell, steps=20, batch=2, lags=0, seed=3)
    assert numbers(found["metrics"]) == pytest.approx(numbers(wanted.metrics))
    assert found["model"]["cell"] == "Seep"
    assert found["model"]["path"] == "mine.py"
    assert found["model"]["settings"] == {"rate": 0.1}
    assert found["config"]["cell"] == "mine.py:Seep"
    assert found["config"]["init"] == "pytorch"


def test_what_cells_have_classes_have(write, document):
    path = f"{write(CELL)}:Seep"
    options = (*LITTLE, "--hidden", "5")
    assert document("analyze", "--cell", path, *options, "--layers", "2")["model"]["layers"] == 2
    assert document("analyze", "--cell", path, *options, "--init", "orthogonal")["model"]["init"] == "orthogonal"
    assert "readout" in document("analyze", "--cell", path, *options, "--drive", "self")["model"]
    both = document("analyze", "--cell", path, *options, "--bidirectional")
    assert [r["name"] for r in both["results"]] == ["Seep.l0", "Seep.l0.reverse"]
    biased = document("analyze", "--cell", path, *options, "--set", "hidden_bias=2")
    assert biased["metrics"]["rate"] != document("analyze", "--cell", path, *options)["metrics"]["rate"]


def test_a_command_that_is_advised_names_the_file(run, write):
    path = write(CELL.replace('Gate("hidden")', 'Gate("hidden", keeps=-1)').replace("0.25", "0.9"))
    done = run("analyze", "--cell", path, "--hidden", "6", "--steps", "300", "--lags", "0")
    assert "mine.py:Seep" in done.out
    assert "seep" not in done.out


# --- functions


def test_a_function_is_what_from_step_makes_of_it(write, document):
    found = document("analyze", "--cell", write(STEP), *LITTLE)
    wanted = analyze(by_name("half"), steps=20, batch=2, lags=0)
    assert numbers(found["metrics"]) == pytest.approx(numbers(wanted.metrics))
    assert found["model"]["cell"] == "step"
    assert (found["model"]["path"], found["model"]["hidden_size"]) == ("mine.py", 6)
    assert "hidden" not in found["config"]
    assert "init" not in found["config"]
    assert "complex step" in found["model"]["assumptions"][0]
    assert [w["code"] for w in found["warnings"]] == ["GS-ASSUME"]


def test_settings_of_a_function(write, document):
    found = document("analyze", "--cell", write(STEP), "--set", "rate=0.1", *LITTLE)
    assert numbers(found["metrics"]) == pytest.approx(
        numbers(analyze(by_name("tenth"), steps=20, batch=2, lags=0).metrics)
    )
    assert found["config"]["set"] == {"rate": 0.1}
    assert found["model"]["settings"] == {"rate": 0.1}


def test_one_that_is_not_analytic(write, document, run):
    found = document("analyze", "--cell", write(STEP.replace("np.tanh(", "np.tanh(0 * np.abs(s) + ")), *LITTLE)
    assert "central differences" not in str(found["model"]["assumptions"])  # 0 * |s| is analytic, and so is the whole
    path = write(STEP.replace("U @ s", "U @ np.abs(s)"))
    found = document("analyze", "--cell", path, *LITTLE)
    assert "central differences" in found["model"]["assumptions"][0]
    assert "central differences" in run("analyze", "--cell", path, *LITTLE).out


def test_a_function_that_writes_into_what_it_is_given(write, document):
    rude = STEP.replace("    return (1", "    buffer[:] = s\n    s *= 0\n    s = buffer\n    return (1")
    rude = rude.replace("def step", "buffer = np.zeros(6, complex)\n\n\ndef step").replace("np.tanh(", "np.tanh(0j + ")
    rude = rude.replace("    return ", "    new = ") + "    return new if np.iscomplexobj(x) else new.real\n"
    found = document("analyze", "--cell", write(rude), *LITTLE)
    assert numbers(found["metrics"]) == pytest.approx(
        numbers(analyze(by_name("half"), steps=20, batch=2, lags=0).metrics)
    )


def test_a_function_that_makes_one(write, document):
    found = document(
        "analyze", "--cell", write(MAKE), "--hidden", "5", "--input-size", "4", "--set", "scale=2", *LITTLE
    )
    rng = np.random.default_rng(0)
    U, W = 2.0 * rng.standard_normal((5, 5)) / np.sqrt(5), rng.standard_normal((5, 4))
    cell = from_step(lambda x, s: np.tanh(U @ s + W @ x), state_size=5, input_size=4)
    assert numbers(found["metrics"]) == pytest.approx(numbers(analyze(cell, steps=20, batch=2, lags=0).metrics))
    assert found["config"]["hidden"] == 5


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--layers", "2"), "--layers applies only to cells"),
        (("--gain", "2"), "--gain applies only to cells"),
        (("--init", "gaussian"), "--init applies only to cells"),
        (("--bidirectional",), "--bidirectional applies only to cells"),
        (("--dtype", "float32"), "float64"),
        (("--drive", "self"), "cannot run in a closed loop"),
        (("--hidden", "9"), "state_size = 6"),
        (("--input-size", "9"), "input_size = 3"),
        (("--set", "leak=1"), "no setting named 'leak'"),
    ],
)
def test_options_that_have_no_effect_on_a_function(write, refused, option, words):
    refused(2, words, "analyze", "--cell", write(STEP), *option, *LITTLE)


def test_parts_and_a_jacobian_beside_it(write, document):
    wrong = STEP + "\nparts = {'h': 2, 'm': 4}\nsurrogate = True\n\n\ndef jacobian(x, s):\n    return np.eye(6)\n"
    found = document("analyze", "--cell", write(wrong), *LITTLE)
    assert [p["name"] for p in found["model"]["state"]] == ["h", "m"]
    assert found["metrics"]["rate"] == 0  # its own Jacobian was asked: the product of ones
    assert "given for it" in found["model"]["assumptions"][0]


# --- compare, targets, processes


def test_compare(write, document):
    mine, make = write(CELL), write(MAKE, "make.py")
    found = document("compare", f"{mine}:Seep:rate=0.5,hidden=4", f"{make}:scale=2", "lstm", "--hidden", "6", *LITTLE)
    rows = {r["name"]: r for r in found["results"]}
    assert list(rows) == ["mine.py:Seep:rate=0.5,hidden=4", "make.py:scale=2", "lstm"]
    assert [r["model"]["hidden_size"] for r in rows.values()] == [4, 6, 6]
    assert rows["mine.py:Seep:rate=0.5,hidden=4"]["model"]["settings"] == {"rate": 0.5}


def test_no_file_is_run_unasked(write, refused, tmp_path):
    mark = tmp_path / "it-ran"
    path = write(f"open({str(mark)!r}, 'w').close()\n")
    refused(2, ["a Python file, not a checkpoint", "--cell"], "analyze", path)
    refused(4, "", "inspect", path)
    assert not mark.exists()
    refused(2, "defines no cell", "analyze", "--cell", path)
    assert mark.exists()


def test_settings_go_to_set(write, refused):
    refused(2, "--set rate=1", "analyze", "--cell", f"{write(CELL)}:Seep:rate=1")


@pytest.mark.parametrize("text", [CELL, STEP, MAKE], ids=["class", "step", "make"])
def test_threads_change_no_number(write, run, text):
    path = write("print('words of the file')\n" + text)
    more = () if text == STEP else ("--hidden", "20")
    base = ("compare", path, path, "gru", *more, "--steps", "60", "--json", "--reproducible")
    one, three = run(*base), run(*base, "--threads", "3")
    assert (one.code, three.code) == (0, 0), three.err
    assert one.out == three.out
    assert "words of the file" in one.err


def test_a_function_that_has_one_array_for_all_its_results(write, run):
    """Cells of one file would write into it at once."""
    text = """
import numpy as np
state_size, input_size = 6, 2
U, W, scratch = 0.5 * np.eye(6)[::-1], np.ones((6, 2)), np.zeros(6)
def step(x, s):
    scratch[:] = 0
    for k in range(6):
        scratch[:] += U[:, k] * s.real[k]
    return np.tanh(scratch + W @ x)
"""
    path = write(text)
    base = ("compare", *[f"{path}:step"] * 4, "--steps", "80", "--lags", "3", "--json", "--reproducible")
    assert run(*base).out == run(*base, "--threads", "4").out


def chatty(text):
    """Let a file talk when it is run, and in each of its functions."""
    lines = ["import sys", "print('words of a file')"]
    for line in text.splitlines():
        lines.append(line)
        if line.lstrip().startswith("def "):
            indent = " " * (len(line) - len(line.lstrip()) + 4)
            lines += [f"{indent}print('words of a function')", f"{indent}sys.stdout.write('more of them\\n')"]
    return "\n".join(lines).replace("return lambda x, s: ", "return lambda x, s: print('words of a step') or ")


@pytest.mark.parametrize("text", [CELL, STEP, MAKE], ids=["class", "step", "make"])
def test_what_a_cell_prints_is_no_result(write, finished, text):
    """Neither here nor in other threads."""
    quiet, loud = write(text, "quiet.py"), write(chatty(text), "loud.py")
    options = ("--steps", "9", "--batch", "2", *(() if text == STEP else ("--hidden", "4")), "--json", "--reproducible")
    for command in (("analyze", "--cell"), ("compare", "rnn")):
        one = finished(*command, quiet, *options)
        loud_one = finished(*command, loud, *options)
        loud_two = finished(*command, loud, *options, "--threads", "2")
        assert (one.code, one.err, loud_one.code, loud_two.code) == (0, "", 0, 0), loud_one.err + loud_two.err
        documents = [json.loads(done.out) for done in (one, loud_one, loud_two)]
        wanted, *others = ([r["metrics"] for r in d.get("results", [d])] for d in documents)
        assert others == [wanted, wanted]
        for done in (loud_one, loud_two):
            assert "words of a file" in done.err
            assert "words of a function" in done.err


@pytest.mark.parametrize("text", [CELL, STEP, MAKE], ids=["class", "step", "make"])
def test_what_a_cell_prints_while_it_is_checked(write, run, text):
    (path := write(text)).touch()
    wanted = run("check-cell", path)
    write(chatty(text))
    got = run("check-cell", path)
    assert (wanted.code, got.code, wanted.err) == (0, 0, "")
    assert got.out == wanted.out
    assert "words of a" in got.err


def test_a_plan_is_all_there_is_of_a_plan(write, run):
    options = ("--dry-run", *LITTLE)
    assert run("analyze", "--cell", write(chatty(STEP)), *options).out.startswith("step of mine.py, state size 6: ")


@pytest.mark.parametrize("change", ["", "abs", "jacobian"])
def test_a_plan_counts_the_calls_of_a_function(change):
    """Of a Jacobian by the complex step or by differences there are several."""
    seen = []

    def step(x, s):
        seen.append(s)
        return np.tanh(x.sum() + (np.abs(s) if change == "abs" else s))

    def jacobian(x, s):
        seen.append(s)
        return np.diag(1 - np.tanh(x.sum() + s) ** 2)

    given = {"jacobian": jacobian} if change == "jacobian" else {}
    cell = from_step(step, state_size=7, input_size=2, **given)
    seen.clear()
    analyze(cell, np.random.default_rng(0).standard_normal((3, 20, 2)), lags=0)
    assert calls_of(cell, 3, 20) == len(seen)


def test_only_calls_of_functions_are_counted(write, run):
    assert "  function calls: about 20920\n" in run("analyze", "--cell", write(STEP), "--dry-run").out
    assert "function calls" not in run("analyze", "--cell", write(CELL), "--dry-run").out


# --- files that are wrong


BAD = [
    ("", 4, ["mine.py': the file is empty"]),
    ("x = 1\n", 2, ["defines no cell", "step(x, s)"]),
    ("def rates(x, s):\n    return s\n", 2, ["defines no cell", "mine.py:rates"]),
    ("def step(x, s:\n", 4, ["mine.py, line 1: "]),
    ("x = 1\nimport nothing_of_this_name\n", 4, ["mine.py, line 2, fails when executed: ModuleNotFoundError: "]),
    ("raise SystemExit(0)", 4, ["exits when it is run", "__main__"]),
    ("step = 3\n", 2, ["defines no cell"]),
    (CELL + "\n\nclass Other(Seep):\n    pass\n", 2, ["several cells: Seep, Other", "mine.py:Other"]),
    (CELL + STEP, 2, ["several cells: Seep, step"]),
    ("def step(x, s, t):\n    return s\n", 4, ["step(x, s, t) cannot be called", "step(x, s)"]),
    ("def step(s):\n    return s\n", 4, ["step(s) cannot be called"]),
    ("def step(x, s):\n    return s[:2]\n", 4, ["returned shape (2,)", "(5,)"]),
    ("def step(x, s):\n    return s > 0\n", 4, ["returned bool numbers", "float64"]),
    ("def step(x, s):\n    return s.astype('float32')\n", 4, ["returned float32 numbers"]),
    ("def step(x, s):\n    return s / s.sum()\n", 4, ["returns nan at index 0", "zero state"]),
    ("def step(x, s):\n    return s.nothing\n", 4, ["mine.py, line 2: the step fails", "AttributeError"]),
    ("import numpy as np\ndef step(x, s):\n    return np.ones((3, 3)) @ s\n", 4, ["line 3", "--hidden"]),
    ("state_size = 0\ndef step(x, s):\n    return s\n", 4, ["state_size must be an integer of at least 1, not 0"]),
    ("def make(hidden, rng):\n    return 3\n", 4, ["make returned something of type int"]),
    ("def make(hidden, depth):\n    return 3\n", 4, ["make takes hidden, depth", "input_size"]),
    ("def make(hidden):\n    pass\n", 4, ["mine.py: make returned None", "it must return a function"]),
    ("x = 1\0\ndef step(x, s):\n    return s\n", 4, ["mine.py", "null bytes"]),
    ("def step(x, s):\n    pass\n", 4, ["mine.py: the step returned None; it must return an array of shape (5,)"]),
    (
        "def step(x, s):\n    return s, s\n",
        4,
        ["mine.py: the step returned a tuple of 2", "the new state alone", "(5,)"],
    ),
    ("def step(x, s):\n    return {}\n", 4, ["mine.py: the step returned something of type dict"]),
    ("def step(x, s):\n    return [s, s[:2]]\n", 4, ["mine.py: the step returned a list of 2"]),
    (
        "def step(x, s):\n    raise ValueError('one\\ntwo')\n",
        4,
        ["mine.py, line 2: the step fails", "ValueError: one two"],
    ),
    (
        "parts = {'h': 4}\ndef step(x, s):\n    return s\n",
        2,
        ["mine.py: the parts add up to 4, but the state size is 5"],
    ),
    ("parts = ('h', 'c')\ndef step(x, s):\n    return s\n", 2, ["mine.py: parts must be a dict", "('h', 'c')"]),
    (
        "parts = {'h': 2.5, 'c': 2.5}\ndef step(x, s):\n    return s\n",
        2,
        ["mine.py: the part 'h' cannot have size 2.5"],
    ),
    (
        "import numpy as np\ndef step(x, s):\n    return s\ndef jacobian(x, s):\n    return np.eye(2)\n",
        4,
        ["mine.py: the jacobian returned shape (2, 2); it must be (5, 5)"],
    ),
    (
        "def step(x, s):\n    return s\ndef jacobian(x, s):\n    return 1 / 0\n",
        4,
        ["mine.py, line 4: the jacobian fails"],
    ),
    ("def make(hidden):\n    return 1 / 0\n", 4, ["mine.py, line 2: make fails: ZeroDivisionError"]),
]


@pytest.mark.parametrize(("text", "code", "words"), BAD)
@pytest.mark.parametrize("command", [("check-cell",), ("analyze", "--hidden", "5", "--input-size", "3", "--cell")])
def test_files_that_are_wrong(write, refused, command, text, code, words):
    refused(code, words, *command, write(text))


@pytest.mark.parametrize("command", [("check-cell",), ("analyze", "--cell"), ("compare",)])
def test_files_that_cannot_be_read(write, refused, command, tmp_path):
    write(CELL)
    (tmp_path / "folder.py").mkdir()
    refused(4, "there is no file", *command, tmp_path / "missing.py")
    refused(4, "is a directory", *command, tmp_path / "folder.py")
    refused(2, ["no cell named 'Sep'", "there: Seep"], *command, f"{tmp_path / 'mine.py'}:Sep")
    refused(2, "is a class, but not a cell", *command, f"{tmp_path / 'mine.py'}:Partials")
    refused(2, "neither a cell nor a function", *command, f"{tmp_path / 'mine.py'}:np")


def test_formulas_that_fail(write, refused):
    path = write(CELL.replace('        return {"h": self', '        1 / 0\n        return {"h": self'))
    for command in (("check-cell",), ("analyze", "--hidden", "5", *LITTLE, "--cell")):
        refused(4, ["mine.py, line ", "ZeroDivisionError"], *command, path)


def test_nothing_is_left_behind(write, run, tmp_path):
    before = list(sys.path)
    write("VALUE = 0.5\n", "neighbour_of_mine.py")
    path = write("from neighbour_of_mine import VALUE\n\n\ndef step(x, s):\n    return VALUE * s\n")
    assert run("check-cell", path).code == 0
    assert sys.path == before
    sys.modules.pop("neighbour_of_mine", None)
    assert not list(tmp_path.glob("__pycache__/mine*"))


# --- check-cell


def test_a_function_is_looked_at(run, write):
    done = run("check-cell", write(STEP))
    assert (done.code, done.err) == (0, "")
    assert "Jacobian                           taken by the complex step, which agrees" in done.out
    done = run("check-cell", write(STEP.replace("U @ s", "U @ np.abs(s)")))
    assert done.code == 0
    assert "by central differences" in done.out
    assert "does not support complex numbers" in done.out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("    return (1", "    s[0] = 0\n    return (1"), "arguments: s written to"),
        (("    return (1", "    U[0, 0] += 1\n    return (1"), "later: different"),
    ],
)
def test_a_function_of_more_than_its_arguments(run, write, change, words):
    done = run("check-cell", write(STEP.replace(*change)))
    assert done.code == 4
    assert words in done.err
    assert "WRONG" in done.out


PURE = "def step(x, s):\n    return 0.9 * s\n"


@pytest.mark.parametrize(
    "text",
    [
        "calls = [0]\ndef step(x, s):\n    calls[0] += 1\n    return s / (1 + 1e-9 * calls[0])\n",
        "import numpy as np\nrng = np.random.default_rng(0)\ndef step(x, s):\n    return s + rng.normal(size=len(s))\n",
        "last = [0.0]\ndef step(x, s):\n    last[0], new = s, 0.5 * s + 0.1 * last[0]\n    return new\n",
    ],
    ids=["counter", "rng", "memory"],
)
def test_what_is_no_function_of_input_and_state_is_not_measured(write, refused, run, text):
    words = ["mine.py: the step gives different results for the same input and state"]
    refused(4, words, "analyze", "--cell", write(text), "--hidden", "5", *LITTLE)
    done = run("check-cell", write(text))
    assert (done.code, "WRONG: different: it depends on more than x and s" in done.out) == (4, True)


def test_a_step_that_fails_late_says_where(write, refused):
    text = "def step(x, s):\n    if s[0] > 40:\n        raise ValueError('too\\n much')\n    return s + 1\n"
    words = ["mine.py, line 3: the step fails", "ValueError: too much"]
    told = refused(4, words, "analyze", "--cell", write(text), "--hidden", "5", *LITTLE)
    assert len(told.splitlines()) == 1


JACOBIAN = """

def jacobian(x, s):
    J = 0.5 * np.eye(6) + 0.5 * (1 - np.tanh(U @ s + W @ x) ** 2)[:, None] * U
    J[1, 4] *= SIGN
    return J
"""


def test_its_own_jacobian_is_held_against_the_step(run, write):
    good = run("check-cell", write(STEP + JACOBIAN.replace("SIGN", "1")))
    assert good.code == 0, good.err
    bad = run("check-cell", write(STEP + JACOBIAN.replace("SIGN", "-1")))
    assert bad.code == 4
    assert "worst in row 1, column 4" in bad.out


def test_a_wrong_jacobian_is_not_measured(write, refused, document):
    found = document("analyze", "--cell", write(STEP + JACOBIAN.replace("SIGN", "1")), *LITTLE)
    assert "agrees with the complex step at 4 random states" in found["model"]["assumptions"][0]
    plain = document("analyze", "--cell", write(STEP), *LITTLE)
    assert numbers(found["metrics"]) == pytest.approx(numbers(plain["metrics"]))
    transposed = STEP + JACOBIAN.replace("SIGN", "1").replace("[:, None] * U", "[:, None] * U.T")
    for text in (transposed, STEP + JACOBIAN.replace("SIGN", "-1")):
        words = ["mine.py: the jacobian is not the derivative", "relative, at 4 of 4 random states", "surrogate = True"]
        refused(4, words, "analyze", "--cell", write(text), *LITTLE)
    told = document("analyze", "--cell", write(transposed + "\nsurrogate = True\n"), *LITTLE)["model"]["assumptions"][0]
    assert "a surrogate: J v is off the complex step by " in told


def test_a_jacobian_beside_kinks(write, refused, document):
    """Of relu no state drawn at random is near a kink, and differences agree."""
    relu = STEP.replace("np.tanh(", "relu(") + "\n\ndef relu(y):\n    return (y + np.abs(y)) / 2\n"
    right = "\n\ndef jacobian(x, s):\n    return 0.5 * np.eye(6) + 0.5 * (U @ s + W @ x > 0)[:, None] * U\n"
    found = document("analyze", "--cell", write(relu + right), *LITTLE)
    assert "agrees with central differences at 4 random states" in found["model"]["assumptions"][0]
    wrong = right.replace("* U\n", "* U.T\n")
    refused(4, "J v is off central differences by", "analyze", "--cell", write(relu + wrong), *LITTLE)


def test_states_at_a_kink_do_not_refute_a_jacobian():
    """One of the random states is a kink: differences say 0 there, and the Jacobian takes a side."""
    seen = [s for _, s, _ in points(from_step(lambda x, s: s, state_size=1, input_size=1))]

    def kinked(at):
        return from_step(
            lambda x, s: np.abs(s - at),
            state_size=1,
            input_size=1,
            jacobian=lambda x, s: np.where(s < at, -1.0, 1.0)[:, None],
        )

    told = kinked(seen[0]).assumption
    assert "agrees with central differences at 3 of 4 random states" in told
    assert "agrees with central differences at 4 random states" in kinked(100.0).assumption


SURROGATE = """
import numpy as np

state_size, input_size = 4, 1
U = np.random.default_rng(0).standard_normal((4, 4))
surrogate = True


def step(x, s):
    return (U @ np.real(s) > 0).astype(float)


def jacobian(x, s):
    return U / (1 + np.abs(U @ s))[:, None] ** 2
"""


def test_a_declared_surrogate_passes(run, write):
    """The derivative of a threshold is 0, and the surrogate is off by all of itself."""
    path = write(SURROGATE)
    done = run("check-cell", path)
    assert (done.code, done.err) == (0, "")
    assert "a surrogate: off the complex step by 1.0e+00, relative" in done.out
    assert "the Jacobian is a declared surrogate" in done.out
    assert "is the derivative" not in done.out
    document = json.loads(run("check-cell", path, "--json").out)
    assert document["verdict"]["passed"]
    assert "the Jacobian is a declared surrogate" in document["verdict"]["sentence"]
    write(SURROGATE.replace("surrogate = True", ""))
    assert run("check-cell", path).code == 4
    write(SURROGATE.replace("    return (U", "    s[0] = 1\n    return (U"))
    done = run("check-cell", path)
    assert (done.code, "arguments: s written to" in done.err) == (4, True)


SPOILT = [
    ('{"h": 1 - self.rate}', '{"h": self.rate - 1}', "d h'/d h around has relative error 2 (wrong sign)"),
    (', around={"h": {"h": 1 - self.rate}}', "", "d h'/d h around has relative error 1 (not stated"),
    ('through = {"h": self', 'through = {"h": 0.5 * self', "d h'/d p_h through has relative error 0.5 (0.5 t"),
    (
        '{"h": 1 - self.rate}',
        '{"h": 1 - self.rate, "c": 0}',
        "has 'c' in around['h'], which is no",
    ),
]


@pytest.mark.parametrize(("old", "new", "words"), SPOILT)
def test_the_derivative_that_is_wrong_is_named(run, write, old, new, words):
    done = run("check-cell", write(CELL.replace(old, new)))
    assert done.code == 4
    assert words in done.err
    assert ("invalid cell: Seep: " in done.err) == ("which is" not in words)


def test_swapped_gates_are_recognised():
    from gradscope.cells.lstm import LSTM
    from gradscope.networks import Partials

    class Swapped(LSTM):
        def partials(self, p, s):
            right = super().partials(p, s)
            c = right.through["c"]
            through = {**right.through, "c": c | {"i": c["f"], "f": c["i"]}}
            return Partials(through, right.around, within={"h": {"c": 1.5 * right.within["h"]["c"]}})

    rows = {(d.part, d.path, d.of): d for d in derivatives(Swapped)}
    wrong = {k for k, d in rows.items() if not d.right}
    assert wrong == {("c", "through", "i"), ("c", "through", "f"), ("h", "within", "c")}
    assert rows["c", "through", "i"].remark == "it is d c'/d p_f"
    assert rows["h", "within", "c"].error == pytest.approx(1 / 3)  # 1.5 e beside e, relative to the larger


# --- completion


def test_completion_knows_cells_and_files(write, finished, tmp_path):
    write(CELL, "gru_of_mine.py")
    (tmp_path / "grub").mkdir()
    (tmp_path / "gr.txt").touch()
    env = {"_GRADSCOPE_COMPLETE": "complete_bash", "COMP_WORDS": "gradscope analyze --cell gr", "COMP_CWORD": "3"}
    done = finished(env=env, cwd=tmp_path)
    assert done.out.split() == ["gru", "gru_of_mine.py", "grub/"]
    env |= {"COMP_WORDS": f"gradscope analyze --cell {tmp_path}/gru_"}
    assert finished(env=env).out.split() == [f"{tmp_path}/gru_of_mine.py"]


def test_a_plan_says_what_is_kept_of_a_function(run, tmp_path):
    path = tmp_path / "half.py"
    path.write_text("state_size, input_size = 3, 2\ndef step(x, s):\n    return 0.5 * s + x[0]\n", encoding="utf-8")
    kept = {
        (str(path),): "states and Jacobians of every step",
        ("gru",): "states and pre-activations of every step",
        ("gru", "--layers", "2"): "states of every step",
    }
    for cell, words in kept.items():
        plan = run("analyze", "--cell", *cell, "--dry-run").out
        assert f"stored: {words}\n" in plan
        assert ("pre-activations" in plan) == ("pre-activations" in words)
