"""Exact, faster execution of a convolutional network on small images on CPU: `accelerate`, undone by `decelerate`.

Layers are swapped for subclasses in place, so parameters, buffers, state_dict keys, hooks and isinstance checks stay.
On maps up to SMALL_MAP pixels wide the subclasses keep activations batch-last in memory (see fast_kernels); seen from
outside they are ordinary (B, C, H, W) tensors, so blocks, residual sums and pooling of any architecture work as they
are. Anything a subclass cannot speed up (large maps, other devices, grouped or dilated convolutions, tracing for
export) runs its parent's forward.
"""

from __future__ import annotations

import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from qlcnet.models import fast_kernels as kernels

SMALL_MAP = 16  # pixels: wider outputs go to oneDNN in channels_last


class FastConv2d(nn.Conv2d):
    """Conv2d that runs batch-last on small maps and channels_last on large ones. Same parameters, same function."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        if not _eager_cpu(x):
            return super().forward(x)
        if not self._is_plain() or max(self._output_size(x)) > SMALL_MAP:
            return super().forward(x.contiguous(memory_format=torch.channels_last))
        stride, padding = (self.stride[0], self.stride[1]), (int(self.padding[0]), int(self.padding[1]))
        last = x.permute(1, 2, 3, 0) if kernels.is_batch_last(x) else kernels.to_batch_last(x)
        if self.groups == 1:
            y = kernels.dense(last, self.weight, self.bias, stride, padding)
        else:
            y = kernels.depthwise(last, self.weight, stride, padding)
            y = y if self.bias is None else y + self.bias[:, None, None, None]
        return y.permute(3, 0, 1, 2)

    def _is_plain(self) -> bool:
        return (
            self.padding_mode == "zeros"
            and not isinstance(self.padding, str)
            and self.dilation == (1, 1)
            and (self.groups == 1 or self.groups == self.in_channels == self.out_channels)
        )

    def _output_size(self, x: Tensor) -> tuple[int, int]:
        kernel, stride = (self.kernel_size[0], self.kernel_size[1]), (self.stride[0], self.stride[1])
        padding = (int(self.padding[0]), int(self.padding[1]))
        return kernels.output_size((x.shape[2], x.shape[3]), kernel, stride, padding)


class _FastNorm(nn.BatchNorm2d):
    """Batch norm of a batch-last tensor; the part shared by the two classes below."""

    def _normalise(self, x: Tensor, act: nn.Module | None = None) -> Tensor:
        batch, channels, height, width = x.shape
        rows = x.permute(1, 2, 3, 0).view(channels, -1)
        if self.training or self.running_mean is None:
            y, mean, rstd = kernels.normalise(rows, self.weight, self.bias, self.eps)
            if self.training and self.track_running_stats:
                self._track(mean.detach(), rstd.detach(), rows.shape[1])
        else:
            assert self.running_var is not None
            y = kernels.normalise_by(rows, self.running_mean, self.running_var, self.weight, self.bias, self.eps)
        if act is not None:
            y = act(y)  # before the views: autograd copies a whole tensor when a view is changed in place
        return y.view(channels, height, width, batch).permute(3, 0, 1, 2)

    @torch.no_grad()
    def _track(self, mean: Tensor, rstd: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        variance = rstd.pow(-2).sub_(self.eps)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.mul_(1 - momentum).add_(variance, alpha=momentum * count / (count - 1))


class FastBatchNorm2d(_FastNorm):
    """BatchNorm2d that is fast on batch-last tensors."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return self._normalise(x) if _runs_batch_last(x) else super().forward(x)


class FastBatchNormAct2d(_FastNorm, BatchNormAct2d):
    """timm's BatchNormAct2d that is fast on batch-last tensors."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        if isinstance(self.drop, nn.Identity) and _runs_batch_last(x):
            return self._normalise(x, self.act)
        return BatchNormAct2d.forward(self, x)


def _eager_cpu(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and x.dtype in (torch.float32, torch.float64)


def _runs_batch_last(x: Tensor) -> bool:
    # one value a channel has no variance: the parent raises the error that users know
    return _eager_cpu(x) and kernels.is_batch_last(x) and x.numel() > x.shape[1]


FAST_CLASS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv2d: FastConv2d,
    nn.BatchNorm2d: FastBatchNorm2d,
    BatchNormAct2d: FastBatchNormAct2d,
}
PLAIN_CLASS = {fast: plain for plain, fast in FAST_CLASS.items()}


def accelerate(network: nn.Module, input_size: tuple[int, int]) -> nn.Module:
    """Make `network` run faster on CPU, in place, and return it. `input_size` is the images' (height, width).

    The same function up to float32 rounding: outputs, gradients, running statistics, state_dict.
    """
    return _swap(network, FAST_CLASS)


def decelerate(network: nn.Module) -> nn.Module:
    """Undo `accelerate`, in place, and return the network."""
    return _swap(network, PLAIN_CLASS)


def _swap(network: nn.Module, table: dict[type[nn.Module], type[nn.Module]]) -> nn.Module:
    for module in network.modules():
        module.__class__ = table.get(type(module), type(module))
    return network
