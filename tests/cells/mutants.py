"""A cell's file with one error planted in its formulas, and what finds it."""

import ast
import warnings
from collections.abc import Iterator
from copy import deepcopy

import numpy as np
from test_papers import agree, uneven

from gradscope.networks.cell import cell_class
from gradscope.networks.instantiate import instantiate
from gradscope.testing import check_cell, load_cell_file

FORMULAS = {"advance", "partials", "activations", "maps", "M", "_inner", "_values", "_with_peepholes"}
FORMULAS |= {"evolve", "linearise", "_hidden", "_control", "_directions", "_written"}
SEEDS = 3  # an error in what happens near a kink does not show at every point


def variants(name):
    """Yield settings that reach every line of a file."""
    cls = cell_class(name)
    yield {"mlstm": {"head": 2}, "lstm": {"projection": 3}, "nru": {"memory": 18, "heads": 2}}.get(name, {})
    yield from ({key: v} for key, values in cls.choices.items() for v in values)
    if name == "lstm":
        yield {}


def example(cls, name, seed, projection=0, **settings):
    """Return a cell whose arrays are all uneven."""
    rng = np.random.default_rng(seed)
    hidden = 6 if name == "mlstm" else 4  # as many heads as units of a head would hide what mixes them up
    cell = uneven(instantiate(cls, name, hidden, 3, rng, None, settings), rng)
    if projection:
        return cell.replace(U=cell.U[:, :projection], W_hr=rng.standard_normal((projection, 4)) / 2)
    return cell


def refusal(path, name, tried=None) -> str | None:
    """Return why the cell in a file is refused; None where nothing finds fault with it.

    Args:
        path: the file.
        name: the cell's name, under which `papers` has its equations.
        tried: the settings that are tried; None for those that reach every line.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            cls = load_cell_file(path)
            for seed in range(SEEDS):
                for settings in tried or variants(name):
                    cell = example(cls, name, seed, **settings)
                    check_cell(cell, seed=seed)
                    agree(cell, name, seed)
        except AssertionError as error:
            return (str(error) or repr(error)).splitlines()[0]
        except Exception as error:  # a mutant may break in any way
            return f"{type(error).__name__}: {error}"
    return None


def _errors(node) -> Iterator[tuple[str, ast.expr]]:
    """Yield (kind of error, what stands in the node's place)."""
    if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.BitOr):  # `|` is part of a type
        if isinstance(node.op, ast.Add | ast.Sub):
            other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            yield "sign", ast.BinOp(node.left, other, node.right)
        yield "dropped", node.left
        if isinstance(node.op, ast.Add | ast.Mult | ast.MatMult):
            yield "dropped", node.right
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", node.operand
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield "transposed", node.value
    if isinstance(node, ast.List | ast.Tuple) and isinstance(node.ctx, ast.Load):
        for i, (one, next_one) in enumerate(zip(node.elts[:-1], node.elts[1:], strict=True)):
            if ast.dump(one) != ast.dump(next_one):
                swapped = deepcopy(node)
                swapped.elts[i : i + 2] = swapped.elts[i : i + 2][::-1]
                yield "swapped", swapped
    if isinstance(node, ast.Dict):
        for i, (one, next_one) in enumerate(zip(node.values[:-1], node.values[1:], strict=True)):
            if ast.dump(one) != ast.dump(next_one):
                swapped = deepcopy(node)
                swapped.values[i : i + 2] = swapped.values[i : i + 2][::-1]
                yield "swapped", swapped
        for i in range(len(node.values)):
            rest = [j for j in range(len(node.values)) if j != i]
            yield "dropped", ast.Dict([node.keys[j] for j in rest], [node.values[j] for j in rest])


class _Plant(ast.NodeTransformer):
    """Puts one expression in the place of another."""

    def __init__(self, old: ast.expr, new: ast.expr) -> None:
        self._old, self._new = old, new

    def visit(self, node):
        return self._new if node is self._old else super().visit(node)


def mutants(text) -> Iterator[tuple[str, str]]:
    """Yield (what was planted, the text of the file with it), one error at a time."""
    tree = ast.parse(text)
    for owner in [n for n in tree.body if isinstance(n, ast.ClassDef)]:
        for function in [f for f in owner.body if isinstance(f, ast.FunctionDef) and f.name in FORMULAS]:
            for node in [n for line in function.body for n in ast.walk(line)]:
                for kind, new in _errors(node):
                    memo = {id(node): node}  # the copy still holds the node itself
                    planted = _Plant(node, new).visit(deepcopy(tree, memo))
                    what = f"{owner.name}.{function.name}: {kind}: {ast.unparse(node)} -> {ast.unparse(new)}"
                    yield what, ast.unparse(planted)
