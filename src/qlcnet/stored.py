"""Files that a stage wrote, read back: what is missing or damaged is named, with what brings it back."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np


class DamagedError(ValueError):
    """A file cannot be what was written; the message names it and the remedy."""


def read_object(path: Path, remedy: str, keys: Collection[str] = ()) -> dict[str, Any]:
    """The JSON object of a file that has these keys. Raises DamagedError, FileNotFoundError."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing(path, remedy) from None
    except ValueError as error:
        raise DamagedError(f"{path} is damaged ({error}); {remedy}") from None
    if not isinstance(known, dict):
        raise DamagedError(f"{path} is damaged (it holds {type(known).__name__}, no object); {remedy}")
    if lacking := [key for key in keys if key not in known]:
        raise DamagedError(f"{path} is damaged (it lacks {', '.join(lacking)}); {remedy}")
    return known


def read_array(path: Path, remedy: str, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """The array of a .npy file, in memory or mapped. No pickle. Raises DamagedError, FileNotFoundError."""
    import numpy as np

    if path.exists() and not path.is_file():  # a pipe or a device can be read for ever
        raise DamagedError(f"{path} is damaged (no regular file); {remedy}")
    try:
        array: np.ndarray = np.load(path, mmap_mode, allow_pickle=False)
    except FileNotFoundError:
        raise _missing(path, remedy) from None
    except (ValueError, EOFError):  # numpy's text of a file that is no array speaks of pickles
        raise DamagedError(f"{path} is damaged (not a whole .npy file); {remedy}") from None
    return array


def _missing(path: Path, remedy: str) -> FileNotFoundError:
    return FileNotFoundError(f"{path} is missing: {remedy}")
