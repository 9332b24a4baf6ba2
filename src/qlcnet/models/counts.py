"""What a network costs: its parameters, and the multiply-adds of one image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from qlcnet.models.dry_run import dry_run


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters (buffers such as BatchNorm's running statistics not counted)."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def multiply_adds(network: nn.Module, input_shape: Sequence[int]) -> int:
    """Multiply-adds of one image of `input_shape` (C, H, W) in convolutions and linear layers, by their definition.

    Padding counts as pixels, biases, normalisation and activations do not count (the convention of the papers). One
    image runs through `network` in evaluation mode; nothing in it changes. Raises RuntimeError where a layer did not
    run as itself (count before models.fast.accelerate).
    """
    counts: dict[str, int] = {}

    def counter(name: str) -> Any:
        def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(module, nn.Conv2d | nn.Linear)
            taps = module.weight[0].numel()  # input values that one output value sums over
            counts[name] = counts.get(name, 0) + output.numel() * taps

        return count

    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}
    hooks = [module.register_forward_hook(counter(name)) for name, module in layers.items()]
    try:
        dry_run(network, input_shape)
    finally:
        for hook in hooks:
            hook.remove()
    if idle := layers.keys() - counts.keys():
        raise RuntimeError(f"multiply-adds: {len(idle)} layers did not run as themselves, for example {min(idle)}")
    return sum(counts.values())
