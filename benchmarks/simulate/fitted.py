"""Coverage for networks that are really fitted: out-of-fold predictions of one data set depend on each other a little.

The learner is ridge regression on random features, with features of its own in every fold. The truth of a study is
the mean, over its fits, of what each reaches on fresh draws.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache, partial

import numpy as np

from qlcnet.evidence.intervals import intervals_of
from qlcnet.evidence.limits import Limits

from .cells import Tally
from .shapes import Shape, draw_folds, softmax, weighted_metrics

INPUTS, FEATURES, RIDGE, SHARPNESS = 10, 60, 3.0, 4.0
FRESH = 20_000  # draws: their error is a tenth of an interval's at n = 1,000
APART = 1.1  # standard deviations between a class's mean and the origin, a dimension
# of a mean over fits these are the same as of the table; kappa and F1 are not
NAMES = ("accuracy", "balanced_accuracy", "auc_macro", "loss", "brier")


def one_study(shape: Shape, rng: np.random.Generator) -> Tally:
    """Draw, fit in every fold, and judge the intervals of the out-of-fold table."""
    classes = len(shape.classes)
    targets = rng.choice(classes, size=shape.n, p=shape.priors)
    if len(np.unique(targets)) < classes:
        return Counter({"absent": 1})
    inputs = draw_inputs(targets, classes, rng)
    fold = draw_folds(shape, targets, np.arange(shape.n), rng)
    probabilities = np.empty((shape.n, classes), np.float32)
    reached: list[Mapping[str, float]] = []
    fresh_targets, fresh_inputs = fresh(classes)
    for f in range(shape.folds):
        train, test = fold != f, fold == f
        predict = fit(inputs[train], targets[train], classes, rng)
        probabilities[test] = predict(inputs[test])
        reached.append(weighted_metrics(fresh_targets, predict(fresh_inputs), shape.priors, micro=False))
    found = intervals_of([(targets, probabilities)], [fold])
    sums: Counter[str] = Counter()
    for name in (*NAMES, *(f"recall_{k}" for k in range(classes))):
        interval = found[name]
        if isinstance(interval, Limits):
            true = float(np.mean([one[name] for one in reached]))
            sums[f"{name}:shown"] += 1
            sums[f"{name}:held"] += interval.low <= true <= interval.high
            sums[f"{name}:above"] += true > interval.high
            sums[f"{name}:width"] += interval.high - interval.low
    return sums


def draw_inputs(targets: np.ndarray, classes: int, rng: np.random.Generator) -> np.ndarray:
    """float64 (N, INPUTS): a cloud a class."""
    centres = np.random.default_rng(4).normal(size=(classes, INPUTS)) * APART / np.sqrt(2)
    return centres[targets] + rng.standard_normal((len(targets), INPUTS))


@cache
def fresh(classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets and inputs that no study has: as many of each class."""
    targets = np.repeat(np.arange(classes), FRESH // classes)
    return targets, draw_inputs(targets, classes, np.random.default_rng(20_013))


def fit(inputs: np.ndarray, targets: np.ndarray, classes: int, rng: np.random.Generator) -> partial[np.ndarray]:
    """The learner's prediction, fitted."""
    weights = rng.standard_normal((INPUTS + 1, FEATURES)) / np.sqrt(INPUTS)
    hidden = _features(inputs, weights)
    heads = np.linalg.solve(hidden.T @ hidden + RIDGE * np.eye(FEATURES), hidden.T @ np.eye(classes)[targets])
    return partial(_predict, weights, heads)


def _predict(weights: np.ndarray, heads: np.ndarray, inputs: np.ndarray) -> np.ndarray:
    return softmax(SHARPNESS * _features(inputs, weights) @ heads)


def _features(inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return np.maximum(inputs @ weights[:-1] + weights[-1], 0.0)
