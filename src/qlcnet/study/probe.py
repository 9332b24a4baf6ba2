"""How fast this machine is, before any fit has finished on it: short fits of noise, timed. Imports torch."""

from __future__ import annotations

import numpy as np
import torch

from qlcnet.config import Backbone, Model, Training
from qlcnet.data.batches import InputArray
from qlcnet.data.fold_table import FoldTable
from qlcnet.study.fit import FitData, fit_fold
from qlcnet.study.network_size import network_size
from qlcnet.study.spec import FitSpec
from qlcnet.study.workload import NetworkKind, TaskShape, Work

BACKBONES = ("lcnet_050", "lcnet_150")  # bound by layer calls, and by arithmetic
WARM_UP, TIMED, TIMES = 64, 1280, 2  # images; the faster of TIMES counts: other work only slows down
SIDE, CLASSES = 28, 7


def probe_fits() -> list[tuple[Work, float]]:
    """Work and seconds of one short fit of each of BACKBONES."""
    for backbone in BACKBONES:
        _timed(backbone, WARM_UP)
    return [min((_timed(backbone, TIMED) for _ in range(TIMES)), key=lambda fit: fit[1]) for backbone in BACKBONES]


def _timed(backbone: str, images: int) -> tuple[Work, float]:
    """One epoch on four fifths of `images` images, in this process."""
    rng = np.random.default_rng(0)
    labels = np.arange(images) % CLASSES
    table = FoldTable(
        np.arange(images), labels, None, np.full(images, "cv"), np.zeros(images, np.int64), np.arange(images) % 5
    )
    pixels = torch.from_numpy(rng.integers(0, 256, (images, SIDE, SIDE, 3), dtype=np.uint8))
    names = tuple(map(str, range(CLASSES)))
    data = FitData({"image": InputArray("image", pixels)}, torch.from_numpy(labels), table, names)
    model, training = Model.model_validate({"inputs": ["image"]}), Training(epochs=1, device="cpu")
    spec = FitSpec("probe", backbone, "classical", 0, 0, 0, Backbone(), model, training, "cpu")
    split = table.split(0, 0)
    rows = {(0, 0): (len(split.train), len(split.validation), 0)}
    shape = TaskShape(images, SIDE, SIDE, 3, CLASSES, 5, 1, rows)
    kind = NetworkKind.of(spec, shape, {})
    return Work.of(spec, shape, kind, network_size(kind)), fit_fold(spec, data).seconds
