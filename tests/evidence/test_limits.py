"""Closed forms of limits: against scipy, numbers by hand, and exact coverage by binomial sums."""

import numpy as np
import pytest
from scipy import stats

from qlcnet.evidence.limits import (
    TooFew,
    modified_wilson,
    moved_on_logit,
    mover,
    on_fisher_z,
    on_log,
    on_logit,
    wilson,
)


@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize(("x", "n"), [(0, 10), (1, 10), (37, 43), (43, 43), (700, 1000)])
def test_wilson_is_scipys(x, n, level):
    expected = stats.binomtest(x, n).proportion_ci(level, method="wilson")
    assert wilson(x / n, n, level) == pytest.approx((expected.low, expected.high), abs=1e-14)


def test_modified_wilson_has_poissons_limits_where_few_are_on_one_side():
    for x, n in ((1, 20), (2, 50), (3, 60), (3, 500)):
        low, high = modified_wilson(x / n, n)
        assert stats.poisson.cdf(x - 1, low * n) == pytest.approx(0.95)  # the equation of Brown, Cai and DasGupta
        assert high == wilson(x / n, n)[1]
        mirrored = modified_wilson(1 - x / n, n)
        assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)
    for x, n in ((0, 20), (3, 50), (4, 60), (10, 20)):
        assert modified_wilson(x / n, n) == wilson(x / n, n)


def coverage(limits, n: int, shares: np.ndarray) -> np.ndarray:
    """Exact, at each true share."""
    x = np.arange(n + 1)
    low, high = np.array([limits(i / n, n) for i in x]).T
    chances = stats.binom.pmf(x, n, shares[:, None])
    return (chances * ((low <= shares[:, None]) & (shares[:, None] <= high))).sum(1)


@pytest.mark.parametrize("n", [5, 11, 14, 29])
def test_exact_coverage_of_few_members(n):
    shares = np.linspace(0.005, 0.995, 199)
    assert coverage(modified_wilson, n, shares).min() > 0.915
    assert coverage(modified_wilson, n, shares).mean() > 0.95
    assert coverage(wilson, n, shares).min() < 0.87  # why it is modified


def test_mover_of_symmetric_limits_is_the_normal_interval_of_a_mean():
    values, half = np.array([0.5, 0.6, 0.9]), np.array([0.1, 0.2, 0.05])
    low, high = mover(values, values - half, values + half)
    assert (low, high) == pytest.approx(
        (values.mean() - np.sqrt((half**2).sum()) / 3, values.mean() + np.sqrt((half**2).sum()) / 3)
    )
    together = mover(values, values - half, values + half, np.ones((3, 3)))  # widths of one and the same error add
    assert together == pytest.approx((values.mean() - half.mean(), values.mean() + half.mean()))


def test_mover_keeps_each_side_apart():
    low, high = mover(np.array([0.5, 0.9]), np.array([0.2, 0.5]), np.array([0.8, 0.92]))
    assert low == pytest.approx(0.7 - np.sqrt(0.3**2 + 0.4**2) / 2)
    assert high == pytest.approx(0.7 + np.sqrt(0.3**2 + 0.02**2) / 2)


def test_scales_by_hand():
    t = stats.t.ppf(0.975, 11)
    logit = np.log(0.8 / 0.2) + np.array([-1, 1]) * t * 0.05 / 0.16
    assert on_logit(0.8, 0.05, 11) == pytest.approx(tuple(1 / (1 + np.exp(-logit))))
    assert on_log(0.8, 0.05, 11) == pytest.approx((0.8 * np.exp(-t / 16), 0.8 * np.exp(t / 16)))
    z = np.arctanh(0.6) + np.array([-1, 1]) * t * 0.05 / (1 - 0.36)
    assert on_fisher_z(0.6, 0.05, 11) == pytest.approx(tuple(np.tanh(z)))
    assert (moved_on_logit(0.0, 2.0), moved_on_logit(1.0, -2.0)) == (0.0, 1.0)
    assert moved_on_logit(0.3, 0.0) == pytest.approx(0.3)


def test_too_few_says_how_many():
    assert str(TooFew("3 groups of class 2", 5)) == "too few: 3 groups of class 2, 5 are needed"
    assert str(TooFew("no method")) == "no method"
