"""One BLAS thread, set before numpy is loaded; apart from the analyses, for commands that load none of them."""

from __future__ import annotations

import os

THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def one_blas_thread() -> None:
    """Let BLAS use one thread; has to come before numpy is loaded.

    Several threads wait for one another at every product of a step, and on a core that another program uses, for it.
    """
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
