"""Is a network as often right as it says? The reliability diagram of its top label, and one number from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qlcnet.evidence.metrics import predicted_classes

BINS = 15
LEAST_IN_BIN = 10  # images; fewer images make fewer bins


@dataclass(frozen=True, eq=False)
class Reliability:
    """Bins of about equally many images by confidence, the probability of the predicted class; lowest first.

    count: images, int64 (B,). confidence: their mean, (B,). accuracy: share that is predicted correctly, (B,).
    noise: squared standard error of confidence - accuracy, (B,): what a bin's squared gap has too much on average.
    """

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    noise: np.ndarray

    @property
    def error(self) -> float:
        """Calibration error: root mean square of confidence - accuracy over images, with the noise subtracted.

        The debiased estimator of Bröcker (2012) and Kumar, Liang and Ma (2019, "Verified uncertainty calibration") for
        top labels and bins of equal mass. Its square is unbiased for the squared error of the *binned* network where
        images are independent (test_the_squared_calibration_error_is_unbiased). What is left: too small where over-
        and underconfidence meet within a bin; too large near 0, where a negative square counts as 0; too large where
        images of one group share errors. Not the expected calibration error (mean absolute gap), which is biased
        upward most for networks that are calibrated best.
        """
        square = float((self.count * ((self.confidence - self.accuracy) ** 2 - self.noise)).sum() / self.count.sum())
        return float(np.sqrt(max(square, 0.0)))


def reliability(targets: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> Reliability:
    """The diagram of targets (N,) and probabilities (N, K): at most `bins`, of LEAST_IN_BIN images or more.

    Equal confidences share a bin, so that the order of rows cannot matter; a bin of one image has no noise.
    """
    confidence = probabilities.max(1).astype(np.float64)
    correct = predicted_classes(probabilities) == targets
    bins = max(1, min(bins, len(targets) // LEAST_IN_BIN))
    first_of_equals = np.searchsorted(np.sort(confidence), confidence)
    bin_of = np.unique(first_of_equals * bins // len(targets), return_inverse=True)[1]
    count = np.bincount(bin_of)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(bin_of, values) / count

    gap = confidence - correct
    spread = np.bincount(bin_of, (gap - mean(gap)[bin_of]) ** 2) / np.maximum(count - 1, 1)
    return Reliability(count, mean(confidence), mean(correct), spread / count)


def calibration_error(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """`Reliability.error`, where its estimator and its bias are said."""
    return reliability(targets, probabilities).error
