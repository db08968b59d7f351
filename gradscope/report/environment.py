"""Where and when a run was made: the `run` object, which `--reproducible` leaves out."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from typing import Any

import numpy as np
import scipy

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


def describe(started: datetime, duration: float) -> dict[str, Any]:
    """Return versions, BLAS, threads and host."""
    return {
        "started": started.isoformat(timespec="seconds"),
        "duration_s": round(duration, 3),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "blas": blas(),
        "threads": threads(),
        "host": platform.node(),
    }


def blas() -> str:
    """Return the name and version of numpy's BLAS, as numpy was built."""
    config: Any = np.show_config(mode="dicts")
    library = config.get("Build Dependencies", {}).get("blas", {}) if isinstance(config, dict) else {}
    return f"{library.get('name', 'unknown')} {library.get('version', '')}".strip()


def threads() -> int | None:
    """Return the number of BLAS threads that the environment asks for; None where it does not say."""
    said = [os.environ[v] for v in THREAD_VARIABLES if os.environ.get(v, "").isdigit()]
    return int(said[0]) if said else None
