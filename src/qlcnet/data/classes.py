"""Whether labels can be classes of a task. Never allocates by the largest label: it may be a patient's id."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from qlcnet.data.imageset import DataError
from qlcnet.data.shown import shown

log = logging.getLogger("qlcnet")


def names_for(labels: np.ndarray) -> tuple[str, ...]:
    """`class 0`, `class 1`, … for labels whose names nobody declared. Raises DataError unless all from 0 on occur."""
    there = np.unique(labels)
    low, high = int(there[0]), int(there[-1])
    if low == 1 and high == len(there):
        raise DataError(f"labels count from 0, these are 1 to {high}: store `labels - 1`")
    if high >= len(there):
        absent = np.setdiff1d(np.arange(min(high, len(there) + 1)), there)
        count = high + 1 - len(there)
        raise DataError(
            f"labels are {low} to {high}, and {count:,} of the numbers from 0 to {high} never occur (first "
            f"{absent[0]}): number the classes from 0 without gaps, or declare `class_names` for all of them"
        )
    return tuple(f"class {i}" for i in range(high + 1))


def check_classes(labels: np.ndarray, class_names: Sequence[str]) -> None:
    """Raise DataError for one class only, whose metrics mean nothing; warn of names that no image has."""
    there = np.unique(labels)
    if len(there) < 2:
        raise DataError(f"one class only: all {len(labels):,} images have the label {there[0]}; a task needs two")
    if absent := [class_names[label] for label in np.setdiff1d(np.arange(len(class_names)), there)]:
        log.warning("%d of %d classes have no image: %s", len(absent), len(class_names), shown(absent))
