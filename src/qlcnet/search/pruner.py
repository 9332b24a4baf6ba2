"""Which trials are dropped before all their folds: those that are behind the best so far on the same images.

After each inner fold a trial is compared with the best finished one on the folds that both have, image by image, from
their stored predictions. The difference of a metric has two sources of chance: the images, whose variance comes from
influence values (for accuracy that is McNemar's comparison of discordant images, for an AUC DeLong's), and the weights
that training began with, whose variance is measured on replicates of the default setting. Without the second an equal
trial is dropped in 0.05 to 0.23 of comparisons instead of 0.05 (benchmarks/search.py, part pruner).

Tests on ranks over folds cannot do this: the smallest two-sided p of a signed rank test is 0.25, 0.125 and 0.0625 after
3, 4 and 5 folds; and a rule by the median drops half of all trials, whatever they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from scipy import special

from qlcnet.evidence.image_difference import OF_CLASSES, clustered
from qlcnet.evidence.influence import linearised
from qlcnet.evidence.limits import TooFew
from qlcnet.search.lanes import Predictions

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

ALPHA = 0.05  # of a comparison: how often an equal trial may be dropped
FITS = "fits"  # user attribute of a trial: fingerprints of its fits, by fold
SPREAD = "seed_spread"  # user attribute of a study

PredictionsOf = Callable[[str], Predictions | None]


@dataclass(frozen=True)
class SeedSpread:
    """Variance of a fold's metric between weight seeds, everything else equal, with its degrees of freedom."""

    variance: float
    df: int

    @classmethod
    def of(cls, values: np.ndarray) -> SeedSpread | None:
        """From values (folds, seeds) of one setting; None where there is one seed only."""
        folds, seeds = values.shape
        return cls(float(values.var(axis=1, ddof=1).mean()), folds * (seeds - 1)) if seeds > 1 else None


@dataclass(frozen=True)
class Behind:
    """A trial minus the best so far, mean over the folds of both. p: one-sided, of being no worse."""

    difference: float
    se: float
    df: float
    p: float


def compare_on_folds(
    trial: Sequence[Predictions],
    best: Sequence[Predictions],
    metric: str,
    spread: SeedSpread,
    groups: np.ndarray | None = None,
) -> Behind | TooFew:
    """The same folds of two settings. groups: code of each image of the image set.

    Variance: (sum over folds of the images' + 2 x folds x the seeds') / folds^2; degrees of freedom by Satterthwaite.
    """
    differences, variances, dfs = [], [], []
    for a, b in zip(trial, best, strict=True):
        if not np.array_equal(a.index, b.index):
            return TooFew("other images")
        one, other = (linearised(p.target, p.probabilities) for p in (a, b))
        if metric not in one or metric not in other:
            return TooFew("a class is absent from a fold")
        differences.append(one[metric].value - other[metric].value)
        psi = one[metric].psi - other[metric].psi
        code = np.arange(len(psi)) if groups is None else np.unique(groups[a.index], return_inverse=True)[1]
        sides = a.target if metric in OF_CLASSES else np.zeros(len(psi), np.int64)
        if not psi.any():
            continue  # both give every image the same
        of_images = clustered(psi, code, sides)
        if isinstance(of_images, TooFew):
            return of_images
        variances.append(of_images.se**2)
        dfs.append(of_images.df)
    count = len(differences)
    variances.append(2 * count * spread.variance)
    dfs.append(spread.df)
    parts = np.array(variances) / count**2
    total = float(parts.sum())
    if total <= 0:
        return TooFew("nothing varies")
    df = float(total**2 / (parts**2 / np.array(dfs)).sum())
    mean, se = float(np.mean(differences)), float(np.sqrt(total))
    return Behind(mean, se, df, float(special.stdtr(df, mean / se)))


class FoldPruner(optuna.pruners.BasePruner):
    """Optuna's interface to `compare_on_folds`: a step of a trial is an inner fold, its value that fold's metric.

    predictions: of a fit, by fingerprint; None where they are not on this machine, and then nothing is dropped.
    """

    def __init__(
        self, metric: str, predictions: PredictionsOf, groups: np.ndarray | None = None, alpha: float = ALPHA
    ) -> None:
        self._metric, self._predictions, self._groups, self._alpha = metric, predictions, groups, alpha

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial is behind the best finished one, beyond chance."""
        found = self.behind(study, trial)
        return isinstance(found, Behind) and self.is_beyond_chance(found)

    def is_beyond_chance(self, found: Behind) -> bool:
        """Whether a comparison is enough to drop a trial."""
        return found.p < self._alpha

    def behind(self, study: Study, trial: FrozenTrial) -> Behind | TooFew | None:
        """The comparison; None where there is nothing to compare with yet."""
        spread = study.user_attrs.get(SPREAD)
        done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        if not spread or not done:
            return None
        best = max(done, key=lambda one: (one.value, -one.number))
        fits: tuple[Any, ...] = tuple(one.user_attrs.get(FITS, []) for one in (trial, best))
        count = min(map(len, fits))
        sides = [[self._predictions(fingerprint) for fingerprint in of[:count]] for of in fits]
        if not count or any(one is None for side in sides for one in side):
            return None
        return compare_on_folds(sides[0], sides[1], self._metric, SeedSpread(**spread), self._groups)  # type: ignore[arg-type]
