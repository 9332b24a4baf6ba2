"""A circuit that its user wrote: the gates of an OpenQASM program as data, where inputs may enter at any angle."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

from qlcnet import config
from qlcnet.config import QUBITS
from qlcnet.quantum.ansatz import Gate, linked_qubits
from qlcnet.quantum.noise import NOISELESS, queue_noise


class Kind(NamedTuple):
    """What a gate of OpenQASM takes, and PennyLane's name of it; `†` behind that name is its adjoint."""

    angles: int
    qubits: int
    operation: str


GATES: dict[str, Kind] = {
    **{name: Kind(0, 1, op) for name, op in {"x": "X", "y": "Y", "z": "Z", "h": "Hadamard", "sx": "SX"}.items()},
    **{name: Kind(0, 1, op) for name, op in {"s": "S", "sdg": "S†", "t": "T", "tdg": "T†"}.items()},
    **{name: Kind(1, 1, op) for name, op in {"rx": "RX", "ry": "RY", "rz": "RZ", "p": "PhaseShift"}.items()},
    **{name: Kind(3, 1, "U3") for name in ("u3", "U")},
    **{name: Kind(0, 2, op) for name, op in {"cx": "CNOT", "cy": "CY", "cz": "CZ", "swap": "SWAP"}.items()},
    **{name: Kind(1, 2, op) for name, op in {"crx": "CRX", "cry": "CRY", "crz": "CRZ"}.items()},
    "cp": Kind(1, 2, "ControlledPhaseShift"),
    "ccx": Kind(0, 3, "Toffoli"),
}
HALVING = ("crx", "cry", "crz")  # turn by t/2 against the state that they leave alone: cos(t/2) may come out


class Angle(NamedTuple):
    """A number of radians, or a whole multiple of an input."""

    value: float = 0.0
    multiple: int = 0
    input: int = 0

    def at(self, inputs: Any) -> Any:
        """Its value for inputs in radians (numbers or arrays), or its text for names of inputs."""
        if not self.multiple:
            return self.value
        given = inputs[self.input]
        if isinstance(given, str):
            return {1: given, -1: f"-{given}"}.get(self.multiple, f"{self.multiple}*{given}")
        return self.multiple * given

    def to_data(self) -> float | list[int]:
        """JSON data: a number, or [multiple, input]."""
        return [self.multiple, self.input] if self.multiple else self.value

    @classmethod
    def from_data(cls, data: Any) -> Angle:
        """The inverse of `to_data`."""
        return cls(0.0, int(data[0]), int(data[1])) if isinstance(data, list) else cls(float(data))


@dataclass(frozen=True)
class Operation:
    """A gate by its name in OpenQASM."""

    name: str
    wires: tuple[int, ...]
    angles: tuple[Angle, ...] = ()


@dataclass(frozen=True)
class ProgramCircuit:
    """Gates in the order in which they act on 4 qubits; noise after them, readout flips at the end."""

    operations: tuple[Operation, ...]
    noise: config.Noise = NOISELESS

    def __post_init__(self) -> None:
        for one in self.operations:
            kind = GATES.get(one.name)
            is_right = kind and (len(one.angles), len(one.wires)) == kind[:2] and len(set(one.wires)) == kind.qubits
            if not is_right or any(not 0 <= wire < QUBITS for wire in one.wires):
                raise ValueError(f"{one} is no gate on different qubits in 0 … {QUBITS - 1}")

    @property
    def qubits(self) -> int:
        return QUBITS

    @property
    def degree(self) -> int:
        """The degree of the polynomial: how often an input enters at most, a multiple k counted k times."""
        entered: Counter[int] = Counter()
        for angle in (angle for one in self.operations for angle in one.angles):
            entered[angle.input] += abs(angle.multiple)
        return max(entered.values(), default=0)

    @property
    def may_halve(self) -> bool:
        """Whether half of an input may come out, which no polynomial holds."""
        return any(one.name in HALVING and one.angles[0].multiple % 2 for one in self.operations)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Qubits that gates link; the measured bits of different groups are independent."""
        pairs = [Gate("CNOT", pair) for one in self.operations for pair in pairwise(one.wires)]
        return linked_qubits(pairs, self.qubits)

    def noiseless(self) -> ProgramCircuit:
        return replace(self, noise=NOISELESS)

    def to_data(self) -> dict[str, Any]:
        """JSON data that rebuilds the circuit gate by gate, without its file."""
        gates = [[one.name, list(one.wires), [angle.to_data() for angle in one.angles]] for one in self.operations]
        return {"gates": gates, "noise": self.noise.model_dump()}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> ProgramCircuit:
        """The inverse of `to_data`. Raises ValueError for a gate that does not exist or does not fit."""
        operations = (
            Operation(str(name), tuple(int(wire) for wire in wires), tuple(Angle.from_data(angle) for angle in angles))
            for name, wires, angles in data["gates"]
        )
        return cls(tuple(operations), config.Noise.model_validate(data["noise"]))

    def queue(self, inputs: Any) -> None:
        """Queue gates and noise in a PennyLane quantum function; `inputs[i]` is input i (radians, or its name)."""
        import pennylane as qml

        for one in self.operations:
            name = GATES[one.name].operation
            queued = getattr(qml, name.removesuffix("†"))
            if name.endswith("†"):
                queued = qml.adjoint(queued)
            queued(*(angle.at(inputs) for angle in one.angles), wires=one.wires)
        queue_noise(self.noise, self.qubits)
