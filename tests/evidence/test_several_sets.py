"""Several data sets: a published meta-analysis, limits worked out by hand, ranks against scipy and Demsar's paper."""

import numpy as np
import pytest
from scipy import stats

from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.resampled import Design, PairedT
from qlcnet.evidence.several_sets import pooled, random_effects, ranks


def test_dersimonian_and_laird_by_hand():
    """Differences 0, 2, 4 with variance 1: Q = 8, tau^2 = (8 - 2) / (3 - 1) = 3, all weights 1/4."""
    found = pooled(np.array([0.0, 2, 4]), np.ones(3))
    assert (found.mean, found.between) == pytest.approx((2, np.sqrt(3)))
    assert found.i_squared == pytest.approx(1 - 2 / 8)
    assert found.weights == pytest.approx([1 / 3] * 3)
    # Hartung and Knapp: sum w (d - 2)^2 / 2 = 1, so that the variance is 1 / sum w = 4/3
    half = stats.t.ppf(0.975, 2) * np.sqrt(4 / 3)
    assert [found.interval.low, found.interval.high] == pytest.approx([2 - half, 2 + half])
    assert found.p == pytest.approx(2 * stats.t.sf(2 / np.sqrt(4 / 3), 2))
    wide = stats.t.ppf(0.975, 1) * np.sqrt(3 + 4 / 3)
    assert found.next_set.high == pytest.approx(2 + wide)


def test_unequal_weights_by_hand():
    found = pooled(np.array([1.0, 0.0]), np.array([0.1, 0.2]))
    # weights 100, 25; mean 0.8; Q = 100 x 0.04 + 25 x 0.64 = 20; C = 125 - 10625/125 = 40; tau^2 = 19/40
    assert found.between**2 == pytest.approx(19 / 40)
    w = 1 / np.array([0.01 + 0.475, 0.04 + 0.475])
    assert found.mean == pytest.approx(w[0] / w.sum())
    assert found.next_set is None


def test_sets_that_agree_by_chance_say_no_more_than_they_know():
    found = pooled(np.array([0.5, 0.5]), np.array([0.1, 0.1]))
    half = stats.t.ppf(0.975, 1) * 0.1 / np.sqrt(2)
    assert found.interval.high - 0.5 == pytest.approx(half)
    assert found.between == found.i_squared == 0


def test_the_sample_is_of_data_sets():
    tests = [PairedT(mean, 0.02, Design(1, 5, 0.25)) for mean in (0.01, 0.02, 0.03)]
    found = random_effects(tests)
    assert found.sets == 3
    assert found.mean == pytest.approx(0.02)
    assert isinstance(random_effects(tests[:1]), TooFew)
    assert isinstance(random_effects([*tests, PairedT(0.01, 0.0, Design(1, 5, 0.25))]), TooFew)


def test_size_over_few_data_sets():
    """True differences vary over sets around 0: the summary errs in about 0.05 of studies."""
    rng = np.random.default_rng(0)
    se = np.array([0.5, 1.0, 1.5, 0.7])
    wrong = np.mean([pooled(rng.normal(0, 1, 4) + rng.normal(0, se), se).p < 0.05 for _ in range(2000)])
    assert 0.02 <= wrong <= 0.065


def test_ranks_against_scipy():
    values = np.random.default_rng(0).normal(size=(8, 4)) + 0.4 * np.arange(4)
    found = ranks(("a", "b", "c", "d"), values)
    chi2 = stats.friedmanchisquare(*values.T).statistic
    f = 7 * chi2 / (8 * 3 - chi2)  # Iman and Davenport 1980
    assert found.p == pytest.approx(stats.f.sf(f, 3, 21))
    assert found.mean_ranks == pytest.approx(stats.rankdata(-values, axis=1).mean(0))
    # Demsar 2006, table 5: q 2.569 for 4 classifiers
    assert found.critical_difference == pytest.approx(2.569 * np.sqrt(4 * 5 / (6 * 8)), rel=1e-3)


def test_ties_share_ranks():
    values = np.round(np.random.default_rng(1).normal(size=(6, 3)), 0)
    chi2 = stats.friedmanchisquare(*values.T).statistic
    assert ranks("abc", values).p == pytest.approx(stats.f.sf(5 * chi2 / (12 - chi2), 2, 10))


def test_ranks_need_five_data_sets_and_never_say_zero():
    assert "4 data sets" in ranks("ab", np.zeros((4, 2))).reason
    found = ranks("ab", np.tile([1.0, 0.0], (5, 1)))
    assert found.p == pytest.approx(2 / 2**5)  # the sign test of five that agree
