"""A/A pairs on real images: two fits of one network a fold of BreastMNIST that differ by their weight seed alone.

Every "better" or "worse" is false. A simulation is a pair: five folds drawn anew, ten fits of LCNet 050 (2 s each) on
the 780 images of the set, its own split pooled. The set's file is looked for as `fetch` does (QLCNET_DATA).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from qlcnet.evidence import resampled, verdicts
from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.metrics import metrics_of
from qlcnet.evidence.resampled import resampled_t
from qlcnet.evidence.verdicts import judge

from . import breastmnist as this_module
from .cells import Cell, Tally, digest

FOLDS, EPOCHS = 5, 6
MARGINS = {"accuracy": 0.01, "balanced_accuracy": 0.02, "auc_macro": 0.01, "auc_micro": 0.005}


def breastmnist_cells() -> dict[str, Cell]:
    """The cell of `--part breastmnist`: 100 pairs."""
    code = digest(this_module, resampled, verdicts)
    return {
        f"lcnet_050, {EPOCHS} epochs, {FOLDS} folds": Cell(one_pair, summary, code, block=5, most=100),
    }


@cache
def images() -> Any:
    """The 780 images with their labels, as `fetch` makes them."""
    from qlcnet.config.data import Task
    from qlcnet.config.params import Data
    from qlcnet.data import sources
    from qlcnet.data.imageset import ImageSet

    task = Task.model_validate(
        {"source": {"kind": "medmnist", "name": "breastmnist"}, "protocol": {"kind": "pooled-cv", "folds": FOLDS}}
    )
    with tempfile.TemporaryDirectory() as folder:
        sources.fetch("breastmnist", task, Data(), Path(folder))
        return task, ImageSet.load(Path(folder) / "data/raw/breastmnist")


def one_pair(rng: np.random.Generator) -> Tally:
    """Words of one pair, by metric."""
    import torch

    from qlcnet.config import Backbone, Model, Training
    from qlcnet.data.batches import InputArray
    from qlcnet.data.folds import make_folds
    from qlcnet.fit.data import FitData
    from qlcnet.fit.fitting import fit_fold
    from qlcnet.fit.spec import FitSpec

    task, image_set = images()
    seeds = [int(seed) for seed in rng.integers(2**31, size=3)]
    folds = make_folds(image_set, task, seeds[0])
    pixels, labels = np.array(image_set.images), np.array(image_set.labels)
    data = FitData(
        InputArray("image", torch.from_numpy(pixels)), {}, torch.from_numpy(labels), folds, image_set.class_names
    )
    values: dict[str, list[list[float]]] = {metric: [[], []] for metric in MARGINS}
    for which, seed in enumerate(seeds[1:]):
        for fold in range(FOLDS):
            spec = FitSpec(
                "breastmnist", "lcnet_050", "classical", 0, fold, seed, Backbone(),
                Model.model_validate({"inputs": ["image"]}), Training(epochs=EPOCHS), "cpu",
            )  # fmt: skip
            found = fit_fold(spec, data).predictions
            measured = metrics_of(found["target"], found["probabilities"])
            for metric, of_model in values.items():
                of_model[which].append(measured[metric])
    words: Counter[str] = Counter()
    for metric, (a, b) in values.items():
        test = resampled_t(np.array(a)[None] - np.array(b)[None], 1 / (FOLDS - 1))
        (verdict,) = judge([test], MARGINS[metric], 0.05)
        words[f"{metric}|{'too few' if isinstance(test, TooFew) else verdict.word}"] += 1
        if not isinstance(test, TooFew):
            words[f"{metric}|sd"] += test.sd
    return words


def summary(sums: Tally, simulations: int) -> dict[str, Any]:
    """How many of the pairs got each word, and the mean sd of fold differences."""
    return {
        metric: {
            "false findings": sum(
                int(number)
                for key, number in sums.items()
                if key.startswith(f"{metric}|") and ("better" in key or "worse" in key)
            ),
            "words": {
                key.partition("|")[2]: int(number)
                for key, number in sums.items()
                if key.startswith(f"{metric}|") and not key.endswith("|sd")
            },
            "sd of fold differences": round(sums.get(f"{metric}|sd", 0.0) / simulations, 4),
        }
        for metric in MARGINS
    }
