"""Reads one's own circuit: the part of OpenQASM 3 that is a list of gates on four qubits. Nothing in it is executed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple, NoReturn

from qlcnet import config
from qlcnet.config import QUBITS
from qlcnet.quantum.program import GATES, Angle, Operation, ProgramCircuit

MOST_GATES = 2000
MOST_DEGREE = 8  # 17^4 = 83,521 evaluations, seconds without noise and minutes with; circuits of params reach 6
LARGEST = 1e9  # of a number in an angle: beyond, float64 knows it less well than results are checked
DEEPEST = 50  # parentheses and signs within each other
SHOWN = 80  # characters of a line in a message

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*(.*?\*/|.*)) | (?P<number>(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?) | (?P<word>[^\W\d]\w*)
    | (?P<text>"[^"\n]*") | (?P<sign>.)""",
    re.VERBOSE | re.DOTALL,
)
_INPUTS = {f"t{i}": i for i in range(QUBITS)}

# what an angle is while it is read: a number, then the multiple of each input. Whole numbers stay int, as OpenQASM 3
# divides them in another way than others.
Linear = tuple[float, ...]


class QasmError(ValueError):
    """The program cannot be used; the message names the line, why, and the line itself."""


class _Token(NamedTuple):
    kind: str
    text: str
    line: int

    def __str__(self) -> str:
        if self.kind == "end":
            return "the end of the file"
        return repr(self.text if len(self.text) <= 20 else f"{self.text[:20]} …")


def read_openqasm(text: str, noise: config.Noise) -> ProgramCircuit:
    """The circuit, with that noise, of an OpenQASM 3 program with inputs t0 … t3 in radians, as `to_openqasm` writes.

    Raises QasmError for all that is no list of gates of `GATES` whose angles are numbers or multiples of an input.
    """
    circuit = ProgramCircuit(_Reader(text).read(), noise)
    if not circuit.degree:
        raise QasmError(f"no gate has one of the angles {', '.join(_INPUTS)}, so every channel would be constant")
    if circuit.degree > MOST_DEGREE:
        raise QasmError(f"an input enters {circuit.degree} times (k*t0 counts k times); the most is {MOST_DEGREE}")
    return circuit


class _Reader:
    """One pass over the tokens of a program."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.tokens, line = [], 1
        for match in _TOKEN.finditer(text):
            if match["skip"] is None:
                self.tokens.append(_Token(str(match.lastgroup), match[0], line))
            line += match[0].count("\n")
        self.tokens.append(_Token("end", "", self.tokens[-1].line if self.tokens else 1))
        self.at = self.depth = 0
        self.registers: dict[str, str] = {}  # "qubit", "bit" -> name
        self.inputs: set[str] = set()
        self.operations: list[Operation] = []
        self.is_measured = False

    def read(self) -> tuple[Operation, ...]:
        self._expect("OPENQASM")
        if self._next("number").text not in ("3", "3.0"):
            self._refuse("only OpenQASM 3.0 is read")
        self._expect(";")
        while self._peek().kind != "end":
            self._statement()
            self._expect(";")
        if not self.is_measured:
            self._refuse("the program must end with a measurement, `c = measure q;`")
        return tuple(self.operations)

    def _statement(self) -> None:
        token = self._next()
        if self.is_measured:
            self._refuse("nothing may stand behind the measurement")
        if token.text in _STATEMENTS:
            _STATEMENTS[token.text](self)
        elif token.text in GATES:
            self._gate(token.text)
        elif token.text == self.registers.get("bit"):
            for text in ("=", "measure", self._qubits()):
                self._expect(text)
            self.is_measured = True
        else:
            self._refuse(
                f"{token} is not read here; there may be `input float[64] t0;`, `qubit[{QUBITS}] q;`, "
                f"`bit[{QUBITS}] c;`, the gates {' '.join(GATES)}, and `c = measure q;` at the end"
            )

    def _include(self) -> None:
        if self._next().text != '"stdgates.inc"':
            self._refuse('only `include "stdgates.inc";` is read')

    def _input(self) -> None:
        self._expect("float")
        if self._peek().text == "[":
            self._expect("[")
            if self._next("number").text not in ("32", "64"):
                self._refuse("an input is `float[64]`")
            self._expect("]")
        token = self._next("word")
        if token.text not in _INPUTS:
            self._refuse(f"inputs are {', '.join(_INPUTS)}: pi times each pixel of the patch; not {token}")
        if token.text in self.inputs:
            self._refuse(f"{token.text} is declared twice")
        self.inputs.add(token.text)

    def _register(self, kind: str) -> None:
        for text in ("[", str(QUBITS), "]"):
            self._expect(text)
        name = self._next("word").text
        if kind in self.registers:
            self._refuse(f"a program has one `{kind}[{QUBITS}]`")
        if name in (*self.registers.values(), *GATES, *_STATEMENTS, *_INPUTS, "pi", "π", "measure"):
            self._refuse(f"{name!r} has a meaning already")
        self.registers[kind] = name

    def _gate(self, name: str) -> None:
        if len(self.operations) == MOST_GATES:
            self._refuse(f"a program has at most {MOST_GATES:,} gates")
        angles, wires = [], []
        for i in range(GATES[name].angles):
            self._expect("," if i else "(")
            angles.append(self._angle())
        if angles:
            self._expect(")")
        for i in range(GATES[name].qubits):
            if i:
                self._expect(",")
            wires.append(self._wire())
        if len(set(wires)) < len(wires):
            self._refuse(f"{name} needs {len(wires)} different qubits")
        self.operations.append(Operation(name, tuple(wires), tuple(angles)))

    def _qubits(self) -> str:
        if "qubit" not in self.registers:
            self._refuse(f"`qubit[{QUBITS}] q;` must stand before this")
        return self.registers["qubit"]

    def _wire(self) -> int:
        name = self._qubits()
        self._expect(name)
        self._expect("[")
        text = self._next("number").text
        if text not in map(str, range(QUBITS)):
            self._refuse(f"qubits are {name}[0] … {name}[{QUBITS - 1}]")
        self._expect("]")
        return int(text)

    def _angle(self) -> Angle:
        number, *multiples = self._sum()
        used = [i for i, multiple in enumerate(multiples) if multiple]
        if not used:
            return Angle(float(number))
        if len(used) > 1 or number or multiples[used[0]] != int(multiples[used[0]]):
            self._refuse("an angle is a number, or a whole multiple of one input such as t0, -t0, 2*t0")
        return Angle(0.0, int(multiples[used[0]]), used[0])

    def _sum(self) -> Linear:
        value = self._product()
        while (sign := self._peek().text) in ("+", "-"):
            self._expect(sign)
            other = self._product()
            value = self._checked(a + b if sign == "+" else a - b for a, b in zip(value, other, strict=True))
        return value

    def _product(self) -> Linear:
        value = self._factor()
        while (sign := self._peek().text) in ("*", "/"):
            self._expect(sign)
            other = self._factor()
            value = self._times(value, other) if sign == "*" else self._divided(value, other)
        return value

    def _factor(self) -> Linear:
        token = self._next()
        self.depth += 1
        if self.depth > DEEPEST:
            self._refuse("this angle is nested too deeply")
        value = _number(0)
        if token.text in ("+", "-"):
            value = self._times(_number(1 if token.text == "+" else -1), self._factor())
        elif token.text == "(":
            value = self._sum()
            self._expect(")")
        elif token.kind == "number":
            is_whole = token.text.isdecimal() and float(token.text) <= LARGEST
            value = self._checked(_number(int(token.text) if is_whole else float(token.text)))
        elif token.text in ("pi", "π"):
            value = _number(math.pi)
        elif token.text in self.inputs:
            value = (0, *(int(name == token.text) for name in _INPUTS))
        elif token.text in _INPUTS:
            self._refuse(f"`input float[64] {token.text};` must stand before this")
        else:
            self._refuse(f"{token} in an angle; expected numbers, pi, {', '.join(_INPUTS)} and + - * /")
        self.depth -= 1
        return value

    def _times(self, one: Linear, other: Linear) -> Linear:
        if any(one[1:]) and any(other[1:]):
            self._refuse("inputs cannot be multiplied with each other")
        factor, value = (other[0], one) if any(one[1:]) else (one[0], other)
        return self._checked(part * factor for part in value)

    def _divided(self, value: Linear, by: Linear) -> Linear:
        if any(by[1:]) or not by[0]:
            self._refuse("an angle is divided by numbers only, and not by 0")
        if not any(value[1:]) and isinstance(value[0], int) and isinstance(by[0], int):
            if value[0] % by[0]:
                self._refuse(f"{value[0]}/{by[0]} drops its rest in OpenQASM 3, not in 2; write {value[0]}.0/{by[0]}")
            return _number(value[0] // by[0])
        return self._checked(part / by[0] for part in value)

    def _checked(self, parts: Iterable[float]) -> Linear:
        value = tuple(parts)
        if any(abs(part) > LARGEST for part in value):
            self._refuse(f"numbers of an angle go up to {LARGEST:.0e}")
        return value

    def _peek(self) -> _Token:
        return self.tokens[self.at]

    def _next(self, kind: str = "") -> _Token:
        token = self._peek()
        if token.kind == "end" or (kind and token.kind != kind):
            self._refuse(f"expected a {kind or 'statement'}, not {token}", token)
        self.at += 1
        return token

    def _expect(self, text: str) -> None:
        token = self._peek()
        if token.text != text or token.kind == "end":
            self._refuse(f"expected `{text}`, not {token}", token)
        self.at += 1

    def _refuse(self, why: str, token: _Token | None = None) -> NoReturn:
        """Raise QasmError at a token, by default at the last one that was read."""
        line = (token or self.tokens[max(self.at - 1, 0)]).line
        text = self.lines[line - 1].strip()
        raise QasmError(f"line {line}: {why}: {text if len(text) <= SHOWN else f'{text[:SHOWN]} …'}")


def _number(value: float) -> Linear:
    return (value, *(0 for _ in _INPUTS))


_STATEMENTS: dict[str, Callable[[_Reader], None]] = {
    "include": _Reader._include,
    "input": _Reader._input,
    "qubit": lambda reader: reader._register("qubit"),
    "bit": lambda reader: reader._register("bit"),
}
