"""What a layer's `forward` becomes: batch-last on the small maps that it was fixed for, its class's on all else.

Seen from outside, activations stay (B, C, H, W) tensors; only their memory is (C, H, W, B). So blocks, residual sums
and pooling of any architecture work on them as they are. All else: maps of other sizes, other devices, torch.compile
and torch.export. Any number of images is computed the way that was fixed.

A function `of_...(layer, x, walk)` gives what to use for a layer that x reaches on a walk through the network (of x
only size and layout count here); None: leave it to torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from qlcnet.models.fast import borders
from qlcnet.models.fast.geometry import Geometry, Pair
from qlcnet.models.fast.kernels import WAYS, Way
from qlcnet.models.fast.steps import ACTIVATIONS, Activation, Layer, run


@dataclass(frozen=True, eq=False)
class Forward:
    """Stands at `module.forward` of an instance, before that of its class."""

    module: nn.Module

    def __call__(self, x: Tensor) -> Tensor:
        """What the module computes of x."""
        return type(self.module).forward(self.module, x)


@dataclass
class Walk:
    """What is known of a network while images go through it for the first time.

    batch: images of a training batch. chained: whether its rows of blocks are made chains. first_map: the longer side
    of what its first convolution gives, when that is known.
    """

    batch: int
    chained: bool
    first_map: int | None = None

    def largest_map(self, size: Pair) -> int:
        """The largest map that the network takes batch-last; `size` is that of the first one where none was seen."""
        if self.first_map is None:
            self.first_map = max(size)
        return borders.largest_map(self.first_map, self.chained)


def runs_here(x: Tensor) -> bool:
    """Whether the fast path can take x at all: (B, C, H, W), eager, on CPU, in float32 or float64."""
    return x.dim() == 4 and _is_computed_here(x)


def _is_computed_here(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and not torch.compiler.is_compiling()


def is_batch_last(x: Tensor) -> bool:
    """Whether the (B, C, H, W) tensor x is dense as (C, H, W, B)."""
    batch, _, height, width = x.shape
    return x.stride() == (1, height * width * batch, width * batch, batch)


def to_matrix(x: Tensor) -> Tensor:
    """(B, C, H, W) in any layout as a dense (C, H*W*B); a copy unless it is batch-last already."""
    batch, channels = x.shape[:2]
    if is_batch_last(x):
        return x.permute(1, 2, 3, 0).view(channels, -1)
    if x.is_contiguous():  # to transpose a matrix is several times faster than to permute four dimensions
        return x.view(batch, -1).t().contiguous().view(channels, -1)
    pixels_first = x.permute(0, 2, 3, 1)
    if pixels_first.is_contiguous() and channels >= borders.TRANSPOSED_CHANNELS:
        transposed = pixels_first.reshape(batch, -1).t().contiguous().view(-1, channels, batch)
        return transposed.transpose(0, 1).reshape(channels, -1)
    return x.permute(1, 2, 3, 0).reshape(channels, -1)


def from_matrix(y: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `to_matrix`: a (B, C, H, W) view of y (C, H*W*B)."""
    return y.view(y.shape[0], height, width, -1).permute(3, 0, 1, 2)


def convolution_of(conv: nn.Conv2d, size: Pair, walk: Walk, batch_last: bool) -> borders.Convolution | None:
    """What the borders are asked about `conv` on maps of `size`; None where no kernel computes such a one."""
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str) or conv.dilation != (1, 1):
        return None
    depthwise = conv.groups > 1 and conv.groups == conv.in_channels == conv.out_channels
    if conv.groups > 1 and not depthwise:
        return None
    geometry = Geometry(size, conv.kernel_size, conv.stride, conv.padding)  # type: ignore[arg-type]
    if min(geometry.out) < 1:
        return None  # torch raises the error that users know
    channels, largest = (conv.in_channels, conv.out_channels), walk.largest_map(geometry.out)
    return borders.Convolution(geometry, channels, depthwise, walk.batch, batch_last, largest)


def way_in_chain(conv: nn.Conv2d, size: Pair, walk: Walk) -> Way | None:
    """The way of a convolution between batch-last steps; None: it is for torch."""
    asked = convolution_of(conv, size, walk, batch_last=True)
    way = WAYS.get(borders.choose(asked)) if asked else None
    return way(asked.geometry) if asked and way else None


def of_convolution(conv: nn.Conv2d, x: Tensor, walk: Walk) -> Forward | None:
    """The way that the borders choose."""
    if not runs_here(x):
        return None
    asked = convolution_of(conv, (x.shape[2], x.shape[3]), walk, is_batch_last(x))
    chosen = borders.choose(asked) if asked else borders.IN_TORCH
    if chosen == borders.SAMPLED:
        return Sampled(conv)
    if asked is None or chosen == borders.IN_TORCH:
        # where no map is batch-last nothing has to be turned back: the network is left as it is
        return ChannelsLast(conv) if walk.largest_map((x.shape[2], x.shape[3])) else None
    if chosen == borders.TURNED:
        return Turned(conv, asked.geometry.size, asked.geometry.out)
    return BatchLast(conv, WAYS[chosen](asked.geometry))


@dataclass(frozen=True, eq=False)
class ChannelsLast(Forward):
    """A convolution by torch, in channels_last."""

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x.contiguous(memory_format=torch.channels_last) if runs_here(x) else x)


@dataclass(frozen=True, eq=False)
class Sampled(Forward):
    """A 1 x 1 convolution with a stride, without padding, by torch on the pixels that it reads: the same function."""

    module: nn.Conv2d

    def __call__(self, x: Tensor) -> Tensor:
        if not runs_here(x):
            return super().__call__(x)
        down, along = self.module.stride
        read = x[:, :, ::down, ::along].contiguous(memory_format=torch.channels_last)
        return F.conv2d(read, self.module.weight, self.module.bias)


@dataclass(frozen=True, eq=False)
class Turned(Forward):
    """A convolution by torch, in channels_last; what comes out is copied to batch-last."""

    size: Pair
    out: Pair

    def __call__(self, x: Tensor) -> Tensor:
        if not runs_here(x) or x.shape[2:] != self.size:
            return super().__call__(x)
        y = super().__call__(x.contiguous(memory_format=torch.channels_last))
        return from_matrix(to_matrix(y), *self.out)


@dataclass(frozen=True, eq=False)
class BatchLast(Forward):
    """A convolution by one of the kernels."""

    module: nn.Conv2d
    way: Way

    def __call__(self, x: Tensor) -> Tensor:
        if not runs_here(x) or x.shape[2:] != self.way.geometry.size:
            return super().__call__(x)
        y = run(to_matrix(x), (Layer(self.module, self.way, None, ACTIVATIONS[nn.Identity]),))
        if self.module.bias is not None:
            y.add_(self.module.bias.view(-1, *(1,) * (y.dim() - 1)))
        return from_matrix(y, *self.way.geometry.out)


def of_norm(norm: nn.BatchNorm2d, x: Tensor, walk: Walk) -> Forward | None:
    """Fast where batch-last maps arrive."""
    if not runs_here(x) or not is_batch_last(x):
        return None
    return Norm(norm, ACTIVATIONS[nn.Identity], (x.shape[2], x.shape[3]), [])


def of_norm_act(norm: BatchNormAct2d, x: Tensor, walk: Walk) -> Forward | None:
    """The same for timm's norm with an activation."""
    act = ACTIVATIONS.get(type(norm.act))
    if act is None or type(norm.drop) is not nn.Identity or not runs_here(x) or not is_batch_last(x):
        return None
    return Norm(norm, act, (x.shape[2], x.shape[3]), list(norm._modules.values()))


@dataclass(frozen=True, eq=False)
class Norm(Forward):
    """Batch norm, and the activation that follows in timm's."""

    module: nn.BatchNorm2d
    act: Activation
    size: Pair
    parts: list[nn.Module | None]

    def __call__(self, x: Tensor) -> Tensor:
        norm = self.module
        # one value a channel has no variance: the class raises the error that users know
        if not runs_here(x) or x.shape[2:] != self.size or x.numel() <= x.shape[1] or not self._holds():
            return super().__call__(x)
        if norm.training or norm.running_mean is None:
            y = run(to_matrix(x), (Layer(None, None, norm, self.act),))
        else:
            mean, variance = norm.running_mean, norm.running_var
            y = F.batch_norm(to_matrix(x)[None], mean, variance, norm.weight, norm.bias, eps=norm.eps)
            y = self.act.forward(y.squeeze(0))
        return from_matrix(y, *self.size)

    def _holds(self) -> bool:
        return list(self.module._modules.values()) == self.parts and not any(
            part._forward_hooks or part._forward_pre_hooks for part in self.parts if part is not None
        )


def of_activation(act: nn.Module, x: Tensor, walk: Walk) -> Forward | None:
    """Out of place, where it would write into views."""
    return OutOfPlace(act) if act.inplace else None


@dataclass(frozen=True, eq=False)
class OutOfPlace(Forward):
    """An activation that does not write into views, for which autograd would first copy the whole tensor."""

    def __call__(self, x: Tensor) -> Tensor:
        act = self.module
        if not act.inplace or torch.compiler.is_compiling() or not x._is_view():
            return super().__call__(x)
        act.inplace = False  # type: ignore[assignment]
        try:
            return super().__call__(x)
        finally:
            act.inplace = True  # type: ignore[assignment]


def of_linear(layer: nn.Linear, x: Tensor, walk: Walk) -> Forward | None:
    """Fast where embeddings arrive as the transpose of (features, batch), as batch-last maps leave them."""
    return Linear(layer) if x.dim() == 2 and x.stride() == (1, x.shape[0]) and _is_computed_here(x) else None


@dataclass(frozen=True, eq=False)
class Linear(Forward):
    """A linear layer that reads the transposed matrix as it is."""

    module: nn.Linear

    def __call__(self, x: Tensor) -> Tensor:
        if x.dim() != 2 or not _is_computed_here(x):
            return super().__call__(x)
        y = torch.mm(self.module.weight, x.t()).t()
        return y if self.module.bias is None else y + self.module.bias
