"""Counts what networks ask for. Needs torch: run it in a worker where the parent has not imported torch."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qlcnet.cost.workload import NetworkKind, NetworkSize
from qlcnet.models.counts import count_parameters, multiply_adds
from qlcnet.models.dry_run import dry_run
from qlcnet.models.network import InputChannels, build_network

# pixels; steps of 32 fit every stride of timm's networks
SIDES = (32, 48, 64, 96, 128, 160, 192, 224, 240, 256, 288, 320, 384, 448, 512)
FIXED = (224, 256)  # that transformers were made for: tried below the images' size too
MOST_TEXT = 200  # characters of another library's message


def network_sizes(kinds: Sequence[NetworkKind]) -> list[NetworkSize]:
    """The size of each network, built with random weights; torch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        return [network_size(kind) for kind in kinds]


def network_size(kind: NetworkKind) -> NetworkSize:
    """The size of one network."""
    channels = [InputChannels(str(one), n) for one, n in zip(kind.model.inputs, kind.channels, strict=True)]
    network = build_network(kind.model, kind.backbone_name, kind.backbone, channels, kind.classes)
    shape = (sum(kind.channels), kind.height, kind.width)
    try:
        activations, layers = _run_layers(network, shape)
        return NetworkSize(multiply_adds(network, shape), activations, layers, count_parameters(network))
    except Exception as error:  # what torch and timm raise where maps become too small has no class in common
        return NetworkSize(0, 0, 0, 0, _fault(kind, network, error))


def _fault(kind: NetworkKind, network: nn.Module, error: Exception) -> str:
    """What is wrong, and the smallest of SIDES that works."""
    cannot = f"backbones.{kind.backbone_name}: cannot take {kind.height} x {kind.width} pixels"
    for side in SIDES:
        if side > max(kind.height, kind.width) or side in FIXED:
            with contextlib.suppress(Exception):
                dry_run(network, (sum(kind.channels), side, side))
                return f"{cannot}; set training.input_size ({side} works)"
    return f"{cannot}, nor any other size that was tried: {' '.join(str(error).split())[:MOST_TEXT]}"


def _run_layers(network: nn.Module, shape: tuple[int, int, int]) -> tuple[int, int]:
    """Values put out by the leaf modules for one image, and how many of them ran."""
    outputs: list[int] = []

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            outputs.append(output.numel())

    leaves = [m for m in network.modules() if not any(m.children()) and not isinstance(m, nn.Identity)]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    try:
        network.eval()
        with torch.no_grad():
            network(torch.zeros(1, *shape))
    finally:
        for hook in hooks:
            hook.remove()
    return sum(outputs), len(outputs)
