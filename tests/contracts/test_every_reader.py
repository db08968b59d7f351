"""What every reader and every layout promises: the public checks, on files of each format."""

import sys
from pathlib import Path

import numpy as np
import pytest

from gradscope import plugins
from gradscope.testing import check_layout, check_reader

sys.path.append(str(Path(__file__).parents[1] / "checkpoints"))
from torch_files import lstm, save_legacy, save_zip, tensors  # noqa: E402


def savez(path, arrays):
    np.savez(path, **arrays)
    return path


CHECKPOINTS = {"npz": savez, "safetensors": tensors, "torch_legacy": save_legacy, "torch_zip": save_zip}
TABLE = np.arange(12.0).reshape(4, 3)
DATA = {
    "csv": lambda path: np.savetxt(path, TABLE, delimiter=","),
    "npy": lambda path: np.save(path, TABLE),
    "npz": lambda path: np.savez(path, x=TABLE),
}


def test_every_format_has_an_example():
    assert set(CHECKPOINTS) == set(plugins.names("checkpoints", builtin=True))
    assert set(DATA) == set(plugins.names("data", builtin=True))


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(tmp_path, name):
    reader = plugins.load("checkpoints", name)
    path = tmp_path / f"a{reader.SUFFIXES[0]}"
    CHECKPOINTS[name](path, lstm())
    check_reader(reader, path)


@pytest.mark.parametrize("name", DATA)
def test_data(tmp_path, name):
    reader = plugins.load("data", name)
    path = tmp_path / f"a{reader.SUFFIXES[0]}"
    DATA[name](path)
    check_reader(reader, path, room="data", input_size=3)


LAYOUTS = {"torch": [lstm(prefix="a.") | lstm(prefix="b.", gates=3), lstm(gates=1, suffix="")]}


@pytest.mark.parametrize("name", plugins.names("layouts", builtin=True))
def test_layouts(name):
    for example in LAYOUTS[name]:
        check_layout(plugins.load("layouts", name), example)
