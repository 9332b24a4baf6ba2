"""Why not something else: a training step of LCNet by what one would try first on a CPU, and by qlcnet.

Run: python benchmarks/alternatives.py [--rounds 7] [--jax PYTHON] (a few minutes). The same network (7 channels, 28 px,
ReLU, 7 classes, batch 64) takes the same steps by every way on one thread, in turns, in processor time:
  ours           accelerate() and QuickAdam
  default        plain timm in torch's default layout
  channels_last  plain timm in channels_last
  autocast       the better of these layouts for it, channels_last, under torch.autocast(bfloat16)
  compile        channels_last through torch.compile; its first step, which compiles, is named apart
  jax            benchmarks/rivals/lcnet_jax.py, where the interpreter --jax (default: this one) has JAX
All but ours have torch.optim.Adam(fused=True), which is faster than Adam as it comes; jax has its own, compiled along.
A ratio is a way's time over ours, median of the rounds, with the lowest and the highest. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
# compile in this process, so that its time can be seen, and afresh
os.environ.update(TORCHINDUCTOR_COMPILE_THREADS="1", TORCHINDUCTOR_FORCE_DISABLE_CACHES="1")

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from machine import describe_machine
from qlcnet.fit import fitting
from qlcnet.models.fast.accelerate import accelerate
from qlcnet.models.lcnet import build_lcnet
from qlcnet.models.optimizer import QuickAdam

WIDTHS = ("lcnet_050", "lcnet_200")
CHANNELS, SIDE, BATCH, CLASSES, SEED = 7, 28, 64, 7, 42
LEAST = 0.2  # processor seconds a turn
CLOSE = {"autocast": 0.05}  # relative difference of the first loss that is allowed, else 1e-3


def network_of(width: str) -> nn.Sequential:
    """The plain network, the same weights each time."""
    torch.manual_seed(SEED)
    trunk = build_lcnet(int(width.removeprefix("lcnet_")) / 100, CHANNELS, "relu")
    return nn.Sequential(trunk, nn.Linear(trunk.head_hidden_size, CLASSES)).train()


def batch() -> tuple[Tensor, Tensor]:
    """Noise and labels."""
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randn(BATCH, CHANNELS, SIDE, SIDE, generator=generator)
    return x, torch.randint(CLASSES, (BATCH,), generator=generator)


def processor_seconds() -> float:
    """Of this process and of what it waited for: the compiler is one."""
    return sum(os.times()[:4])


class InTorch:
    """A way in this process: its first loss, the seconds of its first step, and its turns."""

    def __init__(self, way: str, width: str) -> None:
        network: Any = network_of(width)
        self.x, self.y = batch()
        if way != "default":
            network, self.x = (one.to(memory_format=torch.channels_last) for one in (network, self.x))
        if way == "ours":
            network = accelerate(network, (CHANNELS, SIDE, SIDE), BATCH)
        self.optimizer: torch.optim.Optimizer
        self.optimizer = QuickAdam(network.parameters()) if way == "ours" else _adam(network)
        self.network = torch.compile(network) if way == "compile" else network
        self.autocast = way == "autocast"
        started = processor_seconds()
        self.loss = self.step()
        self.first = processor_seconds() - started

    def step(self) -> float:
        """A training step; its loss."""
        self.optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            loss = cross_entropy(self.network(self.x), self.y)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def turn(self, steps: int) -> float:
        """Processor seconds of so many steps."""
        started = time.process_time()
        for _ in range(steps):
            self.step()
        return time.process_time() - started


def _adam(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), fused=True)


class InJax:
    """The same, in a process of its own."""

    def __init__(self, width: str, python: str) -> None:
        network, (x, y) = network_of(width), batch()
        trunk: Any = network[0]
        arrays = {name: value.numpy() for name, value in trunk.state_dict().items() if value.dim()}
        for name, value in arrays.items():
            if value.ndim == 4:
                arrays[name] = np.ascontiguousarray(value.transpose(2, 3, 1, 0))  # OIHW to HWIO
        linear: Any = network[1]
        arrays |= {
            "classifier.weight": linear.weight.detach().numpy().T,
            "classifier.bias": linear.bias.detach().numpy(),
        }
        strides = [[trunk.conv_stem.stride[0]]]
        strides += [[block.conv_dw.stride[0] for block in stage] for stage in trunk.blocks]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "network.npz")
            np.savez(
                path, x=x.permute(0, 2, 3, 1).numpy(), y=y.numpy(), strides=np.array(json.dumps(strides)), **arrays
            )
            command = [python, str(Path(__file__).parent / "rivals" / "lcnet_jax.py"), str(path)]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            said = self._answer()
        self.first, self.loss = said["seconds"], said["loss"]

    def turn(self, steps: int) -> float:
        """Processor seconds of so many steps."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self._answer()["seconds"]

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"JAX ended with {self.process.wait()}")
        return dict(json.loads(line))

    def end(self) -> None:
        """Leave no process behind."""
        self.process.communicate()


def has_jax(python: str) -> str:
    """The version of JAX there; empty without."""
    code = "import importlib.metadata as m; print(m.version('jax'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


def race(width: str, rounds: int, jax: str) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Milliseconds a step of each way, round by round, and processor seconds of the first step."""
    ways: dict[str, InTorch | InJax] = {}
    for way in ("ours", "default", "channels_last", "autocast", "compile"):
        try:
            ways[way] = InTorch(way, width)
        except Exception as error:
            if way != "compile":  # it needs a C++ compiler
                raise
            print(f"{width}: no compile: {type(error).__name__}: {str(error).splitlines()[0][:100]}")
    if jax:
        ways["jax"] = InJax(width, jax)
    try:
        for name, one in ways.items():
            if abs(one.loss / ways["default"].loss - 1) > CLOSE.get(name, 1e-3):
                raise SystemExit(f"{width}: {name}'s first loss is {one.loss}, not {ways['default'].loss}")
        turns = {name: max(1, round(LEAST * 3 / one.turn(3))) for name, one in ways.items()}
        ms: dict[str, list[float]] = {name: [] for name in ways}
        names = list(ways)
        for i in range(rounds):
            for name in names[i % len(names) :] + names[: i % len(names)]:
                ms[name].append(1e3 * ways[name].turn(turns[name]) / turns[name])
        return ms, {name: one.first for name, one in ways.items()}
    finally:
        if isinstance(ran := ways.get("jax"), InJax):
            ran.end()


def main() -> None:
    """Both widths; prints a table and, last, one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--widths", nargs="+", default=WIDTHS, help="for example lcnet_100")
    parser.add_argument("--jax", default=sys.executable, metavar="PYTHON", help="an interpreter that has JAX")
    given = parser.parse_args()
    fitting.be_quiet_and_exact()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    version = has_jax(given.jax)
    machine = describe_machine("torch", "timm") + (f", jax {version}" if version else "")
    print(f"{machine}\none thread, batch {BATCH}, {SIDE} px; {given.rounds} rounds, processor time\n")
    print(f"{'':12}{'way':16}{'ms a step':>10}{'times ours':>12}  lowest and highest{'first step, s':>16}")
    found: dict[str, Any] = {}
    for width in given.widths:
        ms, first = race(width, given.rounds, given.jax if version else "")
        for name, times in ms.items():
            ratios = [a / b for a, b in zip(times, ms["ours"], strict=True)]
            row = {"ms": median(times), "ratio": median(ratios), "low": min(ratios), "high": max(ratios)}
            found.setdefault(width, {})[name] = {k: round(v, 3) for k, v in {**row, "first": first[name]}.items()}
            spread = f"{row['low']:.2f} to {row['high']:.2f}"
            print(
                f"{width:12}{name:16}{row['ms']:10.1f}{row['ratio']:12.2f}  {spread:18}{first[name]:16.1f}", flush=True
            )
    print(json.dumps({"benchmark": "alternatives", "machine": machine, "ways": found}))


if __name__ == "__main__":
    main()
