"""Classification metrics from arrays: exact with ties, defined when a class is absent, equal to scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

METRICS = ("accuracy", "balanced_accuracy", "auc_macro", "auc_micro", "loss")
# A float32 softmax can underflow to 0, whose log is infinite; scikit-learn's log_loss clips at the same value.
SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)
MACRO_POINTS = 201  # false positive rates at which curves of classes are averaged


def check_predictions(targets: np.ndarray, probabilities: np.ndarray) -> None:
    """Raise ValueError unless targets (N,) are classes 0 to K-1 and probabilities (N, K) are finite, N and K >= 1."""
    if probabilities.ndim != 2 or targets.shape != (len(probabilities),) or probabilities.size == 0:
        raise ValueError(f"expected targets (N,) and probabilities (N, K), got {targets.shape}, {probabilities.shape}")
    if not np.isfinite(probabilities).all():
        rows = np.flatnonzero(~np.isfinite(probabilities).all(1))
        raise ValueError(f"{len(rows)} of {len(targets)} predictions are not finite, the first in row {rows[0]}")
    if targets.min() < 0 or targets.max() >= probabilities.shape[1]:
        raise ValueError(
            f"targets run from {targets.min()} to {targets.max()}, classes to {probabilities.shape[1] - 1}"
        )


def metrics_of(targets: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Every metric of METRICS as a float, NaN where it is undefined (an AUC of one class alone).

    targets: int (N,). probabilities: (N, K), rows sum to 1. Raises ValueError on NaN or a target outside 0 to K-1.
    """
    check_predictions(targets, probabilities)
    recalls = recall_per_class(targets, probabilities)
    return {
        "accuracy": float((predicted_classes(probabilities) == targets).mean()),
        "balanced_accuracy": mean_of_defined(recalls),
        "auc_macro": mean_of_defined(auc_per_class(targets, probabilities)),
        "auc_micro": auc_micro(targets, probabilities),
        "loss": float(losses(targets, probabilities).mean()),
    }


def predicted_classes(probabilities: np.ndarray) -> np.ndarray:
    """The most probable class of each row, the lowest of equals: int64 (N,)."""
    return probabilities.argmax(1)


def losses(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Cross-entropy of each row in nats, float64 (N,)."""
    of_target = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return -np.log(np.maximum(of_target, SMALLEST_PROBABILITY))


def confusion_matrix(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Counts, int64 (K, K): rows are true classes, columns predicted ones."""
    classes = probabilities.shape[1]
    cells = targets.astype(np.int64) * classes + predicted_classes(probabilities)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


@dataclass(frozen=True, eq=False)
class Confusion:
    """counts: int64 (K, K), rows are true classes, columns predicted ones."""

    counts: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """Share of each true class that is predicted as each class, (K, K); a row of 0 for an absent class."""
        return self.counts / np.maximum(self.counts.sum(1, keepdims=True), 1)


def recall_per_class(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Share of each class that is recognised (the paper's "per-class accuracy"), (K,), NaN for an absent class."""
    counts = confusion_matrix(targets, probabilities)
    return _ratio(np.diag(counts), counts.sum(1))


def auc_per_class(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Area under the ROC curve of each class against the rest, (K,), NaN where either side is empty."""
    return np.array([auc(targets == k, probabilities[:, k]) for k in range(probabilities.shape[1])])


def auc_micro(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Area under the ROC curve of all N x K decisions "is it this class?" taken together."""
    return auc(one_hot(targets, probabilities.shape[1]).ravel(), probabilities.ravel())


def auc(positive: np.ndarray, scores: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties counting half (Mann-Whitney); NaN if one is absent."""
    true, false, _ = _counts_above(positive, scores)
    if not true[-1] or not false[-1]:
        return float("nan")
    # whole numbers up to here, so that ties and order of rows cannot change the last digit
    twice_area = int(((true[1:] + true[:-1]) * np.diff(false)).sum())
    return twice_area / (2 * int(true[-1]) * int(false[-1]))


@dataclass(frozen=True, eq=False)
class Curve:
    """A ROC curve: false and true positive rates from (0, 0) to (1, 1), one corner a distinct score."""

    false_positive_rate: np.ndarray
    true_positive_rate: np.ndarray

    def at(self, false_positive_rate: np.ndarray) -> np.ndarray:
        """True positive rate by linear interpolation, the upper one where the curve is vertical."""
        return np.interp(false_positive_rate, *_last_of_equals(self.false_positive_rate, self.true_positive_rate))


def roc_curve(positive: np.ndarray, scores: np.ndarray) -> Curve | None:
    """The ROC curve of boolean `positive` (N,) by `scores` (N,); None where either side is empty."""
    true, false, _ = _counts_above(positive, scores)
    if not true[-1] or not false[-1]:
        return None
    return Curve(false / false[-1], true / true[-1])


@dataclass(frozen=True, eq=False)
class RocCurves:
    """One curve a class against the rest, None where a class is absent or alone; and the mean of those there are."""

    per_class: tuple[Curve | None, ...]
    macro: Curve | None


def roc_curves(targets: np.ndarray, probabilities: np.ndarray, points: int = MACRO_POINTS) -> RocCurves:
    """The curves of targets (N,) and probabilities (N, K), the mean at `points` false positive rates."""
    per_class = roc_per_class(targets, probabilities)
    return RocCurves(tuple(per_class), roc_macro(per_class, points))


def roc_per_class(targets: np.ndarray, probabilities: np.ndarray) -> list[Curve | None]:
    """One curve a class against the rest, None where a class is absent or alone."""
    return [roc_curve(targets == k, probabilities[:, k]) for k in range(probabilities.shape[1])]


def roc_micro(targets: np.ndarray, probabilities: np.ndarray) -> Curve | None:
    """The curve of all N x K decisions "is it this class?" taken together."""
    return roc_curve(one_hot(targets, probabilities.shape[1]).ravel(), probabilities.ravel())


def roc_macro(curves: Sequence[Curve | None], points: int = MACRO_POINTS) -> Curve | None:
    """Mean of the defined curves at `points` false positive rates. Its area is auc_macro but for the grid."""
    defined = [curve for curve in curves if curve is not None]
    if not defined:
        return None
    grid = np.linspace(0.0, 1.0, points)
    mean = np.mean([curve.at(grid) for curve in defined], axis=0)
    return Curve(np.r_[0.0, grid], np.r_[0.0, mean])


def average_precision(positive: np.ndarray, scores: np.ndarray) -> float:
    """Mean precision over the recall gained at each distinct score (no interpolation); NaN without a positive."""
    true, false, _ = _counts_above(positive, scores)
    if not true[-1]:
        return float("nan")
    return float((np.diff(true) * true[1:] / (true[1:] + false[1:])).sum() / true[-1])


def average_precision_per_class(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Average precision of each class against the rest, (K,), NaN for an absent class."""
    return np.array([average_precision(targets == k, probabilities[:, k]) for k in range(probabilities.shape[1])])


def one_hot(targets: np.ndarray, classes: int) -> np.ndarray:
    """Boolean (N, K)."""
    return targets[:, None] == np.arange(classes)


def mean_of_defined(values: np.ndarray) -> float:
    """Mean without NaN; NaN when nothing is left. An absent class must not count as 0."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def _counts_above(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positives and negatives at or above each distinct score, highest first, with a leading 0; and those scores."""
    order = np.argsort(-scores)  # equal scores in any order: only the ends of their runs are looked at
    ordered = scores[order]
    last = np.r_[np.flatnonzero(np.diff(ordered)), len(ordered) - 1]  # last row of each run of equal scores
    true = np.cumsum(positive[order], dtype=np.int64)[last]
    return np.r_[0, true], np.r_[0, last + 1 - true], ordered[last]


def _last_of_equals(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    keep = np.r_[np.diff(x) > 0, True]
    return x[keep], y[keep]
