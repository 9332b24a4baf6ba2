"""One's own circuit: each gate against the matrices of OpenQASM, the way out and in again, degrees, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pennylane as qml
import pytest

from qlcnet import config
from qlcnet.quantum.card import describe
from qlcnet.quantum.circuits import build_circuit, circuit_from_data, draw, make_qnode
from qlcnet.quantum.program import GATES
from qlcnet.quantum.qasm import to_openqasm
from qlcnet.quantum.qasm_reader import MOST_DEGREE, MOST_GATES, QasmError
from qlcnet.quantum.quanvolution import prepare
from qlcnet.quantum.surrogate import DegreeError

OWN = config.Circuit(file="mine.qasm", md5="0" * 32)
POINTS = np.random.default_rng(3).uniform(0, np.pi, (5, 4))
HEAD = "\n".join(
    [
        "OPENQASM 3.0;",
        'include "stdgates.inc";',
        *(f"input float[64] t{i};" for i in range(4)),
        "qubit[4] q;",
        "bit[4] c;",
        "",
    ]
)
FIRST = HEAD.count("\n") + 1  # line of the first gate
END = "\nc = measure q;\n"


def read(gates: str, **noise: float):  # type: ignore[no-untyped-def]
    params = OWN.model_copy(update={"noise": config.Noise(**noise)})
    return build_circuit(params, HEAD + gates + END)


def turn(axis: str, angle: float) -> np.ndarray:
    pauli = {"x": [[0, 1], [1, 0]], "y": [[0, -1j], [1j, 0]], "z": [[1, 0], [0, -1]]}[axis]
    return np.cos(angle / 2) * np.eye(2) - 1j * np.sin(angle / 2) * np.array(pauli)


def phase(angle: float) -> np.ndarray:
    return np.diag([1, np.exp(1j * angle)])


def general(a: float, b: float, c: float) -> np.ndarray:
    """U of the specification, openqasm.com/versions/3.0/language/gates.html, without its global phase."""
    cos, sin = np.cos(a / 2), np.sin(a / 2)
    return np.array([[cos, -np.exp(1j * c) * sin], [np.exp(1j * b) * sin, np.exp(1j * (b + c)) * cos]])


def controlled(gate: np.ndarray) -> np.ndarray:
    size = len(gate)
    return np.block([[np.eye(size), np.zeros((size, size))], [np.zeros((size, size)), gate]])


X, Y, Z = (1j * turn(axis, np.pi) for axis in "xyz")
MATRICES = {
    "x": lambda: X,
    "y": lambda: Y,
    "z": lambda: Z,
    "h": lambda: (X + Z) / np.sqrt(2),
    "s": lambda: phase(np.pi / 2),
    "sdg": lambda: phase(-np.pi / 2),
    "t": lambda: phase(np.pi / 4),
    "tdg": lambda: phase(-np.pi / 4),
    "sx": lambda: turn("x", np.pi / 2),
    "p": phase,
    **{f"r{axis}": lambda angle, axis=axis: turn(axis, angle) for axis in "xyz"},
    "u3": general,
    "U": general,
    "cx": lambda: controlled(X),
    "cy": lambda: controlled(Y),
    "cz": lambda: controlled(Z),
    "swap": lambda: np.eye(4)[[0, 2, 1, 3]],
    **{f"cr{axis}": lambda angle, axis=axis: controlled(turn(axis, angle)) for axis in "xyz"},
    "cp": lambda angle: controlled(phase(angle)),
    "ccx": lambda: controlled(controlled(X)),
}


def apply(state: np.ndarray, gate: np.ndarray, wires: tuple[int, ...]) -> np.ndarray:
    count = len(wires)
    gate = np.asarray(gate).reshape([2] * 2 * count)
    state = np.tensordot(gate, state, (list(range(count, 2 * count)), list(wires)))
    return np.moveaxis(state, list(range(count)), list(wires))


def expectations(state: np.ndarray) -> np.ndarray:
    p = np.abs(state) ** 2
    return np.array([np.moveaxis(p, q, 0)[0].sum() - np.moveaxis(p, q, 0)[1].sum() for q in range(4)])


@pytest.mark.parametrize("name", GATES)
def test_every_gate_is_that_of_openqasm(name: str) -> None:
    """Between rotations that give every phase a weight in what is measured."""
    wires, angles = (2, 0, 3)[: GATES[name].qubits], (0.7, -1.3, 2.1)[: GATES[name].angles]
    given = f"({', '.join(map(str, angles))})" if angles else ""
    around = "".join(f"ry(0.{q + 4}) q[{q}];\nrz(t{q}) q[{q}];\nrx(0.{q + 3}) q[{q}];\n" for q in range(4))
    circuit = read(f"{around}{name}{given} {', '.join(f'q[{w}]' for w in wires)};\n{around}")
    for point in POINTS:
        state = np.zeros((2, 2, 2, 2), complex)
        state[0, 0, 0, 0] = 1
        for half in range(2):
            for q in range(4):
                for axis, angle in (("y", (q + 4) / 10), ("z", point[q]), ("x", (q + 3) / 10)):
                    state = apply(state, turn(axis, angle), (q,))
            state = state if half else apply(state, MATRICES[name](*angles), wires)
        np.testing.assert_allclose(make_qnode(circuit)(point), expectations(state), atol=1e-12)


def test_a_program_is_the_circuit_written_in_pennylane() -> None:
    circuit = read(
        "h q[0]; rx(-t0) q[0]; /* two\nlines */ ry(2*t1) q[1];  // and a word\n"
        "u3(t2, pi/2, -(1.5 - 1)*pi) q[2]; cp(t3) q[0], q[3]; p(1e-1) q[3];\ncrz(2*t0) q[1], q[2]; sdg q[2]; h q[2];"
        "ccx q[0], q[1], q[3]; rx(π/4+.5) q[3];"
    )

    @qml.qnode(qml.device("default.qubit", wires=4))
    def by_hand(t: np.ndarray) -> object:
        qml.Hadamard(0)
        qml.RX(-t[0], 0)
        qml.RY(2 * t[1], 1)
        qml.U3(t[2], np.pi / 2, -np.pi / 2, 2)
        qml.ControlledPhaseShift(t[3], [0, 3])
        qml.PhaseShift(0.1, 3)
        qml.CRZ(2 * t[0], [1, 2])
        qml.adjoint(qml.S)(2)
        qml.Hadamard(2)
        qml.Toffoli([0, 1, 3])
        qml.RX(np.pi / 4 + 0.5, 3)
        return [qml.expval(qml.Z(i)) for i in range(4)]

    for point in POINTS:
        np.testing.assert_allclose(make_qnode(circuit)(point), by_hand(point), atol=1e-12)
    assert circuit.degree == 3  # t0: -1 and 2
    assert circuit.groups == ((0, 1, 2, 3),)
    assert circuit_from_data(json.loads(json.dumps(circuit.to_data()))) == circuit
    assert build_circuit(OWN, to_openqasm(circuit)) == circuit
    assert all(text in draw(circuit) for text in ("RX(-t0)", "RY(2*t1)", "U3(t2,1.57,-1.57)", "S†"))


@pytest.mark.parametrize(
    "params",
    [config.Circuit(), config.Circuit(encoding="rxy", ansatz="entangled", layers=2, shots=50)],
)
def test_what_was_written_gives_the_same_channels_when_read(params: config.Circuit) -> None:
    built = prepare(params)
    back = prepare(OWN.model_copy(update={"shots": params.shots}), to_openqasm(built.circuit))
    assert back.circuit.degree == built.circuit.degree
    assert back.circuit.groups == built.circuit.groups
    assert np.abs(back.polynomial.coefficients - built.polynomial.coefficients).max() < 1e-12
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 9, 1), dtype=np.uint8)
    assert np.array_equal(back(images), built(images))


def test_a_program_that_enters_pixels_again_has_that_degree() -> None:
    program = HEAD + "rx(t0) q[0]; ry(0.3) q[0]; rx(3*t0) q[0]; ry(t1) q[1]; cx q[0], q[1]; rz(0*t0+1) q[0];" + END
    made = prepare(OWN, program)  # checked at random angles against the device
    assert made.circuit.degree == 4
    assert made.evaluations == 9**4
    card = describe(made)
    assert card.dependence == ((0,), (0, 1), (), ())
    assert "cos(4t0)" in card.formulas[0]


def test_noise_comes_after_the_program() -> None:
    program = "".join(f"rx(t{q}) q[{q}]; " for q in range(4))
    noisy = read(program, amplitude_damping=0.3, readout_flip=0.1)
    np.testing.assert_allclose(make_qnode(noisy)(POINTS[0]), 0.8 * (0.7 * np.cos(POINTS[0]) + 0.3), atol=1e-12)
    assert noisy.noiseless() == read(program)
    made = prepare(OWN.model_copy(update={"noise": noisy.noise}), HEAD + program + END)
    assert describe(made).affine[0].scale == pytest.approx(0.56)  # type: ignore[index, union-attr]


def test_half_angles_are_found_out() -> None:
    halved = "h q[0]; h q[1]; crz(t0) q[0], q[1]; h q[0]; "
    assert read(halved).may_halve
    assert not read(halved.replace("t0", "2*t0")).may_halve
    with pytest.raises(DegreeError):
        prepare(OWN, HEAD + halved + END)
    assert prepare(OWN, HEAD + halved.replace("t0", "2*t0") + END).circuit.degree == 2


def test_the_program_of_the_manual_can_be_read() -> None:
    manual = (Path(__file__).resolve().parents[2] / "docs" / "quantum.md").read_text(encoding="utf-8")
    program = manual.split("```\nOPENQASM")[1].split("```")[0]
    circuit = build_circuit(OWN, "OPENQASM" + program)
    assert (len(circuit.operations), circuit.degree, circuit.groups) == (5, 3, ((0, 1), (2,), (3,)))  # type: ignore[union-attr]
    listed = manual.split("at most 2,000 gates (`")[1].split("`")[0].split()
    assert sorted(listed) == sorted(GATES)


LONG = "x q[0]; " * 20


@pytest.mark.parametrize(
    ("gates", "words"),
    [
        ("rx(t0) q[0];\nreset q[0];", r"^line {1}: 'reset' is not read here; .*` at the end: reset q\[0\];"),
        (f"\n{LONG} foo q[0];", r"^line {1}: 'foo' .*: x q\[0\]; .{{72}} …$"),
        ("gate g a { x a; }", "^line {0}: 'gate' is not"),
        ("for int i in [0:3] { x q[i]; }", "^line {0}: 'for' is not"),
        ("if (c == 1) x q[0];", "^line {0}: 'if' is not"),
        ("ctrl @ x q[0], q[1];", "^line {0}: 'ctrl' is not"),
        ("def f() { }", "^line {0}: 'def' is not"),
        ("h q;", r"^line {0}: expected `\[`, not ';': h q;$"),
        ("h q[4];", r"^line {0}: qubits are q\[0\] … q\[3\]: "),
        ("cx q[1], q[1];", "^line {0}: cx needs 2 different qubits"),
        ("rx q[1];", r"^line {0}: expected `\(`, not 'q'"),
        ("u3(1, 2) q[1];", r"^line {0}: expected `,`, not '\)'"),
        ("rx(sin(t0)) q[0];", "^line {0}: 'sin' in an angle; expected numbers, pi, t0, t1, t2, t3 and"),
        ("rx(t0/2) q[0];", r"^line {0}: an angle is a number, or a whole multiple of one input .*: rx\(t0/2\)"),
        ("rx(t0 + 0.1) q[0];", "^line {0}: an angle is a number, or a whole"),
        ("rx(t0 + t1) q[0];", "^line {0}: an angle is a number, or a whole"),
        ("rx(t0*t1) q[0];", "^line {0}: inputs cannot be multiplied"),
        ("rx(1/t1) q[0];", "^line {0}: an angle is divided by numbers only"),
        ("rx(1/0) q[0];", "^line {0}: an angle is divided by numbers only, and not by 0"),
        ("rx(3/2*pi) q[0];", "^line {0}: 3/2 drops its rest in OpenQASM 3, not in 2; write 3.0/2"),
        ("rx(1e400) q[0];", "^line {0}: numbers of an angle go up to 1e.09"),
        (f"rx({'9' * 5000}) q[0];", "^line {0}: numbers of an angle"),
        (f"rx({'(' * 3000}1) q[0];", "^line {0}: this angle is nested too deeply: .{{80}} …$"),
        (f"rx({'-' * 3000}1) q[0];", "^line {0}: this angle is nested too deeply"),
        ("rx(t4) q[0];", "^line {0}: 't4' in an angle"),
        ("rx(t0) q[0]", "^line {1}: expected `;`, not 'c': c = measure q;"),
        ("rx(t0) q[0]; c = measure q; x q[0];", "^line {0}: nothing may stand behind the measurement"),
        ("qubit[4] r;", r"^line {0}: a program has one `qubit\[4\]`"),
        ("input float[64] t0;", "^line {0}: t0 is declared twice"),
        ("input float[64] a;", "^line {0}: inputs are t0, t1, t2, t3: pi times each pixel of the patch; not 'a'"),
        ("/* never closed", "^line {-1}: the program must end with a measurement"),
        ("x q[0];\n" * (MOST_GATES + 1), "a program has at most 2,000 gates: x"),
        ("x q[0];", "^no gate has one of the angles t0, t1, t2, t3, so every channel would be constant"),
        ("rx(5*t0) q[0]; rx(-4*t0) q[0];", rf"^an input enters 9 times .*the most is {MOST_DEGREE}$"),
        ("rx(1000000000*t0) q[0];", "^an input enters 1000000000 times"),
    ],
    ids=lambda value: value[:20],
)  # fmt: skip
def test_what_is_no_list_of_gates_is_refused_with_its_line(gates: str, words: str) -> None:
    for offset in (-1, 0, 1):
        words = words.replace(f"{{{offset}}}", str(FIRST + offset))
    with pytest.raises(QasmError, match=words.replace("{{", "{").replace("}}", "}")):
        read(gates)


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("", "^line 1: expected `OPENQASM`, not the end of the file: $"),
        ("OPENQASM 2.0;\nqreg q[4];", "^line 1: only OpenQASM 3.0 is read: OPENQASM 2.0;"),
        ('OPENQASM 3.0;\ninclude "/etc/passwd";', "^line 2: only `include .stdgates.inc.;` is read"),
        ("OPENQASM 3.0;\nqubit[5] q;", r"^line 2: expected `4`, not '5': qubit\[5\] q;"),
        ("OPENQASM 3.0;\nh q[0];", r"^line 2: `qubit\[4\] q;` must stand before this: h q\[0\];"),
        ("OPENQASM 3.0;\nqubit[4] q;\nrx(t0) q[0];", r"^line 3: `input float\[64\] t0;` must stand before this"),
        ("OPENQASM 3.0;\nqubit[4] t0;", "^line 2: 't0' has a meaning already"),
        ("OPENQASM 3.0;\nqubit[4] q;\nc = measure q;", "^line 3: 'c' is not read here"),
        ("OPENQASM 3.0;\nqubit[4] q;\n", "^line 2: the program must end with a measurement"),
        ("OPENQASM 3.0;\ninput angle t0;", "^line 2: expected `float`, not 'angle'"),
        ("\x00\x01", "^line 1: expected `OPENQASM`"),
    ],
)
def test_what_is_no_program_is_refused(program: str, words: str) -> None:
    with pytest.raises(QasmError, match=words):
        build_circuit(OWN, program)
