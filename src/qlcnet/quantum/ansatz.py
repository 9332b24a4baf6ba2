"""The gates of an ansatz as data: which rotation on which qubit by which angle, and where the CNOTs stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from qlcnet.quantum.raw_stream import RawStream

ROTATIONS = ("RX", "RY", "RZ")
CNOT_SHARE = 0.3  # of the gates that `random` draws: PennyLane's RandomLayers(ratio_imprimitive=0.3)


@dataclass(frozen=True)
class Gate:
    """One gate: RX, RY or RZ by angle number `angle` of its ansatz, or a CNOT (control, target) with `angle` None."""

    name: str
    wires: tuple[int, ...]
    angle: int | None = None


@dataclass(frozen=True)
class Ansatz:
    """Gates in the order in which they act, and their angles in radians (start values, where they are trained)."""

    qubits: int
    gates: tuple[Gate, ...]
    angles: tuple[float, ...]

    def __post_init__(self) -> None:
        for gate in self.gates:
            _check(gate, self.qubits, len(self.angles))

    def to_data(self) -> dict[str, Any]:
        """JSON data: gates as [name, wires, angle number or null], angles in radians."""
        gates = [[g.name, list(g.wires), g.angle] for g in self.gates]
        return {"qubits": self.qubits, "gates": gates, "angles": list(self.angles)}

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Ansatz:
        """The inverse of `to_data`. Raises ValueError for a gate that does not exist or does not fit."""
        gates = tuple(Gate(str(name), tuple(int(w) for w in wires), angle) for name, wires, angle in data["gates"])
        return cls(int(data["qubits"]), gates, tuple(float(a) for a in data["angles"]))


def _check(gate: Gate, qubits: int, angles: int) -> None:
    if any(not 0 <= wire < qubits for wire in gate.wires) or len(set(gate.wires)) != len(gate.wires):
        raise ValueError(f"{gate}: its wires must be different and in 0 … {qubits - 1}")
    if gate.name in ROTATIONS and len(gate.wires) == 1 and gate.angle is not None and 0 <= gate.angle < angles:
        return
    if gate.name == "CNOT" and len(gate.wires) == 2 and gate.angle is None:
        return
    raise ValueError(f"{gate}: expected RX, RY or RZ on one wire with an angle number below {angles}, or CNOT on two")


_Placed = tuple[str, tuple[int, ...], float | None]  # name, wires, angle in radians


def _none(qubits: int, layers: int, rotations: int, stream: RawStream) -> Iterator[_Placed]:
    yield from ()


def _ry(qubits: int, layers: int, rotations: int, stream: RawStream) -> Iterator[_Placed]:
    for _ in range(layers):
        for qubit in range(qubits):
            yield "RY", (qubit,), stream.angle()


def _random(qubits: int, layers: int, rotations: int, stream: RawStream) -> Iterator[_Placed]:
    for _ in range(layers):
        placed = 0
        while placed < rotations:
            if stream.uniform() >= CNOT_SHARE:
                angle = stream.angle()
                yield ROTATIONS[stream.below(3)], (stream.below(qubits),), angle
                placed += 1
            elif qubits > 1:
                control = stream.below(qubits)
                yield "CNOT", (control, (control + 1 + stream.below(qubits - 1)) % qubits), None


def _entangled(qubits: int, layers: int, rotations: int, stream: RawStream) -> Iterator[_Placed]:
    for layer in range(layers):
        for qubit in range(qubits):  # Rot(a, b, c) is RZ(a), then RY(b), then RZ(c)
            for name in ("RZ", "RY", "RZ"):
                yield name, (qubit,), stream.angle()
        if qubits > 1:
            reach = layer % (qubits - 1) + 1
            for qubit in range(qubits):
                yield "CNOT", (qubit, (qubit + reach) % qubits), None


_Family = Callable[[int, int, int, RawStream], Iterator[_Placed]]
ANSAETZE: dict[str, _Family] = {"none": _none, "ry": _ry, "random": _random, "entangled": _entangled}


def build_ansatz(
    kind: str, qubits: int = 4, layers: int = 1, rotations: int = 4, seed: int = 42, stream: int = 0
) -> Ansatz:
    """The gates and angles of one ansatz, a pure function of the arguments on every numpy release.

    `none`: no gate. `ry`: one RY a qubit (the paper's trainable layer). `random`: in each layer `rotations` random
    Pauli rotations with random CNOTs between them, in the style of qml.RandomLayers (Henderson et al. 2019), but with a
    seed of its own. `entangled`: Rot on each qubit and a ring of CNOTs whose reach grows with the layer, as
    qml.StronglyEntanglingLayers (Schuld et al. 2018). Angles are uniform in [0, 2 pi). `rotations` is read by `random`
    only. `stream` tells apart several ansatz blocks of one circuit. Raises ValueError for an unknown kind, a count < 1.
    """
    if kind not in ANSAETZE:
        raise ValueError(f"ansatz {kind!r} is unknown; choose one of {', '.join(ANSAETZE)}")
    for name, count in (("qubits", qubits), ("layers", layers), ("rotations", rotations)):
        if count < 1:
            raise ValueError(f"{name} must be at least 1, not {count}")
    gates: list[Gate] = []
    angles: list[float] = []
    for name, wires, angle in ANSAETZE[kind](qubits, layers, rotations, RawStream(seed, stream)):
        gates.append(Gate(name, wires, None if angle is None else len(angles)))
        angles += [] if angle is None else [angle]
    return Ansatz(qubits, tuple(gates), tuple(angles))


def apply_ansatz(gates: Sequence[Gate], angles: Any) -> None:
    """Queue the gates in a PennyLane quantum function; `angles[i]` is angle number i in radians (array or tensor)."""
    import pennylane as qml

    for gate in gates:
        if gate.angle is None:
            qml.CNOT(wires=gate.wires)
        else:
            getattr(qml, gate.name)(angles[gate.angle], wires=gate.wires[0])


def single_qubit_gates(gates: Sequence[Gate]) -> tuple[Gate, ...]:
    """The rotations alone, in their order and with the same angle numbers."""
    return tuple(gate for gate in gates if len(gate.wires) == 1)


def linked_qubits(gates: Sequence[Gate], qubits: int) -> tuple[tuple[int, ...], ...]:
    """Groups of qubits that CNOTs link; outcomes of different groups are independent of each other."""
    group = list(range(qubits))
    for gate in gates:
        if len(gate.wires) == 2:
            old, new = group[gate.wires[1]], group[gate.wires[0]]
            group = [new if g == old else g for g in group]
    return tuple(tuple(q for q in range(qubits) if group[q] == g) for g in dict.fromkeys(group))
