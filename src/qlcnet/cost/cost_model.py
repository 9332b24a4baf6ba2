"""Predicts how long a fit takes: a sum of costs a fit, a layer call, a parameter update, a multiply-add, an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from qlcnet.cost.workload import Work

TERMS = ("fit", "layer call", "parameter update", "multiply-add", "activation", "input value")
BACKWARD = 2.0  # a training step costs the forward pass and about twice as much again

# Seconds of each term for one thread, measured by benchmarks/scaling.py; calibration on finished fits replaces them.
DEFAULTS = {
    "cpu": (0.3, 1.9e-5, 2e-10, 2.9e-11, 1.5e-9, 5.3e-9),
    "cuda": (2.0, 2.5e-5, 1e-11, 1e-13, 2e-12, 1e-12),  # not measured: an accelerator is bound by its calls
}
PRIOR_WEIGHT = 0.02  # of the default in units of fits: one fit sets the level, several fits the terms
MOST = 30.0  # times the (rescaled) default: a term that the finished fits do not tell apart stays in this range


def terms(work: Work) -> np.ndarray:
    """How often each of TERMS is paid in a fit, float64 (6,)."""
    size = work.size
    passes = (1 + BACKWARD) * work.train_images + work.evaluated_images
    calls = (1 + BACKWARD) * work.steps + work.evaluation_batches
    return np.array(
        [
            1.0,
            calls * size.layers,
            work.steps * size.parameters,
            passes * size.multiply_adds,
            passes * size.activations,
            (work.train_images + work.evaluated_images) * work.input_values,
        ]
    )


Timed = tuple[Work, float]  # a fit, and its seconds


@dataclass(frozen=True)
class CostModel:
    """Coefficients (seconds a term) by device. `fits` counts what it was calibrated on, by device; `spread` is the
    mean relative residual on those. `probed`: devices whose speed short fits of noise told.
    """

    coefficients: dict[str, np.ndarray] = field(default_factory=lambda: {d: np.array(c) for d, c in DEFAULTS.items()})
    fits: dict[str, int] = field(default_factory=dict)
    spread: dict[str, float] = field(default_factory=dict)
    probed: set[str] = field(default_factory=set)

    def seconds(self, work: Work) -> float:
        """Predicted seconds of a fit on one worker that has a core (or its share of an accelerator) to itself."""
        return float(terms(work) @ self.coefficients[work.device])

    @classmethod
    def calibrated(cls, finished: Sequence[Timed], probed: Sequence[Timed] = ()) -> CostModel:
        """From finished fits and their seconds: least squares of the relative error, no coefficient below zero.

        The defaults, times one common factor for the speed of the machine, are the prior: with few fits, or fits that
        are all alike, the terms that they do not tell apart keep the defaults' proportions. Of a device without
        finished fits, `probed` (short fits of noise) tell that factor alone.
        """
        model = cls()
        for device in model.coefficients:
            default = model.coefficients[device]
            fits = [(terms(work), seconds) for work, seconds in finished if work.device == device and seconds > 0]
            if not fits:
                if ratios := [s / (terms(work) @ default) for work, s in probed if work.device == device]:
                    model.coefficients[device] = default * np.median(ratios)
                    model.probed.add(device)
                continue
            rows, times = np.stack([row for row, _ in fits]), np.array([seconds for _, seconds in fits])
            default = default * np.median(times / (rows @ default))
            share = rows * default / times[:, None]  # what each term makes of a fit's time, if the default were right
            factors = _bounded_least_squares(share, np.ones(len(times)), np.ones(len(default)), PRIOR_WEIGHT, MOST)
            model.coefficients[device] = default * factors
            model.fits[device] = len(fits)
            model.spread[device] = float(np.mean(np.abs(share @ factors - 1)))
        return model


def _bounded_least_squares(
    matrix: np.ndarray, target: np.ndarray, prior: np.ndarray, weight: float, most: float
) -> np.ndarray:
    """The x in [0, most] that minimises |matrix x - target|^2 + weight |x - prior|^2, by coordinate descent."""
    gram = matrix.T @ matrix + weight * np.eye(len(prior))
    right = matrix.T @ target + weight * prior
    x = prior.copy()
    for _ in range(2000):
        before = x.copy()
        for i in range(len(x)):
            x[i] = np.clip((right[i] - gram[i] @ x + gram[i, i] * x[i]) / gram[i, i], 0.0, most)
        if np.max(np.abs(x - before)) < 1e-9:
            break
    return x
