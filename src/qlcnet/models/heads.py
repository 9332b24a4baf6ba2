"""From embedding to logits: the linear head, and the narrow heads that differ only behind a neck they share."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from qlcnet.config import Head
from qlcnet.quantum.head import QuantumLayer, weight_shape


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


class NarrowHead(nn.Module):
    """Linear to `qubits` numbers, normalised, tanh, times `scale`, a unit on these numbers, Linear to logits.

    forward: embedding (B, embedding) -> logits (B, classes); B >= 2 in training where the neck normalises. Without
    BatchNorm before tanh such heads saturate: a plain bottleneck then learns nothing in 10 epochs (macro AUC 0.49
    against 0.80 with it: DermaMNIST, lcnet_050), and any other unit would win against it for that alone.
    """

    def __init__(
        self, embedding: int, classes: int, head: Head, scale: float, unit: Callable[[Head], nn.Module]
    ) -> None:
        super().__init__()
        self.scale = scale
        self.reduce = nn.Linear(embedding, head.qubits)
        self.normalise = nn.BatchNorm1d(head.qubits, affine=False) if head.normalise else nn.Identity()
        self.classify = nn.Linear(head.qubits, classes)
        self.unit = unit(head)  # last: with one seed, all narrow heads start from the same two Linears

    def forward(self, embedding: Tensor) -> Tensor:
        """Logits (B, classes) of embeddings (B, embedding)."""
        # dense: of a transposed matrix torch's BatchNorm takes square roots by MKL, whose last bits depend on the CPU
        # (tests/grid/test_numerics.py::test_no_fit_takes_square_roots_by_mkl)
        narrow = torch.tanh(self.normalise(self.reduce(embedding).contiguous()))
        return self.classify(self.unit(narrow if self.scale == 1.0 else self.scale * narrow))


def _quantum(head: Head) -> nn.Module:
    return QuantumLayer(head.qubits, head.ansatz, head.layers, head.rotations, head.seed, head.noise)


# kind -> builder(embedding, classes, head) of a module (B, embedding) -> logits (B, classes); weights from torch's
# global generator
Builder = Callable[[int, int, Head], nn.Module]
HEADS: dict[str, Builder] = {
    "linear": lambda embedding, classes, head: nn.Linear(embedding, classes),
    "bottleneck": lambda embedding, classes, head: NarrowHead(embedding, classes, head, 1.0, lambda _: nn.Identity()),
    "quantum": lambda embedding, classes, head: NarrowHead(embedding, classes, head, math.pi, _quantum),
    "sine": lambda embedding, classes, head: NarrowHead(
        embedding, classes, head, math.pi, lambda head: Sine(head.qubits, head.layers)
    ),
}


def circuit_parameters(head: Head) -> int:
    """Number of trained angles in the head's circuit; 0 for a head without one."""
    return math.prod(weight_shape(head.ansatz, head.qubits, head.layers, head.rotations)) if head.is_quantum else 0


def encoding_angles(head: Head) -> int:
    """Number of angles by which one sample enters the head's circuit; 0 for a head without one."""
    return head.qubits if head.is_quantum else 0


def hardware_evaluations(head: Head, samples_trained: int, samples_predicted: int) -> int:
    """Circuits that quantum hardware would have to run for what was executed here; 0 for a head without a circuit.

    One run a sample and forward pass gives all expectation values (they commute); a training step needs the gradient
    too, and the parameter-shift rule (Schuld et al. 2019, arXiv:1811.11184) takes two runs a trained angle and two an
    encoding angle, since the gradient goes on into the backbone. `samples_trained` counts a sample once an epoch,
    `samples_predicted` once a forward pass without gradient. Shots a run are not counted.
    """
    if not head.is_quantum:
        return 0
    shifts = 2 * (circuit_parameters(head) + encoding_angles(head))
    return samples_trained * (1 + shifts) + samples_predicted
