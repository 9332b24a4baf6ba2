"""How fast this machine is, before any fit has finished on it: short fits of noise, timed. Torch is for the workers."""

from __future__ import annotations

import statistics
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from qlcnet.config import Backbone, Model, Training
from qlcnet.data.fold_table import FoldTable
from qlcnet.study.cost_model import Timed
from qlcnet.study.executors import end_with_the_parent, worker_context
from qlcnet.study.spec import FitSpec
from qlcnet.study.workload import NetworkKind, TaskShape, Work

IMAGES = {"lcnet_050": 5120, "lcnet_150": 2560}  # bound by layer calls, and by arithmetic; a second or two each
WARM_UP, TIMES = 64, 2  # images; the faster of TIMES counts: other work only slows down
SIDE, CLASSES = 28, 7
START_SECONDS = 120.0  # until all workers have imported torch and are warm

_all_ready: Any = None  # a barrier


def probe(workers: int) -> list[Timed]:
    """Work and seconds of a short fit of each backbone, `workers` of them at a time: they share caches and clock."""
    context = worker_context()
    with ProcessPoolExecutor(workers, context, _start, (context.Barrier(workers),)) as pool:
        answers = [future.result() for future in [pool.submit(_probe_fits) for _ in range(workers)]]
    return [(same[0][0], statistics.mean(seconds for _, seconds in same)) for same in zip(*answers, strict=True)]


def _start(all_ready: Any) -> None:
    global _all_ready
    _all_ready = all_ready
    end_with_the_parent()


def _probe_fits() -> list[Timed]:
    for backbone in IMAGES:
        _timed(backbone, WARM_UP)
    _all_ready.wait(START_SECONDS)
    rounds = [[_timed(backbone, images) for backbone, images in IMAGES.items()] for _ in range(TIMES)]
    return [min(same, key=lambda fit: fit[1]) for same in zip(*rounds, strict=True)]


def _timed(backbone: str, images: int) -> Timed:
    """One epoch on four fifths of `images` images, in this process."""
    import torch

    from qlcnet.data.batches import InputArray
    from qlcnet.study.fit import FitData, fit_fold
    from qlcnet.study.network_size import network_size

    index = np.arange(images)
    table = FoldTable(index, index % CLASSES, None, np.full(images, "cv"), np.zeros_like(index), index % 5)
    pixels = np.random.default_rng(0).integers(0, 256, (images, SIDE, SIDE, 3), dtype=np.uint8)
    inputs = {"image": InputArray("image", torch.from_numpy(pixels))}
    data = FitData(inputs, torch.from_numpy(index % CLASSES), table, tuple(map(str, range(CLASSES))))
    model, training = Model.model_validate({"inputs": ["image"]}), Training(epochs=1, device="cpu")
    spec = FitSpec("probe", backbone, "classical", 0, 0, 0, Backbone(), model, training, "cpu")
    split = table.split(0, 0)
    shape = TaskShape(images, SIDE, SIDE, 3, CLASSES, 5, 1, {(0, 0): (len(split.train), len(split.validation), 0)})
    kind = NetworkKind.of(spec, shape, {})
    return Work.of(spec, shape, kind, network_size(kind)), fit_fold(spec, data).seconds
