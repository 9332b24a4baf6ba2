"""Claim: each border of models/fast/borders.py lies where one way of computing becomes slower than another.

Run: python benchmarks/borders.py [--rounds 9] (a minute). For shapes on both sides of each border the way that the
table chooses and its rival take turns, forward and backward on a batch of 64, on one thread, in processor time. A ratio
above 1 says that the choice is right there: the rival's time over the chosen way's, median of the rounds. The last line
is JSON. The parts have the names that stand beside the borders.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median, quantiles
from typing import NamedTuple
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import torch
from timm.models._efficientnet_blocks import DepthwiseSeparableConv
from torch import Tensor, nn

from machine import describe_machine
from qlcnet.fit import fitting
from qlcnet.models.fast import borders, product
from qlcnet.models.fast.accelerate import accelerate
from qlcnet.models.fast.kernels import WAYS
from qlcnet.models.fast.layers import BatchLast, ChannelsLast, Turned, Walk, convolution_of, from_matrix, to_matrix

BATCH, CHANNELS = 64, 64
LEAST = 0.02  # seconds a turn
Step = Callable[[], object]


class Duel(NamedTuple):
    """What the table chooses on one shape, against the other side of the border."""

    part: str
    shape: str
    chosen: str
    rival: str
    choice: Step
    other: Step


def image(channels: int, size: int, batch_last: bool) -> Tensor:
    """Noise in one of the two layouts."""
    x = torch.randn(BATCH, channels, size, size).contiguous(memory_format=torch.channels_last)
    return from_matrix(to_matrix(x), size, size) if batch_last else x


def step(forward: Callable[[Tensor], Tensor], network: nn.Module, x: Tensor) -> Step:
    """Forward and backward, to the input and to the weights."""
    x = x.detach().requires_grad_()
    leaves = (x, *network.parameters())
    upstream = torch.randn_like(forward(x))
    return lambda: torch.autograd.grad(forward(x), leaves, upstream)


def small_map() -> Iterator[Duel]:
    """Two depthwise separable blocks batch-last, the turning of their input included, against channels_last."""
    for size in (4, 8, 14, 16, 20, 24, 28, 32):
        blocks = [DepthwiseSeparableConv(CHANNELS, CHANNELS, norm_layer=nn.BatchNorm2d) for _ in range(2)]
        plain = nn.Sequential(*blocks).to(memory_format=torch.channels_last)
        with mock.patch.object(borders, "SMALL_MAP", 1000):
            fast = accelerate(copy.deepcopy(plain), (CHANNELS, size, size), BATCH)
        sides = [
            (name, step(row, row, image(CHANNELS, size, False))) for name, row in (("fast", fast), ("torch", plain))
        ]
        yield duel("small map", f"{size} x {size}", *sides[:: 1 if size <= borders.SMALL_MAP else -1])


def convolutions() -> Iterator[Duel]:
    """Convolutions by every way that could be taken instead."""
    for size, kernel, stride in ((28, 3, 2), (14, 3, 1), (8, 3, 1)):
        yield from convolution("first", nn.Conv2d(7, 16, kernel, stride, kernel // 2), size, False, ("columns",))
    for size, channels in ((14, 16), (14, 64), (8, 128), (4, 256), (2, 512)):
        yield from convolution("columns", nn.Conv2d(channels, channels, 3, 1, 1), size, True, (borders.TURNED,))
    for size, kernel, stride in (
        (4, 3, 1),
        (5, 3, 1),
        (6, 3, 1),
        (7, 3, 1),
        (7, 3, 2),
        (8, 3, 1),
        (8, 3, 2),
        (14, 3, 1),
    ):
        conv = nn.Conv2d(CHANNELS, CHANNELS, kernel, stride, kernel // 2, groups=CHANNELS)
        yield from convolution("banded", conv, size, True, ("banded", "taps"))
    for size in (4, 7, 8, 9, 10, 11, 14):
        conv = nn.Conv2d(CHANNELS, CHANNELS, 5, 1, 2, groups=CHANNELS)
        yield from convolution("banded, 5 x 5", conv, size, True, ("banded", "taps"))


def convolution(part: str, conv: nn.Conv2d, size: int, batch_last: bool, rivals: tuple[str, ...]) -> Iterator[Duel]:
    """One convolution by the chosen way and by each of `rivals`."""
    conv.to(memory_format=torch.channels_last)
    asked = convolution_of(conv, (size, size), Walk(BATCH, chained=True, first_map=size), batch_last)
    assert asked is not None
    x = image(conv.in_channels, size, batch_last)

    def side(name: str) -> tuple[str, Step]:
        forward: dict[str, Callable[[Tensor], Tensor]] = {
            borders.IN_TORCH: ChannelsLast(conv),
            borders.TURNED: Turned(conv, asked.geometry.size, asked.geometry.out),
        }
        way = forward[name] if name in forward else BatchLast(conv, WAYS[name](asked.geometry))
        return name, step(way, conv, x)

    chosen = borders.choose(asked)
    (kernel, _), (stride, _), groups = conv.kernel_size, conv.stride, "depthwise" if asked.depthwise else "dense"
    shape = f"{groups} {kernel} x {kernel}, stride {stride}, {size} px, {conv.in_channels} to {conv.out_channels}"
    for rival in rivals:
        if rival != chosen:
            yield duel(part, shape, side(chosen), side(rival))


def products() -> Iterator[Duel]:
    """oneDNN's product against MKL's."""
    if product._onednn is None:
        return
    shapes = (32, 64, 64), (64, 64, 64), (64, 128, 64), (128, 128, 64), (128, 256, 64), (512, 512, 64), (64, 64, 4096)
    for m, k, n in shapes:
        a, b = torch.randn(m, k), torch.randn(k, n)
        sides = ("oneDNN", partial(product._times_transposed, a, b.t())), ("MKL", partial(torch.mm, a, b))
        yield duel("product", f"{m} x {k} x {n}", *sides[:: 1 if borders.onednn_multiplies(m, k, n) else -1])


def transposes() -> Iterator[Duel]:
    """A channels_last map to batch-last: through a transposed matrix, or permuted."""
    for channels in (7, 8, 16, 32, 64):
        x = image(channels, 14, False)
        sides = ("transposed", partial(turned, x, 0)), ("permuted", partial(turned, x, 1000))
        chosen = channels >= borders.TRANSPOSED_CHANNELS
        yield duel("transpose", f"14 px, {channels} channels", *sides[:: 1 if chosen else -1])


def turned(x: Tensor, border: int) -> Tensor:
    """to_matrix with another border."""
    before, borders.TRANSPOSED_CHANNELS = borders.TRANSPOSED_CHANNELS, border
    try:
        return to_matrix(x)
    finally:
        borders.TRANSPOSED_CHANNELS = before


def duel(part: str, shape: str, chosen: tuple[str, Step], rival: tuple[str, Step]) -> Duel:
    """The two sides, each a name and a step."""
    return Duel(part, shape, chosen[0], rival[0], chosen[1], rival[1])


def milliseconds(run: Step, calls: int) -> float:
    """Processor time of a call."""
    start = time.process_time()
    for _ in range(calls):
        run()
    return (time.process_time() - start) / calls * 1e3


def measure(found: Duel, rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of both sides, round by round."""
    sides = found.choice, found.other
    calls = [max(1, round(LEAST * 1e3 / max(milliseconds(side, 2), 1e-3))) for side in sides]
    times = [[milliseconds(side, count) for side, count in zip(sides, calls, strict=True)] for _ in range(rounds)]
    return [row[0] for row in times], [row[1] for row in times]


def main() -> None:
    """Measure, print the table, and last the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.manual_seed(42)
    fitting.be_quiet_and_exact()  # one thread, and freed memory kept, without which page faults decide
    machine = describe_machine("torch", "timm")
    print(f"{machine}; 1 thread, batch {BATCH}, {rounds} rounds\n")
    print(f"{'border':15}{'shape':46}{'chosen':>15}{'ms':>9}{'rival':>15}{'ms':>9}{'ratio':>7}  quartiles")
    ratios: dict[str, float] = {}
    for found in (each for part in (small_map, convolutions, products, transposes) for each in part()):
        ours, theirs = measure(found, rounds)
        low, middle, high = quantiles([b / a for a, b in zip(ours, theirs, strict=True)], n=4)
        ratios[f"{found.part}: {found.shape}: {found.chosen} over {found.rival}"] = round(middle, 3)
        row = f"{found.part:15}{found.shape:46}{found.chosen:>15}{median(ours):9.3f}"
        row += f"{found.rival:>15}{median(theirs):9.3f}{middle:7.2f}  {low:.2f} to {high:.2f}"
        print(row, flush=True)
    print(json.dumps({"benchmark": "borders", "machine": machine, "ratio": ratios}))


if __name__ == "__main__":
    main()
