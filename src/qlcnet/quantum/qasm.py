"""A circuit as an OpenQASM 3 program whose inputs are the four rotation angles."""

from __future__ import annotations

from qlcnet.quantum.circuits import ENCODINGS, PatchCircuit

_NAMES = {"RX": "rx", "RY": "ry", "RZ": "rz"}


def to_openqasm(circuit: PatchCircuit) -> str:
    """OpenQASM 3.0 text (openqasm.com/versions/3.0): `input float[64] t0`, … are the angles in radians.

    OpenQASM knows no noise channels: their strengths stand in comments, the gates are the noiseless ones.
    """
    lines = ["OPENQASM 3.0;", 'include "stdgates.inc";', ""]
    lines += [f"// noise, not part of the program: {name} {p!r}" for name, p in _strengths(circuit)]
    lines += [f"input float[64] t{i};" for i in range(circuit.qubits)]
    lines += [f"qubit[{circuit.qubits}] q;", f"bit[{circuit.qubits}] c;", ""]
    for block in circuit.blocks:
        for rotation in ENCODINGS[circuit.encoding]:
            lines += [f"{_NAMES[rotation]}(t{i}) q[{i}];" for i in range(circuit.qubits)]
        for gate in block.gates:
            if gate.angle is None:
                lines.append(f"cx q[{gate.wires[0]}], q[{gate.wires[1]}];")
            else:
                lines.append(f"{_NAMES[gate.name]}({block.angles[gate.angle]!r}) q[{gate.wires[0]}];")
    return "\n".join([*lines, "", "c = measure q;", ""])


def _strengths(circuit: PatchCircuit) -> list[tuple[str, float]]:
    return [(name, strength) for name, strength in circuit.noise.model_dump().items() if strength]
