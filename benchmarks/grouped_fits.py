"""Several fits of one network in one pass: with weights stacked by torch.func.vmap, or as the groups of one network.

Device-independent; benchmarks/accelerator.py times them. Fits that stand side by side share no value: BatchNorm
counts each channel over the batch alone, and the sum of the fits' losses has, for the weights of one fit, the gradient
of that fit's loss. So each computes what it would compute alone, up to the order in which its sums are taken
(tests/test_grouped_fits.py: float64, gradients, running statistics, and weights after steps of Adam).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy
from torch.nn.modules.batchnorm import _BatchNorm

from qlcnet.models.heads import Sine
from qlcnet.models.network import Network
from qlcnet.quantum.head import QuantumLayer


def losses_of(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of each fit (F,), whose sum is minimised: logits (F, B, K), y int64 (F, B)."""
    return cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape).mean(1)


class Single(nn.Module):
    """One network with the interface of several: x (1, B, C, H, W) -> logits (1, B, K)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the fit's images."""
        logits: Tensor = self.network(x[0])
        return logits.unsqueeze(0)


class Vmapped(nn.Module):
    """F networks with stacked weights: x (F, B, C, H, W) -> logits (F, B, K). Each weight is (F, ...)."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        weights, buffers = stack_module_state(list(networks))
        self._names = {name: name.replace(".", "/") for name in (*weights, *buffers)}  # torch allows no dot in a name
        for name, value in weights.items():
            self.register_parameter(self._names[name], nn.Parameter(value.detach()))
        for name, value in buffers.items():
            self.register_buffer(self._names[name], value)
        self._one = [copy.deepcopy(networks[0])]  # in a list: its weights are none of this module's

    def train(self, mode: bool = True) -> Vmapped:
        """As every module's."""
        self._one[0].train(mode)
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each fit's images."""
        state = {name: getattr(self, own) for name, own in self._names.items()}
        return vmap(self._alone)(state, x)

    def _alone(self, state: dict[str, Tensor], x: Tensor) -> Tensor:
        logits: Tensor = functional_call(self._one[0], state, (x,))
        return logits

    def of_fit(self, i: int, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of `values` (weights or gradients, by this module's names) what belongs to fit `i`, by the fit's names."""
        return {name: values[own][i] for name, own in self._names.items() if own in values}


class Grouped(nn.Module):
    """F networks as one of F times the channels, which never mix: x (F, B, C, H, W) -> logits (F, B, K).

    Channel c of fit f is channel f * C + c, so a convolution of G groups becomes one of F * G. With `products` each
    dense 1 x 1 convolution is a batched matrix product instead. For networks of one backbone, and heads that are
    linear, bottleneck, sine, or the quantum head's `ry`.
    """

    def __init__(self, networks: Sequence[nn.Module], products: bool = False, channels_last: bool = True) -> None:
        super().__init__()
        first = networks[0]
        if not isinstance(first, Network) or len(first.backbones) != 1:
            raise ValueError("only a Network of one backbone becomes a group")
        self.fits = len(networks)
        self.channels_last = channels_last
        self.network = copy.deepcopy(first)
        self._columns: set[str] = set()  # weights whose fits stand side by side along dimension 1
        for name, _ in list(first.named_modules()):
            self._replace(name, [network.get_submodule(name) for network in networks], products)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each fit's images."""
        fits, batch, channels, height, width = x.shape
        if self.channels_last:  # (B, H, W, F, C) in memory is channels_last of F * C channels
            x = x.permute(1, 3, 4, 0, 2).reshape(batch, height, width, fits * channels).permute(0, 3, 1, 2)
        else:
            x = x.transpose(0, 1).reshape(batch, fits * channels, height, width)
        logits: Tensor = self.network(x)
        return logits.view(batch, fits, -1).transpose(0, 1)

    def of_fit(self, i: int, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of `values` (weights or gradients, by this module's names) what belongs to fit `i`, by the fit's names."""
        found = {}
        for name, value in values.items():
            own = name.removeprefix("network.")
            if value.dim():  # the count of batches of a BatchNorm is one for all
                value = value.chunk(self.fits, 1 if own in self._columns else 0)[i]
            found[own] = value
        return found

    def _replace(self, name: str, layers: list[nn.Module], products: bool) -> None:
        layer = self.network.get_submodule(name)
        if isinstance(layer, nn.Conv2d):
            if products and layer.kernel_size == (1, 1) and layer.stride == (1, 1) and layer.groups == 1:
                self.network.set_submodule(name, GroupedProduct(layers))  # type: ignore[arg-type]
                return
            layer.groups *= self.fits
            layer.in_channels, layer.out_channels = self.fits * layer.in_channels, self.fits * layer.out_channels
        elif isinstance(layer, _BatchNorm):
            layer.num_features *= self.fits
        elif isinstance(layer, nn.Linear):
            self.network.set_submodule(name, GroupedLinear(layers))  # type: ignore[arg-type]
            return
        elif isinstance(layer, Sine | QuantumLayer):
            if isinstance(layer, QuantumLayer):
                if layer.ansatz != "ry":
                    raise ValueError(f"a quantum head of ansatz {layer.ansatz} has no grouped form")
                layer.qubits *= self.fits
            self._columns.add(f"{name}.weight")
            layer.weight = nn.Parameter(torch.cat([_weight(one) for one in layers], 1))
            return
        elif any(True for _ in layer.parameters(recurse=False)):
            raise ValueError(f"{name}: {type(layer).__name__} has weights and no grouped form")
        states = [dict(one.named_parameters(recurse=False)) | dict(one.named_buffers(recurse=False)) for one in layers]
        for key, value in states[0].items():
            if not value.dim():
                continue
            whole = torch.cat([state[key].detach() for state in states])
            if value.dim() == 4:
                layout = torch.channels_last if self.channels_last else torch.contiguous_format
                whole = whole.contiguous(memory_format=layout)
            setattr(layer, key, nn.Parameter(whole) if isinstance(value, nn.Parameter) else whole)


class GroupedLinear(nn.Module):
    """F Linears side by side: (B, F * I) -> (B, F * O); weight (F * O, I), bias (F * O,)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        super().__init__()
        self.fits = len(layers)
        self.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]))
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = nn.Parameter(torch.cat(biases)) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        """Each fit's product with its own weight."""
        out = _products(x, self.weight, self.fits)
        return out if self.bias is None else out + self.bias


class GroupedProduct(nn.Module):
    """F dense 1 x 1 convolutions as one batched product: (B, F * I, H, W) -> (B, F * O, H, W), both channels_last."""

    def __init__(self, layers: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.fits = len(layers)
        self.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]).contiguous())
        biases = [layer.bias.detach() for layer in layers if layer.bias is not None]
        self.bias = nn.Parameter(torch.cat(biases)) if biases else None

    def forward(self, x: Tensor) -> Tensor:
        """Each fit's product with its own weight."""
        batch, _, height, width = x.shape
        rows = x.permute(0, 2, 3, 1).reshape(batch * height * width, -1)
        out = _products(rows, self.weight.flatten(1), self.fits)
        if self.bias is not None:
            out = out + self.bias
        return out.view(batch, height, width, -1).permute(0, 3, 1, 2)


def _products(x: Tensor, weight: Tensor, fits: int) -> Tensor:
    """(N, F * I) and (F * O, I) -> (N, F * O)."""
    left = x.view(len(x), fits, -1).transpose(0, 1)  # (F, N, I): a view, which cuBLAS takes as it is
    right = weight.view(fits, -1, weight.shape[1]).transpose(1, 2)
    return torch.bmm(left, right).transpose(0, 1).reshape(len(x), -1)


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach()
