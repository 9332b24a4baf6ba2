"""Two models side by side: which fits are pairs, their differences, and the test that fits how they came about.

The question is "this way of training": were both trained again, on other images like these, with other folds and
seeds, which would be better? "These networks", paired by image, is `image_difference`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.oof import OOFTable
from qlcnet.evidence.resampled import PairedT, resampled_t, seeds_t
from qlcnet.evidence.summary import FitScore, measure


class NotComparable(ValueError):
    """Two models are no pair; the message says what they do not share."""


@dataclass(frozen=True, eq=False)
class FoldScores:
    """Every fit of one task x backbone x model.

    values: by metric, float64 (repeats, folds). test_share: n_test / n_train of a fit (0 where all fits score the same
    images). parameters: of the network.
    """

    table: OOFTable
    parameters: int
    values: Mapping[str, np.ndarray]
    test_share: float

    @property
    def task(self) -> str:
        return self.table.task

    @property
    def backbone(self) -> str:
        return self.table.backbone

    @property
    def model(self) -> str:
        return self.table.model

    @property
    def same_images(self) -> bool:
        """Whether every fit scored the same images: the official split, a test part."""
        return self.test_share == 0


def fold_scores(table: OOFTable, parameters: int, fits: Sequence[FitScore] | None = None) -> FoldScores:
    """Scores of each fit of a table, whose repeats have equally many folds; `fits`: as measured, where they are.

    Raises NotComparable where a repeat lacks a fold that another has.
    """
    splits = table.splits
    repeats, folds = sorted({r for r, _ in splits}), sorted({f for _, f in splits})
    if len(splits) != len(repeats) * len(folds):
        raise NotComparable(
            f"{name_of(table)}: {len(splits)} fits are not {len(repeats)} repeats of {len(folds)} folds"
        )
    measured = [measure(table.of_fit(*split)) for split in splits] if fits is None else [fit.metrics for fit in fits]
    shape = (len(repeats), len(folds))
    values = {metric: np.array([fit[metric] for fit in measured]).reshape(shape) for metric in measured[0]}
    return FoldScores(table, parameters, values, _test_share(table, len(repeats), len(folds)))


def _test_share(table: OOFTable, repeats: int, folds: int) -> float:
    """n_test / n_train: what a fold does not validate it trains on; 0 where each fit scores every image."""
    images = len(np.unique(table.index))
    if len(table) == images * repeats * folds:
        return 0.0
    return images / (images * (folds - 1))  # over the folds of a repeat: all images, and each folds - 1 times


def name_of(table: OOFTable) -> str:
    """For example digits/lcnet_050/hybrid."""
    return f"{table.task}/{table.backbone}/{table.model}"


def check_paired(a: OOFTable, b: OOFTable) -> None:
    """Raise NotComparable unless both have the same task, classes, fits, images in each fit, and labels."""
    pair = f"{name_of(a)} and {name_of(b)}"
    if a.task != b.task or a.class_names != b.class_names:
        raise NotComparable(f"{pair}: not the same task and classes")
    if not _same_rows(a, b):
        one, other = set(a.splits), set(b.splits)
        if one != other:
            raise NotComparable(
                f"{pair}: fits are paired by repeat and fold, and {len(one - other)} and {len(other - one)} of them "
                "have no partner"
            )
        rows = [set(zip(*(c.tolist() for c in (t.repeat, t.fold, t.index)), strict=True)) for t in (a, b)]
        alone = max(len(rows[0] - rows[1]), len(rows[1] - rows[0]))
        raise NotComparable(f"{pair}: not the same folds: {alone:,} of {len(a):,} images are in another one")
    if (differ := int((a.target != b.target).sum())) > 0:
        raise NotComparable(f"{pair}: not the same labels: {differ:,} of {len(a):,} differ")


def _same_rows(a: OOFTable, b: OOFTable) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("repeat", "fold", "index"))


def differences(a: FoldScores, b: FoldScores, metric: str) -> np.ndarray:
    """A minus B of each fit, (repeats, folds). Raises NotComparable."""
    check_paired(a.table, b.table)
    return a.values[metric] - b.values[metric]


def paired_t(of: np.ndarray, like: FoldScores) -> PairedT | TooFew:
    """The test over differences (repeats, folds) of fits that came about as those of `like`."""
    return seeds_t(of) if like.same_images else resampled_t(of, like.test_share)


def compare(a: FoldScores, b: FoldScores, metric: str) -> PairedT | TooFew:
    """Is A better than B? Raises NotComparable."""
    return paired_t(differences(a, b, metric), a)


def mean_over_widths(pairs: Sequence[tuple[FoldScores, FoldScores]], metric: str) -> np.ndarray:
    """Mean over backbones of A minus B within each fit, (repeats, folds). Raises NotComparable.

    Differences at several widths share images, folds and seeds (correlated 0.55 to 0.88): they are no sample, and go
    into one number before the test.
    """
    return np.mean([differences(a, b, metric) for a, b in pairs], axis=0)


def trend_over_widths(pairs: Sequence[tuple[FoldScores, FoldScores]], metric: str) -> np.ndarray:
    """Slope of A minus B within each fit on log2 of B's parameters: change a doubling, (repeats, folds).

    Needs two sizes at least. Least squares on the widths' means errs in 0.12 to 0.25 of studies at 0.05; a slope a fit,
    then the corrected t, in 0.007 to 0.034. Raises NotComparable.
    """
    size = np.log2([b.parameters for _, b in pairs])
    centred = size - size.mean()
    stacked = np.stack([differences(a, b, metric) for a, b in pairs], axis=-1)
    return stacked @ centred / (centred @ centred)
