"""Pages that are made from the code: commands, output fields, cells, initialisations, Python names, findings.

conf.py runs this before every build. What it writes to reference/generated is not kept in the repository;
reference/findings.md is, so that it can be read without a build: `python docs/generate.py` writes it, and a test
says when it is out of date.
"""

from __future__ import annotations

import functools
import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

import cell_pages
import typer
from cell_pages import escaped

import gradscope
from gradscope import plugins
from gradscope.cli.app import build
from gradscope.options import ALWAYS, GIVEN, NEVER, SHOWN, table
from gradscope.report import schema as report_schema
from gradscope.report.codes import Code, codes
from gradscope.settings import Settings

PANELS = ("Model", "Input", "Analysis", "Output")
# What users of a class need, where most of it is for those who write cells or analyses.
MEMBERS = {
    "Cell": (
        "sizes state_size input_size hidden_size step jacobian weights settings replace astype with_gain with_bias"
    ).split(),
    "JacobianChain": "from_arrays size parts at forward backward".split(),
}
DOCS = Path(__file__).resolve().parent


def write_all(folder: Path) -> None:
    """Write every generated page."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "commands.md": commands(),
        "settings.md": settings(),
        "schema.md": schema(),
        "cells.md": cell_pages.index(),
        "inits.md": inits(),
        "python.rst": python(),
        "../findings.md": findings(),
    }
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # an unchanged page is not read again
            path.write_text(text, encoding="utf-8")
    cell_pages.write(folder / "cells")


def commands() -> str:
    """Return one section a command, with its arguments and options in the order of its help."""
    group: Any = typer.main.get_command(build())
    lines = [
        "# Commands",
        "",
        "Every command has `-h` and `--help`. Counts may be written `1e3`, `200k` or `1_000`.",
        "What a command exits with is on its [own page](../exit-codes.md).",
        "",
        *(f"- [`gradscope {name}`](#gradscope-{name}): {first_line(c)}" for name, c in group.commands.items()),
        "",
    ]
    for name, command in group.commands.items():
        lines += section(name, command)
    return "\n".join(lines) + "\n"


def settings() -> str:
    """Return the table of settings: option, keyword, and where each has an effect."""
    recorded = {NEVER: "", GIVEN: "if given", ALWAYS: "yes", SHOWN: "yes"}
    lines = [
        "# Settings",
        "",
        "One table in the code makes the options of `analyze` and `compare`, the keywords of `gradscope.analyze`, the",
        "keys of `--config` files (the long names, without dashes) and the `config` of documents. An option without",
        "effect beside the others is refused.",
        "",
        "| option | default | Python | in `config` | restriction |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in table(Settings).items():
        default = row.shown_default or ("off" if row.default is False else "")
        keyword = f"`{name}`" if row.python else ""
        restriction = "; ".join(w.reason.partition(", and")[0].removeprefix("is ") for w in row.where)
        lines.append(f"| `{row.flag}` | {default} | {keyword} | {recorded[row.record]} | {restriction} |")
    return "\n".join(lines) + "\n"


def first_line(command: Any) -> str:
    """Return the first sentence of a command's help."""
    return str(command.help or "").strip().split("\n")[0].rstrip(".")


def section(name: str, command: Any) -> list[str]:
    """Return the section of one command."""
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and "--help" not in p.opts]
    usage = " ".join([p.metavar if p.required else f"[{p.metavar}]" for p in arguments])
    lines = [f"## gradscope {name}", "", *paragraphs(str(command.help or "")), ""]
    lines += ["```text", f"gradscope {name} {usage} [OPTIONS]".replace("  ", " "), "```", ""]
    if command.epilog:
        lines += ["```console", f"$ {str(command.epilog).removeprefix('Example: ').strip()}", "```", ""]
    for argument in arguments:
        lines += [f"`{argument.metavar}`", f": {escaped(str(argument.help or ''))}", ""]
    lines += [f"```{{program}} gradscope {name}", "```", ""]
    panels = {p: [o for o in options if getattr(o, "rich_help_panel", None) == p] for p in PANELS}
    rest = [o for o in options if not any(o in some for some in panels.values())]
    for panel, some in {**panels, "Options": rest}.items():
        if some:
            lines += [f"### {panel}", ""] if any(panels.values()) else []
            for option in some:
                lines += entry(option)
    return lines


def paragraphs(text: str) -> list[str]:
    """Return a help text with its line breaks inside paragraphs removed."""
    return "\n\n".join(" ".join(escaped(p).split()) for p in inspect.cleandoc(text).split("\n\n")).split("\n")


def entry(option: Any) -> list[str]:
    """Return one option as Sphinx's own directive, so that pages can refer to it."""
    metavar = "" if option.is_flag else f" {option.metavar or ''}".rstrip()
    names = ", ".join(f"{n}{metavar}" for n in sorted(option.opts, key=len))
    return [f"````{{option}} {names}", escaped(str(option.help or "")), "````", ""]


def inits() -> str:
    """Return a section for each initialisation."""
    lines = [
        "# Initialisations",
        "",
        "Chosen with `--init NAME`, or `init=` in Python. `--gain G` multiplies the recurrent weights of any of them,",
        "and `--set GATE_bias=B` replaces the sum of a gate's two biases.",
    ]
    for name in plugins.names("inits"):
        module = plugins.load("inits", name)
        doc = inspect.cleandoc(module.initialise.__doc__ or "").split("\nArgs:")[0].split("\nRaises:")[0]
        settings = [
            f"`{p.name}={p.default:g}`" if isinstance(p.default, float) else f"`{p.name}={p.default}`"
            for p in inspect.signature(module.initialise).parameters.values()
            if p.kind is inspect.Parameter.KEYWORD_ONLY
        ]
        lines += ["", f"## {name}", "", escaped(inspect.cleandoc(module.__doc__ or "")), "", escaped(doc.strip())]
        lines += ["", f"settings: {', '.join(settings)}"] if settings else []
    return "\n".join(lines) + "\n"


def findings() -> str:
    """Return what every finding and note means, from the texts of `gradscope explain`."""
    lines = [
        "# Findings and notes",
        "",
        "The verdict's `findings` and a document's `warnings` have codes for programs to read.",
        "`gradscope explain CODE` prints these texts in the terminal. The thresholds are in [the",
        "mathematics](../explanation/mathematics.md#the-verdict). For several models, the text shows each code once,",
        "with the message of the first model, and names the others; the JSON has the findings of each.",
    ]
    for title, notes in (("Findings", False), ("Notes", True)):
        lines += ["", f"## {title}"]
        for code in codes().values():
            lines += finding(code) if (code.level == "note") == notes else []
    return "\n".join(lines) + "\n"


def finding(code: Code) -> list[str]:
    """Return one entry of a definition list."""
    pages = [(f"../{page}", page.partition("#")[2] or page.partition("#")[0]) for page in code.read]
    links = ", ".join(f"[{name.replace('-', ' ')}]({page})" for page, name in pages)
    parts = (code.means, f"*When:* {code.decided}", f"*What to do:* {code.remedy}", f"*More:* {links}")
    level = "" if code.level == "note" else f" ({code.level})"
    lines = ["", f"`{code.code}`{level}: {code.summary}"]
    for number, part in enumerate(parts):
        fill = {"initial_indent": "  " if number else ": ", "subsequent_indent": "  "}
        whole = {"break_on_hyphens": False, "break_long_words": False}
        lines += [*([""] if number else []), *textwrap.wrap(part, 120, **fill, **whole)]
    for framework, text in code.examples.items():
        fenced = ["```python", *text.split("\n"), "```"]
        lines += ["", f"  *{framework}:*", "", *(f"  {line}".rstrip() for line in fenced)]
    return lines


def python() -> str:
    """Return autodoc directives for every public name."""
    lines = ["Python", "======", "", "``import gradscope`` loads nothing else; each name loads what it needs.", ""]
    for name in (n for n in gradscope.__all__ if not n.startswith("_")):
        value = getattr(gradscope, name)
        lines += [name, "-" * len(name), ""]
        if not inspect.isclass(value):
            lines += [f".. autofunction:: gradscope.{name}", ""]
            continue
        lines += [f".. autoclass:: gradscope.{name}", "   :no-members:", ""]
        for member in public(value):
            what = inspect.getattr_static(value, member)
            computed = isinstance(what, property | functools.cached_property)
            kind = "property" if computed else "method" if callable(getattr(value, member)) else "attribute"
            lines += [f"   .. auto{kind}:: gradscope.{name}.{member}"]
        lines += [""]
    return "\n".join(lines) + "\n"


def public(value: type) -> list[str]:
    """Return the members of a class that users need, in the order of its definition."""
    chosen = MEMBERS.get(value.__name__)
    return chosen if chosen is not None else [n for n in vars(value) if not n.startswith("_")]


def schema() -> str:
    """Return every field of the output with its type and meaning, from the schema that is shipped."""
    root = report_schema.schema()
    lines = [
        "# Fields of the JSON",
        "",
        "`gradscope schema` prints the JSON Schema that this page is made from. A nonfinite number is",
        "`null`, and `nonfinite` records where and what it was. Names are fixed within version 1; fields may be added.",
        "",
    ]
    definitions = root.get("$defs", {})
    kinds = [ref["$ref"].rsplit("/", 1)[1] for ref in root.get("oneOf", []) if "$ref" in ref]
    for name in [*kinds, *(d for d in definitions if d not in kinds)]:
        node = definitions[name]
        lines += [f"({'field-' + name})=", f"## {name}", ""]
        lines += [escaped(node["description"]), ""] if "description" in node else []
        lines += fields(node)
    if not definitions:
        lines += fields(root)
    return "\n".join(lines) + "\n"


def fields(node: dict[str, Any]) -> list[str]:
    """Return a definition list of the fields of an object, nested objects with dotted names."""
    lines: list[str] = []
    rows = list(walk(node, ""))
    if not rows:
        return [f"{kind(node)}", ""]
    for path, child, required in rows:
        note = "" if required else ", optional"
        lines += [f"`{path}`", f": {kind(child)}{note}. {escaped(child.get('description', ''))}".rstrip(), ""]
    return lines


def walk(node: dict[str, Any], prefix: str) -> Any:
    """Yield (path, schema, required) of every field, depth first."""
    for part in (node, *node.get("allOf", [])):
        needed = set(part.get("required", ()))
        for name, child in part.get("properties", {}).items():
            path = f"{prefix}{name}"
            yield path, child, name in needed
            yield from walk(child, f"{path}.")
            items = child.get("items")
            if isinstance(items, dict) and "properties" in items:
                yield from walk(items, f"{path}[].")
        extra = part.get("additionalProperties")
        if isinstance(extra, dict) and "properties" in extra:
            yield from walk(extra, f"{prefix}NAME.")


def kind(node: dict[str, Any]) -> str:
    """Return the type of a value, with links to other definitions."""
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#field-{name})"
    if "const" in node:
        return f"`{json.dumps(node['const'])}`"
    if "enum" in node:
        return " or ".join(f"`{json.dumps(v)}`" for v in node["enum"])
    choices = node.get("oneOf") or node.get("anyOf")
    if choices:
        return " or ".join(kind(c) for c in choices)
    names = node.get("type", "any value")
    names = [names] if isinstance(names, str) else names
    words = []
    for name in names:
        items = node.get("items")
        if name == "array" and isinstance(items, dict) and items:
            words.append(f"list of {kind(items)}")
        elif name == "object" and isinstance(node.get("additionalProperties"), dict):
            words.append(f"object of {kind(node['additionalProperties'])}")
        else:
            words.append(str(name))
    return " or ".join(words)


if __name__ == "__main__":
    (DOCS / "reference" / "findings.md").write_text(findings(), encoding="utf-8")
