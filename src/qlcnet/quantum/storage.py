"""How channel values in [-1, 1] are stored compactly, and the largest error that this makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Storage:
    """A stored type: value = scale x stored + offset; `error` is the largest difference to the exact value."""

    name: str
    dtype: np.dtype[Any]
    scale: float
    offset: float
    error: float

    def encode(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values in [-1, 1] as stored numbers."""
        if self.scale == 1.0:
            return values.astype(self.dtype)
        return np.floor((values - self.offset) / self.scale + 0.5).astype(self.dtype)

    def decode(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        """Stored numbers as float32 values."""
        return stored.astype(np.float32) * np.float32(self.scale) + np.float32(self.offset)


STORAGES: dict[str, Storage] = {
    # half a step of float16 in [0.5, 1]; smaller values have smaller steps
    "float16": Storage("float16", np.dtype(np.float16), 1.0, 0.0, 2.0**-12),
    # half of 255 equal steps over [-1, 1]
    "uint8": Storage("uint8", np.dtype(np.uint8), 2.0 / 255.0, -1.0, 1.0 / 255.0),
    "float32": Storage("float32", np.dtype(np.float32), 1.0, 0.0, 1e-6),
}


def storage_named(name: str) -> Storage:
    """The storage of that name. Raises ValueError for another."""
    try:
        return STORAGES[name]
    except KeyError:
        raise ValueError(f"storage {name!r} is unknown; choose one of {', '.join(STORAGES)}") from None
