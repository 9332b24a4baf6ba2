"""Value and exact gradient of an angle-encoded circuit whose ansatz is trained, compiled once a batch.

The gates are brought into a normal form of alternating steps, each a permutation of the basis states with phases
(CNOT, RZ) and then RY on any of the qubits (RX(t) = RZ(-pi/2) RY(t) RZ(pi/2), the rightmost acting first). In this
form everything is real arithmetic on a few small matrices, and the gradient is one sweep back over the steps
(adjoint differentiation: Jones and Gacon 2020, arXiv:2009.02823) with no simulation a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from qlcnet.quantum.ansatz import Gate

# Up to here the ansatz is compiled into one matrix that all samples share. Above, its 2^qubits columns are as many as a
# batch of 64 has samples, and the steps act on the batch's own states. Measured, forward and back, states against
# matrix: 6 qubits 0.8 and 0.9 ms, 8 qubits 1.2 and 5.5 ms; 4 qubits, 15 steps and 1,024 samples 12.4 and 1.4 ms.
LARGEST_MATRIX = 5  # qubits
BLOCK = 4  # qubits: the RYs of a step act as one 16 x 16 matrix on the first four qubits and one on the rest


class _Step:
    """One step of the normal form, while gates are being sorted into it."""

    def __init__(self, states: int) -> None:
        self.moved_to = np.arange(states)  # basis state -> basis state, from the CNOTs
        self.phases: list[tuple[int | None, np.ndarray]] = []  # angle number (None: pi/2), -1 or 1 a basis state
        self.turns: list[tuple[int, int]] = []  # qubit, angle number


def _normal_form(gates: Sequence[Gate], qubits: int) -> list[_Step]:
    """Gates as steps; each gate goes into the earliest step that what already acts on its qubits allows."""
    states = 2**qubits
    bits = (np.arange(states)[:, None] >> np.arange(qubits - 1, -1, -1)) & 1  # qubit 0 is the most significant bit
    steps = [_Step(states)]
    step_of, turned = [0] * qubits, [False] * qubits  # a qubit's last step, and whether its RY stands there already

    def permuting(wires: Sequence[int]) -> _Step:
        number = max(step_of[w] + turned[w] for w in wires)
        if number == len(steps):
            steps.append(_Step(states))
        for wire in wires:
            step_of[wire], turned[wire] = number, False
        return steps[number]

    def rz(wire: int, angle: int | None, sign: int = 1) -> None:
        step = permuting((wire,))
        step.phases.append((angle, sign * (2 * bits[step.moved_to, wire] - 1)))

    def ry(wire: int, angle: int) -> None:
        steps[step_of[wire]].turns.append((wire, angle))
        turned[wire] = True

    for gate in gates:
        if gate.angle is None:
            control, target = gate.wires
            step = permuting(gate.wires)
            step.moved_to ^= bits[step.moved_to, control] << (qubits - 1 - target)
        elif gate.name == "RZ":
            rz(gate.wires[0], gate.angle)
        elif gate.name == "RY":
            ry(gate.wires[0], gate.angle)
        else:
            rz(gate.wires[0], None)
            ry(gate.wires[0], gate.angle)
            rz(gate.wires[0], None, -1)
    return steps


def _generators(qubits: int) -> np.ndarray:
    """J on each of the qubits, (qubits, 2^qubits, 2^qubits), where RY(2 h) = exp(h J), J = [[0, -1], [1, 0]]."""
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    return np.stack([np.kron(np.kron(np.eye(2**q), turn), np.eye(2 ** (qubits - 1 - q))) for q in range(qubits)])


def _kron(factors: Tensor) -> Tensor:
    """Kronecker product over the first dimension of (factors, rows, columns, batch)."""
    count, rows, columns, batch = factors.shape
    if count == 1:
        return factors.squeeze(0)
    if count % 2:
        a, b = _kron(factors[:-1]).unsqueeze(0), factors[-1:]
    else:
        a, b = factors.view(count // 2, 2, rows, columns, batch).unbind(1)
    product = a.unsqueeze(2).unsqueeze(4) * b.unsqueeze(1).unsqueeze(3)
    return _kron(product.view(len(a), a.shape[1] * rows, a.shape[2] * columns, batch))


class CompiledAnsatz(nn.Module):
    """Pauli-Z expectations of Hadamard, RY(angle) and the given gates; holds constants only, no parameter.

    forward(angles (B, qubits), weight (any shape; element i is angle number i), both radians) -> (B, qubits).
    """

    halves: Tensor
    strings: Tensor
    fixed: Tensor
    fetch: Tensor
    put: Tensor
    signs: Tensor
    sine_signs: Tensor
    flips: Tensor
    flip_signs: Tensor
    left_generators: Tensor
    right_generators: Tensor

    def __init__(self, gates: Sequence[Gate], qubits: int) -> None:
        super().__init__()
        self.qubits = qubits
        steps = _normal_form(gates, qubits)
        mixing = [step for step in steps if step.turns] or [_Step(2**qubits)]  # RZ and CNOT alone: one idle step
        states, parameters = 2**qubits, sum(gate.angle is not None for gate in gates)
        slots = max([sum(angle is not None for angle, _ in step.phases) for step in mixing], default=0)
        self.steps, self.slots = len(mixing), slots
        self.left_qubits = min(qubits, BLOCK)
        self.whole = qubits <= LARGEST_MATRIX

        halves = np.zeros((len(mixing), qubits + slots, parameters))  # from weight to half angles of RY, then of RZ
        strings = np.zeros((len(mixing), slots, states))
        fixed = np.zeros((len(mixing), 1, states))
        fetch = np.zeros((len(mixing), states), dtype=np.int64)
        put = fetch.copy()
        for number, step in enumerate(mixing):
            put[number] = step.moved_to
            fetch[number] = np.argsort(step.moved_to)
            for qubit, angle in step.turns:
                halves[number, qubit, angle] = 0.5
            slot = 0
            for phase_angle, string in step.phases:
                if phase_angle is None:
                    fixed[number, 0] += string[fetch[number]]
                else:
                    halves[number, qubits + slot, phase_angle] = 0.5
                    strings[number, slot] = string[fetch[number]]
                    slot += 1
        self.moved = tuple(bool((step.moved_to != np.arange(states)).any()) for step in mixing)
        self.phased = tuple(bool(step.phases) for step in mixing)

        # phases behind the last RY do not change a probability; a permutation there only renames the states
        last = steps[-1] if not steps[-1].turns else _Step(states)
        signs = 1.0 - 2.0 * ((last.moved_to >> np.arange(qubits - 1, -1, -1)[:, None]) & 1)
        flips = np.arange(states) ^ (1 << np.arange(qubits - 1, -1, -1))[:, None]
        generators = _generators(qubits)

        def constant(name: str, value: np.ndarray) -> None:
            kind = torch.float32 if value.dtype == np.float64 else torch.int64
            self.register_buffer(name, torch.as_tensor(np.ascontiguousarray(value), dtype=kind), persistent=False)

        constant("halves", halves.reshape(-1, parameters))
        constant("strings", strings)
        constant("fixed", fixed)
        constant("fetch", fetch)
        constant("put", put)
        constant("signs", signs.repeat(2, axis=1))  # each state's real and imaginary part
        constant("sine_signs", np.array([-1.0, 1.0]).reshape(1, 1, 2, 1))
        constant("flips", flips.reshape(-1))
        constant("flip_signs", np.take_along_axis(generators, flips[:, :, None], axis=2))
        constant("left_generators", _generators(self.left_qubits).reshape(self.left_qubits, -1).T)
        right = qubits - self.left_qubits
        constant("right_generators", _generators(right).reshape(right, -1).T if right else np.zeros((1, 0)))

    def forward(self, angles: Tensor, weight: Tensor) -> Tensor:
        """Expectation values (B, qubits); the gradient goes to angles and weight."""
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return self.evaluate(angles, weight)[0]
        return _Adjoint.apply(angles, weight, self)

    def evaluate(self, angles: Tensor, weight: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The expectation values, and what the sweep back needs, in plain differentiable tensor operations."""
        n, steps, states = self.qubits, self.steps, 2**self.qubits
        half = angles.t() * 0.5 + math.pi / 4  # Hadamard, then RY(x): RY(x + pi/2) on |0>
        encoded = _kron(torch.stack((half.cos(), half.sin()), 1).unsqueeze(2)).view(states, -1)

        turns = (self.halves @ weight.reshape(-1)).view(steps, n + self.slots)
        cos, sin = turns[:, :n].t().cos(), turns[:, :n].t().sin()
        ry = torch.stack((cos, -sin, sin, cos), 1).view(n, 2, 2, steps)
        left = _kron(ry[: self.left_qubits]).permute(2, 0, 1).contiguous()
        right = _kron(ry[self.left_qubits :]).permute(2, 0, 1).contiguous() if n > self.left_qubits else None
        phases = torch.baddbmm(self.fixed, turns[:, n:].unsqueeze(1), self.strings, beta=math.pi / 4)
        phases = phases.view(steps, states, 1, 1)
        phase_cos, phase_sin = phases.cos(), phases.sin() * self.sine_signs

        start = torch.eye(states, dtype=encoded.dtype, device=encoded.device) if self.whole else encoded
        # amplitudes (states, real and imaginary part, columns)
        moving = torch.stack((start, torch.zeros_like(start)), 1)
        before, after = [], []
        each = zip(left, right if right is not None else [None] * steps, phase_cos, phase_sin, strict=True)
        for step, (turn_left, turn_right, cos, sin) in enumerate(each):
            if self.moved[step]:
                moving = moving.index_select(0, self.fetch[step])
            if self.phased[step]:
                moving = torch.addcmul(moving * cos, moving.flip(1), sin)
            before.append(moving)
            moving = _turn(moving, turn_left, turn_right)
            after.append(moving)
        amplitudes = moving.view(2 * states, -1)
        if self.whole:
            amplitudes = amplitudes @ encoded
        values = self.signs @ amplitudes.square()
        kept = [encoded, amplitudes, left, phase_cos, phase_sin, *before, *after]
        return values.t(), kept if right is None else [*kept, right]

    def sweep_back(self, gradient: Tensor, kept: Sequence[Tensor], shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Gradients of the angles and of the weight from that of the expectation values (B, qubits)."""
        n, steps, states = self.qubits, self.steps, 2**self.qubits
        encoded, amplitudes, left, phase_cos, phase_sin = kept[:5]
        before, after = kept[5 : 5 + steps], kept[5 + steps : 5 + 2 * steps]
        right = kept[-1] if n > self.left_qubits else None

        back = 2.0 * amplitudes * (self.signs.t() @ gradient.t())
        if self.whole:
            matrix = after[-1].view(2 * states, states)
            of_encoded = matrix.t() @ back
            back = back @ encoded.t()
        back = back.view(states, 2, -1)
        back_after: list[Tensor] = []
        back_before: list[Tensor] = []
        for step in reversed(range(steps)):
            back_after.insert(0, back)
            back = _turn(back, left[step].t(), None if right is None else right[step].t())
            back_before.insert(0, back)
            if self.phased[step]:
                back = torch.addcmul(back * phase_cos[step], back.flip(1), phase_sin[step], value=-1)
            if self.moved[step]:
                back = back.index_select(0, self.put[step])
        if not self.whole:
            of_encoded = back[:, 0]

        # d/dh exp(h J) = J exp(h J): the gradient of a half angle is <back, J state>, summed over parts and columns
        ended, bra = torch.stack(list(after)), torch.stack(back_after)
        rows = 2**self.left_qubits
        overlap = bra.view(steps, rows, -1) @ ended.view(steps, rows, -1).transpose(1, 2)
        parts = [overlap.view(steps, -1) @ self.left_generators]
        if right is not None:
            fold = (steps * rows, states // rows, -1)
            overlap = bra.view(fold) @ ended.view(fold).transpose(1, 2)
            parts.append(overlap.view(steps, rows, -1).sum(1) @ self.right_generators)
        if self.slots:
            begun, bra = torch.stack(list(before)), torch.stack(back_before)
            of_phase = (bra * begun.flip(2) * self.sine_signs).sum((2, 3))
            parts.append((self.strings @ of_phase.unsqueeze(2)).squeeze(2))
        of_weight = (torch.cat(parts, 1).view(-1) @ self.halves).view(shape)

        turned = encoded.index_select(0, self.flips).view(n, states, -1) * self.flip_signs
        of_angles = 0.5 * (turned * of_encoded).sum(1)
        return of_angles.t(), of_weight


def _turn(amplitudes: Tensor, left: Tensor, right: Tensor | None) -> Tensor:
    """The RYs of a step, as one matrix on the left qubits and one on the right ones; keeps the shape."""
    rows = len(left)
    turned = left @ amplitudes.reshape(rows, -1)
    if right is not None:
        turned = right @ turned.view(rows, len(right), -1)
    return turned.view(amplitudes.shape)


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, angles: Tensor, weight: Tensor, circuit: CompiledAnsatz) -> Tensor:
        values, kept = circuit.evaluate(angles, weight)
        ctx.save_for_backward(*kept)
        ctx.circuit, ctx.shape = circuit, weight.shape
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        of_angles, of_weight = ctx.circuit.sweep_back(gradient, ctx.saved_tensors, ctx.shape)
        return of_angles, of_weight, None
