"""How fast this machine is, before any fit has finished on it: short fits of noise, timed. Torch is for the workers."""

from __future__ import annotations

import statistics
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from qlcnet.config import QUBITS, Backbone, Input, Model, Training
from qlcnet.cost.cost_model import Timed
from qlcnet.cost.workload import NetworkKind, TaskShape, Work
from qlcnet.data.channel_card import Evaluations
from qlcnet.data.fold_table import FoldTable
from qlcnet.fit.spec import FitSpec
from qlcnet.grid.worker_process import end_with_the_parent, worker_context

if TYPE_CHECKING:
    from qlcnet.fit.data import FitData

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
    from qlcnet.fit.fitting import fit_fold

    spec, data, work = made_up_fit(backbone, Model(inputs=(Input("image"),)), SIDE, images * 4 // 5, 1)
    return work, fit_fold(spec, data).seconds


def made_up_fit(backbone: str, model: Model, side: int, images: int, epochs: int) -> tuple[FitSpec, FitData, Work]:
    """A fit on so many images of noise (a quarter as many validate), 3 channels and those of one circuit, `ry`."""
    import torch

    from qlcnet.cost.network_size import network_size
    from qlcnet.data.batches import InputArray
    from qlcnet.fit.data import FitData

    total = images * 5 // 4
    rng, index = np.random.default_rng(0), np.arange(total)
    labels, fold = index % CLASSES, (index >= images).astype(np.int64)  # fold 1 validates the last fifth
    table = FoldTable(index, labels, None, np.full(total, "cv"), np.zeros_like(index), fold)
    image = torch.from_numpy(rng.integers(0, 256, (total, side, side, 3), dtype=np.uint8))
    channels = torch.from_numpy(rng.integers(0, 256, (total, side, side, QUBITS), dtype=np.uint8)).to(torch.float16)
    names = tuple(map(str, range(CLASSES)))
    data = FitData(
        InputArray("image", image), {"ry": InputArray("ry", channels)}, torch.from_numpy(labels), table, names,
        {"ry": Evaluations(81, side * side)},
    )  # fmt: skip
    training = Training(epochs=epochs, device="cpu")
    spec = FitSpec("made-up", backbone, "m", 0, 1, 42, Backbone(), model, training, "cpu")
    shape = TaskShape(total, side, side, 3, CLASSES, 2, 1, {(0, 1): (images, total - images, 0)})
    kind = NetworkKind.of(spec, shape, {"ry": QUBITS})
    return spec, data, Work.of(spec, shape, kind, network_size(kind))
