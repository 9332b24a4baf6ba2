"""These networks, as fitted, side by side: two models on the same images, or one model under two kinds of folds.

It answers for the networks that were fitted, not for training again (`comparison`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qlcnet.evidence.comparison import NotComparable, check_paired, name_of
from qlcnet.evidence.image_difference import OF_CLASSES, ImageDifference, image_difference
from qlcnet.evidence.influence import linearised
from qlcnet.evidence.intervals import Outcome, intervals_of
from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.metrics import predicted_classes
from qlcnet.evidence.oof import OOFTable
from qlcnet.evidence.summary import measure

COLUMNS = {"balanced_accuracy": "recall", "auc_macro": "auc"}  # of what, class by class, a mean over classes is made


@dataclass(frozen=True)
class Part:
    """A metric on some of the images: their number, its value, and its interval or why there is none."""

    images: int
    value: float
    interval: Outcome


@dataclass(frozen=True)
class SeenAndUnseen:
    """One metric of a model on test images whose group has others in the training part, and on those without."""

    metric: str
    seen: Part
    unseen: Part


def compare_networks(
    a: OOFTable, b: OOFTable, metric: str, groups: np.ndarray | None = None, level: float = 0.95
) -> ImageDifference | TooFew:
    """A minus B of `metric`, paired by image. groups: code of each image of the image set. Raises NotComparable."""
    check_paired(a, b)
    return _by_image(a, b, metric, groups, level)


def leakage(ungrouped: OOFTable, grouped: OOFTable, metric: str, groups: np.ndarray) -> ImageDifference | TooFew:
    """What ungrouped folds add to a metric: the same model under both kinds of folds, paired by image.

    groups: code of each image of the image set. Folds differ by design, so that this is about these networks only.
    Raises NotComparable where images or labels are not the same.
    """
    return _by_image(ungrouped, grouped, metric, groups, 0.95)


def seen_and_unseen(table: OOFTable, seen: np.ndarray, metric: str, groups: np.ndarray | None) -> SeenAndUnseen | None:
    """`metric` on images with and without relatives in training; None where either has no images.

    seen: boolean, of each image of the image set. Of several repeats the mean.
    """
    parts = [_part(table.rows(seen[table.index] == side), metric, groups) for side in (True, False)]
    if not all(part.images for part in parts):
        return None
    return SeenAndUnseen(metric, *parts)


def _part(table: OOFTable, metric: str, groups: np.ndarray | None) -> Part:
    if not len(table):
        return Part(0, float("nan"), TooFew("no images"))
    wholes = [table.of_repeat(repeat) for repeat in table.repeats]
    value = float(np.mean([measure(whole)[metric] for whole in wholes]))
    rows = [(whole.target, whole.probabilities) for whole in wholes]
    codes = None if groups is None else groups[wholes[0].index]
    # one fold: the pooled value is what the two parts are compared by
    found = intervals_of(rows, [np.zeros(len(whole), np.int64) for whole in wholes], codes)
    return Part(len(wholes[0]), value, found[metric])


def _by_image(
    a: OOFTable, b: OOFTable, metric: str, groups: np.ndarray | None, level: float
) -> ImageDifference | TooFew:
    wholes = [[table.of_repeat(repeat) for repeat in table.repeats] for table in (a, b)]
    first, other = wholes[0][0], wholes[1][0]
    if len(first) != len(other) or (first.index != other.index).any() or (first.target != other.target).any():
        raise NotComparable(f"{name_of(a)} and {name_of(b)}: not the same images and labels")
    psi, value = zip(*(_linearised(tables, metric) for tables in wholes), strict=True)
    if len(wholes[0]) != len(wholes[1]):
        return TooFew(f"{len(wholes[0])} and {len(wholes[1])} repeats; images are paired within a repeat")
    right = tuple(np.stack([predicted_classes(t.probabilities) == t.target for t in tables]) for tables in wholes)
    codes = None if groups is None else groups[first.index]
    return image_difference(
        metric, value[0] - value[1], psi[0] - psi[1], (right[0], right[1]), first.target, codes, level
    )


def _linearised(tables: Sequence[OOFTable], metric: str) -> tuple[np.ndarray, float]:
    """Influence values, (N,) or (N, K) of a mean over classes, and the metric: means over repeats."""
    each = [linearised(table.target, table.probabilities) for table in tables]
    if any(metric not in found for found in each):
        raise NotComparable(f"{name_of(tables[0])}: {metric} is undefined, since a class is absent")
    if metric in OF_CLASSES:
        names = [name for name in each[0] if name.rpartition("_")[0] == COLUMNS[metric] and name[-1].isdigit()]
        psi = np.mean([np.column_stack([found[name].psi for name in names]) for found in each], axis=0)
    else:
        psi = np.mean([found[metric].psi for found in each], axis=0)
    return psi, float(np.mean([found[metric].value for found in each]))
