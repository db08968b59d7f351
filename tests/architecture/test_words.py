"""Identifiers say what they hold: words with too many meanings are refused, by file and line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import gradscope

PACKAGE = Path(gradscope.__file__).parent
WORDS = {"apart", "found", "kept", "lack", "made", "odd", "own", "road", "roads", "sound", "tell", "told"}
PARTS = {"apart", "odd", "own", "road", "roads", "told"}  # refused in any place of a snake_case name, too
STANDARD_LIBRARY = {"tell"}  # the position in a file


def identifiers(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, name) of every name that a file gives or uses."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                yield node.lineno, name
            case ast.Attribute(attr=name) if name not in STANDARD_LIBRARY:
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.alias(name=module, asname=name):
                yield from ((node.lineno, part) for part in (name or module).split("."))
            case ast.keyword(arg=str(name)):
                yield node.value.lineno, name


def refused(name: str) -> bool:
    """Return whether a name is one of the words, or a snake_case name with one of those that are refused anywhere."""
    bare = name.strip("_").lower()
    return bare in WORDS or not PARTS.isdisjoint(bare.split("_"))


def test_no_identifier_is_a_word_with_too_many_meanings() -> None:
    places = []
    for path in sorted(PACKAGE.rglob("*.py")):
        names = [(1, path.stem), *identifiers(ast.parse(path.read_text("utf-8")))]
        places += [f"{path.relative_to(PACKAGE)}:{line}: {name}" for line, name in names if refused(name)]
    assert not places, "\n".join(places)


def test_the_rule_refuses_what_it_should() -> None:
    source = (
        "def road_share(own): found = own.made\nimport told.x as apart\nfrom a import kept\nf(odd=1)\nclass Sound: pass"
    )
    names = {name for _, name in identifiers(ast.parse(source)) if refused(name)}
    assert names == {"road_share", "own", "found", "made", "apart", "kept", "odd", "Sound"}
    assert not any(map(refused, ("broadcast", "owner", "made_of", "foundation", "tells")))
    assert not [name for _, name in identifiers(ast.parse("stream.tell()")) if refused(name)]
