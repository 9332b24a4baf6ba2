"""How channel values are stored: in [-1, 1] compactly, with the largest error that this makes; arrays in pieces."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK_BYTES = 32 << 20  # of stored channels; two chunks are in memory, one computed while the other is written
Fill = Callable[[int, NDArray[Any]], None]  # number of the first image, and what to fill with it and those after it


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


def write_array(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], fill: Fill, label: str, shots: int | None = None
) -> str:
    """Write a .npy of channels (N, H, W, C) chunk by chunk; returns the SHA-256 of how it is stored and of what.

    Memory: two chunks, whatever the number of images. `shots`: how many are drawn again from it in every epoch.
    """
    from tqdm import tqdm

    digest = _start_digest(shape, dtype, shots)
    step = _rows_a_chunk(shape, dtype)
    buffers = [np.empty((min(step, shape[0]), *shape[1:]), dtype) for _ in range(2)]
    with (
        path.open("wb") as file,
        ThreadPoolExecutor(1) as writer,
        tqdm(total=shape[0], desc=label, unit="image", unit_scale=True, leave=False, disable=None) as bar,
    ):
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

        def write(values: NDArray[Any]) -> None:
            data = values.reshape(-1).view(np.uint8).data
            digest.update(data)
            file.write(data)

        written = None
        for number, first in enumerate(range(0, shape[0], step)):
            values = buffers[number % 2][: shape[0] - first]  # the other buffer is being written
            fill(first, values)
            if written is not None:
                written.result()
            written = writer.submit(write, values)
            bar.update(len(values))
        if written is not None:
            written.result()
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def digest_array(array: NDArray[Any], shots: int | None = None) -> str:
    """What `write_array` returned when it wrote this array."""
    digest, step = _start_digest(array.shape, array.dtype, shots), _rows_a_chunk(array.shape, array.dtype)
    for first in range(0, len(array), step):
        digest.update(np.ascontiguousarray(array[first : first + step]).reshape(-1).view(np.uint8).data)
        let_go(array)
    return digest.hexdigest()


def _start_digest(shape: tuple[int, ...], dtype: np.dtype[Any], shots: int | None) -> hashlib._Hash:
    return hashlib.sha256(json.dumps([list(shape), dtype.name, shots]).encode())


def _rows_a_chunk(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return max(1, CHUNK_BYTES // (int(np.prod(shape[1:])) * dtype.itemsize))


def let_go(array: NDArray[Any]) -> None:
    """Give a memory map's pages back: the kernel would count all that was read as this process's memory."""
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
