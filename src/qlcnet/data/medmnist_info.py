"""What the medmnist package knows about its 2D sets (files, MD5s, classes, licences), without its import of torch."""

from __future__ import annotations

import importlib.util
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from qlcnet.data.download import KnownFile
from qlcnet.data.imageset import DataError


@cache
def medmnist_info() -> dict[str, dict[str, Any]]:
    """medmnist.INFO of the twelve 2D sets. Its module is run by itself: importing the package costs 5 s."""
    package = importlib.util.find_spec("medmnist")
    if package is None or not package.submodule_search_locations:
        raise DataError("the package medmnist is missing: run `make setup`")
    path = Path(package.submodule_search_locations[0]) / "info.py"
    spec = importlib.util.spec_from_file_location("medmnist_info_alone", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where it cannot make ~/.medmnist, which nothing here needs
        spec.loader.exec_module(module)
    return {name: entry for name, entry in module.INFO.items() if not entry["python_class"].endswith("3D")}


def entry_of(name: str) -> dict[str, Any]:
    """INFO of a 2D set with one label an image. Raises DataError listing the names that are allowed."""
    info = medmnist_info()
    allowed = [known for known, entry in info.items() if not entry["task"].startswith("multi-label")]
    if name in allowed:
        return info[name]
    if name in info:
        why = f"{name} is multi-label ({len(info[name]['label'])} yes-or-no labels an image), which is not supported"
    else:
        why = f"{name!r} is not a 2D MedMNIST set"
    raise DataError(f"{why}; allowed: {', '.join(allowed)}")


def class_names_of(name: str) -> tuple[str, ...]:
    """Class names of a set, by label. Raises DataError."""
    labels = entry_of(name)["label"]
    return tuple(labels[str(i)] for i in range(len(labels)))


def file_of(name: str, size: int) -> KnownFile:
    """The file of a set at `size` pixels (28, 64, 128, 224). Raises DataError."""
    entry = entry_of(name)
    suffix = "" if size == 28 else f"_{size}"
    pixels = sum(entry["n_samples"].values()) * size * size * entry["n_channels"]
    return KnownFile(
        name=f"{name}{suffix}.npz",
        md5=entry[f"MD5{suffix}"],
        folder=name,
        urls=(entry[f"url{suffix}"],),
        most_bytes=int(pixels * 1.02) + (4 << 20),  # uncompressed; zip makes it no larger than that
    )
