"""What tensors does a .weights.json file hold?  An object of nested lists: {"weight_ih_l0": [[0.1, ...], ...], ...}."""

import json
from pathlib import Path

import numpy as np

from gradscope.errors import InputError
from gradscope.files import Tensors, printable

SUFFIXES = (".weights.json",)
MAX_BYTES = 1 << 28  # the text of 10 million weights; a larger file belongs into another format


def sniff(head: bytes, path: Path) -> bool:
    """Return whether a file begins as a JSON object whose first value is a list."""
    key, colon, value = head.lstrip().partition(b":")
    return key.startswith(b'{"') and bool(colon) and value.lstrip().startswith(b"[")


def read(path: Path) -> Tensors:
    """Return every tensor of the file, in float64.

    Raises:
        InputError: the file is too large, not JSON, or a tensor is not a rectangular list of numbers.
    """
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"it is larger than {MAX_BYTES >> 20} MiB", "save it with numpy.savez")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is not JSON ({printable(error)})", "download or save it again") from None
    if not isinstance(content, dict):
        raise InputError("its JSON is not an object of tensors by name")
    arrays = {}
    for name, values in content.items():
        try:
            arrays[name] = np.array(values, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"the tensor {printable(name)} is not a rectangular list of numbers") from None
    return Tensors(arrays, ["numbers were written as decimal text"])
