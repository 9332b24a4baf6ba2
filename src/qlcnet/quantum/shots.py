"""Finite shots: measured bits drawn from the joint distribution of the qubits, the same for any chunking and threads.

The expectation values W_s of all products of Pauli-Z within a group of linked qubits fix the probabilities of its
bitstrings, P(b) = 2^-g sum_s (-1)^(b . s) W_s, and each W_s is a polynomial of the pixels as well. How many of the
shots give each bitstring is multinomial: drawn as a tree of binomials, 2^g - 1 of them whatever the number of shots.
Each patch has a random stream of its own, a hash of (seed, number of the patch), as in SplittableRandom (Steele, Lea
and Flood 2014); binomials by inversion, and by BTRS (Hörmann 1993) where the mean is 10 or more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qlcnet.compiled import compiled

U64 = np.uint64
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@compiled
def _mix(z):  # type: ignore[no-untyped-def]
    z = (z ^ (z >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> U64(27))) * U64(0x94D049BB133111EB)
    return z ^ (z >> U64(31))


@compiled
def _uniform(state):  # type: ignore[no-untyped-def]
    """Next number in (0, 1) of a stream: state[0] moves on by state[1]."""
    state[0] += state[1]
    return (float(_mix(state[0]) >> U64(12)) + 0.5) * 2.0**-52


@compiled
def _binomial(n, p, state):  # type: ignore[no-untyped-def]
    """Successes in n trials of probability p."""
    if n == 0 or p <= 0.0:
        return 0
    if p >= 1.0:
        return n
    swapped = p > 0.5
    p = 1.0 - p if swapped else p
    k = 0
    if n * p < 10.0:  # inversion: walk up the distribution function
        odds, u = p / (1.0 - p), _uniform(state)
        mass = math.exp(n * math.log1p(-p))
        while u > mass and k < n:
            u -= mass
            k += 1
            mass *= odds * (n - k + 1) / k
    else:  # BTRS: transformed rejection with squeeze
        spread = math.sqrt(n * p * (1.0 - p))
        b = 1.15 + 2.53 * spread
        a = -0.0873 + 0.0248 * b + 0.01 * p
        c = n * p + 0.5
        alpha = (2.83 + 5.1 / b) * spread
        quick = 0.92 - 4.2 / b
        mode = math.floor((n + 1) * p)
        peak = math.lgamma(mode + 1.0) + math.lgamma(n - mode + 1.0)
        log_odds = math.log(p / (1.0 - p))
        while True:
            u, v = _uniform(state) - 0.5, _uniform(state)
            us = 0.5 - abs(u)
            k = math.floor((2.0 * a / us + b) * u + c)
            if us >= 0.07 and v <= quick:
                break
            if k < 0 or k > n:
                continue
            v = math.log(v * alpha / (a / (us * us) + b))
            if v <= peak - math.lgamma(k + 1.0) - math.lgamma(n - k + 1.0) + (k - mode) * log_odds:
                break
    return n - k if swapped else k


@compiled
def _draw(words, shots, seed, first, sizes, members, out):  # type: ignore[no-untyped-def]
    """words (patches, words) float32, members (groups, largest group): qubits of each group; out (patches, qubits)."""
    largest = 1 << members.shape[1]
    chances, counts, state = np.empty(largest), np.empty(largest, np.int64), np.empty(2, np.uint64)
    origin = _mix(U64(seed) + _GOLDEN)
    for patch in range(words.shape[0]):
        number = U64(2) * U64(first + patch)
        state[0] = _mix(origin + _GOLDEN * (number + U64(1)))
        state[1] = _mix(origin + _GOLDEN * (number + U64(2))) | U64(1)
        start = 0
        for group in range(sizes.shape[0]):
            g = sizes[group]
            total = 1 << g
            chances[0] = 1.0
            for s in range(1, total):
                chances[s] = words[patch, start + s - 1]
            start += total - 1
            width = 1
            while width < total:  # Walsh-Hadamard: products of Z -> probabilities x 2^g
                for low in range(0, total, 2 * width):
                    for i in range(low, low + width):
                        x, y = chances[i], chances[i + width]
                        chances[i], chances[i + width] = x + y, x - y
                width *= 2
            for i in range(total):
                chances[i] = max(chances[i], 0.0)  # float32 rounding
            counts[0] = shots
            for bit in range(g):  # bits below `bit` are decided: the node of a prefix splits by the next bit
                ones = 0
                for prefix in range(1 << bit):
                    here, chance_one, chance = counts[prefix], 0.0, 0.0
                    for rest in range(prefix, total, 1 << bit):
                        chance += chances[rest]
                        if rest >> bit & 1:
                            chance_one += chances[rest]
                    k = _binomial(here, chance_one / chance if chance > 0.0 else 0.0, state)
                    counts[prefix], counts[prefix + (1 << bit)] = here - k, k
                    ones += k
                out[patch, members[group, bit]] = 1.0 - 2.0 * ones / shots


def sample_shots(
    words: NDArray[np.float32], shots: int, seed: int, groups: Sequence[Sequence[int]], first_patch: int = 0
) -> NDArray[np.float32]:
    """Mean of `shots` measurements (±1) of each qubit, (…, qubits), from expectation values (…, words).

    `words` are ordered as circuits.joint_words(groups); `first_patch` is the number of the first one in the whole set.
    """
    flat = np.ascontiguousarray(words.reshape(-1, words.shape[-1]), dtype=np.float32)
    sizes = np.array([len(group) for group in groups], np.int64)
    if flat.shape[1] != int((2**sizes - 1).sum()):
        raise ValueError(f"{flat.shape[1]} words, but groups {groups} need {int((2**sizes - 1).sum())}")
    members = np.zeros((len(groups), int(sizes.max())), np.int64)
    for row, group in zip(members, groups, strict=True):
        row[: len(group)] = group
    out = np.empty((len(flat), int(sizes.sum())), np.float32)
    _draw(flat, shots, seed, first_patch, sizes, members, out)
    return out.reshape(*words.shape[:-1], out.shape[1])
