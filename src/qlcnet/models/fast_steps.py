"""A row of batch-last layers as one step of autograd: convolution, batch norm, activation, squeeze-excite, shortcut.

On small maps the views between layers and autograd's bookkeeping cost more than the arithmetic. `Chain` runs any number
of steps as one Function: between them there are only matrices (C, H*W*B) and calls into torch. Second derivatives are
not available through it (`decelerate` brings them back).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from qlcnet.models.fast_kernels import Way

aten = torch.ops.aten
Tensors = tuple[Tensor | None, ...]


@dataclass(frozen=True)
class Activation:
    """An elementwise function; its gradient reads the output where `of_output`, else the input."""

    forward: Callable[[Tensor], Tensor]  # may write into its input
    backward: Callable[[Tensor, Tensor], Tensor]
    of_output: bool


ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.Identity: Activation(lambda x: x, lambda grad, _: grad, True),
    nn.ReLU: Activation(torch.relu_, lambda grad, y: aten.threshold_backward(grad, y, 0), True),
    nn.Sigmoid: Activation(torch.sigmoid_, aten.sigmoid_backward, True),
    nn.Hardsigmoid: Activation(F.hardsigmoid, aten.hardsigmoid_backward, False),
    nn.Hardswish: Activation(F.hardswish, aten.hardswish_backward, False),
    nn.SiLU: Activation(F.silu, aten.silu_backward, False),
}


class Step(Protocol):
    """Something a chain does to a matrix x (C, H*W*B). `shortcuts` is a stack that lives as long as the pass."""

    def parameters(self) -> Tensors:
        """What the step is differentiated by, beside x."""

    def forward(self, x: Tensor, parameters: Tensors, shortcuts: list[Tensor]) -> tuple[Tensor, Tensors]:
        """Output, and the tensors that backward needs."""

    def backward(
        self, grad: Tensor, kept: Tensors, asked: Sequence[bool], shortcuts: list[Tensor]
    ) -> tuple[Tensor | None, Tensors]:
        """Gradients of x and of the parameters; `asked` says which are needed, x first."""


@dataclass(frozen=True, eq=False)
class Layer:
    """act(norm(conv(x))); either of conv and norm may be missing.

    Batch norm is computed as a group norm whose groups are the rows of (C, H*W*B): the same function, and torch's
    kernel for it is 2 to 5 times as fast as its batch norm.
    """

    conv: nn.Conv2d | None
    way: Way | None
    norm: nn.BatchNorm2d | None
    act: Activation

    def parameters(self) -> Tensors:
        weight = None if self.conv is None else self.conv._parameters["weight"]
        if self.norm is None:
            return weight, None, None
        return weight, self.norm._parameters["weight"], self.norm._parameters["bias"]

    def forward(self, x: Tensor, parameters: Tensors, shortcuts: list[Tensor]) -> tuple[Tensor, Tensors]:
        weight, gamma, beta = parameters
        of_way: Tensors = ()
        if self.way is not None:
            assert weight is not None
            x, of_way = self.way.forward(x, weight)
        if self.norm is None:
            return x, of_way
        rows = x.shape[0]
        count = x.numel() // rows
        y, mean, rstd = torch.native_group_norm(x, gamma, beta, 1, rows, count, rows, self.norm.eps)
        track(self.norm, mean, rstd, count)
        before = y
        y = self.act.forward(y)
        if y.dim() != 2:
            y = y.view(rows, -1)
        return y, (x, mean, rstd, gamma, y if self.act.of_output else before, *of_way)

    def backward(
        self, grad: Tensor, kept: Tensors, asked: Sequence[bool], shortcuts: list[Tensor]
    ) -> tuple[Tensor | None, Tensors]:
        of_x, of_weight, of_gamma, of_beta = asked
        grad_weight = grad_gamma = grad_beta = None
        if self.norm is not None:
            x, mean, rstd, gamma, of_act, *of_way = kept
            rows = x.shape[0]
            count = x.numel() // rows
            grad = self.act.backward(grad if self.act.of_output else grad.view_as(of_act), of_act)
            grad, grad_gamma, grad_beta = aten.native_group_norm_backward(
                grad, x, mean, rstd, gamma, 1, rows, count, rows, (of_x or of_weight, of_gamma, of_beta)
            )
        else:
            of_way = kept
        if self.way is not None and (of_x or of_weight):
            grad, grad_weight = self.way.backward(grad, of_way, of_x, of_weight)
        return grad, (grad_weight, grad_gamma, grad_beta)


def track(norm: nn.BatchNorm2d, mean: Tensor, rstd: Tensor, count: int) -> None:
    """Move the running statistics of `norm` towards a batch of `count` values a channel, as nn.BatchNorm2d does.

    `mean` and `rstd` = 1 / sqrt(biased variance + eps) are of shape (1, C). Gradients must be off.
    """
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    norm.num_batches_tracked.add_(1)
    share = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
    norm.running_mean.lerp_(mean[0], share)
    norm.running_var.mul_(1 - share).add_(rstd[0].pow(-2).sub_(norm.eps), alpha=share * count / (count - 1))


@dataclass(frozen=True, eq=False)
class SqueezeExcite:
    """x times a factor for each channel and sample, computed from x's means over the map by two linear layers."""

    reduce: nn.Conv2d
    act: Activation
    expand: nn.Conv2d
    gate: Activation
    positions: int  # H * W

    def parameters(self) -> Tensors:
        reduce, expand = self.reduce._parameters, self.expand._parameters
        return reduce["weight"], reduce["bias"], expand["weight"], expand["bias"]

    def forward(self, x: Tensor, parameters: Tensors, shortcuts: list[Tensor]) -> tuple[Tensor, Tensors]:
        weight_in, bias_in, weight_out, bias_out = parameters
        assert weight_in is not None and bias_in is not None and weight_out is not None and bias_out is not None
        maps = x.view(len(x), self.positions, -1)
        pooled = x if self.positions == 1 else maps.mean(1)
        matrix_in, matrix_out = weight_in.flatten(1), weight_out.flatten(1)
        hidden = torch.addmm(bias_in.view(-1, 1), matrix_in, pooled)
        active = self.act.forward(hidden)
        logit = torch.addmm(bias_out.view(-1, 1), matrix_out, active)
        factor = self.gate.forward(logit)
        y = (maps * factor.unsqueeze(1)).view(len(x), -1)
        of_act = active if self.act.of_output else hidden
        return y, (maps, pooled, matrix_in, matrix_out, active, of_act, factor, factor if self.gate.of_output else logit)

    def backward(
        self, grad: Tensor, kept: Tensors, asked: Sequence[bool], shortcuts: list[Tensor]
    ) -> tuple[Tensor | None, Tensors]:
        maps, pooled, matrix_in, matrix_out, active, of_act, factor, of_gate = kept
        grad = grad.view(maps.shape)
        grad_logit = self.gate.backward((grad * maps).sum(1), of_gate)
        grad_hidden = self.act.backward(torch.mm(matrix_out.t(), grad_logit), of_act)
        grad_x = None
        if asked[0]:
            grad_x = grad * factor.unsqueeze(1)
            grad_x.add_(torch.mm(matrix_in.t(), grad_hidden).unsqueeze(1), alpha=1 / self.positions)
            grad_x = grad_x.view(len(maps), -1)
        return grad_x, (
            torch.mm(grad_hidden, pooled.t()).view(*matrix_in.shape, 1, 1),
            grad_hidden.sum(1),
            torch.mm(grad_logit, active.t()).view(*matrix_out.shape, 1, 1),
            grad_logit.sum(1),
        )


class Open:
    """The beginning of a residual block: x goes on, and is kept for the `Close` that belongs to it."""

    def parameters(self) -> Tensors:
        return ()

    def forward(self, x: Tensor, parameters: Tensors, shortcuts: list[Tensor]) -> tuple[Tensor, Tensors]:
        shortcuts.append(x)
        return x, ()

    def backward(
        self, grad: Tensor, kept: Tensors, asked: Sequence[bool], shortcuts: list[Tensor]
    ) -> tuple[Tensor | None, Tensors]:
        return grad + shortcuts.pop(), ()


class Close:
    """The end of a residual block: x plus what its `Open` kept."""

    def parameters(self) -> Tensors:
        return ()

    def forward(self, x: Tensor, parameters: Tensors, shortcuts: list[Tensor]) -> tuple[Tensor, Tensors]:
        return x + shortcuts.pop(), ()

    def backward(
        self, grad: Tensor, kept: Tensors, asked: Sequence[bool], shortcuts: list[Tensor]
    ) -> tuple[Tensor | None, Tensors]:
        shortcuts.append(grad)
        return grad, ()


class Chain(torch.autograd.Function):
    """`steps` one after the other on a matrix x (C, H*W*B), in training mode. Call `run`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: Sequence[Step], cuts: Sequence[int], *parameters: Tensor | None) -> Tensor:
        shortcuts: list[Tensor] = []
        kept: list[Tensor | None] = []
        ends = [0]
        for step, (start, end) in zip(steps, pairwise(cuts), strict=True):
            x, of_step = step.forward(x, parameters[start:end], shortcuts)
            kept.extend(of_step)
            ends.append(len(kept))
        ctx.steps, ctx.cuts, ctx.ends = steps, cuts, ends
        ctx.save_for_backward(*kept)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        kept, steps, cuts, ends = ctx.saved_tensors, ctx.steps, ctx.cuts, ctx.ends
        of_x, _, _, *asked = ctx.needs_input_grad
        shortcuts: list[Tensor] = []
        gradients: list[Tensor | None] = [None] * len(asked)
        grad_x: Tensor | None = grad.contiguous()
        for i in range(len(steps) - 1, -1, -1):
            start, end = cuts[i], cuts[i + 1]
            # below the first step that is differentiated nothing needs a gradient of x
            wanted = (of_x or any(asked[:start]), *asked[start:end])
            grad_x, gradients[start:end] = steps[i].backward(grad_x, kept[ends[i] : ends[i + 1]], wanted, shortcuts)
            if grad_x is None:
                break
        return grad_x, None, None, *gradients


def run(x: Tensor, steps: Sequence[Step]) -> Tensor:
    """`steps` on a matrix x (C, H*W*B), differentiable by x and by the steps' parameters."""
    parameters: list[Tensor | None] = []
    cuts = [0]
    for step in steps:
        parameters.extend(step.parameters())
        cuts.append(len(parameters))
    return Chain.apply(x, steps, cuts, *parameters)
