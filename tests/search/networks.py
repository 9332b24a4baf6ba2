"""Networks made of numbers: predictions of settings whose quality is known, on images that some find hard."""

from __future__ import annotations

import numpy as np

from qlcnet.search.lanes import Predictions

Fold = tuple[np.ndarray, np.ndarray]  # labels and how hard each image is, (N,) both


def make_fold(rng: np.random.Generator, images: int, positive: float = 0.7) -> Fold:
    """Labels and difficulties of the images of a fold."""
    return (rng.random(images) < positive).astype(np.int64), rng.normal(0, 1, images)


def predict(rng: np.random.Generator, fold: Fold, quality: float, seed_sd: float, image_sd: float) -> Predictions:
    """What a network of this quality says; seed_sd: how much its weight seed moves that, image_sd: each image."""
    labels, hard = fold
    centre = (2 * labels - 1) * (quality + rng.normal(0, seed_sd)) / 2
    score = centre + 0.8 * hard + rng.normal(0, image_sd, len(labels))
    positive = 1 / (1 + np.exp(-2 * score))
    return Predictions(np.arange(len(labels)), labels, np.c_[1 - positive, positive].astype(np.float32))
