"""What benchmarks/accelerator.py times: the paper's networks, one training step, its CUDA graph, and a stopwatch."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor, nn

    from qlcnet.config import Params

ROOT = Path(__file__).resolve().parents[1]
PRESET = ROOT / "studies" / "paper-dermamnist.yaml"
SEED, CLASSES = 42, 7
CHANNELS = {"classical": 3, "hybrid": 7}
Row = tuple[str, dict[str, Any]]
Measure = Callable[[], dict[str, Any]]
Step = Callable[[], "Tensor"]  # a step of all fits; gives their losses (F,)


@dataclass(frozen=True)
class Sizes:
    """How much is measured. `seconds`: of each measurement."""

    device: str
    widths: tuple[str, ...] = ("lcnet_050", "lcnet_200")
    side: int = 28
    batch: int = 64
    processes: tuple[int, ...] = (1, 2, 4, 8)  # fits at a time, each in its process
    streams: tuple[int, ...] = (8, 4, 16)  # fits at a time, each on its stream
    folds: int = 5  # fits in one pass: the folds of one network
    passes: tuple[int, ...] = (4, 2)  # such passes at a time, each on its stream
    seconds: float = 0.25
    epochs: int = 4
    images: int = 2880  # of a fit as `train` runs it; two thirds are trained on
    warm_up: int = 4  # steps
    checked: int = 8  # further steps, after which the losses are compared

    @property
    def tiny(self) -> bool:
        """Whether its numbers mean nothing."""
        return not self.seconds

    @classmethod
    def of(cls, device: str, tiny: bool) -> Sizes:
        """The sizes of a run; `tiny`: those that show in seconds, on any processor, whether the script works."""
        return cls(device, ("lcnet_035",), 12, 4, (1, 2), (2,), 2, (2,), 0.0, 2, 24, 1, 1) if tiny else cls(device)


class Setting(NamedTuple):
    """What is trained: a width of the preset, `hybrid` or `classical`, `float32` or `bfloat16`."""

    width: str
    model: str
    precision: str

    def __str__(self) -> str:
        return " ".join(self)


# --- what a step is -------------------------------------------------------------------------------------------------


@cache
def preset() -> Params:
    """The paper's study, whose models and backbones are timed."""
    from qlcnet.config import load_params

    return load_params(PRESET)


def build(setting: Setting, sizes: Sizes, fits: int) -> list[nn.Module]:
    """Plain networks with different weights, in training mode, on the device."""
    import torch

    from qlcnet.config import Backbone
    from qlcnet.models.network import InputChannels, build_network

    params = preset()
    backbone = params.backbones.get(setting.width, Backbone(activation="relu"))
    channels = [InputChannels("", count) for count in ((3,), (3, 4))[setting.model == "hybrid"]]
    networks: list[nn.Module] = []
    for fit in range(fits):
        torch.manual_seed(SEED + fit)
        network = build_network(params.models[setting.model], setting.width, backbone, channels, CLASSES)
        networks.append(network.to(sizes.device).to(memory_format=torch.channels_last).train())
    return networks


def inputs(setting: Setting, sizes: Sizes, fits: int) -> tuple[Tensor, Tensor]:
    """Noise (F, B, C, H, W), each fit's channels_last, and labels (F, B), on the device."""
    import torch

    generator = torch.Generator().manual_seed(SEED)
    shape = (fits, sizes.batch, sizes.side, sizes.side, CHANNELS[setting.model])
    x = torch.randn(shape, generator=generator).to(sizes.device).permute(0, 1, 4, 2, 3)
    return x, torch.randint(CLASSES, (fits, sizes.batch), generator=generator).to(sizes.device)


def precision(setting: Setting, sizes: Sizes) -> AbstractContextManager[Any]:
    """As Lightning's `32-true` and `bf16-mixed`."""
    import torch

    return torch.autocast(sizes.device, torch.bfloat16, enabled=setting.precision == "bfloat16")


def step_of(network: nn.Module, setting: Setting, sizes: Sizes, x: Tensor, y: Tensor) -> Step:
    """A training step of `network`, which takes all fits' x (F, B, C, H, W) and gives logits (F, B, K)."""
    from grouped_fits import losses_of
    from qlcnet.models.optimizer import QuickAdam

    optimizer = QuickAdam(network.parameters(), capturable=sizes.device == "cuda")

    def step() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with precision(setting, sizes):
            logits = network(x)
            losses = losses_of(logits, y)
        losses.sum().backward()
        optimizer.step()
        return losses.detach()  # keeps no graph alive, whose nodes would belong to another stream in a capture

    return step


def captured(step: Step, sizes: Sizes) -> tuple[Step, Any]:
    """The same step as a CUDA graph, after steps to warm up, and its stream; elsewhere the step itself."""
    import torch

    if sizes.device != "cuda":
        for _ in range(sizes.warm_up):
            step()
        return step, None
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(sizes.warm_up):
            step()
    torch.cuda.synchronize()
    gc.collect()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        losses = step()

    def replay() -> Tensor:
        graph.replay()
        return losses

    return replay, stream


def together(way: str, networks: Sequence[nn.Module]) -> nn.Module:
    """All fits in one module, by the way's name."""
    import torch

    from grouped_fits import Grouped, Single, Vmapped

    ways: dict[str, Callable[[], nn.Module]] = {
        "single": lambda: Single(networks[0]),
        "single nchw": lambda: Single(networks[0]).to(memory_format=torch.contiguous_format),
        "vmap": lambda: Vmapped(networks),
        "grouped": lambda: Grouped(networks),
        "grouped nchw": lambda: Grouped(networks, channels_last=False),
        "products": lambda: Grouped(networks, products=True),
    }
    return ways[way]().train()


def synchronize(device: str) -> None:
    """Wait for the device."""
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def timed(step: Callable[[], object], sizes: Sizes) -> float:
    """Milliseconds of a call: median of three rounds that are as long as `sizes.seconds` together."""

    def run(times: int) -> float:
        synchronize(sizes.device)
        started = time.perf_counter()
        for _ in range(times):
            step()
        synchronize(sizes.device)
        return (time.perf_counter() - started) / times

    if sizes.tiny:
        return 1e3 * run(1)
    calls = max(1, round(sizes.seconds / 3 / max(run(2), 1e-6)))
    return 1e3 * median(run(calls) for _ in range(3))


def as_fits() -> None:
    """The settings of a process that fits; to be called before CUDA starts."""
    import torch

    from qlcnet.fit.fitting import be_quiet_and_exact

    be_quiet_and_exact()
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # as Lightning's `deterministic`
    torch.use_deterministic_algorithms(True)


def guarded(rows: Iterator[tuple[str, Measure]], known: Collection[str]) -> Iterator[Row]:
    """Rows that are not known yet, one after the other; of one that fails the error, and the next is tried."""
    for name, measure in rows:
        if name in known:
            continue
        try:
            value = measure()
        except Exception as error:
            value = {"error": f"{type(error).__name__}: {error}"[:200]}
        yield name, value
        gc.collect()
