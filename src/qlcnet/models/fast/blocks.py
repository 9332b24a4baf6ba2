"""Whole blocks, and rows of blocks, as one chain of batch-last steps: LCNet, MobileNet and EfficientNet of timm.

A block becomes steps if all of its parts are of kinds that are known here and its maps are small; else it runs part by
part, with the faster layers of layers. A hook on any part has the same effect, so it sees what it came for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from timm.layers.norm_act import BatchNormAct2d
from timm.models import _efficientnet_blocks as timm_blocks
from torch import Tensor, nn

from qlcnet.models.fast.geometry import Pair, area
from qlcnet.models.fast.layers import Forward, Walk, from_matrix, runs_here, to_matrix, way_in_chain
from qlcnet.models.fast.steps import ACTIVATIONS, Close, Layer, Open, SqueezeExcite, Step, run


class Maps(NamedTuple):
    """What steps run on: height and width, and what is known of the network."""

    size: Pair
    walk: Walk


Steps = tuple[list[Step], Maps]  # and the maps that they give


class Unknown(Exception):
    """A part that cannot be made a step."""


@dataclass(frozen=True, eq=False)
class Chained(Forward):
    """A block or a row of blocks as one chain of steps for maps of `size`, and what has to stay for them to hold."""

    size: Pair
    steps: list[Step]
    out: Pair
    norms: list[nn.BatchNorm2d]
    children: list[dict[str, nn.Module | None]]
    parts: list[nn.Module | None]
    hooks: list[dict[int, Any]]

    def __call__(self, x: Tensor) -> Tensor:
        if not runs_here(x) or x.shape[2:] != self.size or not self._holds(len(x)):
            return super().__call__(x)
        return from_matrix(run(to_matrix(x), self.steps), *self.out)

    def _holds(self, batch: int) -> bool:
        """Whether the steps are what the module would do now to a batch of that many samples."""
        return (
            batch * self.out[0] * self.out[1] > 1  # one value a channel has no variance: the module raises
            and all(norm.training for norm in self.norms)
            and not any(self.hooks)
            and [part for children in self.children for part in children.values()] == self.parts
        )


def of_block(module: nn.Module, x: Tensor, walk: Walk) -> Forward | None:
    """`module` as one chain for maps of x's size, None where it has to run part by part."""
    if not (walk.chained and runs_here(x)):
        return None
    size = x.shape[2], x.shape[3]
    try:
        steps, out = _steps_of(module, Maps(size, walk))
    except Unknown:
        return None
    if not steps:
        return None
    modules = list(module.modules())
    hooks = chain.from_iterable(
        (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks, m._backward_pre_hooks) for m in modules[1:]
    )
    children = [m._modules for m in modules if m._modules]
    return Chained(
        module,
        size,
        steps,
        out.size,
        [m for m in modules if isinstance(m, nn.BatchNorm2d)],
        children,
        [part for of_module in children for part in of_module.values()],
        list(hooks),
    )


def _steps_of(module: nn.Module, maps: Maps) -> Steps:
    if type(module) not in BLOCKS:
        raise Unknown
    return BLOCKS[type(module)](module, maps)


def _sequential(row: nn.Sequential, maps: Maps) -> Steps:
    steps: list[Step] = []
    for module in row:
        of_module, maps = _steps_of(module, maps)
        steps += of_module
    return steps, maps


def _depthwise_separable(block: Any, maps: Maps) -> Steps:
    _expect(block.conv_s2d is None, _is_nothing(block.aa), _is_nothing(block.drop_path))
    layers, between = _layers(maps, (block.conv_dw, block.bn1), (block.conv_pw, block.bn2))
    steps = [layers[0], *_squeeze_excite(block.se, between[0]), layers[1]]
    return _with_shortcut(block, steps), between[1]


def _inverted_residual(block: Any, maps: Maps) -> Steps:
    _expect(block.conv_s2d is None, _is_nothing(block.aa), _is_nothing(block.drop_path))
    pairs = (block.conv_pw, block.bn1), (block.conv_dw, block.bn2), (block.conv_pwl, block.bn3)
    layers, between = _layers(maps, *pairs)
    steps = [*layers[:2], *_squeeze_excite(block.se, between[1]), layers[2]]
    return _with_shortcut(block, steps), between[2]


def _with_shortcut(block: Any, steps: Sequence[Step]) -> list[Step]:
    return [Open(), *steps, Close()] if block.has_skip else [*steps]


def _layers(maps: Maps, *pairs: tuple[nn.Module, nn.Module]) -> tuple[list[Layer], list[Maps]]:
    """Convolution and norm pairs as layers, and the maps after each."""
    layers: list[Layer] = []
    between: list[Maps] = []
    for conv, norm in pairs:
        # by exact class: timm's Conv2dSame pads as its input asks
        if not (type(conv) is nn.Conv2d and type(norm) is BatchNormAct2d and conv.bias is None):
            raise Unknown
        way, act = way_in_chain(conv, *maps), ACTIVATIONS.get(type(norm.act))
        if way is None or act is None or not _is_nothing(norm.drop):
            raise Unknown
        maps = Maps(way.geometry.out, maps.walk)
        between.append(maps)
        layers.append(Layer(conv, way, norm, act))
    return layers, between


def _squeeze_excite(module: Any, maps: Maps) -> list[Step]:
    if _is_nothing(module):
        return []
    _expect(type(module) is timm_blocks.SqueezeExcite)
    act, gate = ACTIVATIONS.get(type(module.act1)), ACTIVATIONS.get(type(module.gate))
    if act is None or gate is None:
        raise Unknown
    return [SqueezeExcite(module.conv_reduce, act, module.conv_expand, gate, area(maps.size))]


def _is_nothing(module: nn.Module) -> bool:
    return type(module) is nn.Identity


def _expect(*conditions: bool) -> None:
    if not all(conditions):
        raise Unknown


BLOCKS: dict[type[nn.Module], Callable[[Any, Maps], Steps]] = {
    nn.Identity: lambda module, maps: ([], maps),
    nn.Sequential: _sequential,
    timm_blocks.DepthwiseSeparableConv: _depthwise_separable,
    timm_blocks.InvertedResidual: _inverted_residual,
}
