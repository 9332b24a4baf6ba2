"""Probabilities in a few bits: how far each class stands below the predicted one, in steps of a factor of two.

A row p (K,) is stored as q_k = round(n log2(p_max / p_k)) with n steps in a factor of two, 0 for the predicted class
and at least 1 for all others, at most 40 n (a factor of 10^12). What is read back, and what everything published is
computed from, is

    p_k = 2^(-q_k / n) / sum_j 2^(-q_j / n)

so that rows sum to 1 without a further step, and the predicted class, hence accuracy, recalls and confusion counts, is
the fit's own (`test_the_predicted_class_is_kept`). A ratio of two probabilities of a row is off by 2.2 % at most for
n = 16 (`test_a_ratio_is_off_by_half_a_step`).

n is the least of STEPS that leaves every metric of every fold within TOLERANCE (`least_steps`). A network that learnt
nothing says nearly the same of all images: with 16 steps its order would be lost, and its AUC moved by 0.03
(`test_what_is_nearly_level_gets_finer_steps`); where no number of steps keeps it, the probabilities are stored as they
are (EXACT).

Why not float16: of 10,015 images and 7 overlapping classes float16 takes 116 kB after xz (99 kB without the last
column), this takes 60 kB (`benchmarks/published_size.py`). What is left out is far below the spread of two fits.

The same bytes give the same float32 on every machine: powers of two are taken from a table of numbers of 40 bits, and
what else is done (halving, adding in the order of the classes, one division) IEEE 754 leaves no choice in.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from qlcnet.evidence.metrics import metrics_of

STEPS = (16, 64, 256, 1024)  # in a factor of two
EXACT = 0  # in the place of a number of steps: float32, not rounded
OCTAVES = 40
TOLERANCE = 5e-4  # of each metric in each fold: a twentieth of what two seeds differ by, and less
# Two fits that are one function can round to neighbouring steps: p (1 - p) times the step, at most
LARGEST_GAP = 0.25 * 2 * float(np.log(2)) / STEPS[0]

Fold = tuple[np.ndarray, np.ndarray]  # targets (M,), probabilities (M, K)


def least_steps(folds: Iterable[Fold]) -> int:
    """The coarsest of STEPS within TOLERANCE in every metric of every fold; EXACT where none is."""
    pairs = [(target, p, metrics_of(target, p)) for target, p in folds]
    for steps in STEPS:
        rounded = ((metrics_of(target, probabilities_of(steps_below(p, steps), steps)), m) for target, p, m in pairs)
        if all(not abs(found[name] - m[name]) > TOLERANCE for found, m in rounded for name in m):  # NaN stays NaN
            return steps
    return EXACT


@lru_cache(maxsize=len(STEPS))
def _fractions(steps: int) -> np.ndarray:
    """2^(-b/steps) rounded to 40 bits: however a machine's pow rounds its 53rd bit, these are the same."""
    return np.array([round(2.0 ** (-b / steps) * 2**40) for b in range(steps)], np.float64) / 2**40


def steps_below(probabilities: np.ndarray, steps: int = STEPS[0]) -> np.ndarray:
    """q, uint16 (M, K), of probabilities (M, K) that are finite and have a positive one in each row."""
    p = probabilities.astype(np.float64)
    rows, best, most = np.arange(len(p)), p.argmax(1), OCTAVES * steps
    with np.errstate(divide="ignore"):
        exact = steps * (np.log2(p[rows, best])[:, None] - np.log2(p))
    below = np.clip(np.rint(np.minimum(exact, most)), 1, most).astype(np.uint16)
    below[rows, best] = 0
    return below


def probabilities_of(below: np.ndarray, steps: int = STEPS[0]) -> np.ndarray:
    """Float32 (M, K) of what `steps_below` gave."""
    weights = np.ldexp(_fractions(steps)[below % steps], -(below // steps).astype(np.int32))
    total = np.zeros(len(below))
    for column in weights.T:  # in this order on every machine: numpy's own sum may take another
        total += column
    return (weights / total[:, None]).astype(np.float32)


def pack(probabilities: np.ndarray, steps: int) -> np.ndarray:
    """Uint8 (2, K, M), or (4, K, M) of EXACT: bytes of one place apart, a class after the other: compresses best."""
    columns = probabilities.astype("<f4") if steps == EXACT else steps_below(probabilities, steps).astype("<u2")
    columns = np.ascontiguousarray(columns.T)
    return np.ascontiguousarray(np.moveaxis(columns.view(np.uint8).reshape(*columns.shape, columns.itemsize), 2, 0))


def unpack(planes: np.ndarray, steps: int) -> np.ndarray:
    """Probabilities float32 (M, K) of what `pack` gave: what everything published is computed from."""
    columns = np.ascontiguousarray(np.moveaxis(planes, 0, 2)).view("<f4" if steps == EXACT else "<u2")[..., 0].T
    return np.ascontiguousarray(columns, np.float32) if steps == EXACT else probabilities_of(columns, steps)
