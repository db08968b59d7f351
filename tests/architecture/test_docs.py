"""Pages say what the code does: commands parse, codes are explained, thresholds are the program's."""

import ast
import dataclasses
import importlib
import inspect
import itertools
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

import gradscope
from gradscope import plugins, settings
from gradscope.analysis import inputs, predictability, reach
from gradscope.cli._user_cell import OF_INIT
from gradscope.cli.app import build
from gradscope.networks.cell import cell_class
from gradscope.report import section, verdict
from gradscope.report.codes import codes
from gradscope.report.sections import gates

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
BUILT = {"_build", "generated"}
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CITATION.cff")),
    *(p for p in sorted(DOCS.rglob("*")) if p.suffix in {".md", ".py", ".rst"} and not BUILT & set(p.parts)),
]
CODE = re.compile(r"GS-[A-Z]+(?:-[A-Z]+)*")


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def commands(text):
    """Return the arguments of every `gradscope ...` that a page types, up to a pipe or the like."""
    blocks = re.findall(r"^```(?:console|sh|yaml)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    typed = (re.match(r"(?:\$ |- run: |\.venv/bin/)gradscope +(.*)", line.strip()) for line in lines)
    return [list(itertools.takewhile(lambda word: word not in ("|", ">", ";"), words(m[1]))) for m in typed if m]


def words(line):
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|>;")
    lexer.whitespace_split = True
    return list(lexer)


SHOWN = [(name_of(page), args) for page in PAGES if page.suffix == ".md" for args in commands(page.read_text("utf-8"))]


@pytest.fixture(scope="module")
def group():
    return typer.main.get_command(build())


@pytest.fixture(scope="module")
def generate():
    sys.path.insert(0, str(DOCS))
    try:
        yield importlib.import_module("generate")
    finally:
        sys.path.remove(str(DOCS))


def test_readme_names_the_test_command():
    assert re.search(r"^make test$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)


def test_commands_are_found():
    assert len(SHOWN) > 20


@pytest.mark.parametrize(("page", "args"), SHOWN, ids=[f"{p}: {' '.join(a)[:60]}" for p, a in SHOWN])
def test_command_parses(group, page, args):
    name, *rest = args
    if name.startswith("-"):
        return
    command = group.commands[name]
    context = command.make_context(name, rest, resilient_parsing=False)
    for target in context.params.get("targets") or ():
        cell, _, settings = target.partition(":")
        known = {k.partition("=")[0] for k in settings.split(",") if k}
        if cell in plugins.names("cells"):
            init = (*re.findall(r"init=(\w+)", settings), "pytorch")[0]
            drawn = inspect.signature(plugins.load("inits", init).initialise).parameters
            cls = cell_class(cell)
            assert known <= {*cls.settings(), *cls.bias_settings(), *drawn, *OF_INIT}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_nothing_forbidden(page):
    text = page.read_text("utf-8")
    assert not re.search(r"pip install (?:-\S+ )*gradscope(?=[\s`'\"]|$)", text), "that name is another package's"
    assert not re.search(r"(?<![\w.])/(?:work|tmp|home|root|Users)/", text), "a path of one machine"
    assert not re.search(r"pypi\.org|files\.pythonhosted|anaconda\.org", text)


def test_every_code_is_explained():
    used = set()
    for path in (ROOT / "gradscope").rglob("*.py"):
        used |= set(CODE.findall(path.read_text("utf-8"))) if path.stem not in ("explain", "codes") else set()
    assert used == set(codes())
    texts = [dataclasses.replace(c, examples={"PyTorch": "optional"}) for c in codes().values()]
    assert all(all(dataclasses.astuple(c)) for c in texts), "a field is empty"


def test_findings_page_is_in_step(generate):
    page = (DOCS / "reference" / "findings.md").read_text("utf-8")
    assert page == generate.findings(), ".venv/bin/python docs/generate.py writes it anew"


@pytest.mark.parametrize("code", codes())
def test_an_explanation_leads_to_headings_that_are_there(code):
    for page in codes()[code].read:
        path, _, heading = page.partition("#")
        heads = re.findall(r"^#+ (.+)$", (DOCS / path).read_text("utf-8"), re.MULTILINE)
        assert not heading or heading in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in heads}, page


def test_thresholds_are_those_of_the_program():
    page = (DOCS / "explanation" / "mathematics.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([\d.]+) \|", page, re.MULTILINE))
    assert set(rows) >= {"DECADES", "SHORTEST_STEPS", "SATURATED", "TRANSIENT_DECADES"}
    homes = {"SATURATED": gates, "TRANSIENT_DECADES": reach}
    homes |= dict.fromkeys(("NEAR", "LEAST_DECADES"), predictability)
    homes |= dict.fromkeys(("LARGE", "SHUT", "SWITCHED_OFF", "RELIEVED"), inputs)
    assert {k: float(v) for k, v in rows.items()} == {k: float(getattr(homes.get(k, verdict), k)) for k in rows}


def test_fail_on_names_every_metric():
    page = (DOCS / "howto" / "ci.md").read_text("utf-8")
    assert {"reach", "lyapunov_1"} <= set(section.single_numbers())
    assert all(f"`{metric}`" in page for metric in section.single_numbers())


def test_generated_page_has_every_init(generate):
    assert all(f"\n## {name}\n" in generate.inits() for name in plugins.names("inits"))


def test_every_cell_has_a_page(generate):
    index = generate.cell_pages.index()
    for name in plugins.names("cells"):
        assert f"(cells/{name}.md)" in index
        assert f"\ncells/{name}\n" in index
    assert generate.cell_pages.curve("rnn").startswith(b"\x89PNG")


@pytest.mark.parametrize("name", plugins.names("cells"))
def test_the_papers_of_a_cell_are_in_the_bibliography(name):
    entries = re.split(r"\n- ", (DOCS / "bibliography.md").read_text("utf-8"))
    cite = r"(?:^|[;:] |der )([A-Z][\w-]+)(?:[,&\s]+(?:et al\.|and|[A-Z][\w-]*))*\s\((\d{4})\)"
    cited = re.findall(cite, plugins.outline("cells", name).class_doc, re.MULTILINE)
    assert cited
    for author, year in cited:
        assert any(author in e and f" {year}." in e for e in entries), (author, year)


@pytest.mark.parametrize("name", plugins.names("cells"))
def test_the_page_of_a_cell(generate, name):
    """Its blocks are those of the dense Jacobian: what is named is there, and what is not is zero."""
    page = generate.cell_pages.page(name)
    J, sizes = generate.cell_pages.linearised(name)
    parts, ends = list(sizes), np.cumsum([0, *sizes.values()])
    dense, around = J.dense(), J.jvp_skip(np.eye(J.shape[1]))
    for p, ways in enumerate(generate.cell_pages.paths(J, list(sizes.values()))):
        rows = slice(ends[p], ends[p + 1])
        for q in range(len(parts)):
            columns = slice(ends[q], ends[q + 1])
            found = ways.get(q, set())
            assert dense[rows, columns].any() == bool(found - {()} or ((() in found) and around[rows, columns].any()))
            assert () in found or not around[rows, columns].any()
        assert f"\n| `{parts[p]}'` |" in page
    assert f"![log10 of the gradient norm over the lag]({name}.png)" in page


def test_generated_commands_have_every_option(generate, group):
    text = generate.commands()
    for name, command in group.commands.items():
        assert f"\n## gradscope {name}\n" in text
        for parameter in command.params:
            assert parameter.param_type_name == "argument" or "--help" in parameter.opts or parameter.opts[0] in text


def test_generated_schema_and_names(generate):
    assert "metrics" in generate.schema()
    assert all(f"gradscope.{n}" in generate.python() for n in gradscope.__all__ if not n.startswith("_"))


@pytest.mark.parametrize("page", [p for p in PAGES if p.suffix == ".md"], ids=name_of)
def test_links_lead_somewhere(page):
    prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose):
        if "://" not in target and "generated/" not in target:
            assert (page.parent / target).exists(), target


AUTHORS = (
    "CONTRIBUTING.md",
    *(f"docs/{p}.md" for p in ("explanation/architecture", "howto/plug-ins", "howto/write-a-cell")),
)
FOLDERS = ("gradscope", "tests", "docs")
FILES = [*ROOT.glob("*.*"), ROOT / "Makefile"]
FILES += [p for f in FOLDERS for p in sorted((ROOT / f).rglob("*")) if not {*BUILT, "__pycache__"} & set(p.parts)]
PATHS = {f"/{p.relative_to(ROOT).as_posix()}" for p in FILES} | {f"/{f}" for f in FOLDERS}
BUILT_LATER = {"docs/reference/generated", "docs/gallery/generated", "docs/_build"}
PLACEHOLDERS = {"FILE.py", "FILE.npz", "NAME.py", "model.weights.json"}
PATH = re.compile(r"[\w./-]+(\.(py|md|toml|json|rst)|/|(?<=/)\w+)")


def terms(page):
    """Return what a page has in backticks, without its blocks of code."""
    text = re.sub(r"^ *```.*?^ *```", "", (ROOT / page).read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`]+)`", re.sub(r"\s*\n\s*", " ", text))


@pytest.fixture(scope="module")
def source():
    """All words of the code, of the tests, and of the options that are typed."""
    files = [p for p in FILES if p.suffix in {".py", ".toml"} or p.name == "Makefile"]
    return set(re.findall(r"\w+", "\n".join(p.read_text("utf-8") for p in files if p.is_file())))


@pytest.mark.parametrize("page", AUTHORS)
def test_every_path_for_authors_is_there(page):
    """A path may begin at the package, or be a file's bare name; NAME stands for a new file of its folder."""
    for term in filter(PATH.fullmatch, {*terms(page)} - PLACEHOLDERS - BUILT_LATER):
        path = Path(term)
        wanted = (path.parent if "NAME" in path.name else path).as_posix()
        assert any(known.endswith(f"/{wanted}") for known in PATHS), term


@pytest.mark.parametrize("page", AUTHORS)
def test_every_module_for_authors_is_there(page):
    for term in terms(page):
        if not (dotted := re.fullmatch(r"(gradscope(?:\.\w+)+)(?:\(.*\))?", term)) or plugin_group(dotted[1]):
            continue
        module, _, name = dotted[1].rpartition(".")
        try:
            importlib.import_module(dotted[1])
        except ImportError:
            assert hasattr(importlib.import_module(module), name), term


def plugin_group(name):
    return name in {room.group for room in plugins.ROOMS.values()}


@pytest.mark.parametrize("page", AUTHORS[:2])
def test_every_name_for_authors_is_in_the_code(page, source):
    for term in terms(page):
        if re.fullmatch(r"[A-Za-z_]\w+(\.[A-Za-z_]\w*)*(\(.*\))?", term) and term not in PLACEHOLDERS:
            parts = term.partition("(")[0].split(".")
            assert set(parts) <= source | {"NAME"}, term


def test_names_are_in_the_file_that_contributing_gives():
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text("utf-8").split())
    pairs = re.findall(r"`(\w+)`(?: \([^)]*\))?,? (?:in|of) `([\w./]+\.py)`", text)
    for path, names in re.findall(r"`([\w./]+\.py)` \(((?:`\w+`(?:, | and )?)+)\)", text):
        pairs += [(name, path) for name in re.findall(r"\w+", names) if name != "and"]
    assert len(pairs) > 15
    for name, path in pairs:
        if name != "NAME" and "NAME" not in path:
            assert re.search(rf"\b{name}\b", (ROOT / path).read_text("utf-8")), (name, path)


def test_pictures_are_small():
    assert all(p.stat().st_size < 300_000 for p in (DOCS / "images").iterdir())


def test_no_typed_copy_of_a_threshold_or_of_a_default():
    """Texts take DECADES, THRESHOLD and the sizes of synthetic input from their constants."""
    sizes = "|".join(map(str, (settings.STEPS, settings.BATCH, settings.WARMUP, settings.INPUT_SIZE)))
    copy = re.compile(
        rf"\b(three|{verdict.DECADES:g}) decades"
        rf"|\bthousandth|\b1/1000|threshold`?,? \(?{settings.THRESHOLD:g}|^({sizes}); "
    )
    explanations = ROOT / "gradscope" / "report" / "codes.toml"
    texts = [(explanations, explanations.read_text("utf-8"))]
    for path in (ROOT / "gradscope").rglob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        texts += [
            (path, node.value) for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
    assert not [(name_of(path), m[0]) for path, text in texts if (m := copy.search(text))]
    glossary = (DOCS / "glossary.md").read_text("utf-8")
    assert re.findall(r"by (\S+) decades or more", glossary) == [f"{verdict.DECADES:g}"] * 2
    for page in (glossary, (DOCS / "explanation" / "mathematics.md").read_text("utf-8")):
        assert set(re.findall(r"at least 1/(\d+)", page)) == {f"{1 / settings.THRESHOLD:g}"}
