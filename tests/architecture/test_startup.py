"""Nothing heavy is loaded before it is needed."""

import json
import os
import subprocess
import sys

import pytest

# What may be loaded before a command is named; to add to it is a decision. Both reach the user as waiting.
AT_IMPORT = {"gradscope", "gradscope._version"}
FOR_HELP = AT_IMPORT | {
    "gradscope.plugins",
    "gradscope.cli",
    "gradscope.cli._group",
    "gradscope.cli._output",
    "gradscope.cli._progress",
    "gradscope.cli._signals",
    "gradscope.cli.app",
    "gradscope.errors",
}
# typer and rich load the rest of these, some of them only where they are installed
OTHERS = {"annotated_doc", "attr", "rich", "shellingham", "typer", "typing_extensions"}
HEAVY = ("numpy", "scipy", "matplotlib", "rich.progress", "jsonschema", "torch", "joblib", "dask")
GRU = ["analyze", "--cell", "gru", "--hidden", "8", "--steps", "20", "--lags", "4"]


def loaded(program):
    """Return the names of the modules that a program leaves behind."""
    tail = "\nimport json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)), file=sys.stderr)"
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program + tail], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


def command(*arguments):
    return (
        "from gradscope.cli.app import main\n"
        f"try:\n    main({list(arguments)!r})\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
    )


def own(names):
    return {name for name in names if name.split(".")[0] == "gradscope"}


def others(names):
    """Return the packages of others; what Python itself starts with in this environment is not counted."""
    top = {name.split(".")[0] for name in names - loaded("")}
    return top - set(sys.stdlib_module_names) - {"gradscope"}


def test_what_import_loads():
    found = loaded("import gradscope; gradscope.__version__; dir(gradscope)")
    assert own(found) == AT_IMPORT
    assert not others(found)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]])
def test_what_help_loads(arguments):
    found = loaded(command(*arguments))
    assert own(found) == FOR_HELP
    assert others(found) <= OTHERS


def test_a_command_loads_no_other():
    folder = "gradscope.cli.commands."
    assert {name for name in loaded(command("cells")) if name.startswith(folder)} == {folder + "cells"}


@pytest.mark.parametrize(
    "program",
    [
        "import gradscope",
        "import gradscope; dir(gradscope); gradscope.__version__; gradscope.GradscopeError",
        command("--help"),
        command("--version"),
        command("analyze", "--help"),
        command("compare", "--help"),
        command("cells"),
        command("cells", "lstm"),
        command("explain"),
        command("explain", "vanishing"),
    ],
)
def test_nothing_heavy(program):
    assert not loaded(program) & set(HEAVY)


def test_the_schema_is_made_without_the_analyses():
    """Sections name their fields without importing what measures them."""
    found = loaded(command("schema", "analysis"))
    assert not found & (set(HEAVY) - {"numpy"})
    assert {name for name in found if name.startswith("gradscope.analysis.")} <= {"gradscope.analysis.reach"}


def test_json_without_matplotlib():
    found = loaded(command(*GRU, "--json"))
    assert "numpy" in found
    assert not found & {
        "pydantic",
        "scipy.special",
        "matplotlib",
        "jsonschema",
        "torch",
        "scipy.stats",
        "scipy.optimize",
        "multiprocessing.pool",
    }


def test_text_without_matplotlib():
    assert "matplotlib" not in loaded(command(*GRU))


def test_threads_are_set_before_numpy_is_loaded():
    """OpenBLAS reads its variable once, when it is loaded; it gets one thread, whatever the number of processes."""
    program = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'numpy':\n"
        "            assert os.environ.get('OPENBLAS_NUM_THREADS') == '1', 'too late'\n"
        "sys.meta_path.insert(0, Watch())\n"
    )
    program = f"import os\nos.environ['OPENBLAS_NUM_THREADS'] = '7'\n{program}"
    assert "numpy" in loaded(program + command(*GRU, "--quiet", "--threads", "3"))
