"""Circuits on a patch of pixels: params -> gates as data -> PennyLane QNode on any device, with or without noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from qlcnet import config
from qlcnet.config import QUBITS
from qlcnet.quantum.ansatz import Ansatz, apply_ansatz, build_ansatz, linked_qubits
from qlcnet.quantum.noise import NOISELESS, queue_noise
from qlcnet.quantum.program import ProgramCircuit
from qlcnet.quantum.qasm_reader import read_openqasm
from qlcnet.quantum.surrogate import reason_of

# The rotations by which each pixel's angle enters, in the order in which they act.
ENCODINGS: dict[str, tuple[str, ...]] = {"ry": ("RY",), "rx": ("RX",), "rxy": ("RX", "RY"), "ryx": ("RY", "RX")}

NOISY_DEVICE = "default.mixed"

Word = tuple[int, ...]  # the qubits whose Pauli-Z are multiplied


@dataclass(frozen=True)
class PatchCircuit:
    """Encoding and ansatz, `uploads` times one after the other; noise after each ansatz, readout flips at the end."""

    encoding: str
    blocks: tuple[Ansatz, ...]  # one for each upload
    noise: config.Noise = NOISELESS

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise ValueError(f"encoding {self.encoding!r} is unknown; choose one of {', '.join(ENCODINGS)}")
        if not self.blocks or len({block.qubits for block in self.blocks}) != 1:
            raise ValueError("a circuit needs at least one ansatz block, all on the same number of qubits")

    @property
    def qubits(self) -> int:
        return self.blocks[0].qubits

    @property
    def degree(self) -> int:
        """How often each pixel enters, hence the degree of the polynomial: 2 for one upload of `rxy` or `ryx`."""
        return len(ENCODINGS[self.encoding]) * len(self.blocks)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Qubits that CNOTs link; the measured bits of different groups are independent."""
        return linked_qubits([gate for block in self.blocks for gate in block.gates], self.qubits)

    def noiseless(self) -> PatchCircuit:
        return PatchCircuit(self.encoding, self.blocks)

    def to_data(self) -> dict[str, Any]:
        """JSON data that rebuilds the circuit gate by gate, with no seed."""
        blocks = [block.to_data() for block in self.blocks]
        return {"encoding": self.encoding, "blocks": blocks, "noise": self.noise.model_dump()}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> PatchCircuit:
        """The inverse of `to_data`."""
        blocks = tuple(Ansatz.from_data(block) for block in data["blocks"])
        return cls(str(data["encoding"]), blocks, config.Noise.model_validate(data["noise"]))

    def queue(self, inputs: Any) -> None:
        """Queue gates and noise in a PennyLane quantum function, `inputs[i]` for qubit i (radians, or its name)."""
        import pennylane as qml

        for block in self.blocks:
            for rotation in ENCODINGS[self.encoding]:
                for qubit in range(self.qubits):
                    getattr(qml, rotation)(inputs[qubit], wires=qubit)
            apply_ansatz(block.gates, block.angles)
            queue_noise(self.noise, self.qubits)


AnyCircuit = PatchCircuit | ProgramCircuit


def build_circuit(params: config.Circuit, program: str | None = None) -> AnyCircuit:
    """The circuit that params describe; blocks after the first draw from streams of their own.

    `program`: the text of the params' `file`, if they name one. Raises QasmError for what it must not hold.
    """
    if params.file is not None:
        if program is None:
            raise ValueError(f"the text of {params.file} is missing: a circuit with `file` is built from it")
        return read_openqasm(program, params.noise)
    blocks = (
        build_ansatz(params.ansatz, QUBITS, params.layers, params.rotations, params.seed, stream)
        for stream in range(params.uploads)
    )
    return PatchCircuit(params.encoding, tuple(blocks), params.noise)


def circuit_from_data(data: dict[str, Any]) -> AnyCircuit:
    """The inverse of a circuit's `to_data`."""
    return PatchCircuit.from_data(data) if "blocks" in data else ProgramCircuit.from_data(data)


def single_words(qubits: int = QUBITS) -> tuple[Word, ...]:
    """Pauli-Z of each qubit alone: what a quantum channel holds."""
    return tuple((q,) for q in range(qubits))


def joint_words(groups: Sequence[Sequence[int]]) -> tuple[Word, ...]:
    """Every product of Pauli-Z within a group: what fixes the joint distribution of its bits (15 for 4 linked qubits).

    Ordered by group, then by the mask whose bit i is the i-th qubit of the group.
    """
    words = []
    for group in groups:
        subsets = [s for size in range(1, len(group) + 1) for s in combinations(range(len(group)), size)]
        words += [tuple(group[i] for i in s) for s in sorted(subsets, key=lambda s: sum(1 << i for i in s))]
    return tuple(words)


def all_words(qubits: int = QUBITS) -> tuple[Word, ...]:
    """All 2^qubits - 1 products of Pauli-Z, by mask: what `fresh_shots` draws from."""
    return joint_words((tuple(range(qubits)),))


def queue_circuit(circuit: AnyCircuit, angles: Any) -> None:
    """Queue the circuit's gates and noise in a PennyLane quantum function; `angles[i]` is input i (radians)."""
    import pennylane as qml

    circuit.queue(angles)
    if circuit.noise.readout_flip:
        for qubit in range(circuit.qubits):
            qml.BitFlip(circuit.noise.readout_flip, wires=qubit)


def device_for(circuit: AnyCircuit, device: str = "default.qubit") -> str:
    """The device's name, `default.mixed` where the circuit is noisy. Raises ValueError where noise cannot run on it."""
    if circuit.noise.is_none or device == NOISY_DEVICE:
        return device
    if device != "default.qubit":
        raise ValueError(
            f"device {device!r} cannot run noise channels; leave `device` out ({NOISY_DEVICE} is then used)"
        )
    return NOISY_DEVICE


def make_qnode(
    circuit: AnyCircuit,
    device: str = "default.qubit",
    words: Sequence[Word] | None = None,
    shots: int | None = None,
    seed: int | None = None,
) -> Callable[[Any], Any]:
    """The circuit as a PennyLane QNode: angles (qubits,) or (qubits, points) in radians -> list of expectation values.

    `words`: products of Pauli-Z to measure, by default each qubit's. `shots` and `seed` sample instead of computing.
    Raises ValueError for a device that PennyLane does not know.
    """
    import pennylane as qml

    name = device_for(circuit, device)
    options = {} if seed is None else {"seed": seed}
    try:
        dev = qml.device(name, wires=circuit.qubits, **options)
    except Exception as error:  # its plugin is missing, or a package of its plugin's
        raise ValueError(
            f"PennyLane has no device {name!r} here: {reason_of(error)}. Install its plugin or name another"
        ) from None
    observed = single_words(circuit.qubits) if words is None else tuple(words)

    def patch_circuit(angles: Any) -> list[Any]:
        queue_circuit(circuit, angles)
        return [qml.expval(qml.prod(*map(qml.Z, word)) if len(word) > 1 else qml.Z(word[0])) for word in observed]

    qnode = qml.QNode(patch_circuit, dev, interface=None, diff_method=None)
    return qnode if shots is None else qml.set_shots(qnode, shots=shots)


def draw(circuit: AnyCircuit, decimals: int = 2) -> str:
    """The circuit as text, one line a qubit, inputs t0, t1, …"""
    import pennylane as qml

    inputs = [f"t{i}" for i in range(circuit.qubits)]
    return str(qml.draw(make_qnode(circuit), decimals=decimals, max_length=10_000)(inputs))
