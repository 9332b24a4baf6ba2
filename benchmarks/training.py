"""Training speed of LCNet on small images on one core: qlcnet, plain PyTorch, and what people write first.

Four contenders train the same network (the paper's hybrid input: 7 channels, 28 px, ReLU, 7 classes, Adam, batch 64):
  ours            accelerate() and QuickAdam in a plain loop over tensors in memory
  ours-lightning  the same in Lightning's Trainer, with qlcnet's batches, augmentation and metrics: how `train` runs it
  bare            the plain timm network in the same plain loop: default layout, torch.optim.Adam as it comes
  stock           Lightning, DataLoader with two worker processes, per-image torchvision transforms, torchmetrics
The two in Lightning augment as the paper does: random horizontal flips, random crops after padding by 4 pixels.

Each is a process of its own, all pinned to the same core, and only one is awake at a time: they take turns of a few
steps, round after round, so that whatever else the machine does meets all of them. Time is the processor time of a
contender and its loader processes; on a core of one's own that is the time by the clock, on a shared one it leaves the
waiting out. Speed-ups are medians of the rounds' ratios, with the lowest and the highest round as their spread.

Run: python benchmarks/training.py [--quick], or --networks for benchmarks/networks.py: other networks, larger images.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import statistics
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

import numpy as np
import psutil

from machine import describe_machine
from qlcnet.grid.worker_process import HUGE_PAGES

WIDTHS = ("lcnet_050", "lcnet_075", "lcnet_100", "lcnet_150", "lcnet_200")
IMAGES, SIDE, BATCH, CLASSES = 2048, 28, 64, 7
COLOURS, QUANTUM = 3, 4  # channels
WARM_UP = 3  # steps
PRELOADED = ["torch", "timm", "torchvision", "pytorch_lightning", "torchmetrics", "qlcnet.fit.fitting"]
SEED = 42
PADDING = 4  # pixels, of the paper's random crops


def made_up_images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour images and their quantum channels, uint8 (N, H, W, C), and labels int64 (N,)."""
    random = np.random.default_rng(SEED)
    images, quantum = (random.integers(0, 256, (IMAGES, SIDE, SIDE, c), dtype=np.uint8) for c in (COLOURS, QUANTUM))
    return images, quantum, random.integers(0, CLASSES, IMAGES)


def plain_network(width: str) -> Any:
    """The plain timm network."""
    import torch

    from qlcnet.config import Backbone, Model
    from qlcnet.models.network import InputChannels, build_network

    torch.manual_seed(SEED)
    channels = [InputChannels("image", COLOURS), InputChannels("quanv:ry", QUANTUM)]
    return build_network(Model(inputs=("image", "quanv:ry")), width, Backbone(), channels, CLASSES)


class Turns:
    """A contender's side of the taking turns: `step` is called after each training step."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.left = WARM_UP
        self.process = psutil.Process()
        self.started = self.clock()
        self.loss: float | None = None

    def clock(self) -> tuple[float, float]:
        """Seconds by the clock, and of processor time of this process and its children."""
        children = sum(sum(child.cpu_times()[:2]) for child in self.process.children(recursive=True))
        return time.perf_counter(), time.process_time() + children

    def step(self, loss: Any) -> bool:
        """Count a step; at the end of a turn report and wait for the next one. False: there is none."""
        if self.loss is None:
            self.loss = float(loss)
        self.left -= 1
        if self.left:
            return True
        wall, processor = (now - then for now, then in zip(self.clock(), self.started, strict=True))
        self.pipe.send((wall, processor, self.loss))
        self.left = self.pipe.recv()
        self.started = self.clock()
        return self.left > 0


def loop(width: str, turns: Turns, fast: bool) -> None:
    """A plain loop over tensors in memory."""
    import torch

    images, quantum, labels = made_up_images()
    x = torch.from_numpy(np.concatenate([images, quantum], 3)).float().permute(0, 3, 1, 2) / 255
    x, y = ((x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)), torch.from_numpy(labels)
    network = plain_network(width)
    optimizer: torch.optim.Optimizer
    if fast:
        from qlcnet.models.fast.accelerate import accelerate
        from qlcnet.models.optimizer import QuickAdam

        network = accelerate(network, (COLOURS + QUANTUM, SIDE, SIDE), BATCH)
        optimizer = QuickAdam(network.parameters())
        x = x.contiguous(memory_format=torch.channels_last)
    else:
        optimizer, x = torch.optim.Adam(network.parameters()), x.contiguous()

    def batches() -> Iterator[Any]:
        generator = torch.Generator().manual_seed(SEED)
        while True:
            yield from torch.randperm(IMAGES, generator=generator).split(BATCH)

    for rows in batches():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(network(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
        if not turns.step(loss.detach()):
            return


def ours(width: str, turns: Turns) -> None:
    """accelerate() and QuickAdam."""
    from qlcnet.fit import fitting

    fitting.be_quiet_and_exact()
    loop(width, turns, fast=True)


def bare(width: str, turns: Turns) -> None:
    """The plain network."""
    loop(width, turns, fast=False)


def ours_lightning(width: str, turns: Turns) -> None:
    """As `train` runs a fit."""
    import torch

    from qlcnet.config import Augmentation, Training
    from qlcnet.data.batches import Batches, InputArray
    from qlcnet.fit import fitting
    from qlcnet.models.fast.accelerate import accelerate
    from qlcnet.models.module import Classifier

    fitting.be_quiet_and_exact()
    how = Training(epochs=1000, batch_size=BATCH, augmentation=Augmentation(crop_padding=PADDING))
    images, quantum, labels = made_up_images()
    inputs = [InputArray("image", torch.from_numpy(images)), InputArray("quanv:ry", torch.from_numpy(quantum))]
    middle = np.full(COLOURS + QUANTUM, 127.5)
    train = Batches(
        inputs,
        torch.from_numpy(labels),
        np.arange(IMAGES),
        BATCH,
        mean=middle,
        sd=middle / 2,
        augmentation=how.augmentation,
        shuffle_seed=SEED,
    )
    network = plain_network(width).to(memory_format=torch.channels_last)
    network = accelerate(network, (COLOURS + QUANTUM, SIDE, SIDE), BATCH)
    module = Classifier(network, how, CLASSES, steps_per_epoch=len(train))
    run_trainer(module, train, turns, deterministic=True)


def stock(width: str, turns: Turns) -> None:
    """Per-image transforms in loader processes, automatic optimisation, a metric a step."""
    import pytorch_lightning as pl
    import torch
    import torchmetrics
    from PIL import Image
    from torchvision import transforms

    images, quantum, labels = made_up_images()
    network = plain_network(width)

    class Images(torch.utils.data.Dataset):
        augment_and_scale = transforms.Compose(
            [
                transforms.RandomHorizontalFlip(),
                transforms.RandomCrop(SIDE, padding=PADDING),
                transforms.Normalize([0.5] * 7, [0.25] * 7),
            ]
        )
        to_tensor = transforms.ToTensor()

        def __len__(self) -> int:
            return IMAGES

        def __getitem__(self, i: int) -> tuple[Any, int]:
            image = Image.fromarray(images[i])
            channels = torch.cat([self.to_tensor(image), self.to_tensor(quantum[i])])
            return self.augment_and_scale(channels), int(labels[i])

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=CLASSES)

        def training_step(self, batch: Any, _: int) -> Any:
            x, y = batch
            logits = self.network(x)
            loss = torch.nn.functional.cross_entropy(logits, y)
            self.accuracy(logits, y)
            self.log("train_loss", loss)
            self.log("train_accuracy", self.accuracy)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters())

    loader = torch.utils.data.DataLoader(
        Images(),
        batch_size=BATCH,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        multiprocessing_context="fork",  # what a script gets on Linux; here the default is that of the contenders
    )
    run_trainer(Module(), loader, turns)


def run_trainer(module: Any, batches: Any, turns: Turns, **options: Any) -> None:
    """Lightning's Trainer without logger and progress bar, until there are no more turns."""
    import pytorch_lightning as pl

    class Step(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *_: Any) -> None:
            trainer.should_stop = not turns.step(outputs["loss"] if outputs else 0.0)
            if trainer.should_stop:
                raise KeyboardInterrupt  # Lightning would finish the epoch

    warnings.filterwarnings("ignore")
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        pl.Trainer(
            accelerator="cpu",
            max_epochs=-1 if not options else 1000,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[Step()],
            **options,
        ).fit(module, batches)


CONTENDERS: dict[str, Callable[[str, Turns], None]] = {
    "ours": ours,
    "ours-lightning": ours_lightning,
    "bare": bare,
    "stock": stock,
}


def contend(name: str, width: str, core: int, pipe: Connection) -> None:
    """The process of a contender, a process group of its own."""
    os.setsid()
    os.sched_setaffinity(0, {core})
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)  # Lightning's advertisements
    import torch

    torch.set_num_threads(1)
    try:
        CONTENDERS[name](width, Turns(pipe))
    except BaseException:
        pipe.send(traceback.format_exc())
        raise


class Rival:
    """A contender's process as the referee sees it: asleep but in its own turns."""

    def __init__(self, context: Any, name: str, width: str, core: int) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=contend, args=(name, width, core, theirs))
        self.process.start()
        theirs.close()

    def result(self) -> tuple[float, float, float]:
        """Wait for the end of the turn: seconds by the clock, processor seconds, loss of the first step."""
        result: tuple[float, float, float] | str = self.pipe.recv()
        if isinstance(result, str):
            raise SystemExit(result)
        os.killpg(self.process.pid, signal.SIGSTOP)
        return result

    def turn(self, steps: int) -> tuple[float, float, float]:
        """A turn of so many steps."""
        self.pipe.send(steps)
        os.killpg(self.process.pid, signal.SIGCONT)
        return self.result()

    def end(self) -> None:
        """Leave no process behind."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.join()


def race(width: str, rounds: int, steps: int, core: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Processor seconds of each contender's turns, and the loss of its first step."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)  # imports take longer than the race
    ours = multiprocessing.get_context("spawn")  # with huge pages, as `train` starts its workers
    rivals: dict[str, Rival] = {}
    try:
        losses = {}
        for name in CONTENDERS:  # one after the other: importing is no part of the race
            if name.startswith("ours"):
                with mock.patch.dict(os.environ, GLIBC_TUNABLES=HUGE_PAGES):
                    rivals[name] = Rival(ours, name, width, core)
            else:
                rivals[name] = Rival(context, name, width, core)
            losses[name] = rivals[name].result()[2]
        seconds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        for _ in range(rounds):
            for name, rival in rivals.items():
                seconds[name].append(rival.turn(steps)[1])
        return seconds, losses
    finally:
        for rival in rivals.values():
            rival.end()


def ratio(slow: list[float], fast: list[float]) -> dict[str, float]:
    """Median, lowest and highest of the rounds' ratios."""
    ratios = [a / b for a, b in zip(slow, fast, strict=True)]
    return {"median": statistics.median(ratios), "low": min(ratios), "high": max(ratios)}


def main() -> None:
    """All widths; prints a table and, last, one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two widths and three rounds: a minute or two")
    parser.add_argument("--rounds", type=int, help="rounds a width (default 9, with --quick 3)")
    parser.add_argument("--steps", type=int, default=10, help="training steps a turn (default 10)")
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)), help="the core that all run on")
    parser.add_argument("--networks", action="store_true", help="other networks and larger images instead")
    given = parser.parse_args()
    if given.networks:
        import networks

        return networks.main([f"--rounds={given.rounds}"] if given.rounds else [])
    widths = WIDTHS[::4] if given.quick else WIDTHS
    rounds = given.rounds or (3 if given.quick else 9)

    machine = describe_machine("torch", "timm", "pytorch-lightning")
    print(f"{machine}\nimages a second of one core; {rounds} rounds of {given.steps} steps of {BATCH} images\n")
    columns = "".join(f"{name:>16}" for name in CONTENDERS)
    print(f"{'':10}{columns}   ours : bare              ours-lightning : stock")
    speeds: dict[str, dict[str, float]] = {}
    against: dict[str, dict[str, dict[str, float]]] = {"bare": {}, "bare_lightning": {}, "stock": {}}
    for width in widths:
        seconds, losses = race(width, rounds, given.steps, given.core)
        images = given.steps * BATCH
        speeds[width] = {name: images / statistics.median(times) for name, times in seconds.items()}
        against["bare"][width] = ratio(seconds["bare"], seconds["ours"])
        against["bare_lightning"][width] = ratio(seconds["bare"], seconds["ours-lightning"])
        against["stock"][width] = ratio(seconds["stock"], seconds["ours-lightning"])
        if abs(losses["ours"] - losses["bare"]) > 1e-4:
            raise SystemExit(f"{width}: the losses of the first step differ: {losses}")
        row = "".join(f"{speeds[width][name]:16,.0f}" for name in CONTENDERS)
        ratios = (against[rival][width] for rival in ("bare", "stock"))
        print(
            f"{width:10}{row}",
            *(f"{r['median']:8.2f} ({r['low']:.2f} to {r['high']:.2f})" for r in ratios),
            flush=True,
        )
    print(
        json.dumps(
            {
                "benchmark": "training",
                "machine": machine,
                "quick": given.quick,
                "images_per_second": {w: {n: round(v, 1) for n, v in s.items()} for w, s in speeds.items()},
                **{
                    f"speedup_vs_{rival}": {width: round(r["median"], 3) for width, r in by_width.items()}
                    for rival, by_width in against.items()
                },
                "spread": {
                    rival: {width: [round(r["low"], 3), round(r["high"], 3)] for width, r in by_width.items()}
                    for rival, by_width in against.items()
                },
            }
        )
    )


if __name__ == "__main__":
    main()
