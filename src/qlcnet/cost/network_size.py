"""Counts what networks ask for. Needs torch: run it in a worker where the parent has not imported torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from qlcnet.cost.workload import NetworkKind, NetworkSize
from qlcnet.models.counts import count_parameters, multiply_adds
from qlcnet.models.network import InputChannels, build_network


def network_sizes(kinds: Sequence[NetworkKind]) -> list[NetworkSize]:
    """The size of each network, built with random weights; torch's generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        return [network_size(kind) for kind in kinds]


def network_size(kind: NetworkKind) -> NetworkSize:
    """The size of one network."""
    channels = [InputChannels(str(one), n) for one, n in zip(kind.model.inputs, kind.channels, strict=True)]
    network = build_network(kind.model, kind.backbone_name, kind.backbone, channels, kind.classes)
    shape = (sum(kind.channels), kind.height, kind.width)
    activations, layers = _run_layers(network, shape)
    return NetworkSize(multiply_adds(network, shape), activations, layers, count_parameters(network))


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
