"""Images of zeros through a network, for what can be seen on the way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


def dry_run(network: nn.Module, input_shape: Sequence[int], images: int = 1) -> None:
    """Run `images` zeros of `input_shape` (C, H, W) in evaluation mode: nothing in the network changes, nor in torch's
    random numbers."""
    modes = {module: module.training for module in network.modules()}
    parameter = next(network.parameters(), torch.empty(0))
    try:
        network.eval()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            network(torch.zeros(images, *input_shape, dtype=parameter.dtype, device=parameter.device))
    finally:
        for module, mode in modes.items():
            module.training = mode
