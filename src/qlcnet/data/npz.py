"""Files in MedMNIST layout (.npz), read without pickle and, however large, in pieces."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from qlcnet.data.imageset import PARTS, DataError, rows_in_chunk

HEADER_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
UINT8_HINT = "convert with `np.clip(np.rint(x), 0, 255).astype(np.uint8)` after scaling to 0…255"


@dataclass(frozen=True)
class Header:
    """What an array of the file says about itself."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool


@dataclass(frozen=True, eq=False)
class NpzImages:
    """A checked file: shape (N, H, W, C) of all its images together, labels int64 (N,), parts str (N,).

    ids: of the images as text, from the arrays train_ids, val_ids, test_ids, where they are there.
    """

    path: Path
    shape: tuple[int, ...]
    labels: np.ndarray
    parts: np.ndarray
    headers: dict[str, Header]
    ids: list[str] | None = None

    def chunks(self) -> Iterator[np.ndarray]:
        """All images in order (training, validation, test), uint8 (n, H, W, C), about 16 MB at a time."""
        with _opened(self.path) as archive:
            for part in PARTS:
                if f"{part}_images" in self.headers:
                    for chunk in _pieces(archive, f"{part}_images", self.headers[f"{part}_images"]):
                        yield chunk.reshape(-1, *self.shape[1:])


def open_npz(path: Path) -> NpzImages:
    """Read headers and labels of a file in MedMNIST layout and check everything but the pixels.

    Expects train_images uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3) and train_labels, integers (N,) or (N, 1);
    the same under val_… and test_…, or nothing. Raises DataError saying what is wrong and what is expected.
    """
    with _opened(path) as archive:
        names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
        headers = {}
        for part in PARTS:
            pair = {f"{part}_images", f"{part}_labels"}
            if part != "train" and not pair & names:
                continue
            if missing := sorted(pair - names):
                raise DataError(
                    f"{path.name}: {' and '.join(missing)} missing; expected train_images and train_labels, and the "
                    f"same for val_… and test_… or nothing; the file holds {', '.join(sorted(names)) or 'no array'}"
                )
            headers.update({name: _header(archive, name) for name in sorted(pair)})
        sizes = {part: headers[f"{part}_images"].shape[:1] for part in PARTS if f"{part}_images" in headers}
        present = [part for part in sizes if sizes[part] != (0,)]
        if "train" not in present:
            raise DataError(f"{path.name}: train_images holds no image")
        for part in present:
            _check_images(archive, f"{part}_images", headers)
        labels = [_labels(archive, part, headers) for part in present]
        has_ids = all(f"{part}_ids" in names for part in present)
        ids = [one for part in present for one in _ids(archive, part, headers)] if has_ids else None
    counts = [len(column) for column in labels]
    shape = (sum(counts), *_image_shape(headers["train_images"]))
    kept = {f"{part}_images": headers[f"{part}_images"] for part in present}
    return NpzImages(path, shape, np.concatenate(labels), np.repeat(present, counts).astype("<U5"), kept, ids)


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path.name}: not a whole .npz file ({error})") from error


def _header(archive: zipfile.ZipFile, name: str) -> Header:
    with archive.open(f"{name}.npy") as stream:
        return _read_header(stream, name)


def _read_header(stream: IO[bytes], name: str) -> Header:
    try:
        shape, fortran, dtype = HEADER_READERS[np.lib.format.read_magic(stream)](stream)
    except (ValueError, KeyError) as error:
        raise DataError(f"{name}: not a .npy array ({error})") from None
    if dtype.hasobject:
        raise DataError(f"{name}: holds Python objects, which are never loaded; expected plain integers")
    return Header(shape, dtype, fortran)


def _pieces(archive: zipfile.ZipFile, name: str, header: Header) -> Iterator[np.ndarray]:
    """The array's rows, about 16 MB at a time, in its own dtype."""
    row_shape = header.shape[1:]
    with archive.open(f"{name}.npy") as stream:
        if header.fortran:  # columns first on disk: rows exist only once all of it is here
            array = np.lib.format.read_array(stream, allow_pickle=False)
            step = rows_in_chunk(header.shape)
            yield from (np.ascontiguousarray(array[i : i + step]) for i in range(0, len(array), step))
            return
        _read_header(stream, name)
        row_bytes = int(np.prod(row_shape, dtype=np.int64)) * header.dtype.itemsize
        step, left = max(1, rows_in_chunk((1, row_bytes))), header.shape[0]
        while left:
            rows = min(step, left)
            data = stream.read(rows * row_bytes)
            if len(data) != rows * row_bytes:
                raise DataError(f"{name}: ends {left} rows early: the file was cut short when it was written")
            yield np.frombuffer(data, header.dtype).reshape(rows, *row_shape)
            left -= rows
        if stream.read(1):  # past the end: zipfile now compares the CRC
            raise DataError(f"{name}: holds more than its header says")


def _ids(archive: zipfile.ZipFile, part: str, headers: dict[str, Header]) -> list[str]:
    name, images = f"{part}_ids", headers[f"{part}_images"].shape[0]
    header = _header(archive, name)
    if header.shape != (images,) or header.dtype.kind not in "iuU":
        raise DataError(
            f"{name}: {header.dtype} of shape {header.shape}; expected an integer or text an image, shape ({images},)"
        )
    return [str(one) for piece in _pieces(archive, name, header) for one in piece.tolist()]


def _image_shape(header: Header) -> tuple[int, ...]:
    return header.shape[1:] if len(header.shape) == 4 else (*header.shape[1:], 1)


def _check_images(archive: zipfile.ZipFile, name: str, headers: dict[str, Header]) -> None:
    header, first = headers[name], headers["train_images"]
    expected = "expected uint8, N x H x W (grey) or N x H x W x 3 (colour)"
    found = f"{name}: {header.dtype} of shape {header.shape}"
    if len(header.shape) not in (3, 4) or 0 in header.shape or _image_shape(header)[2] not in (1, 3):
        hint = ""
        if len(header.shape) == 4 and header.shape[1] in (1, 3):
            hint = "; channels seem to come first: store `x.transpose(0, 2, 3, 1)`"
        elif len(header.shape) == 4 and header.shape[3] == 4:
            hint = "; four channels: drop the transparency with `x[..., :3]`"
        raise DataError(f"{found}; {expected}{hint}")
    if header.dtype != np.uint8:
        raise DataError(f"{found}, {_value_range(archive, name, header)}; {expected}; {UINT8_HINT}")
    if _image_shape(header) != _image_shape(first):
        raise DataError(f"{found}, but train_images has the shape {first.shape}; all images must have one size")


def _value_range(archive: zipfile.ZipFile, name: str, header: Header) -> str:
    if header.dtype.kind not in "iufb":
        return "no numbers"
    low, high, bad = np.inf, -np.inf, 0
    for chunk in _pieces(archive, name, header):
        finite = chunk[np.isfinite(chunk)]
        bad += chunk.size - finite.size
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return f"values {low:g} to {high:g}" + (f", {bad} of them not a number or infinite" if bad else "")


def _labels(archive: zipfile.ZipFile, part: str, headers: dict[str, Header]) -> np.ndarray:
    name, images = f"{part}_labels", headers[f"{part}_images"].shape[0]
    header = headers[name]
    found = f"{name}: {header.dtype} of shape {header.shape}"
    expected = f"expected one integer an image, shape ({images},) or ({images}, 1)"
    if len(header.shape) == 2 and header.shape[1] > 1:
        raise DataError(f"{found}; {expected}; several labels an image (multi-label, one-hot) are not supported")
    if header.shape not in ((images,), (images, 1)):
        raise DataError(f"{found}; {expected}")
    if header.dtype.kind not in "iu":
        raise DataError(f"{found}, {_value_range(archive, name, header)}; {expected}")
    pieces = list(_pieces(archive, name, header))
    labels = np.concatenate(pieces).reshape(-1).astype(np.int64)
    if labels.min() < 0:
        raise DataError(f"{name}: holds {labels.min()}; labels count from 0")
    return labels
