"""CIFAR-10 from its official archive or its extracted folder. Its batches are pickles: bytes are verified, then read
by an unpickler that knows nothing but NumPy arrays."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from qlcnet.data.download import KnownFile
from qlcnet.data.imageset import DataError, ImageStream
from qlcnet.data.search_path import Fetcher

FOLDER = "cifar-10-batches-py"
ARCHIVE = KnownFile(
    name="cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    folder="cifar10",
    urls=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
    most_bytes=170_498_071,
)
BATCHES = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
PER_BATCH = 10_000  # images
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ABOUT = {
    "title": "CIFAR-10",
    "source": "https://www.cs.toronto.edu/~kriz/cifar.html",
    "licence": "none stated; research use with citation (Krizhevsky 2009)",
    "url": ARCHIVE.urls[0],
    "checksum": BATCHES,
    "note": "50,000 training and 10,000 test images, python version",
}
ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a batch")
        if module == "numpy.core.multiarray":
            module = "numpy._core.multiarray"  # its place since NumPy 2
        return super().find_class(module, name)


def read_batch(data: bytes, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (10000, 32, 32, 3), labels int64 (10000,) of a batch. Raises DataError unless its MD5 is right."""
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != BATCHES[name]:
        raise DataError(f"{name}: MD5 {found}, expected {BATCHES[name]}; it was not read")
    batch = _ArraysOnly(io.BytesIO(data), encoding="bytes").load()
    planes = batch[b"data"].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), np.array(batch[b"labels"], np.int64)


def open_cifar10(fetcher: Fetcher) -> ImageStream:
    """CIFAR-10 from the first extracted folder on the search path whose batches are the official ones, else from the
    archive, found or downloaded. Raises DataError."""
    folder = _find_folder(fetcher)
    if folder is None:
        advice = f"An extracted folder {FOLDER}/ with the official batches in it will do as well."
        data = _from_archive(fetcher.bring(ARCHIVE, advice))
    else:
        data = {name: (folder / name).read_bytes() for name in BATCHES}
    batches = [read_batch(data.pop(name), name) for name in BATCHES]
    labels = np.concatenate([batch[1] for batch in batches])
    parts = np.repeat(["train", "test"], [5 * PER_BATCH, PER_BATCH])
    images = (batch[0] for batch in batches)
    return ImageStream((len(labels), 32, 32, 3), images, labels, parts, CLASS_NAMES, about=dict(ABOUT))


def _find_folder(fetcher: Fetcher) -> Path | None:
    itself = (place for place in fetcher.places if place.name == FOLDER and place.is_dir())
    for folder in (*itself, *fetcher.candidates(FOLDER, ARCHIVE.folder)):
        if all(fetcher.accept(folder / name, md5) for name, md5 in BATCHES.items()):
            return folder
    return None


def _from_archive(path: Path) -> dict[str, bytes]:
    """Bytes of the batches, in one pass; nothing is extracted to disk."""
    data = {}
    with tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = member.name.removeprefix(f"{FOLDER}/")
            stream = archive.extractfile(member) if name in BATCHES else None
            if stream is not None:
                data[name] = stream.read()
    if missing := [name for name in BATCHES if name not in data]:
        raise DataError(f"{path}: {', '.join(missing)} not in it")
    return data
