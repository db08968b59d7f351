"""The public checks name what is wrong with a plug-in, and pass what is right."""

import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from gradscope.errors import InputError
from gradscope.files import LayoutOptions, RecurrentLayer, Tensors
from gradscope.files.layouts import torch
from gradscope.render import md
from gradscope.testing import check_layout, check_reader, check_renderer

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


def module(doc="A plug-in.", **names):
    made = types.ModuleType("plugin", doc)
    for name, value in names.items():
        setattr(made, name, value)
    return made


def sniff(head, path):
    return head.startswith(b"TOY")


def read(path):
    raw = path.read_bytes()[3:]
    if len(raw) % 8 or not raw:
        raise InputError("the file is cut off")
    return Tensors({"w": np.frombuffer(raw, "<f8")})


READER = {"SUFFIXES": (".toy",), "sniff": sniff, "read": read}


@pytest.fixture
def toy(tmp_path):
    path = tmp_path / "x.toy"
    path.write_bytes(b"TOY" + np.arange(3.0).tobytes())
    return path


def counting():
    count = iter(range(100))
    return lambda path: Tensors({"w": np.full(1, float(next(count)))})


def test_a_builtin_reader_recognises_by_content_what_would_be_called_unsupported(toy):
    toy.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(16))
    changes = {"sniff": lambda head, path: False, "read": lambda path: Tensors({"w": np.ones(1)})}
    reader = module(**READER | changes)
    check_reader(reader, toy)
    reader.__name__ = "gradscope.files.checkpoints.toy"
    with pytest.raises(AssertionError, match=r"sniff must recognise x\.toy: .* is an HDF5 file"):
        check_reader(reader, toy)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"doc": "no sentence"}, "must begin with a sentence"),
        ({"SUFFIXES": "toy"}, "SUFFIXES must be a tuple"),
        ({"SUFFIXES": (".TOY",)}, "SUFFIXES must be a tuple"),
        ({"sniff": None}, r"must define sniff\(head, path\)"),
        ({"sniff": lambda head: True}, r"cannot be called as sniff\(head, path\)"),
        ({"sniff": lambda head, path: True}, "must return False for"),
        ({"sniff": lambda head, path: head[0] == 84}, "must not fail on an empty head"),
        ({"SUFFIXES": (".other",), "sniff": lambda head, path: False}, "neither sniff nor SUFFIXES"),
        ({"read": lambda path: {"w": np.ones(1)}}, "must return gradscope.files.Tensors, not dict"),
        ({"read": lambda path: Tensors({"w": [1.0]})}, "w must be a numpy array, not list"),
        ({"read": lambda path: Tensors({"w": np.array([{}])})}, "must not hold Python objects"),
        ({"read": lambda path: Tensors({}, ["a\x1b"])}, "a note must be printable"),
        ({"read": counting()}, "twice must give the same"),
        ({"read": lambda path: Tensors({"w": np.frombuffer(path.read_bytes()[3:], "<f8")})}, "not ValueError"),
    ],
)
def test_what_a_reader_does_wrong_is_named(toy, changes, words):
    check_reader(module(**READER), toy)
    with pytest.raises(AssertionError, match=words):
        check_reader(module(**READER | changes), toy)


def test_a_reader_that_changes_the_file(toy):
    def write(path):
        tensors = read(path)
        path.write_bytes(path.read_bytes() + bytes(8))
        return Tensors({"w": tensors.arrays["w"][:3]})

    with pytest.raises(AssertionError, match="must not change the file"):
        check_reader(module(**READER | {"read": write}), toy)


def test_the_reader_of_the_page(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    for name in ("json_reader", "test_json_reader"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import test_json_reader

    test_json_reader.test_the_reader_keeps_the_contract(tmp_path)
    path = tmp_path / "a.weights.json"
    path.write_text(json.dumps({"a": [[1, 2], [3]]}))
    with pytest.raises(InputError, match="not a rectangular list"):
        sys.modules["json_reader"].read(path)


WEIGHTS = {"weight_ih_l0": np.ones((4, 3)), "weight_hh_l0": np.ones((4, 4))}


def changed(**fields):
    """Return `find` of the built-in layout, with some fields of its layers replaced."""

    def find(tensors, options):
        layers = torch.find(tensors, options)
        return [RecurrentLayer(**{**vars(layer), **fields}) for layer in layers]

    return find


def views(tensors, options):
    layers = torch.find(tensors, options)
    for layer in layers:
        object.__setattr__(layer.cell, "U", tensors["weight_hh_l0"])
    return layers


@pytest.mark.parametrize(
    ("find", "words"),
    [
        (None, "must define find"),
        (lambda tensors, options: [], "at least one layer"),
        (lambda tensors, options: torch.find(tensors, options)[0], "must return a list"),
        (lambda tensors, options: torch.find(tensors or WEIGHTS, options), r"must return \[\] where"),
        (changed(name="a\n"), "printable"),
        (changed(parameters=("other",)), "are no names of the file"),
        (changed(parameters=()), "must name the tensors"),
        (changed(input_size=7), "must be that of the cell"),
        (views, "must be copies"),
    ],
)
def test_what_a_layout_does_wrong_is_named(find, words):
    assert torch.find(WEIGHTS, LayoutOptions())
    check_layout(module(find=torch.find), WEIGHTS)
    with pytest.raises(AssertionError, match=words):
        check_layout(module(find=find), WEIGHTS)


def test_a_layout_that_fails_on_incomplete_weights():
    def find(tensors, options):
        return torch.find(tensors, options) if not tensors or tensors["weight_hh_l0"] is not None else []

    with pytest.raises(AssertionError, match="without weight_hh_l0.*not KeyError"):
        check_layout(module(find=lambda t, o: find(t, o) if "conv.weight" not in t or len(t) > 2 else []), WEIGHTS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"BINARY": None}, "BINARY must be"),
        ({"BINARY": True}, "must return bytes"),
        ({"render": lambda report: ""}, "cannot be called as render"),
        ({"render": lambda report, *, width=None, color=False, reproducible=False: "x"}, "one line break"),
        ({"render": lambda report, *, width=None, color=False, reproducible=False: "\x1b[0m\n"}, "terminal acts on"),
    ],
)
def test_what_a_renderer_does_wrong_is_named(changes, words):
    names = {"BINARY": False, "render": md.render}
    check_renderer(module(**names))
    with pytest.raises(AssertionError, match=words):
        check_renderer(module(**names | changes))
