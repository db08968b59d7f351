"""Which weights do the pieces of a parametrisation stand for?  weight_norm, pruning, and dropped weights.

w = g v / |v|, with the norm over every axis along which g has size 1; pruned, w = orig * mask; dropped, w = raw, since
dropout is off when a network is used. A plain w beside its raw one is the copy that the last training step masked.
Source: torch.nn.utils.weight_norm, torch.nn.utils.parametrizations.weight_norm, torch.nn.utils.prune; WeightDrop of
Merity, Keskar & Socher (2018), whose raw matrix is in the module, and WeightDropout of fastai, where it is one above.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from gradscope.errors import InputError
from gradscope.files.checkpoints._base import Array
from gradscope.files.display import printable

PIECE = re.compile(
    r"(?P<module>(?:.*\.)?)(?P<name>(?:weight|bias)_(?:ih|hh|hr)(?:_l[0-9]{1,4})?(?:_reverse)?)"
    r"(?P<piece>\.original[01]?|_g|_v|_orig|_mask)",
    re.S,
)
RAW = re.compile(
    r"(?P<module>(?:.*\.)?)(?P<name>(?:weight|bias)_(?:ih|hh))(?P<place>(?:_l[0-9]{1,4})?(?:_reverse)?)_raw", re.S
)
INSIDE = "module."  # what fastai's WeightDropout calls the module that it wraps
PARTIAL = ({"_g"}, {"_v"}, {"_mask"})  # a parameter that happens to be named so
PAIRS = ((".original0", ".original1"), ("_g", "_v"))


def combined(tensors: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, tuple[str, ...]]]:
    """Return the tensors with pieces combined, and {combined name: names of its pieces}.

    Raises:
        InputError: pieces are missing or of a parametrisation that is not known.
    """
    arrays: dict[str, Array] = {}
    pieces: dict[str, dict[str, str]] = {}
    raw = _raw(tensors)
    for key, array in tensors.items():
        if key in raw:
            arrays[raw[key]] = array
            continue
        if key in raw.values():
            continue
        match = PIECE.fullmatch(key)
        module = re.sub(r"(^|\.)parametrizations\.$", r"\1", match["module"]) if match else ""
        if match is None or (module != match["module"]) != match["piece"].startswith(".original"):
            arrays[key] = array
            continue
        pieces.setdefault(module + match["name"], {})[match["piece"]] = key
    for name, parts in list(pieces.items()):
        if parts.keys() in PARTIAL:
            arrays |= {key: tensors[key] for key in pieces.pop(name).values()}
        else:
            arrays[name] = _combine(name, {piece: tensors[key] for piece, key in parts.items()})
    dropped = {name: (key, name) if name in tensors else (key,) for key, name in raw.items()}
    return arrays, {name: tuple(parts.values()) for name, parts in pieces.items()} | dropped


def _raw(tensors: Mapping[str, Array]) -> dict[str, str]:
    """Return {name of a raw matrix: the parameter that dropout makes of it}."""
    raw = {}
    for key in tensors:
        if match := RAW.fullmatch(key):
            places = [match["module"], match["module"] + INSIDE]
            beside = [f"{kind}{match['place']}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            homes = [place for place in places if any(place + name in tensors for name in beside)]
            raw[key] = (homes or places)[0] + match["name"] + match["place"]
    return raw


def _combine(name: str, parts: dict[str, Array]) -> Array:
    """Return the weights that pieces stand for.

    Raises:
        InputError: pieces are missing, do not fit, or are of a parametrisation that is not known.
    """
    shown = printable(name)
    for array in parts.values():
        if array.dtype.kind not in "fbu":
            raise InputError(f"the pieces of {shown} are {array.dtype.name}, not floating point")
    if parts.keys() == {"_orig", "_mask"} and parts["_orig"].shape == parts["_mask"].shape:
        return np.asarray(_wide(parts["_orig"]) * parts["_mask"].astype(_wide(parts["_orig"]).dtype))
    for magnitude, direction in PAIRS:
        if parts.keys() == {magnitude, direction}:
            return _scaled(shown, _wide(parts[magnitude]), _wide(parts[direction]))
    hint = "remove the parametrisation before saving: torch.nn.utils.parametrize.remove_parametrizations"
    raise InputError(f"{shown} consists of unknown parts ({', '.join(parts)})", hint)


def _scaled(shown: str, g: Array, v: Array) -> Array:
    """Return g v / |v|, the norm taken over every axis along which g has size 1.

    Raises:
        InputError: the shapes do not fit.
    """
    if g.ndim not in (0, v.ndim) or any(n not in (1, m) for n, m in zip(g.shape, v.shape, strict=bool(g.ndim))):
        raise InputError(f"the pieces of {shown} do not fit: {g.shape} and {v.shape}")
    axes = tuple(i for i in range(v.ndim) if g.ndim == 0 or g.shape[i] == 1)
    with np.errstate(all="ignore"):  # a row of zeros is nan, as in PyTorch
        return np.asarray(g * (v / np.sqrt(np.sum(v * v, axis=axes, keepdims=True))))


def _wide(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype.itemsize < 4 else array
