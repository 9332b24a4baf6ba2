"""Near-duplicates on sets below QLCNET_DATA: how many pairs are right at which threshold, and their seconds.

`python benchmarks/near_duplicates.py`: DermaMNIST rebuilt from HAM10000 (lesions known), BreastMNIST, CIFAR-10. A set
that is not there is left out.
"""

from __future__ import annotations

import csv
import os
import pickle
import time
from pathlib import Path

import numpy as np

from qlcnet.data.near_duplicates import _correlation, close_hashes, find_near_duplicates, perceptual_hashes, thumbnails

DATA = Path(os.environ.get("QLCNET_DATA", "."))


def medmnist(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.load(path) as file:
        images, labels = (np.concatenate([file[f"{p}_{what}"] for p in ("train", "val", "test")]) for what in COLUMNS)
        test = np.arange(len(labels)) >= len(labels) - len(file["test_labels"])
        train = np.arange(len(labels)) < len(file["train_labels"])
    return images if images.ndim == 4 else images[..., None], labels[:, 0], np.where(train, 0, np.where(test, 2, 1))


COLUMNS = ("images", "labels")


def cifar10(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    images, labels = [], []
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        with (folder / name).open("rb") as file:
            batch = pickle.load(file, encoding="bytes")
        images.append(batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels += batch[b"labels"]
    return np.ascontiguousarray(np.concatenate(images)), np.array(labels), np.repeat([0, 2], [50_000, 10_000])


def thresholds(images: np.ndarray, lesions: np.ndarray) -> None:
    """Pairs at each threshold, and how many of them show one lesion."""
    small = thumbnails(images)
    hashes = perceptual_hashes(small)
    pairs = np.concatenate(list(close_hashes(hashes, 12)))
    bits = np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]])
    correlation = _correlation(small.reshape(len(small), -1), pairs)
    right = lesions[pairs[:, 0]] == lesions[pairs[:, 1]]
    limits = (-1.0, 0.9, 0.95, 0.97, 0.98)
    print("| bits | " + " | ".join("hash alone" if r < 0 else f"correlation {r}" for r in limits) + " |")
    print("|---" * (len(limits) + 1) + "|")
    for most in (0, 4, 8, 12):
        kept = [(bits <= most) & (correlation >= r) for r in limits]
        cells = [f"{right[one].sum():,} of {one.sum():,} ({right[one].mean():.1%})" for one in kept]
        print(f"| {most} | {' | '.join(cells)} |")


def report(name: str, images: np.ndarray, labels: np.ndarray, part: np.ndarray) -> None:
    find_near_duplicates(images[:100])  # compiles
    wall, cpu = time.perf_counter(), time.process_time()
    found = find_near_duplicates(images)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    one, other = found.pairs.T
    crossing = (part[one] == 0) & (part[other] == 2)
    print(
        f"| {name} | {len(images):,} | {len(one):,} | {found.copies.sum():,} | {len(found.sizes):,} | "
        f"{found.sizes.max(initial=1)} | {(labels[one] != labels[other]).sum():,} | "
        f"{len(np.unique(other[crossing])):,} of {(part == 2).sum():,} |  {wall:.1f} s, {cpu:.1f} s of CPU"
    )


def main() -> None:
    """Print both tables of docs/statistics.md."""
    derma = DATA / "dermamnist-rebuilt"
    if derma.is_dir():
        images, labels, part = medmnist(derma / "dermamnist.npz")
        with (derma / "dermamnist_rebuilt_index.csv").open() as file:
            lesions = np.unique([row["lesion_id"] for row in csv.DictReader(file)], return_inverse=True)[1]
        thresholds(images, lesions)
        report("dermamnist-rebuilt", images, labels, part)
    if (DATA / "breastmnist").is_dir():
        report("BreastMNIST", *medmnist(DATA / "breastmnist/breastmnist.npz"))
    if (DATA / "cifar-10-batches-py").is_dir():
        report("CIFAR-10", *cifar10(DATA / "cifar-10-batches-py"))


if __name__ == "__main__":
    main()
