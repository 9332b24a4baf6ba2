"""A circuit as an OpenQASM 3 program whose inputs are the four rotation angles."""

from __future__ import annotations

from collections.abc import Iterator

from qlcnet.quantum.circuits import ENCODINGS, AnyCircuit, PatchCircuit
from qlcnet.quantum.program import ProgramCircuit

_NAMES = {"RX": "rx", "RY": "ry", "RZ": "rz"}


def to_openqasm(circuit: AnyCircuit) -> str:
    """OpenQASM 3.0 text (openqasm.com/versions/3.0): `input float[64] t0`, … are the angles in radians.

    OpenQASM knows no noise channels: their strengths stand in comments, the gates are the noiseless ones.
    """
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";', ""]
    lines += [f"// noise, not part of the program: {name} {p!r}" for name, p in _strengths(circuit)]
    lines += [f"input float[64] t{i};" for i in range(circuit.qubits)]
    lines += [f"qubit[{circuit.qubits}] q;", f"bit[{circuit.qubits}] c;", ""]
    gates = _program_gates(circuit) if isinstance(circuit, ProgramCircuit) else _patch_gates(circuit)
    return "\n".join([*lines, *gates, "", "c = measure q;", ""])


def _patch_gates(circuit: PatchCircuit) -> Iterator[str]:
    for block in circuit.blocks:
        for rotation in ENCODINGS[circuit.encoding]:
            yield from (f"{_NAMES[rotation]}(t{i}) q[{i}];" for i in range(circuit.qubits))
        for gate in block.gates:
            if gate.angle is None:
                yield f"cx q[{gate.wires[0]}], q[{gate.wires[1]}];"
            else:
                yield f"{_NAMES[gate.name]}({block.angles[gate.angle]!r}) q[{gate.wires[0]}];"


def _program_gates(circuit: ProgramCircuit) -> Iterator[str]:
    inputs = [f"t{i}" for i in range(circuit.qubits)]
    for one in circuit.operations:
        angles = ", ".join(str(angle.at(inputs)) for angle in one.angles)  # str of a float has all its digits
        wires = ", ".join(f"q[{wire}]" for wire in one.wires)
        yield f"{one.name}({angles}) {wires};" if angles else f"{one.name} {wires};"


def _strengths(circuit: AnyCircuit) -> list[tuple[str, float]]:
    return [(name, strength) for name, strength in circuit.noise.model_dump().items() if strength]
