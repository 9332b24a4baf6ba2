"""A row of batch-last layers as one step of autograd: convolution, batch norm, activation, squeeze-excite, shortcut.

On small maps the views between layers and autograd's bookkeeping cost more than the arithmetic. `Chain` runs any number
of steps as one Function: between them there are only matrices (C, H*W*B) and calls into torch. Second derivatives are
not available through it (`decelerate` brings them back).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from qlcnet.models.fast.kernels import Way
from qlcnet.models.fast.product import product

# by overload: to look one up costs as much as a small kernel
group_norm_backward = torch.ops.aten.native_group_norm_backward.default
threshold_backward = torch.ops.aten.threshold_backward.default
hardtanh_backward = torch.ops.aten.hardtanh_backward.default
Tensors = tuple[Tensor | None, ...]
Kept = tuple[Any, ...]  # what a forward pass leaves for its backward pass
Batch = tuple[nn.BatchNorm2d, Tensor, Tensor, int]  # mean and 1 / sqrt(variance + eps), each (1, C), of so many values


@dataclass(frozen=True)
class Activation:
    """An elementwise function; `reads` says what its gradient is computed from, beside the output's gradient."""

    forward: Callable[[Tensor], Tensor]  # may write into its input
    backward: Callable[[Tensor, Any], Tensor]
    reads: Literal["nothing", "input", "output"]
    of: type[nn.Module]

    def __reduce__(self) -> tuple[Any, ...]:
        return _known, (self.of,)  # lambdas do not pickle

    def kept(self, x: Tensor, y: Tensor) -> Tensor | None:
        """What to keep of input x and output y."""
        return None if self.reads == "nothing" else x if self.reads == "input" else y


_ALL = (
    Activation(lambda x: x, lambda grad, _: grad, "nothing", nn.Identity),
    Activation(torch.relu_, lambda grad, y: threshold_backward(grad, y, 0), "output", nn.ReLU),
    Activation(
        lambda x: F.hardtanh_(x, 0.0, 6.0), lambda grad, y: hardtanh_backward(grad, y, 0.0, 6.0), "output", nn.ReLU6
    ),
    Activation(torch.sigmoid_, torch.ops.aten.sigmoid_backward.default, "output", nn.Sigmoid),
    Activation(F.hardsigmoid, torch.ops.aten.hardsigmoid_backward.default, "input", nn.Hardsigmoid),
    Activation(F.hardswish, torch.ops.aten.hardswish_backward.default, "input", nn.Hardswish),
    Activation(F.silu, torch.ops.aten.silu_backward.default, "input", nn.SiLU),
)
ACTIVATIONS: dict[type[nn.Module], Activation] = {act.of: act for act in _ALL}


def _known(kind: type[nn.Module]) -> Activation:
    return ACTIVATIONS[kind]


@dataclass
class Pass:
    """What steps of one forward or backward pass share."""

    shortcuts: list[Tensor] = field(default_factory=list)  # a stack: inputs of the residual blocks that are open
    batches: list[Batch] = field(default_factory=list)  # of the norms, in order


class Step(Protocol):
    """Something a chain does to a matrix x (C, H*W*B); `state` is the pass's."""

    def parameters(self) -> Tensors:
        """What the step is differentiated by, beside x."""

    def forward(self, x: Tensor, parameters: Tensors, state: Pass) -> tuple[Tensor, Tensors]:
        """Output, and the tensors that backward needs."""

    def backward(self, grad: Tensor, kept: Kept, asked: Sequence[bool], state: Pass) -> tuple[Tensor | None, Tensors]:
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

    def forward(self, x: Tensor, parameters: Tensors, state: Pass) -> tuple[Tensor, Tensors]:
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
        state.batches.append((self.norm, mean, rstd, count))
        if y.dim() != 2:
            y = y.view(rows, -1)
        before = y
        y = self.act.forward(y)
        return y, (x, mean, rstd, gamma, self.act.kept(before, y), *of_way)

    def backward(self, grad: Tensor, kept: Kept, asked: Sequence[bool], state: Pass) -> tuple[Tensor | None, Tensors]:
        of_x, of_weight, of_gamma, of_beta = asked
        grad_weight = grad_gamma = grad_beta = None
        if self.norm is not None:
            (x, mean, rstd, gamma, of_act), of_way = kept[:5], kept[5:]
            rows = x.shape[0]
            count = x.numel() // rows
            grad = self.act.backward(grad, of_act)
            grad, grad_gamma, grad_beta = group_norm_backward(
                grad, x, mean, rstd, gamma, 1, rows, count, rows, (of_x or of_weight, of_gamma, of_beta)
            )
        else:
            of_way = kept
        grad_x: Tensor | None = grad
        if self.way is not None and (of_x or of_weight):
            grad_x, grad_weight = self.way.backward(grad, of_way, of_x, of_weight)
        return grad_x, (grad_weight, grad_gamma, grad_beta)


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

    def forward(self, x: Tensor, parameters: Tensors, state: Pass) -> tuple[Tensor, Tensors]:
        weight_in, bias_in, weight_out, bias_out = parameters
        assert weight_in is not None
        assert bias_in is not None
        assert weight_out is not None
        assert bias_out is not None
        maps = x.view(len(x), self.positions, -1)
        pooled = x if self.positions == 1 else maps.mean(1)
        matrix_in, matrix_out = weight_in.flatten(1), weight_out.flatten(1)
        hidden = product(matrix_in, pooled).add_(bias_in.view(-1, 1))
        active = self.act.forward(hidden)
        logit = product(matrix_out, active).add_(bias_out.view(-1, 1))
        factor = self.gate.forward(logit)
        y = (maps * factor.unsqueeze(1)).view(len(x), -1)
        of_act, of_gate = self.act.kept(hidden, active), self.gate.kept(logit, factor)
        return y, (maps, pooled, matrix_in, matrix_out, active, of_act, factor, of_gate)

    def backward(self, grad: Tensor, kept: Kept, asked: Sequence[bool], state: Pass) -> tuple[Tensor | None, Tensors]:
        maps, pooled, matrix_in, matrix_out, active, of_act, factor, of_gate = kept
        grad = grad.view(maps.shape)
        grad_logit = self.gate.backward((grad * maps).sum(1), of_gate)
        grad_hidden = self.act.backward(product(matrix_out.t(), grad_logit), of_act)
        grad_x = None
        if asked[0]:
            grad_x = grad * factor.unsqueeze(1)
            grad_x.add_(product(matrix_in.t(), grad_hidden).unsqueeze(1), alpha=1 / self.positions)
            grad_x = grad_x.view(len(maps), -1)
        return grad_x, (
            product(grad_hidden, pooled.t()).view(*matrix_in.shape, 1, 1),
            grad_hidden.sum(1),
            product(grad_logit, active.t()).view(*matrix_out.shape, 1, 1),
            grad_logit.sum(1),
        )


class Open:
    """The beginning of a residual block: x goes on, and is kept for the `Close` that belongs to it."""

    def parameters(self) -> Tensors:
        return ()

    def forward(self, x: Tensor, parameters: Tensors, state: Pass) -> tuple[Tensor, Tensors]:
        state.shortcuts.append(x)
        return x, ()

    def backward(self, grad: Tensor, kept: Kept, asked: Sequence[bool], state: Pass) -> tuple[Tensor | None, Tensors]:
        return grad + state.shortcuts.pop(), ()


class Close:
    """The end of a residual block: x plus what its `Open` kept."""

    def parameters(self) -> Tensors:
        return ()

    def forward(self, x: Tensor, parameters: Tensors, state: Pass) -> tuple[Tensor, Tensors]:
        return x + state.shortcuts.pop(), ()

    def backward(self, grad: Tensor, kept: Kept, asked: Sequence[bool], state: Pass) -> tuple[Tensor | None, Tensors]:
        state.shortcuts.append(grad)
        return grad, ()


class Chain(torch.autograd.Function):
    """`steps` one after the other on a matrix x (C, H*W*B), in training mode. Call `run`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: Sequence[Step], cuts: Sequence[int], *parameters: Tensor | None) -> Tensor:
        state = Pass()
        kept: list[Tensor | None] = []
        ends = [0]
        for step, (start, end) in zip(steps, pairwise(cuts), strict=True):
            x, of_step = step.forward(x, parameters[start:end], state)
            kept.extend(of_step)
            ends.append(len(kept))
        track(state.batches)
        ctx.steps, ctx.cuts, ctx.ends = steps, cuts, ends
        ctx.save_for_backward(*kept)
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        kept, steps, cuts, ends = ctx.saved_tensors, ctx.steps, ctx.cuts, ctx.ends
        of_x, _, _, *asked = ctx.needs_input_grad
        state = Pass()
        gradients: list[Tensor | None] = [None] * len(asked)
        grad_x: Tensor | None = _own(grad)
        for i in range(len(steps) - 1, -1, -1):
            start, end = cuts[i], cuts[i + 1]
            # below the first step that is differentiated nothing needs a gradient of x
            wanted = (of_x or any(asked[:start]), *asked[start:end])
            grad_x, gradients[start:end] = steps[i].backward(grad_x, kept[ends[i] : ends[i + 1]], wanted, state)
            if grad_x is None:
                break
        return grad_x, None, None, *gradients


def track(batches: Sequence[Batch]) -> None:
    """Move running statistics towards those of a batch, as nn.BatchNorm2d does, for all norms at once.

    One by one it is six calls a norm and 4 % of a step. Gradients must be off.
    """
    batches = [batch for batch in batches if batch[0].track_running_stats and batch[0].running_mean is not None]
    if not batches:
        return
    norms, means, rstds, counts = zip(*batches, strict=True)
    torch._foreach_add_([norm.num_batches_tracked for norm in norms], 1)
    sizes = [mean.shape[1] for mean in means]
    mean = torch.cat(means, 1)[0].split(sizes)
    variance = torch.cat(rstds, 1)[0].square_().reciprocal_().split(sizes)
    torch._foreach_sub_(variance, [norm.eps for norm in norms])
    torch._foreach_mul_(variance, [count / (count - 1) for count in counts])
    by_share: dict[float, list[int]] = {}
    for i, norm in enumerate(norms):
        share = 1.0 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        by_share.setdefault(share, []).append(i)
    for share, chosen in by_share.items():
        torch._foreach_lerp_([norms[i].running_mean for i in chosen], [mean[i] for i in chosen], share)
        torch._foreach_lerp_([norms[i].running_var for i in chosen], [variance[i] for i in chosen], share)


def run(x: Tensor, steps: Sequence[Step]) -> Tensor:
    """`steps` on a matrix x (C, H*W*B), differentiable by x and by the steps' parameters."""
    parameters: list[Tensor | None] = []
    cuts = [0]
    for step in steps:
        parameters.extend(step.parameters())
        cuts.append(len(parameters))
    return Chain.apply(_own(x), steps, cuts, *parameters)


def _own(x: Tensor) -> Tensor:
    """x dense, and from the beginning of its storage (kernels count from there)."""
    return x.contiguous() if x.storage_offset() == 0 else x.clone(memory_format=torch.contiguous_format)
