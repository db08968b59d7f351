"""Whatever bytes a file has, only an error for a person comes out."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_files import lstm, save_legacy, save_zip, tensors

from gradscope.errors import GradscopeError
from gradscope.files.checkpoints._base import open_checkpoint
from gradscope.files.layouts._load import load

QUICK = settings(
    max_examples=120,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def savez(path, arrays):
    np.savez(path, **arrays)
    return path


def squeeze(path, arrays):
    np.savez_compressed(path, **arrays)
    return path


KINDS = {"a.pt": save_zip, "b.pt": save_legacy, "c.safetensors": tensors, "d.npz": savez, "e.npz": squeeze}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    weights = lstm(inputs=1, hidden=1)
    tree = {"state_dict": weights, "optimizer_states": [{"x": np.ones(2)}]}
    return {n: save(folder / n, tree if n.endswith(".pt") else weights).read_bytes() for n, save in KINDS.items()}


def survives(path):
    for function in (open_checkpoint, load):
        try:
            function(path)
        except GradscopeError as error:
            assert error.message and str(error).isprintable()


@QUICK
@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_changed_bytes(originals, tmp_path, name, data):
    content = bytearray(originals[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(
            st.sampled_from([0, 1, 0x28, 0x7F, 0x80, 0xFF, content[place] ^ 1, content[place] ^ 0x80])
        )
    (tmp_path / name).write_bytes(content)
    survives(tmp_path / name)


@QUICK
@pytest.mark.parametrize("name", KINDS)
@given(data=st.data())
def test_parts_cut_out_and_pasted_in(originals, tmp_path, name, data):
    content = originals[name]
    places = st.integers(0, len(content))
    i, j, k = data.draw(places), data.draw(places), data.draw(places)
    (tmp_path / name).write_bytes(content[:i] + content[j : j + 40] + content[k:])
    survives(tmp_path / name)


@QUICK
@given(
    content=st.binary(min_size=1, max_size=200),
    head=st.sampled_from([b"\x80\x02", b"\x80\x04", b"PK\x03\x04", b"", b"c"]),
)
def test_any_bytes(tmp_path, content, head):
    (tmp_path / "a.pt").write_bytes(head + content)
    survives(tmp_path / "a.pt")
