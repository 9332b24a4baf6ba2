"""Metrics beside the five of every fold, and what no network at all would reach."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from qlcnet.evidence.calibration import calibration_error
from qlcnet.evidence.metrics import (
    METRICS,
    average_precision_per_class,
    check_predictions,
    confusion_matrix,
    mean_of_defined,
    metrics_of,
)


def brier_scores(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Squared distance of each row to its one-hot class, float64 (N,): summed over classes, so from 0 to 2.

    Brier's own scale (1950); with two classes twice the value of those who count one of them.
    """
    exact = probabilities.astype(np.float64)
    return (exact**2).sum(1) - 2 * exact[np.arange(len(targets)), targets] + 1


def brier(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of `brier_scores`."""
    return float(brier_scores(targets, probabilities).mean())


def kappa(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Cohen's kappa of true and predicted classes (1960), without weights; NaN where both are always one class."""
    counts = confusion_matrix(targets, probabilities)
    chance = int(counts.sum(0) @ counts.sum(1))  # times n^2, as a whole number
    total = int(counts.sum())
    if chance == total * total:
        return float("nan")
    return (total * int(np.trace(counts)) - chance) / (total * total - chance)


def f1_per_class(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Harmonic mean of each class's precision and recall, (K,), NaN for a class that is neither there nor predicted."""
    counts = confusion_matrix(targets, probabilities)
    named = counts.sum(0) + counts.sum(1)
    return np.divide(2 * np.diag(counts), named, out=np.full(len(named), np.nan), where=named > 0)


def f1_macro(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of the defined values of `f1_per_class`."""
    return mean_of_defined(f1_per_class(targets, probabilities))


def average_precision_macro(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of the average precision of the classes that are there."""
    return mean_of_defined(average_precision_per_class(targets, probabilities))


FURTHER: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "f1_macro": f1_macro,
    "kappa": kappa,
    "brier": brier,
    "average_precision_macro": average_precision_macro,
    "calibration_error": calibration_error,
}
FURTHER_METRICS = tuple(FURTHER)
LOWER_IS_BETTER = frozenset({"loss", "brier", "calibration_error"})


def further_metrics_of(targets: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Every metric of FURTHER_METRICS of targets (N,) and probabilities (N, K), NaN where undefined. ValueError."""
    check_predictions(targets, probabilities)
    return {name: metric(targets, probabilities) for name, metric in FURTHER.items()}


def baselines(targets: np.ndarray, classes: int) -> dict[str, dict[str, float]]:
    """METRICS and FURTHER_METRICS of two predictions that see no image, by name.

    majority: the most frequent class, for certain. priors: each class with its share. Shares are those of `targets`
    themselves, a hair better than those of a fold's training part would be. Losses of the first are bounded only
    by SMALLEST_PROBABILITY, as scikit-learn's are.
    """
    shares = np.bincount(targets, minlength=classes) / len(targets)
    certain = np.eye(classes)[shares.argmax()]
    return {
        name: metrics_of(targets, rows) | further_metrics_of(targets, rows)
        for name, rows in (
            ("majority", np.tile(certain, (len(targets), 1))),
            ("priors", np.tile(shares, (len(targets), 1))),
        )
    }


ALL_METRICS = (*METRICS, *FURTHER_METRICS)
