"""A training step on an accelerator by several ways, for benchmarks/accelerator.py: (row, value) pairs.

A row's name says what it is, for example `lcnet_050 hybrid float32 | grouped graph | 8`: network, model, precision; how
the steps are taken; how many fits at a time. Its `ms` is the device's for one training step of one fit (of eight fits
in one pass, an eighth of the pass). `loss` beside it says whether the steps are right: how far the losses after some of
them are from those of plain steps of the fits alone, relative. It must be 0 for a graph of one fit; bfloat16 and TF32
let it grow where the fits are computed together. Rows `gradient` compare the first gradients instead, without TF32.

single    one fit, plain torch
grouped   fits as groups of one network's convolutions
products  the same with dense 1 x 1 convolutions as batched matrix products
vmap      fits with stacked weights, by torch.func.vmap
`graph` behind a way: its step as one CUDA graph. `streams`: several such graphs, each replayed on a stream of its own,
so that the device computes them side by side. `nchw`: torch's default layout; all others are channels_last, as fits
on an accelerator are. `tuned`: with cudnn.benchmark and without determinism, to see what these cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from accelerator_step import (
    Measure,
    Row,
    Setting,
    Sizes,
    as_fits,
    build,
    captured,
    guarded,
    inputs,
    step_of,
    synchronize,
    timed,
    together,
)  # fmt: skip

if TYPE_CHECKING:
    from torch import Tensor


def one_process(width: str, number: str, sizes: Sizes, known: Collection[str]) -> Iterator[Row]:
    """All ways of one process, for one width and precision; what decides first."""
    as_fits()
    yield from guarded(_rows(width, number, sizes), known)


def _rows(width: str, number: str, sizes: Sizes) -> Iterator[tuple[str, Measure]]:
    hybrid, classical = Setting(width, "hybrid", number), Setting(width, "classical", number)
    losses = {setting: _plain_losses(setting, sizes) for setting in (hybrid, classical)}
    folds, streams, passes = sizes.folds, sizes.streams, sizes.passes

    def one_pass(setting: Setting, way: str, fits: int, graph: bool = True) -> tuple[str, Measure]:
        name = f"{setting} | {way}{' graph' if graph else ''} | {fits}"
        return name, lambda: in_one_pass(setting, sizes, way, graph, fits, losses[setting])

    def side_by_side(setting: Setting, way: str, fits: int, count: int) -> tuple[str, Measure]:
        name = f"{setting} | {way} streams | {fits * count}"
        return name, lambda: in_streams(setting, sizes, way, fits, count, losses[setting])

    yield one_pass(hybrid, "single", 1, graph=False)
    for setting in (hybrid, classical):
        yield one_pass(setting, "single", 1)
        yield side_by_side(setting, "single", 1, streams[0])
        for way in ("grouped", "products"):
            yield one_pass(setting, way, folds)
    for way in ("grouped", "products"):
        for count in passes:
            yield side_by_side(hybrid, way, folds, count)
    if number == "float32":
        for way in ("grouped", "products", "vmap"):
            yield f"{hybrid} | {way} gradient | 2", partial(gradients, hybrid, sizes, way)
        for setting in (hybrid, classical):
            yield f"{setting} | evaluate | 1", partial(evaluate, setting, sizes)
    for count in streams[1:]:
        yield side_by_side(hybrid, "single", 1, count)
    yield one_pass(hybrid, "single nchw", 1)
    yield one_pass(hybrid, "grouped nchw", folds)
    yield one_pass(hybrid, "vmap", folds)
    for way in ("grouped", "vmap"):
        yield one_pass(hybrid, way, folds, graph=False)
    for way in ("grouped", "products"):
        yield one_pass(hybrid, way, 2 * folds)
    yield f"{hybrid} | single graph tuned | 1", partial(tuned, hybrid, sizes, losses[hybrid])


def _plain_losses(setting: Setting, sizes: Sizes) -> Callable[[], Tensor]:
    """The losses (2,) of the first two fits, each alone, after as many plain steps as a way is checked with."""
    found: list[Tensor] = []

    def losses() -> Tensor:
        import torch

        if not found:
            x, y = inputs(setting, sizes, 2)
            for fit, network in enumerate(build(setting, sizes, 2)):
                step = step_of(together("single", [network]), setting, sizes, x[fit : fit + 1], y[fit : fit + 1])
                for _ in range(sizes.warm_up + sizes.checked):
                    last = step()
                found.append(last)
        return torch.cat(found)

    return losses


def _off(found: Tensor, plain: Callable[[], Tensor]) -> float:
    expected = plain()[: len(found)]
    return float(f"{float(((found[: len(expected)] - expected) / expected).abs().max()):.2g}")


def in_one_pass(
    setting: Setting, sizes: Sizes, way: str, graph: bool, fits: int, plain: Callable[[], Tensor]
) -> dict[str, Any]:
    """All fits in one module, with a CUDA graph of its step or without."""
    x, y = inputs(setting, sizes, max(fits, 2))
    if "nchw" in way:
        x = x.contiguous()
    module = together(way, build(setting, sizes, fits))
    step = step_of(module, setting, sizes, x[:fits], y[:fits])
    if graph:
        step, _ = captured(step, sizes)
    for _ in range(sizes.checked if graph else sizes.warm_up + sizes.checked):
        losses = step()
    synchronize(sizes.device)
    return {"loss": _off(losses.clone(), plain), "ms": timed(step, sizes) / fits}


def in_streams(
    setting: Setting, sizes: Sizes, way: str, fits: int, count: int, plain: Callable[[], Tensor]
) -> dict[str, Any]:
    """`count` graphs of `fits` fits each, every graph on its own stream. What single fits compute stays the same."""
    import torch

    x, y = inputs(setting, sizes, max(fits * count, 2))
    networks, graphs = build(setting, sizes, fits * count), []
    for first in range(0, fits * count, fits):
        mine = slice(first, first + fits)
        graphs.append(captured(step_of(together(way, networks[mine]), setting, sizes, x[mine], y[mine]), sizes))
    last: list[Tensor] = []

    def everyone() -> None:
        last.clear()
        for step, stream in graphs:
            with torch.cuda.stream(stream):  # None: the current one
                last.append(step())

    synchronize(sizes.device)
    for _ in range(sizes.checked):
        everyone()
    synchronize(sizes.device)
    return {"loss": _off(torch.cat(last), plain), "ms": timed(everyone, sizes) / (fits * count)}


def tuned(setting: Setting, sizes: Sizes, plain: Callable[[], Tensor]) -> dict[str, Any]:
    """What determinism costs: a graph of one fit with the algorithms that cuDNN finds fastest."""
    import torch

    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = True
    try:
        return in_one_pass(setting, sizes, "single", True, 1, plain)
    finally:
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True)


def gradients(setting: Setting, sizes: Sizes, way: str) -> dict[str, Any]:
    """|g - g'| / |g'| of two fits together against the fits alone, all weights, in float32 without TF32 and float64."""
    import torch

    from grouped_fits import losses_of

    off = {}
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        for number in (torch.float32, torch.float64):
            x, y = inputs(setting, sizes, 2)
            x, networks = x.to(number), [network.to(number) for network in build(setting, sizes, 2)]
            module: Any = together(way, networks)
            losses_of(module(x), y).sum().backward()
            found = {name: one.grad for name, one in module.named_parameters()}
            pairs = []
            for fit, network in enumerate(networks):
                torch.nn.functional.cross_entropy(network(x[fit]), y[fit]).backward()
                mine = module.of_fit(fit, found)
                pairs += [
                    (mine[name].flatten(), one.grad.flatten())
                    for name, one in network.named_parameters()
                    if one.grad is not None
                ]
            a, b = (torch.cat(side).double() for side in zip(*pairs, strict=True))
            off[str(number).removeprefix("torch.")] = float(f"{float((a - b).norm() / b.norm()):.2g}")
    finally:
        torch.backends.cudnn.allow_tf32 = allowed
    return off


def evaluate(setting: Setting, sizes: Sizes) -> dict[str, Any]:
    """A forward pass of 256 images without gradient, in float32: what validation and prediction consist of."""
    import torch

    (network,) = build(setting, sizes, 1)
    x = inputs(setting, replace(sizes, batch=4 * sizes.batch), 1)[0][0]
    network.eval()
    with torch.inference_mode():
        return {"ms": timed(lambda: network(x), sizes)}


def compiled(width: str, sizes: Sizes, known: Collection[str]) -> Iterator[Row]:
    """torch.compile of network and loss, with its CUDA graphs; the optimizer as it is."""
    as_fits()
    setting = Setting(width, "hybrid", "float32")

    def measure() -> dict[str, Any]:
        import torch

        x, y = inputs(setting, sizes, 1)
        how: dict[str, Any] = {"mode": "reduce-overhead"} if sizes.device == "cuda" else {"backend": "eager"}
        module: Any = torch.compile(together("single", build(setting, sizes, 1)), **how)
        step = step_of(module, setting, sizes, x, y)
        started = time.perf_counter()
        for _ in range(sizes.warm_up):
            step()
        synchronize(sizes.device)
        return {"ms": timed(step, sizes), "first_seconds": round(time.perf_counter() - started, 1)}

    yield from guarded(iter([(f"{setting} | compile | 1", measure)]), known)
