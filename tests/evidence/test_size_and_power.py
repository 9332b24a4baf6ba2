"""A short form of benchmarks/statistics.py, part tests: learners really fitted anew in every fold, truth known."""

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from qlcnet.evidence.power import detectable
from qlcnet.evidence.resampled import PairedT, resampled_t

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))  # last: it has a statistics.py
from simulate import tests_of_differences as simulated

STUDIES = 150


@pytest.fixture(scope="module", params=["seeds", "halves"])
def null(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def differences(null) -> np.ndarray:
    """Of two equal learners in macro AUC: (studies, repeats, folds)."""
    population = simulated.SHAPES["2 classes, n 156"](null=null)
    studies = (simulated.study(population, 3, np.random.default_rng([9, i])) for i in range(STUDIES))
    return np.array([np.subtract(*study["auc_macro"]) for study in studies])


def test_equal_learners_are_told_apart_as_seldom_as_promised_and_different_ones_found(differences):
    sd = float(np.sqrt(differences.var(axis=(1, 2), ddof=1).mean()))
    found: Counter[str] = Counter()
    for d in differences:
        test = resampled_t(d, 1 / 4)
        seen = detectable(test.design, 0.05) * sd
        found["wrong"] += test.p < 0.05
        found["power"] += PairedT(test.mean + seen, test.sd, test.design).p < 0.05
        found["sure"] += PairedT(test.mean + 3 * seen, test.sd, test.design).p < 0.05
        margin = 1.2 * test.least_margin(0.05)
        found["equivalent"] += PairedT(test.mean + margin, test.sd, test.design).p_equivalent(margin) < 0.05
    share = {name: count / STUDIES for name, count in found.items()}
    assert share["wrong"] <= 0.065 + 0.04  # two standard errors of 150 studies
    assert share["equivalent"] <= 0.065 + 0.04
    assert share["power"] >= 0.70
    assert share["sure"] >= 0.99


def test_a_plain_t_cries_wolf_where_learners_share_a_sample(null, differences):
    """Why the variance is corrected: J fits are no sample of J. Where seeds alone differ, nothing shows it."""
    t = [abs(d.mean()) / (d.std(ddof=1) / np.sqrt(d.size)) for d in differences]
    wrong = np.mean(np.array(t) > 2.145)  # 14 degrees of freedom
    assert wrong > 0.2 if null == "halves" else wrong < 0.12
