"""What many recomputed fits say together: whether more are outside their range than chance lets be, or all shifted.

Of fits that are right one in twenty is outside its 95 % range, so that of sixty some are; a study is not different for
that. And a network trained with other settings can stay inside the range of every single fit, which is as wide as fits
of the model are apart, and yet be worse in each of them: recorded and recomputed fits of one model on one fold are
exchangeable if rounding alone sets them apart, so the signs of their differences are (`shift`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from math import isfinite

import numpy as np
from scipy.stats import binom

from qlcnet.reproduce.compare_fits import LOSS, FitVerdict
from qlcnet.reproduce.grades import Grade
from qlcnet.reproduce.spread import SHARE

LEVEL = 0.05  # of the number of fits outside
LEVEL_OF_SHIFT = 0.01
LEAST_SHIFT = 0.1  # of the usual distance of two fits of the model: a shift that is smaller changes nothing
FLIPS = 20_000
FAR = 2.0  # times the limit: no chance that a range of 95 % leaves


def settle(fits: Sequence[FitVerdict]) -> list[str]:
    """Grade fits that were held against a range by what they say together; returns that in words."""
    held = [fit for fit in fits if fit.times is not None]
    outside = [fit for fit in held if fit.grade == Grade.DIFFERENT]
    far = [fit for fit in outside if fit.times and fit.times > FAR]
    said = []
    if outside and (p := float(binom.sf(len(outside) - 1, len(held), 1 - SHARE))) > LEVEL + 1e-9:
        for fit in outside:
            fit.grade = Grade.DIFFERENT if fit in far else Grade.CONSISTENT
        said.append(f"{len(outside)} of {len(held)} fits are outside their range, as chance lets be (p = {p:.2g})")
    elif outside:
        said.append(f"{len(outside)} of {len(held)} fits are outside their range: p = {p:.2g} if rounding were all")
    if p_and_words := shift(held):
        p, words = p_and_words
        if p < LEVEL_OF_SHIFT:
            for fit in held:
                fit.grade = Grade.DIFFERENT
            said.append(f"{words}: p = {p:.2g} if rounding were all")
    return said


def shift(held: Sequence[FitVerdict]) -> tuple[float, str] | None:
    """p that recorded and recomputed losses are exchangeable, and which way they differ; None: too little to matter.

    T = sum over models of (mean d)^2 / mean(d^2), d being the differences of a model's fits: of all signs that the d
    could have, the share with a T as large (test_signs_are_flipped_as_scipy_does).
    """
    by_model: dict[str, list[float]] = defaultdict(list)
    usual: dict[str, float] = {}
    for fit in held:
        then, now = fit.metrics.get(LOSS, (np.nan, np.nan))
        if isfinite(now - then):
            model = fit.fit.rsplit("/", 2)[0]
            by_model[model].append(now - then)
            usual[model] = fit.usual
    shifted = [m for m, ds in by_model.items() if abs(np.mean(ds)) > LEAST_SHIFT * usual[m]]
    kept = [np.array(by_model[m]) for m in by_model if np.any(by_model[m])]
    if not shifted or not kept:
        return None
    worse = sum(int((ds > 0).sum()) for ds in kept)
    total = sum(map(len, kept))
    words = (
        f"the loss is higher in {worse} of {total} recomputed fits, by {np.mean(np.concatenate(kept)):+.3g} on average"
    )
    return sign_flip_p(kept), words


def sign_flip_p(differences: Sequence[np.ndarray]) -> float:
    """p of T under independent signs: exact for up to 14 differences, else of FLIPS draws and the one that is there."""
    sizes = [len(ds) for ds in differences]
    n = sum(sizes)
    if n <= 14:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = np.random.default_rng(0).choice((-1, 1), (FLIPS, n))
        signs[0] = 1
    parts = zip(differences, np.split(signs, np.cumsum(sizes)[:-1], axis=1), strict=True)
    totals = sum((of_model * ds).mean(1) ** 2 / (ds**2).mean() for ds, of_model in parts)
    return float((totals >= totals[0] * (1 - 1e-9)).mean())
