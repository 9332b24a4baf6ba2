"""Subclasses of torch's and timm's layers that run batch-last on small maps (see kernels).

Seen from outside, activations stay (B, C, H, W) tensors; only their memory is (C, H, W, B). So blocks, residual sums
and pooling of any architecture work on them as they are. Whatever a subclass cannot speed up (large maps, other
devices, grouped or dilated convolutions, torch.compile and torch.export) runs its parent's forward.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers.linear import Linear as TimmLinear
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from qlcnet.models.fast.kernels import Way, choose
from qlcnet.models.fast.steps import ACTIVATIONS, Activation, Layer, run

SMALL_MAP = 16  # pixels; maps that are wider or higher stay with oneDNN in channels_last


def runs_here(x: Tensor) -> bool:
    """Whether the fast path can take x at all: (B, C, H, W), eager, on CPU, in float32 or float64."""
    return (
        x.dim() == 4
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.compiler.is_compiling()
    )


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
    if pixels_first.is_contiguous() and channels >= 16:
        transposed = pixels_first.reshape(batch, -1).t().contiguous().view(-1, channels, batch)
        return transposed.transpose(0, 1).reshape(channels, -1)
    return x.permute(1, 2, 3, 0).reshape(channels, -1)


def from_matrix(y: Tensor, height: int, width: int) -> Tensor:
    """The inverse of `to_matrix`: a (B, C, H, W) view of y (C, H*W*B)."""
    return y.view(y.shape[0], height, width, -1).permute(3, 0, 1, 2)


def way_of(conv: nn.Conv2d, size: tuple[int, int]) -> Way | None:
    """How to compute `conv` on maps of that size; None: leave it to torch."""
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str) or conv.dilation != (1, 1):
        return None
    depthwise = conv.groups > 1 and conv.groups == conv.in_channels == conv.out_channels
    if conv.groups > 1 and not depthwise:
        return None
    way = choose(size, conv.kernel_size, conv.stride, conv.padding, depthwise)
    size = way.geometry.out
    return way if way.geometry.taps and min(size) > 0 and max(size) <= SMALL_MAP else None


class FastConv2d(nn.Conv2d):
    """Conv2d. Batch-last on small maps, channels_last on large ones."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        if not runs_here(x):
            return super().forward(x)
        way = way_of(self, (x.shape[2], x.shape[3]))
        if way is None:
            return super().forward(x.contiguous(memory_format=torch.channels_last))
        if self.groups == 1 and self.kernel_size != (1, 1) and not is_batch_last(x):
            # a first convolution: oneDNN on the image as it comes is faster than transposing it and its columns
            y = super().forward(x.contiguous(memory_format=torch.channels_last))
            return from_matrix(to_matrix(y), *way.geometry.out)
        y = run(to_matrix(x), (Layer(self, way, None, ACTIVATIONS[nn.Identity]),))
        if self.bias is not None:
            y.add_(self.bias.view(-1, *(1,) * (y.dim() - 1)))
        return from_matrix(y, *way.geometry.out)


def activation_of(act: nn.Module) -> Activation | None:
    """The table's entry for a module, None where there is none; FastReLU and such count as their parents."""
    kind = type(act)
    return ACTIVATIONS.get(kind.__bases__[-1] if issubclass(kind, _OutOfPlace) else kind)


class FastBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d that is fast on batch-last maps."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return _normalise(self, x, ACTIVATIONS[nn.Identity]) if _can_normalise(x) else super().forward(x)


class FastBatchNormAct2d(BatchNormAct2d):
    """timm's BatchNormAct2d that is fast on batch-last maps."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        act = activation_of(self.act)
        if act is None or self.act._forward_hooks or type(self.drop) is not nn.Identity or not _can_normalise(x):
            return super().forward(x)
        return _normalise(self, x, act)


def _can_normalise(x: Tensor) -> bool:
    # one value a channel has no variance: the parent raises the error that users know
    return runs_here(x) and is_batch_last(x) and x.numel() > x.shape[1]


def _normalise(norm: nn.BatchNorm2d, x: Tensor, act: Activation) -> Tensor:
    height, width = x.shape[2:]
    if norm.training or norm.running_mean is None:
        y = run(to_matrix(x), (Layer(None, None, norm, act),))
    else:
        y = F.batch_norm(to_matrix(x)[None], norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
        y = act.forward(y.squeeze(0))
    return from_matrix(y, height, width)


class _OutOfPlace:
    """Mixin: an activation that does not write into views, for which autograd would first copy the whole tensor."""

    inplace: bool

    def forward(self, x: Tensor) -> Tensor:
        inplace = self.inplace
        if not inplace or torch.compiler.is_compiling() or not x._is_view():
            return super().forward(x)  # type: ignore[misc]
        self.inplace = False
        try:
            return super().forward(x)  # type: ignore[misc]
        finally:
            self.inplace = inplace


class FastReLU(_OutOfPlace, nn.ReLU):
    """ReLU that leaves views alone."""


class FastHardswish(_OutOfPlace, nn.Hardswish):
    """Hardswish that leaves views alone."""


class FastSiLU(_OutOfPlace, nn.SiLU):
    """SiLU that leaves views alone."""


class FastLinear(nn.Linear):
    """Linear that reads the transposed (features, batch) matrix in which batch-last embeddings come."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, features) to (B, out_features)."""
        return _linear(self, x) if _is_transposed(x) else super().forward(x)


class FastTimmLinear(TimmLinear):
    """The same for timm's Linear."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, features) to (B, out_features)."""
        return _linear(self, x) if _is_transposed(x) else super().forward(x)


def _is_transposed(x: Tensor) -> bool:
    if x.dim() != 2 or x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    return x.stride() == (1, x.shape[0]) and x.dtype in (torch.float32, torch.float64)


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    y = torch.mm(layer.weight, x.t()).t()
    return y if layer.bias is None else y + layer.bias
