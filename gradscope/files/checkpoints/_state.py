"""Which dictionary of a checkpoint is the network's state dict?  Prefixes that wrappers add to names are stripped."""

from __future__ import annotations

import re

from gradscope.errors import UsageError
from gradscope.files.checkpoints._base import Array, Tensors
from gradscope.files.display import listing, printable

# Keys under which training scripts keep a state dict.
STATES = re.compile(r"(.*_)?state_dict|(.*_)?(model|net|network|ema)(_ema|_state|_weights)?|module|params|weights")
# What torch.compile, FSDP and activation checkpointing write into names, anywhere; DDP only in front.
WRAPPERS = re.compile(r"(^|\.)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)(?=\.)")
PARALLEL = "module."


def state_prefix(path: tuple[str, ...]) -> str:
    """Return the leading part of a path of keys that ends with the last one that means "state dict"."""
    ends = [i + 1 for i, key in enumerate(path) if STATES.fullmatch(key)]
    return ".".join(path[: ends[-1]]) if ends else ""


def _unwrapped(arrays: dict[str, Array]) -> tuple[dict[str, Array], list[str]]:
    names = {name: WRAPPERS.sub("", name).removeprefix(".") for name in arrays}
    notes = ["stripped _orig_mod. and the like from the names"] if any(k != v for k, v in names.items()) else []
    if names and all(v.startswith(PARALLEL) for v in names.values()):
        names = {k: v.removeprefix(PARALLEL) for k, v in names.items()}
        notes.append("stripped module. from the names")
    if not notes or len(set(names.values())) < len(names):
        return arrays, []
    return {names[k]: v for k, v in arrays.items()}, notes


def choose_state(tensors: Tensors, key: str | None = None) -> dict[str, Tensors]:
    """Return the state dicts of a checkpoint by key, wrapper prefixes stripped off their names.

    Args:
        tensors: as `open_checkpoint` returns them.
        key: the one to return, such as "ema" or "checkpoint.model"; any prefix of names will do.

    Raises:
        UsageError: nothing in the file lies under `key`.
    """
    keys = tensors.states if key is None else (key.rstrip("."),)
    others = [f"{k}." for k in tensors.states if k] if key is None else []
    chosen: dict[str, Tensors] = {}
    for prefix in keys:
        start = f"{prefix}." if prefix else ""
        inner = tuple(other for other in others if other.startswith(start) and other != start)
        arrays, notes = _unwrapped(_below(tensors.arrays, start, inner))
        chosen[prefix] = Tensors(arrays, [*tensors.notes, *notes], tensors.format)
    if key is not None and not chosen[keys[0]].arrays:
        raise _nothing_below(tensors, key)
    return chosen


def _below(arrays: dict[str, Array], start: str, inner: tuple[str, ...]) -> dict[str, Array]:
    """Return the arrays whose names begin with `start` and not with any of `inner`, under the rest of their names."""
    names = [name for name in arrays if name.startswith(start) and not name.startswith(inner)]
    return {name.removeprefix(start): arrays[name] for name in names}


def _nothing_below(tensors: Tensors, key: str) -> UsageError:
    """Return the error for a key that no tensor lies under, with the keys that there are."""
    first = dict.fromkeys(name.split(".")[0] for name in tensors.arrays)
    known = listing([*filter(None, tensors.states), *first], 10)
    return UsageError(f"nothing in the file lies under '{printable(key)}'", f"known: {known}")
