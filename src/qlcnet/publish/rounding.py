"""Probabilities in a few bits: how far each class stands below the predicted one, in 16ths of a factor of two.

A row p (K,) is stored as q_k = round(16 log2(p_max / p_k)), 0 for the predicted class and at least 1 for all others, at
most 640 (a factor of 10^12). What is read back, and what everything published is computed from, is

    p_k = 2^(-q_k / 16) / sum_j 2^(-q_j / 16)

so that rows sum to 1 without a further step, and the predicted class, hence accuracy, recalls and confusion counts, is
the fit's own (`test_the_predicted_class_is_kept`). A ratio of two probabilities of a row is off by 2.2 % at most
(`test_a_ratio_is_off_by_half_a_step`); AUC of 10,015 images changes by less than 0.0001, loss by 0.0002.

Why not float16: of 10,015 images and 7 overlapping classes float16 takes 116 kB after xz (99 kB without the last
column), this takes 60 kB (`benchmarks/published_size.py`). What is left out is far below the spread of two fits.

The same bytes give the same float32 on every machine: powers of two are taken from a table of 16 numbers of 40 bits,
and what else is done (halving, adding in the order of the classes, one division) IEEE 754 leaves no choice in.
"""

from __future__ import annotations

import numpy as np

STEPS = 16  # in a factor of two
MOST = 40 * STEPS
# 2^(-b/16), b = 0..15, rounded to 40 bits: however a machine's pow rounds its 53rd bit, these are the same
_FRACTIONS = np.array([round(2.0 ** (-b / STEPS) * 2**40) for b in range(STEPS)], np.float64) / 2**40
# Two fits that are one function can round to neighbouring steps: p (1 - p) times the step, at most
LARGEST_GAP = 0.25 * 2 * float(np.log(2)) / STEPS


def steps_below(probabilities: np.ndarray) -> np.ndarray:
    """q, uint16 (M, K), of probabilities (M, K) that are finite and have a positive one in each row."""
    p = probabilities.astype(np.float64)
    rows, best = np.arange(len(p)), p.argmax(1)
    with np.errstate(divide="ignore"):
        exact = STEPS * (np.log2(p[rows, best])[:, None] - np.log2(p))
    steps = np.clip(np.rint(np.minimum(exact, MOST)), 1, MOST).astype(np.uint16)
    steps[rows, best] = 0
    return steps


def probabilities_of(steps: np.ndarray) -> np.ndarray:
    """Float32 (M, K) of what `steps_below` gave."""
    weights = np.ldexp(_FRACTIONS[steps % STEPS], -(steps // STEPS).astype(np.int32))
    total = np.zeros(len(steps))
    for column in weights.T:  # in this order on every machine: numpy's own sum may take another
        total += column
    return (weights / total[:, None]).astype(np.float32)


def to_planes(steps: np.ndarray) -> np.ndarray:
    """Uint8 (2, K, M): low bytes and high bytes apart, a class after the other, which compresses best."""
    columns = np.ascontiguousarray(steps.T)
    return np.stack([columns & 0xFF, columns >> 8]).astype(np.uint8)


def from_planes(planes: np.ndarray) -> np.ndarray:
    """What `to_planes` was given."""
    low, high = planes.astype(np.uint16)
    return np.ascontiguousarray((low | high << 8).T)
