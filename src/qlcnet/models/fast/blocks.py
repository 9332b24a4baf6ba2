"""Whole blocks, and rows of blocks, as one chain of batch-last steps: LCNet, MobileNet and EfficientNet of timm.

A block becomes steps if all of its parts are of kinds that are known here and its maps are small; else it runs part by
part, with the faster layers of layers. A hook on any part has the same effect, so it sees what it came for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from timm.layers.norm_act import BatchNormAct2d
from timm.models import _efficientnet_blocks as timm_blocks
from torch import Tensor, nn

from qlcnet.models.fast.kernels import Pair
from qlcnet.models.fast.layers import activation_of, from_matrix, runs_here, to_matrix, way_of
from qlcnet.models.fast.steps import Close, Layer, Open, SqueezeExcite, Step, run

Steps = tuple[list[Step], Pair]  # and the size of the last maps


class Unknown(Exception):
    """A part that cannot be made a step."""


@dataclass(frozen=True)
class Plan:
    """The steps of a module for maps of one size, and what has to stay as it was for them to hold."""

    steps: list[Step]
    out: Pair
    norms: list[nn.BatchNorm2d]
    children: list[dict[str, nn.Module | None]]
    parts: list[nn.Module | None]
    hooks: list[dict[int, Any]]

    def holds(self, batch: int) -> bool:
        """Whether the steps are what the module would do now to a batch of that many samples."""
        return (
            batch * self.out[0] * self.out[1] > 1  # one value a channel has no variance: the module raises
            and all(norm.training for norm in self.norms)
            and not any(self.hooks)
            and [part for children in self.children for part in children.values()] == self.parts
        )


class _Chained:
    """Mixin for a module that runs as one chain of steps wherever it can."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        if runs_here(x):
            size = x.shape[2], x.shape[3]
            plans = self.__dict__.setdefault("_plans", {})
            if size not in plans:
                plans[size] = plan(self, size)  # type: ignore[arg-type]
            ready = plans[size]
            if ready is not None and ready.holds(len(x)):
                return from_matrix(run(to_matrix(x), ready.steps), *ready.out)
        return super().forward(x)  # type: ignore[misc]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_plans"}


class FastSequential(_Chained, nn.Sequential):
    """A row of blocks."""


class FastDepthwiseSeparableConv(_Chained, timm_blocks.DepthwiseSeparableConv):
    """Depthwise convolution, norm, act, squeeze-excite, pointwise convolution, norm, act."""


class FastInvertedResidual(_Chained, timm_blocks.InvertedResidual):
    """Pointwise convolution, norm, act, depthwise convolution, norm, act, squeeze-excite, convolution, norm."""


def plan(module: nn.Module, size: Pair) -> Plan | None:
    """The steps of `module` on maps of `size`, None where it has to run part by part."""
    try:
        steps, out = _steps_of(module, size)
    except Unknown:
        return None
    if not steps:
        return None
    modules = list(module.modules())
    hooks = chain.from_iterable(
        (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks) for m in modules[1:]
    )
    children = [m._modules for m in modules if m._modules]
    return Plan(
        steps,
        out,
        [m for m in modules if isinstance(m, nn.BatchNorm2d)],
        children,
        [part for of_module in children for part in of_module.values()],
        list(hooks),
    )


def _steps_of(module: nn.Module, size: Pair) -> Steps:
    if type(module) not in BLOCKS:
        raise Unknown
    return BLOCKS[type(module)](module, size)


def _sequential(row: nn.Sequential, size: Pair) -> Steps:
    steps: list[Step] = []
    for module in row:
        of_module, size = _steps_of(module, size)
        steps += of_module
    return steps, size


def _depthwise_separable(block: Any, size: Pair) -> Steps:
    _expect(block.conv_s2d is None, _is_nothing(block.aa), _is_nothing(block.drop_path))
    layers, between = _layers(size, (block.conv_dw, block.bn1), (block.conv_pw, block.bn2))
    steps = [layers[0], *_squeeze_excite(block.se, between[0]), layers[1]]
    return _with_shortcut(block, steps), between[1]


def _inverted_residual(block: Any, size: Pair) -> Steps:
    _expect(block.conv_s2d is None, _is_nothing(block.aa), _is_nothing(block.drop_path))
    pairs = (block.conv_pw, block.bn1), (block.conv_dw, block.bn2), (block.conv_pwl, block.bn3)
    layers, between = _layers(size, *pairs)
    steps = [*layers[:2], *_squeeze_excite(block.se, between[1]), layers[2]]
    return _with_shortcut(block, steps), between[2]


def _with_shortcut(block: Any, steps: Sequence[Step]) -> list[Step]:
    return [Open(), *steps, Close()] if block.has_skip else [*steps]


def _layers(size: Pair, *pairs: tuple[nn.Module, nn.Module]) -> tuple[list[Layer], list[Pair]]:
    """Convolution and norm pairs as layers, and the size of the maps after each."""
    layers: list[Layer] = []
    sizes: list[Pair] = []
    for conv, norm in pairs:
        if not (isinstance(conv, nn.Conv2d) and isinstance(norm, BatchNormAct2d) and conv.bias is None):
            raise Unknown
        way, act = way_of(conv, size), activation_of(norm.act)
        if way is None or act is None or not _is_nothing(norm.drop):
            raise Unknown
        size = way.geometry.out
        sizes.append(size)
        layers.append(Layer(conv, way, norm, act))
    return layers, sizes


def _squeeze_excite(module: Any, size: Pair) -> list[Step]:
    if _is_nothing(module):
        return []
    _expect(type(module) is timm_blocks.SqueezeExcite)
    act, gate = activation_of(module.act1), activation_of(module.gate)
    if act is None or gate is None:
        raise Unknown
    return [SqueezeExcite(module.conv_reduce, act, module.conv_expand, gate, size[0] * size[1])]


def _is_nothing(module: nn.Module) -> bool:
    return type(module) is nn.Identity


def _expect(*conditions: bool) -> None:
    if not all(conditions):
        raise Unknown


BLOCKS: dict[type[nn.Module], Callable[[Any, Pair], Steps]] = {
    nn.Identity: lambda module, size: ([], size),
    FastSequential: _sequential,
    FastDepthwiseSeparableConv: _depthwise_separable,
    FastInvertedResidual: _inverted_residual,
}
