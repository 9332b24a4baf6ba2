"""What stands between neck and classifier in the place of a circuit: classical units on as many numbers.

Each trains as many numbers as the circuit of the same keys has angles, so that a quantum head's lead over it is no lead
in parameters. docs/controls.md has their formulas and sources.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from qlcnet.quantum.raw_stream import RawStream


class Sine(nn.Module):
    """The classical twin of the paper's circuit: -sin(angle + w), w the sum of `weight` (layers, qubits) over layers.

    forward: angles (B, qubits) in radians -> (B, qubits). Equal to QuantumLayer(ansatz="ry") to rounding, and its
    parameters have the same shape and are drawn alike, so one seed gives both twins the same start
    (tests/models/test_heads.py::test_sine_is_the_quantum_heads_twin).
    """

    def __init__(self, qubits: int, layers: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(layers, qubits).uniform_(0.0, 2.0 * math.pi))

    def forward(self, angles: Tensor) -> Tensor:
        """The sines (B, qubits) of angles (B, qubits) in radians."""
        return torch.sin(angles + self.weight.sum(0)).neg()


class Perceptron(nn.Module):
    """x <- tanh(x + W x + b), as many layers as `parameters` numbers fill: exactly so many are trained.

    forward: (B, width) -> (B, width) in (-1, 1). A layer takes its biases first, then its weights diagonal by
    diagonal, the next input's first and each unit's own last; what is not trained is 0. With no more parameters than
    units, as for the paper's circuit, every unit is tanh(x + b). All start from U(-1/sqrt(width), 1/sqrt(width)).
    """

    places: Tensor

    def __init__(self, width: int, parameters: int) -> None:
        super().__init__()
        limit = 1.0 / math.sqrt(width)
        self.width = width
        self.depth = -(-parameters // (width * (width + 1)))
        self.weight = nn.Parameter(torch.empty(parameters).uniform_(-limit, limit))
        self.register_buffer("places", _places(width, self.depth)[:parameters], persistent=False)
        self.biases_alone = parameters == width

    def forward(self, x: Tensor) -> Tensor:
        """The last layer's values (B, width) of x (B, width)."""
        if self.biases_alone:
            return torch.tanh(x + self.weight)
        whole = self.weight.new_zeros(self.depth * self.width * (self.width + 1)).scatter(0, self.places, self.weight)
        for layer in whole.unflatten(0, (self.depth, self.width + 1, self.width)):
            x = torch.tanh(x + torch.addmm(layer[0], x, layer[1:]))
        return x


def _places(width: int, depth: int) -> Tensor:
    """Where trained numbers stand in (depth, width + 1, width), in the order in which they are taken."""
    rows = [(0, unit) for unit in range(width)]
    rows += [(1 + (unit + step) % width, unit) for step in range(1, width + 1) for unit in range(width)]
    one = torch.tensor([row * width + column for row, column in rows])
    return torch.cat([one + layer * width * (width + 1) for layer in range(depth)])


class RandomFourier(nn.Module):
    """Random Fourier features with trained coefficients: y_i = sum_k a_k cos(w_k . angles + phase_k) over i's terms.

    forward: angles (B, width) in radians -> (B, width). Term k belongs to output k mod width. Frequencies w_k are drawn
    by `seed` from {-1, 0, 1}^width without 0, the spectrum of every circuit that encodes each angle once by a Pauli
    rotation (Schuld, Sweke and Meyer 2021, arXiv:2008.08605); phases are uniform. Neither is trained: the classical
    approximation of a variational circuit (Rahimi and Recht 2007; Landman et al. 2022, arXiv:2210.13200).
    """

    frequencies: Tensor
    phases: Tensor
    outputs: Tensor

    def __init__(self, width: int, parameters: int, seed: int) -> None:
        super().__init__()
        stream = RawStream(seed, 0)
        drawn = [_frequency(width, stream) for _ in range(parameters)]
        phases = [stream.angle() for _ in range(parameters)]
        self.weight = nn.Parameter(torch.empty(parameters).uniform_(-1.0, 1.0))
        self.register_buffer("frequencies", torch.tensor(drawn, dtype=torch.float32).T.contiguous())
        self.register_buffer("phases", torch.tensor(phases))
        belongs = torch.arange(parameters)[:, None] % width == torch.arange(width)
        self.register_buffer("outputs", belongs.to(torch.float32), persistent=False)
        self.one_each = parameters == width

    def forward(self, angles: Tensor) -> Tensor:
        """Sums (B, width) of the features of angles (B, width) in radians."""
        features = self.weight * torch.cos(torch.addmm(self.phases, angles, self.frequencies))
        return features if self.one_each else features @ self.outputs


def _frequency(width: int, stream: RawStream) -> list[int]:
    while True:
        drawn = [stream.below(3) - 1 for _ in range(width)]
        if any(drawn):
            return drawn


class Shots(nn.Module):
    """Values in [-1, 1] as means of `shots` draws of +1 and -1 with these expectations, in training alone.

    forward: (…) -> (…). The gradient passes as if nothing had been drawn (straight-through: Bengio, Leonard and
    Courville 2013, arXiv:1308.3432), for it is unbiased: the mean of the draws is the value. Each value has its own
    draws, from torch's global generator. Predictions come from the expectations: they are a function of weights.
    """

    def __init__(self, shots: int) -> None:
        super().__init__()
        self.shots = shots

    def forward(self, values: Tensor) -> Tensor:
        """Means of draws in training; `values` themselves else."""
        if not self.training:
            return values
        with torch.no_grad():
            chance = (0.5 + 0.5 * values).clamp(0.0, 1.0)
            noise = torch.binomial(torch.full_like(chance, self.shots), chance) * (2.0 / self.shots) - 1.0 - values
        return values + noise
