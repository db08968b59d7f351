"""What is a file that no reader recognises, and how is it converted?  One table, for checkpoints and for data.

Readers, those of other packages too, are asked first (`files.recognise`); this table only explains a refusal.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from gradscope.errors import InputError
from gradscope.files.display import printable

SAVE_STATE_DICT = 'save only the weights: torch.save(model.state_dict(), "weights.pt")'
SAVE_NPZ = 'numpy.savez("weights.npz", weight_ih_l0=..., weight_hh_l0=...)'
KERAS = (
    'save the weights of its recurrent layer: numpy.savez("weights.npz", weight_ih_l0=kernel.T, '
    "weight_hh_l0=recurrent_kernel.T, bias_ih_l0=bias); for a GRU bias_ih_l0=bias[0], bias_hh_l0=bias[1] "
    "and --gate-order zrn"
)
TORCH = f'save the weights where the model was trained: torch.save(model.state_dict(), "weights.pt"), or {SAVE_NPZ}'
FLAX = f"save the weights under PyTorch's names, gates stacked as rows: {SAVE_NPZ}"
DISTRIBUTED = "convert it: python -m torch.distributed.checkpoint.format_utils dcp_to_torch DIRECTORY weights.pt"
PARQUET = "convert it: python -c \"import pandas; pandas.read_parquet('in.parquet').to_csv('out.csv', index=False)\""
DOWNLOAD = "the download failed: open the URL in a browser"
GIT_LFS = "run git lfs pull"
UNPACK = "unpack it first"
AS_NPY = "save the array with numpy.save('data.npy', array)"
AS_CSV = "save the sheet as .csv"


class Format(NamedTuple):
    """A format that is recognised and not read.

    Attributes:
        noun: what a file of this format is.
        signature: how its first bytes look; None if only the name of the file tells.
        suffixes: what the names of such files end in.
        as_checkpoint: what to do if it was given as a checkpoint.
        as_data: what to do if it was given as data; "" for a format of models, which data are not compared with.
    """

    noun: str
    signature: re.Pattern[bytes] | None
    suffixes: tuple[str, ...]
    as_checkpoint: str
    as_data: str = ""


def _begins(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


BLANK = rb"[\xef\xbb\xbf\s]*"  # a byte order mark and white space
IN_ZIP = rb"PK\x03\x04.{26}"  # header of the first member, up to its name

FORMATS = (
    Format("an HTML page", _begins(BLANK + rb"<(?i:!doctype|html)"), (), DOWNLOAD, DOWNLOAD),
    Format("an XML page", _begins(BLANK + rb"<\?xml"), (), DOWNLOAD, DOWNLOAD),
    Format("a git-lfs pointer, not the file itself", _begins(rb"version https://git-lfs"), (), GIT_LFS, GIT_LFS),
    Format("a Keras file", _begins(IN_ZIP + rb"(metadata\.json|config\.json|model\.weights\.h5)"), (".keras",), KERAS),
    Format(
        "an HDF5 file", _begins(rb"\x89HDF\r\n\x1a\n"), (".h5", ".hdf5"), KERAS, f"read it with h5py; then {AS_NPY}"
    ),
    Format("an ONNX file", _begins(rb"\x08[\x01-\x20]\x12.(pytorch|tf2onnx|keras|onnx|skl|mx)"), (".onnx",), TORCH),
    Format("a flax msgpack file", _begins(rb"([\x81-\x8f]|\xde..|\xdf....)[\xa0-\xbf\xd9]"), (".msgpack",), FLAX),
    Format("a TensorFlow file", None, (".pb", ".index", ".tflite"), KERAS),
    Format("part of a PyTorch distributed checkpoint", None, (".distcp",), DISTRIBUTED),
    Format("a single unnamed .npy array", _begins(rb"\x93NUMPY"), (), f"save all weights by name: {SAVE_NPZ}"),
    Format("a Parquet file", _begins(rb"PAR1[\x00-\x1f]"), (".parquet",), TORCH, PARQUET),
    Format(
        "a MATLAB file", _begins(rb"MATLAB 5\.0"), (".mat",), TORCH, f"read it with scipy.io.loadmat; then {AS_NPY}"
    ),
    Format(
        "a tar archive, as torch.save wrote before 2017", _begins(rb".{257}ustar"), (".tar",), SAVE_STATE_DICT, UNPACK
    ),
    Format(
        "a compressed file",
        _begins(rb"\x1f\x8b|BZh[1-9]1AY&SY|\xfd7zXZ\x00|\x28\xb5\x2f\xfd"),
        (".gz", ".xz"),
        UNPACK,
        UNPACK,
    ),
    Format("an Excel workbook", _begins(IN_ZIP + rb"(\[Content_Types\]|xl/|_rels/)"), (".xlsx",), TORCH, AS_CSV),
    Format("a zip archive of an unknown kind", None, (".zip",), TORCH, UNPACK),
    Format("a Python pickle", None, (".pkl", ".pickle", ".joblib"), TORCH),
)


def refuse_by_content(head: bytes, path: Path, *, data: bool = False) -> None:
    """Refuse a file whose first bytes are those of a format of the table.

    Args:
        head: first bytes of the file.
        path: the file, for the message.
        data: whether it was given as data, not as a checkpoint.

    Raises:
        InputError: they are.
    """
    for known in _formats(data):
        if known.signature and known.signature.match(head):
            raise _error(known, path, data)


def refuse_by_name(path: Path, *, data: bool = False) -> None:
    """Refuse a file whose name ends as those of a format of the table.

    Raises:
        InputError: it does.
    """
    for known in _formats(data):
        if path.name.lower().endswith(known.suffixes):
            raise _error(known, path, data)


def _formats(data: bool) -> list[Format]:
    return [known for known in FORMATS if known.as_data or not data]


def _error(known: Format, path: Path, data: bool) -> InputError:
    message = f"{printable(path.name)} is {known.noun}; it cannot be read as {'data' if data else 'a checkpoint'}"
    return InputError(message, known.as_data if data else known.as_checkpoint)
