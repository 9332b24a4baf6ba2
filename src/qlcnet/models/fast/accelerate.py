"""Exact, faster execution of a convolutional network on small images on CPU: `accelerate`, undone by `decelerate`.

A network is walked once with images of the size that it will see, and each layer and block that they reach gets what
the borders choose for its shape as `forward` of its instance (layers, blocks), or is left to torch. Nothing else about
a module changes: neither its class, parameters, buffers and state_dict keys nor its hooks; copies and pickles keep it.
What each way of computing brought is in docs/speed.md.

What is fixed holds for height and width. The number of images may differ from call to call (an epoch's last batch,
predictions): every way computes any number exactly, and maps of other sizes run as if nothing were fixed. Rows of
blocks are one step of autograd in training alone; in evaluation mode their parts run one by one, each its own way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from timm.layers.linear import Linear as TimmLinear
from timm.layers.norm_act import BatchNormAct2d
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import Tensor, nn

from qlcnet.models.dry_run import dry_run
from qlcnet.models.fast import blocks, layers
from qlcnet.models.fast.layers import Forward, Walk

# by exact class: a subclass may compute something else. Each gives the forward for a module that x reaches on a walk;
# None: leave it to torch
FORWARDS: dict[type[nn.Module], Callable[[Any, Tensor, Walk], Forward | None]] = {
    nn.Conv2d: layers.of_convolution,
    nn.Linear: layers.of_linear,
    nn.BatchNorm2d: layers.of_norm,
    nn.ReLU: layers.of_activation,
    nn.ReLU6: layers.of_activation,
    nn.Hardswish: layers.of_activation,
    nn.SiLU: layers.of_activation,
    nn.Sequential: blocks.of_block,
    TimmLinear: layers.of_linear,
    BatchNormAct2d: layers.of_norm_act,
    DepthwiseSeparableConv: blocks.of_block,
    InvertedResidual: blocks.of_block,
}


def accelerate(network: nn.Module, input_shape: tuple[int, int, int], batch: int) -> nn.Module:
    """Make `network` run faster on CPU on images of `input_shape` (C, H, W), in place, and return it.

    `batch` is the number of images of a training batch; see the module's docstring for others. The same function up to
    float32 rounding: outputs, gradients, running statistics, state_dict. Call it again after changing a layer's sizes.
    """
    for chained in (True, False):
        _walk(network, input_shape, Walk(batch, chained))
        if any(isinstance(vars(module).get("forward"), blocks.Chained) for module in network.modules()):
            break  # else layers between torch's own are fixed anew, by a border of theirs
    return network


def decelerate(network: nn.Module) -> nn.Module:
    """Undo `accelerate`, in place, and return the network."""
    return _remove(network, Forward)


def _walk(network: nn.Module, input_shape: tuple[int, int, int], walk: Walk) -> None:
    decelerate(network)
    for module in network.modules():
        if type(module) in FORWARDS and "forward" not in vars(module):
            module.forward = _Undecided(module, walk)
    try:
        dry_run(network, input_shape, images=2)  # one image would be in several layouts at once
    except BaseException:
        decelerate(network)
        raise
    _remove(network, _Undecided)  # of layers that were not reached


@dataclass(frozen=True, eq=False)
class _Undecided(Forward):
    """Stands at a module until the first images reach it."""

    walk: Walk

    def __call__(self, x: Tensor) -> Tensor:
        del self.module.forward
        forward = FORWARDS[type(self.module)](self.module, x, self.walk)
        if forward is not None:
            self.module.forward = forward
        return self.module.forward(x)


def _remove(network: nn.Module, kind: type[Forward]) -> nn.Module:
    for module in network.modules():
        if isinstance(vars(module).get("forward"), kind):
            del module.forward
    return network
