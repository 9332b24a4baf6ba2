"""The image set: uint8 images, labels, the official split, groups and origin, and its folder on disk."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from qlcnet.data.shown import shown
from qlcnet.stored import DamagedError, read_array, read_object
from qlcnet.whole import whole_folder, write_synced

PARTS = ("train", "val", "test")  # of the official split, in the order in which the images are stored
CHUNK = 16 << 20  # bytes of images held while a set is hashed or written


class DataError(Exception):
    """Data cannot be used or brought here; the message says what is wrong, where, and what to do."""


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images of a task with what is known about them; nothing in it changes after it is made.

    images: uint8 (N, H, W, C), C 1 or 3, in memory or memory-mapped. labels: int64 (N,), positions in class_names.
    parts: str (N,), the official split as train, val or test; all train where there is none. groups: int64 (N,)
    or None, equal for images that must not be on both sides of a fold. about: title, source, licence, url,
    checksum (file name -> MD5), note.
    """

    images: np.ndarray
    labels: np.ndarray
    parts: np.ndarray
    class_names: tuple[str, ...]
    groups: np.ndarray | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_columns(self.images.shape, self.labels, self.parts, self.groups, self.class_names)
        if self.images.dtype != np.uint8:
            raise DataError(f"images must be uint8 (0 to 255), these are {self.images.dtype}")

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the images' shape and bytes and of the labels, 64 hex digits; read from about.json once saved."""
        digest = _start_digest(self.images.shape)
        for chunk in _chunks(self.images):
            digest.update(chunk)
        return _finish_digest(digest, self.labels)

    def save(self, folder: Path) -> None:
        """Write `folder`, whole or not at all. Equal sets give equal bytes. Raises OSError."""
        stream = ImageStream(
            self.images.shape, _chunks(self.images), self.labels, self.parts, self.class_names, self.groups, self.about
        )
        stream.save(folder)

    @classmethod
    def load(cls, folder: Path) -> ImageSet:
        """Open what `save` wrote, images memory-mapped read-only. Raises DataError when it is missing or damaged."""
        remedy = f"run `qlcnet fetch {folder.name}`, or `dvc repro`"
        try:
            about = read_object(folder / "about.json", remedy, ("class_names", "digest", "shape"))
            images = read_array(folder / "images.npy", remedy, "r")
            labels, parts = (read_array(folder / f"{name}.npy", remedy) for name in ("labels", "parts"))
            groups = read_array(folder / "groups.npy", remedy) if (folder / "groups.npy").exists() else None
        except (FileNotFoundError, DamagedError) as error:
            raise DataError(str(error)) from None
        class_names, digest, _ = tuple(about.pop("class_names")), about.pop("digest"), about.pop("shape")
        loaded = cls(images, labels, parts, class_names, groups, about)
        loaded.__dict__["digest"] = digest  # hashing 16 GB again at every start would cost half a minute
        return loaded


@dataclass(frozen=True, eq=False)
class ImageStream:
    """An image set whose images arrive in pieces, so that a set larger than memory can be written.

    chunks: uint8 arrays (n, H, W, C) whose lengths add up to shape[0], consumed once. The rest as in ImageSet.
    """

    shape: tuple[int, ...]
    chunks: Iterable[np.ndarray]
    labels: np.ndarray
    parts: np.ndarray
    class_names: tuple[str, ...]
    groups: np.ndarray | None = None
    about: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `folder`, whole or not at all. Raises DataError, OSError."""
        check_columns(self.shape, self.labels, self.parts, self.groups, self.class_names)
        with whole_folder(folder) as beside:
            # a file of a few MB can say that it holds terabytes
            wanted, free = int(np.prod(self.shape, dtype=np.float64)), shutil.disk_usage(beside).free
            if wanted > free:
                raise DataError(f"{wanted / 1e9:,.1f} GB of images are to be stored, and {free / 1e9:,.1f} GB are free")
            digest = self._write_images(beside / "images.npy")
            columns = {"labels": self.labels.astype("<i8"), "parts": self.parts.astype("<U5")}
            if self.groups is not None:
                columns["groups"] = self.groups.astype("<i8")
            for name, column in columns.items():
                with (beside / f"{name}.npy").open("wb") as file:
                    np.save(file, column, allow_pickle=False)
                    _sync(file)
            names = {"class_names": list(self.class_names), "digest": digest, "shape": [int(n) for n in self.shape]}
            text = json.dumps({**self.about, **names}, sort_keys=True, indent=1, ensure_ascii=False)
            write_synced(beside / "about.json", text + "\n")

    def _write_images(self, path: Path) -> str:
        """Write the .npy piece by piece (plain writes: a full disk is an error, in a memory map it is a crash)."""
        from tqdm import tqdm

        digest, written = _start_digest(self.shape), 0
        bar = tqdm(total=int(self.shape[0]), unit="image", unit_scale=True, desc="writing", leave=False, disable=None)
        with path.open("wb") as file, bar:
            header = {"descr": "|u1", "fortran_order": False, "shape": tuple(map(int, self.shape))}
            np.lib.format.write_array_header_1_0(file, header)
            for chunk in self.chunks:
                if chunk.dtype != np.uint8 or chunk.shape[1:] != tuple(self.shape[1:]):
                    raise DataError(f"expected uint8 images of {self.shape[1:]}, got {chunk.dtype} {chunk.shape[1:]}")
                piece = np.ascontiguousarray(chunk)
                digest.update(piece)
                file.write(piece.data)
                written += len(piece)
                bar.update(len(piece))
            if written != self.shape[0]:
                raise DataError(f"expected {self.shape[0]} images, got {written}")
            _sync(file)
        return _finish_digest(digest, self.labels)


def check_columns(
    shape: tuple[int, ...],
    labels: np.ndarray,
    parts: np.ndarray,
    groups: np.ndarray | None,
    class_names: tuple[str, ...],
) -> None:
    """Raise DataError unless the columns fit N x H x W x C images and each other."""
    if len(shape) != 4 or shape[3] not in (1, 3) or 0 in shape:
        raise DataError(f"images must have the shape N x H x W x 1 or N x H x W x 3, these have {shape}")
    for name, column in (("labels", labels), ("parts", parts), ("groups", groups)):
        if column is not None and column.shape != (shape[0],):
            raise DataError(f"{name} must have the shape ({shape[0]},), one an image; these have {column.shape}")
    for name, column in (("labels", labels), ("groups", groups)):
        if column is not None and column.dtype.kind not in "iu":
            raise DataError(f"{name} must be integers, these are {column.dtype}")
    if labels.min() < 0 or labels.max() >= len(class_names):
        raise DataError(
            f"labels must be 0 to {len(class_names) - 1} for {len(class_names)} class names "
            f"({shown(class_names)}), these are {labels.min()} to {labels.max()}"
        )
    unknown = sorted(set(np.unique(parts).tolist()) - set(PARTS))
    if unknown:
        raise DataError(f"parts must be {', '.join(PARTS)}, these hold {', '.join(map(repr, unknown))}")


def _chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    rows = rows_in_chunk(images.shape)
    return (np.ascontiguousarray(images[i : i + rows]) for i in range(0, len(images), rows))


def rows_in_chunk(shape: tuple[int, ...]) -> int:
    """How many images of N x H x W x C make about 16 MB."""
    return max(1, CHUNK // max(1, int(np.prod(shape[1:], dtype=np.int64))))


def _start_digest(shape: tuple[int, ...]) -> Any:
    return hashlib.sha256("x".join(str(int(size)) for size in shape).encode())


def _finish_digest(digest: Any, labels: np.ndarray) -> str:
    digest.update(np.ascontiguousarray(labels, dtype="<i8"))
    return str(digest.hexdigest())


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
