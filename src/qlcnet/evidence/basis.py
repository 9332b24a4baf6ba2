"""What the intervals of one model are made from: its influence values, its hits and its groups, means over repeats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from qlcnet.evidence.effective import effective_members
from qlcnet.evidence.influence import Sums, groups_of_sides, linearised, summed
from qlcnet.evidence.metrics import auc_per_class, mean_of_defined, predicted_classes


@dataclass(frozen=True, eq=False)
class Basis:
    """What the intervals of a model are made from; all but codes and targets are means over repeats.

    targets, codes: class and group of each image, (N,). hits: share of repeats in which it is recognised, (N,).
    psi: influence values of each defined metric, (N,). values: the metrics, of the whole table. auc_of_folds: mean over
    fits of their macro AUC; folds: fits a repeat. errors: groups with an error. in_groups: groups of each class, (K,).
    word: what a group is called.
    """

    targets: np.ndarray
    codes: np.ndarray
    hits: np.ndarray
    psi: Mapping[str, np.ndarray]
    values: Mapping[str, float]
    auc_of_folds: float
    folds: int
    errors: float
    in_groups: np.ndarray
    word: str

    @property
    def classes(self) -> int:
        return len(self.in_groups)

    @property
    def groups(self) -> int:
        return int(self.codes.max()) + 1

    @property
    def rarest(self) -> int:
        """Groups of the class that has fewest."""
        return int(self.in_groups.min())

    @cached_property
    def members(self) -> np.ndarray:
        """Effective members of each class, (K,)."""
        return effective_members(self.hits, self.targets, self.codes, self.classes)

    @cached_property
    def sides(self) -> Mapping[str, Sums]:
        """Sums of the influence values of auc_<k>, positive and negative groups apart."""
        return {
            name: summed(self.psi[name], self.codes, (self.targets == k).astype(np.int64))
            for k in range(self.classes)
            if (name := f"auc_{k}") in self.psi
        }


def basis_of(
    wholes: Sequence[tuple[np.ndarray, np.ndarray]], folds: Sequence[np.ndarray], groups: np.ndarray | None
) -> Basis:
    """From the arguments of `intervals_of`. Raises ValueError where repeats do not have the same images."""
    targets, first = wholes[0]
    if any((other.shape != targets.shape) or (other != targets).any() for other, _ in wholes):
        raise ValueError("the targets of the repeats differ: they must have the same images in the same order")
    classes = first.shape[1]
    codes = np.arange(len(targets)) if groups is None else np.unique(groups, return_inverse=True)[1]
    each = [linearised(targets, probabilities) for _, probabilities in wholes]
    wrong = [predicted_classes(probabilities) != targets for _, probabilities in wholes]
    of_folds = [
        _mean_of_folds(targets, probabilities, fold) for (_, probabilities), fold in zip(wholes, folds, strict=True)
    ]
    names = [name for name in each[0] if all(name in one for one in each)]
    in_groups = groups_of_sides(codes, targets)
    return Basis(
        targets,
        codes,
        1 - np.mean(wrong, axis=0),
        {name: np.mean([one[name].psi for one in each], axis=0) for name in names},
        {name: float(np.mean([one[name].value for one in each])) for name in names},
        float(np.mean(of_folds)),
        max(len(np.unique(fold)) for fold in folds),
        float(np.mean([len(np.unique(codes[rows])) for rows in wrong])),
        np.pad(in_groups, (0, classes - len(in_groups))),
        "images" if groups is None else "groups",
    )


def _mean_of_folds(targets: np.ndarray, probabilities: np.ndarray, fold: np.ndarray) -> float:
    areas = [mean_of_defined(auc_per_class(targets[fold == f], probabilities[fold == f])) for f in np.unique(fold)]
    return mean_of_defined(np.array(areas))
