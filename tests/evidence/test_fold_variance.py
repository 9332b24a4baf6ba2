"""Variances of paired fits: Pitman and Morgan against scipy, the interval of their ratio, several repeats."""

import numpy as np
import pytest
from scipy import stats

from qlcnet.evidence.fold_variance import compare_variances
from qlcnet.evidence.limits import TooFew

RNG = np.random.default_rng(3)
A = RNG.normal(0, 1, (1, 8))
B = 0.5 * A + RNG.normal(0, 2, (1, 8))


def test_the_correlation_has_the_sign_of_the_difference_of_variances():
    for a, b in ((A, B), (B, A)):
        found = compare_variances([(a, b)], 0.25)
        assert np.sign(found.r) == np.sign(a.var() - b.var())
        assert (found.sd_a, found.sd_b) == pytest.approx((a.std(ddof=1), b.std(ddof=1)))


def test_one_repeat_is_pitman_and_morgan():
    found = compare_variances([(A, B)], 0.25)
    plain = stats.pearsonr((A + B)[0], (A - B)[0], alternative="less")
    assert found.r == pytest.approx(plain.statistic)
    assert found.p_steadier == pytest.approx(plain.pvalue)
    assert found.p_wilder == pytest.approx(1 - plain.pvalue)


@pytest.mark.parametrize("repeats", [1, 4])
def test_the_ratio_interval_ends_where_the_test_decides(repeats):
    rng = np.random.default_rng(4)
    a = rng.normal(0, 1, (repeats, 8))
    b = 0.6 * a + rng.normal(0, 1, (repeats, 8))
    found = compare_variances([(a, b)], 1 / 7)
    for limit in (found.interval.low, found.interval.high):
        scaled = compare_variances([(a, limit * b)], 1 / 7)  # is the ratio to b this limit?
        assert 2 * min(scaled.p_steadier, scaled.p_wilder) == pytest.approx(0.05)


def test_several_repeats_by_hand():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    found = compare_variances([(a, b)], 0.25)
    x, y = (v - v.mean(1, keepdims=True) for v in (a, b))
    r = np.corrcoef((x + y).ravel(), (x - y).ravel())[0, 1]
    z = np.arctanh(r) / np.sqrt((1 / 3 + 1 / 4) / 3)
    assert found.p_steadier == pytest.approx(stats.norm.cdf(z))
    assert found.sd_a == pytest.approx(np.sqrt((x**2).sum() / 12))


def test_widths_are_averaged_and_do_not_multiply_the_evidence():
    once, twice = compare_variances([(A, B)], 0.25), compare_variances([(A, B), (A, B)], 0.25)
    assert twice.p_steadier == pytest.approx(once.p_steadier)
    assert twice.ratio == pytest.approx(once.ratio)


def test_what_too_little_gives():
    assert "at least 4" in compare_variances([(A[:, :3], B[:, :3])], 0.5).reason
    assert isinstance(compare_variances([(A, A + 0.1)], 0.25), TooFew)
