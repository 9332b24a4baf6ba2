"""Arrays and specifications of fits that take a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from qlcnet.config import Backbone, Model, Training
from qlcnet.data.batches import InputArray
from qlcnet.data.channel_card import Evaluations
from qlcnet.data.fold_table import FoldTable
from qlcnet.fit.data import FitData
from qlcnet.fit.spec import FitSpec

IMAGES, SIDE, CLASSES = 30, 12, 3


def make_data(parts: str = "cv", colour: bool = False) -> FitData:
    """Noise with a bright square whose place is the class; three folds, or the official split (`parts`)."""
    rng = np.random.default_rng(0)
    labels = np.arange(IMAGES) % CLASSES
    images = rng.integers(0, 100, (IMAGES, SIDE, SIDE, 3 if colour else 1), dtype=np.uint8)
    for i, label in enumerate(labels):
        images[i, 4 * label : 4 * label + 4, 2:10] += 100
    channels = rng.standard_normal((IMAGES, SIDE, SIDE, 4)).astype(np.float16)
    roles = np.full(IMAGES, "cv")
    folds = np.arange(IMAGES) // CLASSES % 3
    if parts == "official":
        roles = np.repeat(["train", "val", "test"], [18, 6, 6]).astype("U5")
        folds = np.full(IMAGES, -1)
    table = FoldTable(np.arange(IMAGES), labels, None, roles, np.zeros(IMAGES, np.int64), folds)
    mine = rng.standard_normal((IMAGES, SIDE // 2, SIDE // 2, 2)).astype(np.float32)
    stored = {name: InputArray(name, torch.from_numpy(array)) for name, array in (("ry", channels), ("mine", mine))}
    evaluations = {"ry": Evaluations(executed=81, hardware=SIDE**2), "mine": Evaluations(0, 0)}
    image = InputArray("image", torch.from_numpy(images))
    return FitData(image, stored, torch.from_numpy(labels), table, ("a", "b", "c"), evaluations)


def make_spec(model: dict[str, Any] | None = None, device: str = "cpu", fold: int = 0, **training: Any) -> FitSpec:
    """LCNet of the smallest usual width, two epochs, batches of eight."""
    how = Training(**{"epochs": 2, "batch_size": 8, **training})
    which = Model.model_validate(model or {"inputs": ["image", "quanv:ry"]})
    return FitSpec("tiny", "lcnet_035", "tiny", 0, fold, 42, Backbone(), which, how, device)
