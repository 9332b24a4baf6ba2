"""Made-up fits with planted differences: what comparisons, verdicts and claims are tested on."""

from __future__ import annotations

import numpy as np

from qlcnet.evidence.comparison import FoldScores
from qlcnet.evidence.oof import OOFTable

PARAMETERS = {"lcnet_050": 600_000, "lcnet_100": 1_700_000, "lcnet_200": 5_300_000}


def make_table(model: str, backbone: str = "lcnet_050", task: str = "t", repeats: int = 1, folds: int = 5) -> OOFTable:
    """Twenty images of two classes, image i in fold i % folds of every repeat; probabilities of no interest."""
    per_fold = 20 // folds
    fold, position = np.divmod(np.arange(20), per_fold)
    index = position * folds + fold
    target = (index // folds) % 2
    rows = [np.repeat(np.arange(repeats), 20), *(np.tile(column, repeats) for column in (fold, index, target))]
    p = np.full((20 * repeats, 2), 0.5, np.float32)
    return OOFTable(task, backbone, model, ("easy", "hard"), *rows, p)


def make_scores(
    model: str,
    values: np.ndarray,
    backbone: str = "lcnet_050",
    metrics: tuple[str, ...] = ("accuracy",),
    task: str = "t",
) -> FoldScores:
    """Fits with these values (repeats, folds) in every metric."""
    repeats, folds = values.shape
    table = make_table(model, backbone, task, repeats, folds)
    share = 1 / (folds - 1) if folds > 1 else 0.0
    return FoldScores(table, PARAMETERS[backbone], dict.fromkeys(metrics, values), share)


def around(mean: float, sd: float, repeats: int = 1, folds: int = 5, seed: int = 0) -> np.ndarray:
    """Values (repeats, folds) with exactly this mean and sample sd."""
    draws = np.random.default_rng(seed).normal(size=(repeats, folds))
    return mean + sd * (draws - draws.mean()) / draws.std(ddof=1)
