"""What no file of the package may do, read from its syntax tree."""

import ast
import re
from pathlib import Path

import pytest

import gradscope
from gradscope import plugins

PACKAGE = Path(gradscope.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(f.relative_to(PACKAGE)) for f in FILES]
NUMERICS = (
    "maps",
    "kernels",
    "numerics",
    "networks",
    "cells",
    "inits",
    "dynamics",
    "analysis",
    "plugins.py",
    "errors.py",
)
ROOMS = ("cells", "inits", "render", "checkpoints", "layouts", "data", "analysis", "sections")
OPTIONAL = ("typer", "rich", "matplotlib", "joblib", "dask", "torch", "h5py", "onnx", "pandas", "click")


def tree(name):
    return ast.parse((PACKAGE / name).read_text(encoding="utf-8"))


def checked_for_types_only(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports(node, everywhere=True):
    """Yield the modules that a file imports; those inside functions only if `everywhere`."""
    for child in ast.iter_child_nodes(node):
        if checked_for_types_only(child):
            continue
        if isinstance(child, ast.Import):
            yield from (a.name for a in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield child.module
            yield from (f"{child.module}.{a.name}" for a in child.names)
        elif everywhere or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imports(child, everywhere)


def inside(name, *folders):
    return any(name == f or name.startswith(f"{f}/") for f in folders)


def roots(name, everywhere=True):
    return {m.split(".")[0] for m in imports(tree(name), everywhere)}


@pytest.mark.parametrize("name", [n for n in NAMES if inside(n, *NUMERICS)])
def test_numerics_import_no_screens_and_no_frameworks(name):
    assert not roots(name) & set(OPTIONAL)


@pytest.mark.parametrize("name", [n for n in NAMES if not inside(n, "cli")])
def test_only_the_command_line_imports_typer(name):
    assert not roots(name) & {"typer", "click"}


def test_matplotlib_has_one_home():
    assert {n.split("/")[0] for n in NAMES if "matplotlib" in roots(n)} == {"render"}


def test_nothing_imports_click():
    assert [n for n in NAMES if "click" in roots(n)] == []


@pytest.mark.parametrize("name", [n for n in NAMES if inside(n, "render")])
def test_a_renderer_sees_the_report_and_its_own_room_only(name):
    own = {m for m in imports(tree(name)) if m.startswith("gradscope")}
    shared = re.compile(r"gradscope\.render(\._\w+)?(\.\w+)?$")
    assert [m for m in own if not (m.startswith("gradscope.report.model") or shared.match(m))] == []
    assert not roots(name) & {"scipy"}


@pytest.mark.parametrize("room", ROOMS)
def test_one_plug_in_never_imports_another(room):
    others = {plugins.module_of(room, n) for n in plugins.names(room)}
    for name in plugins.names(room):
        found = set(imports(tree(f"{plugins.ROOMS[room].folder}/{name}.py"))) & others
        assert not found, f"{name} imports {found}"


def test_what_is_no_analysis_has_an_underscore():
    assert [
        n for n in plugins.names("analysis") if "\ndef measure(" not in (PACKAGE / f"analysis/{n}.py").read_text()
    ] == []


@pytest.mark.parametrize("name", [n for n in NAMES if inside(n, "analysis")])
def test_an_analysis_names_no_cell(name):
    assert not [m for m in imports(tree(name)) if re.match(r"gradscope\.(cells|report|render)\.[a-z]", m)]
    words = [ast.unparse(n) for n in ast.walk(tree(name)) if isinstance(n, ast.Name | ast.Attribute)]
    assert not set(words) & {"LSTM", "GRU", "RNN", "LinearCell"}


def calls(node):
    return {ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}


@pytest.mark.parametrize("name", [n for n in NAMES if not inside(n, "cli", "__main__.py")])
def test_only_the_command_line_prints_exits_and_reads_arguments(name):
    found = tree(name)
    assert not calls(found) & {"print", "input", "exit", "quit", "sys.exit", "os._exit", "sys.stdout.write"}
    text = ast.unparse(found)
    for forbidden in ("sys.argv", "sys.stdout", "sys.stderr", "sys.stdin", "SystemExit"):
        assert forbidden not in text, forbidden


def executed_on_import(node):
    """Yield the calls that run when a module is imported: not those in functions, nor for types."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            for part in (*child.decorator_list, *child.args.defaults, *child.args.kw_defaults):
                if part is not None:
                    yield from executed_on_import(ast.Expr(part))
        elif not isinstance(child, ast.Lambda) and not checked_for_types_only(child):
            if isinstance(child, ast.Call):
                yield ast.unparse(child.func)
            if isinstance(child, ast.Subscript) and ast.unparse(child.value) == "os.environ":
                yield "os.environ"
            yield from executed_on_import(child)


READS = re.compile(
    r"^(open|os\.environ.*|os\.getenv|.*\.(read_text|read_bytes|open|iterdir|glob|rglob|exists|is_file|stat)|"
    r"socket\..*|urllib\..*|subprocess\..*|np\.(load|random)\..*)$"
)


@pytest.mark.parametrize("name", NAMES)
def test_importing_reads_nothing(name):
    assert [c for c in executed_on_import(tree(name)) if READS.match(c)] == []


@pytest.mark.parametrize("name", [n for n in NAMES if not inside(n, "cli", "api.py")])
def test_the_house_is_entered_from_above(name):
    """Nothing below imports the command line, and nothing but it imports the Python interface."""
    found = {m for m in imports(tree(name)) if m.startswith(("gradscope.cli", "gradscope.api"))}
    assert not found or name in ("__init__.py", "__main__.py")


@pytest.mark.parametrize("name", [n for n in NAMES if inside(n, "cli")])
def test_the_command_line_holds_no_formulas(name):
    assert not roots(name) & {"numpy", "scipy"}


def test_no_file_is_too_long():
    long = {n: len((PACKAGE / n).read_text(encoding="utf-8").splitlines()) for n in NAMES}
    assert {n: k for n, k in long.items() if k > 450} == {}
