"""Exact, faster execution of a convolutional network on small images on CPU: `accelerate`, undone by `decelerate`.

Layers and blocks are swapped for subclasses in place (layers, blocks), so parameters, buffers, state_dict
keys, hooks and isinstance checks stay. What each way of computing brought is in docs/speed.md.
"""

from __future__ import annotations

from timm.layers.linear import Linear as TimmLinear
from timm.layers.norm_act import BatchNormAct2d
from timm.models._efficientnet_blocks import DepthwiseSeparableConv, InvertedResidual
from torch import nn

from qlcnet.models.fast import blocks, layers

# by exact class: a subclass may compute something else
FAST_CLASS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: layers.FastConv2d,
    nn.Linear: layers.FastLinear,
    nn.BatchNorm2d: layers.FastBatchNorm2d,
    nn.ReLU: layers.FastReLU,
    nn.Hardswish: layers.FastHardswish,
    nn.SiLU: layers.FastSiLU,
    nn.Sequential: blocks.FastSequential,
    TimmLinear: layers.FastTimmLinear,
    BatchNormAct2d: layers.FastBatchNormAct2d,
    DepthwiseSeparableConv: blocks.FastDepthwiseSeparableConv,
    InvertedResidual: blocks.FastInvertedResidual,
}
PLAIN_CLASS = {fast: plain for plain, fast in FAST_CLASS.items()}


def accelerate(network: nn.Module) -> nn.Module:
    """Make `network` run faster on CPU, in place, and return it.

    The same function up to float32 rounding: outputs, gradients, running statistics, state_dict.
    """
    return _swap(network, FAST_CLASS)


def decelerate(network: nn.Module) -> nn.Module:
    """Undo `accelerate`, in place, and return the network."""
    return _swap(network, PLAIN_CLASS)


def _swap(network: nn.Module, table: dict[type[nn.Module], type[nn.Module]]) -> nn.Module:
    for module in network.modules():
        module.__class__ = table.get(type(module), type(module))
        module.__dict__.pop("_plans", None)
    return network
