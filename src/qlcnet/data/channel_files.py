"""Channels made elsewhere: a .npy with a row an image, verified, checked and stored as it is. No pickle."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlcnet.config import FileChannels
from qlcnet.data.channel_card import ARRAY, Decode, Evaluations, Made
from qlcnet.data.channel_order import Order
from qlcnet.data.imageset import DataError
from qlcnet.data.search_path import Fetcher
from qlcnet.quantum.storage import let_go, write_array

TYPES = ("uint8", "float16", "float32")  # stored as they are: value = stored
ADVICE = "If a file that was found is the one you mean, declare its MD5 under `md5` of this channel in params.yaml."


def make_of_file(order: Order, folder: Path) -> Made:
    """Copy a file of the search path, checked, to channels.npy. Raises DataError saying what is wrong with it."""
    section: FileChannels = order.section
    file = PurePath(section.path).name
    try:
        values = bring_array(section, len(order.images), order.fetcher)
        shape = values.shape if values.ndim == 4 else (*values.shape, 1)
        dtype = np.dtype(values.dtype.name)  # in the byte order of this machine

        def fill(first: int, out: NDArray[Any]) -> None:
            out[...] = values[first : first + len(out)].reshape(out.shape)
            let_go(values)
            check_finite(file, first, out)

        digest = write_array(folder / ARRAY, shape, dtype, fill, f"channel {order.name}")
    except DataError as error:
        raise DataError(f"channels.{order.name}: {error}") from error
    return Made(shape, Decode(1.0, 0.0), None, digest, Evaluations(0, 0))


def bring_array(section: FileChannels, images: int, fetcher: Fetcher) -> NDArray[Any]:
    """The array of a file of the search path, memory-mapped, with a row for each image. Raises DataError."""
    return open_array(fetcher.bring_own(section.path, section.md5, ADVICE)[0], images)


def open_array(path: Path, images: int) -> NDArray[Any]:
    """A .npy, memory-mapped, with a row for each of so many images. Raises DataError."""
    try:
        values = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, EOFError) as error:
        raise DataError(f"{path.name}: not a whole .npy file of numbers ({error})") from None
    if values.dtype.name not in TYPES:
        raise DataError(
            f"{path.name} holds {values.dtype.name}; expected {', '.join(TYPES)}: for example "
            f"numpy.save({path.name!r}, values.astype(numpy.float32))"
        )
    if values.ndim not in (3, 4) or 0 in values.shape:
        raise DataError(
            f"{path.name} has the shape {values.shape}; expected (images, height, width, channels), or without the last"
        )
    if len(values) != images:
        raise DataError(
            f"{path.name} has {len(values):,} rows, the task {images:,} images; expected a row an image, in the order "
            "of the set: training, validation, then test part"
        )
    return values


def check_finite(file: str, first: int, values: NDArray[Any]) -> None:
    """Raise DataError for NaN and infinities, with the row of the first; `first`: row of values[0]."""
    if np.isfinite(values).all():
        return
    rows = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))
    raise DataError(
        f"{file} holds NaN or infinite values, first in row {first + int(rows[0])}; every value must be finite"
    )
