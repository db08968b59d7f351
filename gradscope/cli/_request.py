"""What was asked for: every option that decides what is computed."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from gradscope import plugins
from gradscope.cli._mine import fetch, is_own
from gradscope.errors import UsageError

__all__ = ["Request", "exists", "one_blas_thread", "settings_of"]

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# Settings that have no default: they are in the document where they were given.
WHERE_GIVEN = (
    "layer",
    "key",
    "activation",
    "gate_order",
    "embedding",
    "readout",
    "data_key",
    "columns",
    "delimiter",
    "decimal",
    "layout",
)


@dataclass(frozen=True)
class Request:
    """Every option that decides what is computed, as typed or as defaulted."""

    cell: str | None = None
    hidden: int = 128
    input_size: int | None = None
    layers: int = 1
    residual: bool = False
    norm: str = "none"
    bidirectional: bool = False
    init: str | None = None
    gain: float = 1.0
    settings: dict[str, str] = field(default_factory=dict)
    layer: str | None = None
    key: str | None = None
    activation: str | None = None
    gate_order: str | None = None
    data: Path | None = None
    data_key: str | None = None
    embedding: str | None = None
    columns: str | None = None
    delimiter: str | None = None
    decimal: str | None = None
    layout: str | None = None
    nan: str = "keep"
    drive: str = "noise"
    readout: str | None = None
    input_scale: float = 1.0
    steps: int | None = None
    batch: int | None = None
    warmup: int | None = None
    loss: str = "last"
    loss_gradient: Path | None = None
    spectrum: int = 16
    lags: int = 32
    step_spectra: str = "auto"
    threshold: float = 1e-3
    remedies: bool = False
    dtype: str = "float64"
    seed: int = 0
    max_memory: int | None = None
    threads: int = 1

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Pick the fields out of a command's arguments.

        Raises:
            UsageError: --set without "=", or input from standard input.
        """
        if str(options.get("data")) == "-":
            raise UsageError("--data cannot be read from standard input", "write it to a file, and name that")
        known = {f.name for f in fields(cls)} - {"settings"}
        return cls(settings=settings_of(options.get("settings")), **{k: v for k, v in options.items() if k in known})

    def config(self) -> dict[str, Any]:
        """Return the settings for the document: every one that was used, resolved."""
        config: dict[str, Any] = {}
        if self.cell:
            own = fetch(self.cell) if is_own(self.cell) else None
            config["cell"] = f"{own.path.name}:{own.name}" if own else self.cell
            if own is None or own.size("state_size") is None or own.cell_class is not None:
                config["hidden"] = self.hidden
            if own is None or own.cell_class is not None:
                config |= {"layers": self.layers, "init": self.initialisation, "gain": self.gain}
                config |= {k: True for k in ("bidirectional", "residual") if getattr(self, k)}
                config |= {} if self.norm == "none" else {"norm": self.norm}
            config["set"] = self.set
        if self.data:
            config |= {"data": self.data.name, "nan": self.nan}
        if not self.data or self.feeds_itself:
            config["drive"] = self.drive
        if not self.data:
            config["input_scale"] = self.input_scale
        if self.loss_gradient:
            config["loss_gradient"] = self.loss_gradient.name
        config |= {k: getattr(self, k) for k in WHERE_GIVEN if getattr(self, k) is not None}
        if not self.feeds_itself:  # a file of options may name one for other uses
            config.pop("readout", None)
        return config | {"spectrum": self.spectrum, "threshold": self.threshold, "dtype": self.dtype}

    @property
    def set(self) -> dict[str, str | float]:
        """Settings of the cell as the numbers and words that they are."""
        return {k: _value(v) for k, v in self.settings.items()}

    @property
    def initialisation(self) -> str:
        """Name of the initialisation: what was asked for, or what the cell has unasked."""
        assert self.cell is not None
        if is_own(self.cell):
            cls = fetch(self.cell).cell_class
            return self.init or (cls.usual_init if cls else "")
        return self.init or str(plugins.outline("cells", self.cell).constants.get("usual_init", "pytorch"))

    @property
    def warmup_steps(self) -> int:
        """Steps run before the measured ones."""
        if self.warmup is not None:
            return self.warmup
        return 0 if self.data and not self.feeds_itself else 50

    @property
    def feeds_itself(self) -> bool:
        """Whether the network's output is its next input."""
        return self.drive == "self"

    @property
    def spectra_of(self) -> int | None:
        """Of how many steps spectra are taken: a number, None for "auto"."""
        if self.step_spectra == "auto":
            return None
        return sys.maxsize if self.step_spectra == "all" else int(self.step_spectra)


def settings_of(pairs: list[str] | None) -> dict[str, str]:
    """Split KEY=VALUE pairs.

    Raises:
        UsageError: one has no "=".
    """
    split = [pair.partition("=") for pair in pairs or []]
    for key, equals, _ in split:
        if not equals or not key:
            raise UsageError(f"a setting is written KEY=VALUE, not '{key}'", "for instance forget_bias=1")
    return {key.strip(): value.strip() for key, _, value in split}


def one_blas_thread() -> None:
    """Let BLAS use one thread; has to come before numpy is loaded.

    Several of them wait for one another at every product of a step, and where another program has one of the cores
    they wait for its turn: processes do not.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"


def exists(path: Path) -> bool:
    """Tell whether there is such a file; a name that cannot be one is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _value(text: str) -> str | float:
    """Return a setting as the number that it is, or as the word."""
    try:
        return float(text)
    except ValueError:
        return text
