"""Finite shots drawn anew for each batch, from the stored expectation values of all products of Pauli-Z.

Cost: 15 binomials a patch whatever the number of shots, about 1 microsecond a patch on one core and 30 bytes of
storage instead of 8. That is several times a training step of the small networks at 28 pixels: `stored` shots cost
nothing in training.
"""

from __future__ import annotations

import torch
from torch import Tensor

from qlcnet.config import QUBITS, WORDS

# of the products of Pauli-Z, number s - 1 multiplies the qubits whose bits are set in s = 1 … 15
SINGLE = tuple((1 << qubit) - 1 for qubit in range(QUBITS))  # where each qubit's own Pauli-Z stands


def expectations(words: Tensor) -> Tensor:
    """Exact expectation values (…, colours x 4) of each qubit from words (…, colours x 15)."""
    return words.unflatten(-1, (-1, WORDS))[..., list(SINGLE)].flatten(-2)


def draw(words: Tensor, shots: int, generator: torch.Generator | None = None) -> Tensor:
    """Mean of `shots` joint measurements (±1) of the qubits: words (…, colours x 15) -> (…, colours x 4), float32.

    Bitstring b has the probability 2^-4 sum_s (-1)^(b . s) W_s with W_0 = 1. The counts of the 16 bitstrings are
    multinomial, drawn as a tree: how many shots have bit 0 set, of each part how many have bit 1 set, and so on.
    Raises ValueError for a last axis that holds no multiple of 15.
    """
    if words.shape[-1] % WORDS or shots < 1:
        raise ValueError(f"words of shape {tuple(words.shape)}, {shots} shots: need colours x {WORDS} words and a shot")
    one = words.new_ones(*words.shape[:-1], words.shape[-1] // WORDS, 1)
    chances = torch.cat((one, words.unflatten(-1, (-1, WORDS))), -1)  # (…, colours, 16), to be transformed
    chances = chances.unflatten(-1, (2,) * QUBITS)  # axes: qubit 3, 2, 1, 0
    for axis in range(-QUBITS, 0):
        plus, minus = chances.unbind(axis)
        chances = torch.stack((plus + minus, plus - minus), axis)
    chances = chances.clamp(min=0.0)  # rounding of the stored words
    counts = torch.full_like(chances[..., 0, 0, 0, 0], shots)  # one node: no bit decided yet
    means = []
    for qubit in range(QUBITS):
        # sum over the qubits that are not decided yet; axes left: qubit, qubit - 1, …, 0
        joint = chances.sum(dim=list(range(-QUBITS, -1 - qubit))) if qubit < QUBITS - 1 else chances
        zero, both = joint.select(-1 - qubit, 0), joint.sum(-1 - qubit)
        one_set = (1.0 - zero / both.clamp(min=1e-30)).clamp(0.0, 1.0)
        ones = torch.binomial(counts, one_set, generator=generator)
        means.append(1.0 - 2.0 / shots * (ones.sum(dim=list(range(-qubit, 0))) if qubit else ones))
        counts = torch.stack((counts - ones, ones), -1 - qubit)
    return torch.stack(means, -1).flatten(-2)
