"""Functions compiled by numba, with their code kept on disk where there is a place for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
    """numba's njit without the interpreter lock, cached on disk where a writable place for the cache exists.

    Where none does (read-only installation and no writable home) numba refuses to cache, with an error that would end
    whatever imports the function; it is then compiled anew by every process.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # "cannot cache function: no locator available"
        return numba.njit(nogil=True)(function)
