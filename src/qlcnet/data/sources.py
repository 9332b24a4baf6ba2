"""The table of sources: what each `kind` under `datasets.<task>.source` brings to data/raw/<task>/."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qlcnet.config import Cifar10Source, Data, DigitsSource, MedMNISTSource, NpzSource, Task, portable_path
from qlcnet.data.cifar10 import open_cifar10
from qlcnet.data.classes import check_classes, names_for
from qlcnet.data.download import Patience
from qlcnet.data.folder.source import open_folder
from qlcnet.data.groups import read_groups
from qlcnet.data.imageset import DataError, ImageStream
from qlcnet.data.medmnist_info import class_names_of, entry_of, file_of
from qlcnet.data.npz import open_npz
from qlcnet.data.search_path import Fetcher
from qlcnet.data.sharing import link_images, recipe_of
from qlcnet.paths import Project

log = logging.getLogger("qlcnet")

DIGITS_MD5 = "7696c07daa6d85010f8268703ab8b067"  # images (0 to 16), then labels, as bytes


def fetch(task_name: str, task: Task, data: Data, root: Path, patience: Patience | None = None) -> Path:
    """Bring the images of a task to `root`/data/raw/<task_name>/ and return that folder.

    Nothing is used before its checksum is right; the folder appears whole or not at all, and the same source gives
    the same bytes wherever it was found; they are linked from the task that `images_of` names, if it has them. Raises
    DataError.
    """
    folder = Project(root).raw(task_name)
    try:
        if task.images_of and link_images(task.source, Project(root).raw(task.images_of), folder):
            log.info("%s: the images of %s, in %s", task_name, task.images_of, folder)
            return folder
        stream = SOURCES[task.source.kind](task.source, Fetcher(data, root, patience))
        check_classes(stream.labels, stream.class_names)
        about = {**stream.about, "recipe": recipe_of(task.source, stream.about["checksum"])}
        replace(stream, about=about).save(folder)
    except DataError as error:
        raise DataError(f"datasets.{task_name}: {error}") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise DataError(f"datasets.{task_name}: {where}{error.strerror or error}") from error
    log.info("%s: %d images of %s in %s", task_name, stream.shape[0], "x".join(map(str, stream.shape[1:])), folder)
    return folder


def open_digits(source: DigitsSource, fetcher: Fetcher) -> ImageStream:
    """scikit-learn's digits, 0 to 16 spread over 0 to 255, resized bilinearly by Pillow."""
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    small, labels = digits.images.astype(np.uint8), digits.target.astype(np.int64)
    found = hashlib.md5(small.tobytes() + labels.astype(np.uint8).tobytes(), usedforsecurity=False).hexdigest()
    if found != DIGITS_MD5:
        raise DataError(
            f"the digits that come with scikit-learn have MD5 {found}, expected {DIGITS_MD5}: "
            "install the version of requirements.lock (`make setup`)"
        )
    grey = np.rint(small * (255 / 16)).astype(np.uint8)
    size = (source.size, source.size)
    resized = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)) for image in grey]
    about = {
        "title": "Handwritten digits",
        "source": "scikit-learn's load_digits: the test part of Optical Recognition of Handwritten Digits (UCI)",
        "licence": "CC BY 4.0",
        "url": "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        "checksum": {"load_digits": DIGITS_MD5},
        "note": f"8 x 8 pixels, resized bilinearly to {source.size} x {source.size}; no official split",
    }
    images = np.stack(resized)[..., None]
    names = tuple(str(name) for name in digits.target_names)
    return ImageStream(images.shape, [images], labels, np.full(len(labels), "train"), names, about=about)


def open_medmnist(source: MedMNISTSource, fetcher: Fetcher) -> ImageStream:
    """A 2D set of MedMNIST with its official split."""
    entry, file = entry_of(source.name), file_of(source.name, source.size)
    arrays = open_npz(fetcher.bring(file))
    about = {
        "title": f"{entry['python_class']}, {source.size} px",
        "source": "MedMNIST v2, https://medmnist.com",
        "licence": entry["license"],
        "url": file.urls[0],
        "checksum": {file.name: file.md5},
        "note": entry["description"],
    }
    names = class_names_of(source.name)
    return ImageStream(arrays.shape, arrays.chunks(), arrays.labels, arrays.parts, names, about=about)


def open_cifar(source: Cifar10Source, fetcher: Fetcher) -> ImageStream:
    """CIFAR-10 with its official training and test part."""
    return open_cifar10(fetcher)


def open_own(source: NpzSource, fetcher: Fetcher) -> ImageStream:
    """A file of the user's in MedMNIST layout, known by the MD5 that params.yaml declares."""
    path = Path(source.path).expanduser()
    advice = "If a file that was found is the one you mean, declare its MD5 under `source.md5` in params.yaml."
    arrays = open_npz(fetcher.bring_own(source.path, source.md5, advice)[0])
    names = class_names_of(source.classes_of) if source.classes_of else source.class_names
    names = names or names_for(arrays.labels)
    known_as = portable_path(str(path))
    about: dict[str, Any] = {
        "title": source.title or known_as.removesuffix(".npz"),
        "source": f"{known_as}, declared in params.yaml",
        "licence": source.licence,
        "url": "",
        "checksum": {path.name: source.md5},
        "note": f"classes of {source.classes_of}" if source.classes_of else "",
    }
    groups = None
    if source.groups:
        table, md5 = fetcher.bring_own(source.groups.path, source.groups.md5)
        ids = arrays.ids
        named = (lambda written: ids) if ids is not None else None
        found = read_groups(table, source.groups, arrays.labels, arrays.parts, named)
        groups = found.codes
        about["checksum"][table.name] = md5
        about["groups"] = found.about
    return ImageStream(arrays.shape, arrays.chunks(), arrays.labels, arrays.parts, names, groups, about)


SOURCES: dict[str, Callable[[Any, Fetcher], ImageStream]] = {
    "digits": open_digits,
    "medmnist": open_medmnist,
    "cifar10": open_cifar,
    "npz": open_own,
    "folder": open_folder,
}
