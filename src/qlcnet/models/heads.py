"""From embedding to logits: the linear head, and the narrow heads that differ only behind a neck they share."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from qlcnet.config import Head
from qlcnet.models.units import Perceptron, RandomFourier, Shots, Sine
from qlcnet.quantum.head import QuantumLayer, weight_shape


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
    return QuantumLayer(head.qubits, head.ansatz, head.layers, head.rotations, head.seed, head.noise, head.entangling)


def _frozen(head: Head) -> nn.Module:
    layer = QuantumLayer(head.qubits, head.ansatz, head.layers, head.rotations, head.seed, head.noise, head.entangling)
    return layer.freeze()


def _sampled(unit: nn.Module, head: Head) -> nn.Module:
    """Its values as means of finite shots, if the head has a number of them."""
    return unit if head.shots is None else nn.Sequential(unit, Shots(head.shots))


def _sine(head: Head) -> nn.Module:
    return Sine(head.qubits, head.layers)


def _mlp(head: Head) -> nn.Module:
    return Perceptron(head.qubits, circuit_weights(head))


def _fourier(head: Head) -> nn.Module:
    return RandomFourier(head.qubits, circuit_weights(head), head.seed)


def _narrow(scale: float, unit: Callable[[Head], nn.Module]) -> Builder:
    return lambda embedding, classes, head: NarrowHead(
        embedding, classes, head, scale, lambda head: _sampled(unit(head), head)
    )


# kind -> builder(embedding, classes, head) of a module (B, embedding) -> logits (B, classes); weights from torch's
# global generator. What each is the twin of, and what it lacks, is in config.controls
Builder = Callable[[int, int, Head], nn.Module]
HEADS: dict[str, Builder] = {
    "linear": lambda embedding, classes, head: nn.Linear(embedding, classes),
    "bottleneck": _narrow(1.0, lambda head: nn.Identity()),
    "quantum": _narrow(math.pi, _quantum),
    "frozen-quantum": _narrow(math.pi, _frozen),
    "sine": _narrow(math.pi, _sine),
    "mlp": _narrow(1.0, _mlp),
    "fourier": _narrow(math.pi, _fourier),
    "stochastic": _narrow(1.0, _mlp),
}


def circuit_weights(head: Head) -> int:
    """Number of angles that turn the circuit of the head's keys; its classical twins train as many numbers."""
    return math.prod(weight_shape(head.ansatz, head.qubits, head.layers, head.rotations))


def circuit_parameters(head: Head) -> int:
    """Number of trained angles in the head's circuit; 0 for a head without one."""
    return circuit_weights(head) if head.kind == "quantum" else 0


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
