"""Claim: a training step is never slower than plain PyTorch's, whatever the network and the size of its images.

Run: python benchmarks/networks.py [--rounds 7] [--only resnet18] (about 40 minutes; goes on where it stopped), or
python benchmarks/training.py --networks. Each row is one network on images of one size. Three contenders train it in
turns on one core, in one process each row, in processor time: ours (accelerate and QuickAdam), the plain network in
torch's default layout, and the plain network in channels_last, both with torch.optim.Adam. A ratio is the time of the
faster plain layout over ours, round by round. Rows whose median is below 1 are measured again with more rounds. The
last line is JSON. With --avx2 each network trains one step on its smallest images, in a process of its own under
ONEDNN_MAX_CPU_ISA=AVX2, where a convolution that oneDNN cannot do would end it (models/fast/borders.py).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

from machine import describe_machine
from qlcnet.fit.code import LOADED
from qlcnet.grid.worker_process import HUGE_PAGES
from qlcnet.whole import write_whole

CHANNELS, CLASSES, SEED = 3, 7, 42
BATCH = {28: 64, 32: 64, 64: 16, 128: 8, 224: 4}  # images of a step, by their size in pixels
LEAST = 0.15  # processor seconds a turn
AGAIN = 15  # rounds of a row whose median was below 1
SMALL_IMAGES = "lcnet_100, strides 1 1 2 2 2"
NETWORKS = (
    "lcnet_050", "lcnet_100", "lcnet_200", SMALL_IMAGES, "mobilenetv3_small_050", "mobilenetv3_small_100", "resnet18",
    "resnet50", "densenet121", "mobilenetv2_100", "efficientnet_b0", "efficientnet_lite0", "regnetx_002",
    "convnext_atto", "ghostnet_100",
)  # fmt: skip
NEEDS_32 = ("densenet121", "convnext_atto")
KEPT = Path(__file__).resolve().parents[1] / ".qlcnet" / "benchmarks" / "networks.json"


class Row(NamedTuple):
    """A network, and the images of a training step."""

    network: str
    side: int
    batch: int

    def __str__(self) -> str:
        return f"{self.network}, {self.side} px, batch {self.batch}"


def rows() -> list[Row]:
    """All rows, the smallest images of every network first."""
    small = [Row(name, side := 32 if name in NEEDS_32 else 28, BATCH[side]) for name in NETWORKS]
    large = [Row(name, side, BATCH[side]) for side in (64, 128, 224) for name in NETWORKS]
    return [*small, Row("lcnet_100", 64, 64), *large]


def build(name: str) -> Any:
    """The plain network with its classifier."""
    import timm
    import torch

    from qlcnet.models.lcnet import build_lcnet

    torch.manual_seed(SEED)
    if name.startswith("lcnet"):
        width = int(name.removeprefix("lcnet_")[:3]) / 100
        strides = (1, 1, 2, 2, 2) if name == SMALL_IMAGES else (2, 2, 2, 2, 2)
        trunk = build_lcnet(width, CHANNELS, "hard_swish", strides)
        return torch.nn.Sequential(trunk, torch.nn.Linear(trunk.head_hidden_size, CLASSES))
    # without dropout, which draws in the order of memory: other layouts would drop other values
    return timm.create_model(name, num_classes=CLASSES, in_chans=CHANNELS, drop_rate=0.0)


def contenders(row: Row) -> dict[str, Callable[[], Any]]:
    """One training step of each, which gives its loss."""
    import torch

    from qlcnet.models.fast.accelerate import accelerate
    from qlcnet.models.optimizer import QuickAdam

    generator = torch.Generator().manual_seed(SEED)
    x = torch.randn(row.batch, CHANNELS, row.side, row.side, generator=generator)
    y = torch.randint(0, CLASSES, (row.batch,), generator=generator)
    last = x.contiguous(memory_format=torch.channels_last)

    def step(network: Any, optimizer: Any, images: Any) -> Callable[[], Any]:
        def one() -> Any:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(images), y)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return one

    ours = build(row.network).to(memory_format=torch.channels_last)
    ours = accelerate(ours, (CHANNELS, row.side, row.side), row.batch)
    default, channels_last = build(row.network), build(row.network).to(memory_format=torch.channels_last)
    return {
        "ours": step(ours.train(), QuickAdam(ours.parameters()), last),
        "default": step(default.train(), torch.optim.Adam(default.parameters()), x),
        "channels_last": step(channels_last.train(), torch.optim.Adam(channels_last.parameters()), last),
    }


def measure(row: Row, rounds: int) -> dict[str, list[float]]:
    """Processor seconds of a step of each contender in each round; runs in a process of its own."""
    from qlcnet.fit import fitting

    fitting.be_quiet_and_exact()
    steps = contenders(row)
    losses = {name: float(step()) for name, step in steps.items()}
    if abs(losses["ours"] - losses["default"]) > 1e-3 * abs(losses["default"]):
        raise ValueError(f"{row}: the losses of the first step differ: {losses}")
    seconds = {name: _timed(step, 1) for name, step in steps.items()}
    turns = {name: max(1, round(LEAST / took)) for name, took in seconds.items()}
    measured: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for i in range(rounds):
        for name in names[i % 3 :] + names[: i % 3]:
            measured[name].append(_timed(steps[name], turns[name]))
    return measured


def one_step(row: Row) -> float:
    """The loss of one training step of ours; runs in a process of its own."""
    from qlcnet.fit import fitting

    fitting.be_quiet_and_exact()
    return float(contenders(row)["ours"]())


def under_avx2() -> dict[str, str]:
    """What became of each network's step: its loss, or that the process died."""
    os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    found = {}
    for row in {row.network: row for row in reversed(rows())}.values():
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            try:
                found[str(row)] = f"loss {pool.submit(one_step, row).result():.4f}"
            except BrokenProcessPool:
                found[str(row)] = "the process died"
        print(f"{row!s:44}{found[str(row)]}", flush=True)
    return found


def _timed(step: Callable[[], Any], times: int) -> float:
    started = time.process_time()
    for _ in range(times):
        step()
    return (time.process_time() - started) / times


class Result(NamedTuple):
    """Of a row: milliseconds a step of each contender, and quartiles of the ratio to the faster plain layout."""

    ms: dict[str, float]
    quartiles: tuple[float, float, float]

    @classmethod
    def of(cls, measured: dict[str, list[float]]) -> Result:
        ms = {name: 1e3 * median(seconds) for name, seconds in measured.items()}
        rival = min(("default", "channels_last"), key=ms.__getitem__)
        ratios = [a / b for a, b in zip(measured[rival], measured["ours"], strict=True)]
        low, middle, high = quantiles(ratios, n=4)
        return cls(ms, (low, middle, high))


def results(chosen: list[Row], rounds: int, key: str) -> Iterator[tuple[Row, Result]]:
    """Each row as it is measured, or was before with the same code on the same machine."""
    known: dict[str, Any] = {}
    if KEPT.is_file():
        known = json.loads(KEPT.read_text(encoding="utf-8"))
    of_key = known.setdefault(key, {})
    os.environ["GLIBC_TUNABLES"] = HUGE_PAGES  # as `train` starts its workers
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "timm", "qlcnet.fit.fitting"])
    for row in chosen:
        if str(row) not in of_key:
            with context.Pool(1) as pool:  # a crash or a leak of one network is not the others'
                result = Result.of(pool.apply(measure, (row, rounds)))
                if result.quartiles[1] < 1 and rounds < AGAIN:
                    result = Result.of(pool.apply(measure, (row, AGAIN)))
            of_key[str(row)] = result
            write_whole(KEPT, json.dumps(known, indent=1) + "\n")
        yield row, Result(*of_key[str(row)])


def main(arguments: Sequence[str] | None = None) -> None:
    """All rows; prints a table and, last, one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds a row (default 7)")
    parser.add_argument("--only", default="", help="rows whose text contains this")
    parser.add_argument("--avx2", action="store_true", help="a step of each network without AVX-512, nothing timed")
    given = parser.parse_args(arguments)
    if given.avx2:
        print(json.dumps({"benchmark": "networks --avx2", "rows": under_avx2()}))
        return
    machine = describe_machine("torch", "timm")
    print(f"{machine}\nms a training step, and the faster plain layout's time over ours: quartiles of the rounds\n")
    print(f"{'':44}{'ours':>9}{'default':>9}{'ch. last':>9}   lower  median  upper")
    chosen = [row for row in rows() if given.only in str(row)]
    found: dict[str, Any] = {}
    key = f"{machine.split(',')[0]}; torch {machine.rpartition('torch ')[2]}; code {LOADED.whole}"
    for row, result in results(chosen, given.rounds, key):
        times = "".join(f"{result.ms[name]:9.1f}" for name in ("ours", "default", "channels_last"))
        print(f"{row!s:44}{times}  " + "".join(f"{q:7.2f}" for q in result.quartiles), flush=True)
        found[str(row)] = {"ms": {n: round(v, 2) for n, v in result.ms.items()}, "quartiles": result.quartiles}
    print(json.dumps({"benchmark": "networks", "machine": machine, "rows": found}))


if __name__ == "__main__":
    main()
