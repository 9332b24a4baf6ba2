"""The trainable quantum layer: angles in, a Pauli-Z expectation value of each qubit out, as a torch module."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from qlcnet.config import Noise
from qlcnet.quantum.adjoint import CompiledAnsatz
from qlcnet.quantum.ansatz import ROTATIONS, Ansatz, Gate, build_ansatz, single_qubit_gates

QUBITS = (2, 8)  # smallest and largest number of qubits

# shape of the trainable angles: element i of the flattened array is angle number i of the gates
SHAPES: dict[str, Callable[[int, int, int], tuple[int, ...]]] = {
    "ry": lambda qubits, layers, rotations: (layers, qubits),
    "random": lambda qubits, layers, rotations: (layers, rotations),
    "entangled": lambda qubits, layers, rotations: (layers, qubits, 3),
}


def weight_shape(ansatz: str, qubits: int, layers: int, rotations: int) -> tuple[int, ...]:
    """Shape of a head's trainable angles. Raises ValueError for an ansatz that cannot be trained."""
    if ansatz not in SHAPES:
        raise ValueError(f"ansatz {ansatz!r} has nothing to train; choose one of {', '.join(SHAPES)}")
    return SHAPES[ansatz](qubits, layers, rotations)


def readout(noise: Noise) -> tuple[float, float]:
    """(a, b) such that the noise turns every Pauli-Z expectation z into a z + b, exactly.

    The channels act on each qubit after the ansatz, in the order of the fields of `Noise`. In the Heisenberg picture
    they act on Z, the last one first, and each maps Z to a multiple of Z and of the identity: a readout flip r to
    (1 - 2r) Z, phase damping to Z, amplitude damping g to (1 - g) Z + g, depolarising p to (1 - 4p/3) Z. So this noise
    scales and shifts what the next Linear scales and shifts anyway (Nielsen and Chuang 2010, section 8.3).
    Proved against PennyLane's default.mixed in tests/quantum/test_head.py::test_noise_equals_default_mixed.
    """
    flip, damping = 1.0 - 2.0 * noise.readout_flip, noise.amplitude_damping
    return flip * (1.0 - damping) * (1.0 - 4.0 / 3.0 * noise.depolarizing), flip * damping


class QuantumLayer(nn.Module):
    """Hadamard on each qubit, RY(angle), an ansatz with trained rotations, Pauli-Z of each qubit; exact, no sampling.

    forward: angles (B, qubits) in radians -> expectation values (B, qubits) in [-1, 1], in the dtype of `weight`.
    `weight` holds the trained angles in radians, (layers, qubits) for `ry`, (layers, rotations) for `random`,
    (layers, qubits, 3) for `entangled`, drawn from U(0, 2 pi) with torch's global generator.

    `ry` is the paper's circuit, one trained RY a qubit. The RYs add up, so each output is -sin(angle + w), with w the
    sum over the layers: more layers of it are the same function, and it is evaluated as that (proved in
    tests/quantum/test_head.py::test_the_papers_circuit_is_a_sine). `random` and `entangled` are as in `build_ansatz`;
    without `entangling` they have no CNOT, so that every output depends on its own angle alone. `seed` chooses the
    gates of `random`; these are kept in the state dict, so loaded angles always meet their gates. `freeze` makes the
    angles a buffer, which no optimiser is given.
    Raises ValueError for impossible arguments and for angles of the wrong shape.
    """

    weight: Tensor  # a Parameter, unless it is frozen
    gates: Tensor

    def __init__(
        self,
        qubits: int = 4,
        ansatz: str = "ry",
        layers: int = 1,
        rotations: int = 4,
        seed: int = 42,
        noise: Noise | None = None,
        entangling: bool = True,
    ) -> None:
        super().__init__()
        if not QUBITS[0] <= qubits <= QUBITS[1]:
            raise ValueError(f"qubits must be in {QUBITS[0]} … {QUBITS[1]}, not {qubits}")
        shape = weight_shape(ansatz, qubits, layers, rotations)
        self.qubits, self.ansatz = qubits, ansatz
        self.noise = noise or Noise()
        self._scale, self._offset = readout(self.noise)
        self.weight = nn.Parameter(torch.empty(shape).uniform_(0.0, 2.0 * math.pi))
        placed = build_ansatz(ansatz, qubits, layers, rotations, seed)
        self._place(placed if entangling else replace(placed, gates=single_qubit_gates(placed.gates)))

    def _place(self, ansatz: Ansatz) -> None:
        self._gates = ansatz.gates
        self.circuit = None if self.ansatz == "ry" else CompiledAnsatz(ansatz.gates, self.qubits).to(self.weight)
        if self.ansatz == "random":
            self.register_buffer("gates", _encode(ansatz.gates).to(self.weight.device))

    def freeze(self) -> QuantumLayer:
        """The same layer with angles that no optimiser is given."""
        weight = self.weight.detach()
        del self.weight
        self.register_buffer("weight", weight)
        return self

    def forward(self, angles: Tensor) -> Tensor:
        """Expectation values (B, qubits) of angles (B, qubits) in radians."""
        if angles.dim() != 2 or angles.shape[1] != self.qubits:
            raise ValueError(f"expected angles of shape (batch, {self.qubits}), not {tuple(angles.shape)}")
        angles = angles.to(self.weight.dtype)
        if self.circuit is None:
            values = -torch.sin(angles + self.weight.sum(0))
        else:
            with torch.autocast(angles.device.type, enabled=False):  # amplitudes need more than bfloat16's 8 bits
                values = self.circuit(angles, self.weight)
        return values if self.noise.is_none else self._scale * values + self._offset

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        gates = state_dict.get(f"{prefix}gates")
        if self.ansatz == "random" and gates is not None:
            self._place(_decode(gates, self.qubits, self.weight.numel()))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def qnode(self, diff_method: str = "backprop") -> Any:
        """The same circuit as a PennyLane QNode of (inputs, weight), as qml.qnn.TorchLayer takes it."""
        import pennylane as qml

        from qlcnet.quantum.ansatz import apply_ansatz

        noise = self.noise
        channels = (
            (qml.DepolarizingChannel, noise.depolarizing),
            (qml.AmplitudeDamping, noise.amplitude_damping),
            (qml.PhaseDamping, noise.phase_damping),
            (qml.BitFlip, noise.readout_flip),
        )

        def circuit(inputs: Any, weight: Any) -> list[Any]:
            for qubit in range(self.qubits):
                qml.Hadamard(qubit)
                qml.RY(inputs[..., qubit], wires=qubit)
            apply_ansatz(self._gates, weight.reshape(-1))
            for channel, strength in channels:
                for qubit in range(self.qubits if strength else 0):
                    channel(strength, wires=qubit)
            return [qml.expval(qml.PauliZ(qubit)) for qubit in range(self.qubits)]

        device = qml.device("default.qubit" if noise.is_none else "default.mixed", wires=self.qubits)
        return qml.QNode(circuit, device, interface="torch", diff_method=diff_method)

    def extra_repr(self) -> str:
        """What `print` shows of the layer."""
        noise = "" if self.noise.is_none else f", noise: {self._scale:.4g} z + {self._offset:.4g}"
        return f"{self.qubits} qubits, {self.ansatz}, {self.weight.numel()} angles{noise}"


def _encode(gates: Sequence[Gate]) -> Tensor:
    """Gates as int64 rows: 0, 1, 2 for RX, RY, RZ with (wire, -1), 3 for CNOT with (control, target)."""
    rows = [(3, *g.wires) if g.angle is None else (ROTATIONS.index(g.name), g.wires[0], -1) for g in gates]
    return torch.tensor(rows, dtype=torch.int64)


def _decode(rows: Tensor, qubits: int, angles: int) -> Ansatz:
    gates: list[Gate] = []
    numbered = 0
    for kind, first, second in rows.tolist():
        if kind == 3:
            gates.append(Gate("CNOT", (first, second)))
        else:
            gates.append(Gate(ROTATIONS[kind], (first,), numbered))
            numbered += 1
    if numbered != angles:
        raise ValueError(f"the stored gates turn by {numbered} angles, this layer by {angles}")
    return Ansatz(qubits, tuple(gates), (0.0,) * angles)
