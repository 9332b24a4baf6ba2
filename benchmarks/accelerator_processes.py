"""Several fits on one accelerator, each in a process of its own as `train` starts them, for benchmarks/accelerator.py.

Rows `loop`: a plain loop over one batch that is there already. Rows `train`: fits as `train` runs them, in Lightning
with batches, augmentation, metrics and validation; milliseconds of the epochs after the first, over training steps.
The workers live as long as the part; for each row the first n of them get ready, and start when all are.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple

from accelerator_step import (
    CLASSES,
    PRESET,
    SEED,
    Measure,
    Row,
    Setting,
    Sizes,
    as_fits,
    build,
    guarded,
    inputs,
    preset,
    step_of,
    synchronize,
    together,
)  # fmt: skip

if TYPE_CHECKING:
    from qlcnet.fit.data import FitData
    from qlcnet.fit.spec import FitSpec

PATIENCE = 90.0  # seconds until a worker that says nothing is given up


class Task(NamedTuple):
    """What a worker is to do."""

    kind: str  # of KINDS
    setting: Setting
    sizes: Sizes


def processes(width: str, sizes: Sizes, known: Collection[str]) -> Iterator[Row]:
    """All rows of one width."""
    from qlcnet.grid.worker_process import worker_context

    context, workers = worker_context(), []
    try:
        for _ in range(sizes.processes[-1]):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            workers.append(ours)
        yield from guarded(_rows(width, sizes, workers), known)
    finally:
        for pipe in workers:
            pipe.close()  # a worker whose pipe ends, ends


def _rows(width: str, sizes: Sizes, workers: list[Connection]) -> Iterator[tuple[str, Measure]]:
    def row(kind: str, model: str, number: str, fits: int) -> tuple[str, Measure]:
        task = Task(kind, Setting(width, model, number), sizes)
        return f"{task.setting} | {kind} | {fits}", lambda: {"ms": ask(workers[:fits], task)}

    for number in ("float32", "bfloat16"):
        for kind, models in (("train", ("hybrid",)), ("loop", ("hybrid", "classical"))):
            for model in models:
                for fits in sizes.processes:
                    yield row(kind, model, number, fits)
    yield (
        f"{width} hybrid float32 | batches | 1",
        lambda: {"ms": ask(workers[:1], Task("batches", Setting(width, "hybrid", "float32"), sizes))},
    )


def ask(workers: list[Connection], task: Task) -> float:
    """Milliseconds of the device a step, of all workers together. Raises RuntimeError with what one of them says."""
    for pipe in workers:
        pipe.send(task)
    ready = [_answer(pipe) for pipe in workers]
    faults = [answer for answer in ready if isinstance(answer, str)]
    for pipe, answer in zip(workers, ready, strict=True):
        if not isinstance(answer, str):
            pipe.send(not faults)
    if faults:
        raise RuntimeError(faults[0])
    answers = [_answer(pipe) for pipe in workers]
    if faults := [answer for answer in answers if isinstance(answer, str)]:
        raise RuntimeError(faults[0])
    return 1.0 / sum(1.0 / answer for answer in answers if not isinstance(answer, str))


def _answer(pipe: Connection) -> float | str:
    if not pipe.poll(PATIENCE):
        # ends the part: what the worker says later would be taken for the answer to another row
        raise SystemExit(f"a worker said nothing for {PATIENCE:.0f} s")
    answer: float | str = pipe.recv()
    return answer


# --- in a worker ----------------------------------------------------------------------------------------------------


def work(pipe: Connection) -> None:
    """Take tasks until the pipe ends: get ready, say so, wait for the start, say the milliseconds a step."""
    from qlcnet.grid.worker_process import end_with_the_parent

    end_with_the_parent()
    as_fits()
    while True:
        try:
            task: Task = pipe.recv()
        except EOFError:
            return
        try:
            measure = KINDS[task.kind](task.setting, task.sizes)
            pipe.send(0.0)
            if pipe.recv():
                pipe.send(measure())
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")


def loop(setting: Setting, sizes: Sizes) -> Any:
    """Plain steps for as long as sizes.seconds say, after some to warm up."""
    x, y = inputs(setting, sizes, 1)
    step = step_of(together("single", build(setting, sizes, 1)), setting, sizes, x, y)
    for _ in range(sizes.warm_up):
        step()
    synchronize(sizes.device)

    def measure() -> float:
        started, steps = time.perf_counter(), 0
        while not steps or time.perf_counter() - started < 2 * sizes.seconds:
            for _ in range(5):
                step()
            synchronize(sizes.device)
            steps += 5
        return 1e3 * (time.perf_counter() - started) / steps

    return measure


def train(setting: Setting, sizes: Sizes) -> Any:
    """A fit of made-up images."""
    from qlcnet.data.batching import count_batches
    from qlcnet.fit.fitting import fit_fold

    spec, data = fit_of(setting, sizes)
    steps = count_batches(len(data.folds.split(0, 0).train), sizes.batch)

    def measure() -> float:
        ends: list[float] = []
        fit_fold(spec, data, lambda row: ends.append(time.perf_counter()))
        return 1e3 * (ends[-1] - ends[0]) / (len(ends) - 1) / steps

    return measure


def batches(setting: Setting, sizes: Sizes) -> Any:
    """A pass over the training batches of that fit, which are gathered and augmented on the device."""
    from qlcnet.fit.prepare import prepare

    spec, data = fit_of(setting, sizes)
    train = prepare(spec, data.to(sizes.device)).train

    def measure() -> float:
        for _ in range(2):  # the first pass warms up
            started = time.perf_counter()
            for _ in train:
                pass
            synchronize(sizes.device)
        return 1e3 * (time.perf_counter() - started) / len(train)

    return measure


KINDS = {"loop": loop, "train": train, "batches": batches}


def fit_of(setting: Setting, sizes: Sizes) -> tuple[FitSpec, FitData]:
    """A fit of the preset, shortened, on noise in three folds."""
    import numpy as np
    import torch

    from qlcnet.config import Backbone
    from qlcnet.data.batches import InputArray
    from qlcnet.data.channel_card import Evaluations
    from qlcnet.data.fold_table import FoldTable
    from qlcnet.fit.data import FitData
    from qlcnet.fit.spec import FitSpec

    params, random, count = preset(), np.random.default_rng(SEED), sizes.images
    images = random.integers(0, 256, (count, sizes.side, sizes.side, 3), dtype=np.uint8)
    channels = random.standard_normal((count, sizes.side, sizes.side, 4)).astype(np.float16)
    order, labels = np.arange(count), random.integers(0, CLASSES, count)
    table = FoldTable(order, labels, None, np.full(count, "cv"), np.zeros(count, np.int64), order % 3)
    names = tuple(str(i) for i in range(CLASSES))
    stored = {"ry": InputArray("ry", torch.from_numpy(channels))}
    image, evaluations = InputArray("image", torch.from_numpy(images)), {"ry": Evaluations(0, 0)}
    data = FitData(image, stored, torch.from_numpy(labels), table, names, evaluations)
    short = {"epochs": sizes.epochs, "batch_size": sizes.batch, "precision": setting.precision}
    training = params.training.model_copy(update=short)
    backbone = params.backbones.get(setting.width, Backbone(activation="relu"))
    model = params.models[setting.model]
    return (
        FitSpec(PRESET.stem, setting.width, setting.model, 0, 0, SEED, backbone, model, training, sizes.device),
        data,
    )
