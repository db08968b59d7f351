"""On what was it measured? One thread everywhere, one core where the system lets us choose, and what is underneath."""

from __future__ import annotations

import ctypes
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

ONE_THREAD = {
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "JAX_PLATFORMS": "cpu",
}
"""What has to be in the environment before numpy, torch or jax is imported."""

PACKAGES = ("numpy", "scipy", "torch", "jax", "typer", "rich")


def one_core() -> None:
    """Stay on one core: the last one that we may use. Threads that a library starts all the same share it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def describe() -> dict[str, Any]:
    """Return what the numbers depend on."""
    from gradscope.report.environment import blas

    return {
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "blas": blas(),
        "blas architecture": architecture(),
        "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "not set"),
        "threads": 1,
        **{name: version(name) for name in PACKAGES},
    }


def version(package: str) -> str:
    """Return the version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def cpu() -> str:
    """Return the name of the processor, with its family where the name says little."""
    try:
        rows = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (row.partition(":") for row in rows)}
    family = f" (family {facts['cpu family']}, model {facts['model']})" if "cpu family" in facts else ""
    return facts.get("model name", platform.machine()) + family


def architecture() -> str:
    """Return the kernels that numpy's OpenBLAS runs; "unknown" where it is another BLAS, or does not tell."""
    import numpy as np

    for library in sorted((Path(np.__file__).parent.parent / "numpy.libs").glob("*openblas*")):
        loaded = ctypes.CDLL(str(library))
        for name in ("scipy_openblas_get_corename64_", "scipy_openblas_get_corename", "openblas_get_corename"):
            if hasattr(loaded, name):
                tell = getattr(loaded, name)
                tell.restype = ctypes.c_char_p
                return tell().decode()
    return "unknown"
