"""The corrected t of paired fits, and what a design sees: against scipy and numbers worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.power import MOST_REPEATS, detectable, detectable_for_ever, noncentrality, outlook
from qlcnet.evidence.resampled import Design, PairedT, resampled_t, seeds_t

FIVE = np.array([[0.01, 0.03, 0.02, 0.05, -0.01]])  # mean 0.02, sd sqrt(0.0005)


def paired(mean: float, sd: float, repeats: int = 1) -> PairedT:
    return PairedT(mean, sd, Design(repeats, 5, 0.25))


def test_five_folds_by_hand():
    test = resampled_t(FIVE, 0.25)
    assert test.mean == pytest.approx(0.02)
    assert test.sd == pytest.approx(np.sqrt(0.0005))
    assert test.se == pytest.approx(np.sqrt(0.0005 * (1 / 5 + 1 / 4)))  # Nadeau and Bengio: 0.015
    assert test.design.df == 4
    t = 0.02 / 0.015
    assert test.p == pytest.approx(2 * stats.t.sf(t, 4))
    limits = test.interval(0.9)
    assert [limits.low, limits.high] == pytest.approx(stats.t.interval(0.9, 4, 0.02, 0.015))


def test_without_shared_images_it_is_the_t_test_of_scipy():
    assert resampled_t(FIVE, 0.0).p == pytest.approx(stats.ttest_1samp(FIVE[0], 0).pvalue)
    above = stats.ttest_1samp(FIVE[0], 0.01, alternative="greater").pvalue
    assert resampled_t(FIVE, 0.0).p_above(0.01) == pytest.approx(above)
    below = stats.ttest_1samp(FIVE[0], 0.01, alternative="less").pvalue
    assert resampled_t(FIVE, 0.0).p_below(0.01) == pytest.approx(below)


@pytest.mark.parametrize(("repeats", "df"), [(1, 4), (2, 8), (3, 8), (10, 8)])
def test_repeats_share_images_and_bring_no_more_degrees_of_freedom(repeats, df):
    differences = np.random.default_rng(0).normal(size=(repeats, 5))
    test = resampled_t(differences, 0.25)
    assert test.design.df == df
    assert test.se == pytest.approx(differences.std(ddof=1) * np.sqrt(1 / (5 * repeats) + 0.25))


def test_half_widths_of_the_contract():
    half = [resampled_t(np.random.default_rng(0).normal(size=(r, 5)), 0.25) for r in (1, 3, 5, 10)]
    assert [(t.interval().high - t.mean) / t.sd for t in half] == pytest.approx([1.86, 1.30, 1.24, 1.20], abs=0.005)


def test_equivalence_is_two_one_sided_tests():
    test = paired(0.004, 0.01)
    one, other = test.p_above(-0.02), test.p_below(0.02)
    assert test.p_equivalent(0.02) == max(one, other) == other
    assert test.p_equivalent(test.within(0.05)) == pytest.approx(0.05)
    level = test.p_equivalent(0.02)
    inside = test.interval(1 - 2 * level)  # equivalent at alpha: the 1 - 2 alpha interval lies within the margin
    assert max(-inside.low, inside.high) == pytest.approx(0.02)
    assert paired(0.0, 0.01).p_equivalent(test.least_margin(0.05)) == pytest.approx(0.05)
    assert paired(1e-4, 0.01).p_equivalent(test.least_margin(0.05)) > 0.05


def test_the_bayesian_tails_are_the_one_sided_p():
    test = paired(0.02, 0.03, repeats=3)
    p = test.probabilities(0.01)
    posterior = stats.t(8, 0.02, test.se)
    assert p.worse == pytest.approx(posterior.cdf(-0.01))
    assert p.same == pytest.approx(posterior.cdf(0.01) - posterior.cdf(-0.01))
    assert p.better == pytest.approx(posterior.sf(0.01))
    assert p.better == test.p_below(0.01)


def test_how_often_a_fit_beats_its_partner():
    test = paired(0.02, 0.02)
    effect = test.effect()
    assert effect.share == pytest.approx(stats.norm.cdf(1.0))
    assert effect.interval.low == pytest.approx(stats.norm.cdf(test.interval().low / 0.02))
    assert effect.interval.high == pytest.approx(stats.norm.cdf(test.interval().high / 0.02))


def test_equal_differences_say_nothing():
    """Folds of 31 images: one more right in each. No spread is no certainty."""
    test = resampled_t(np.array([[20, 22, 19, 25, 21]]) / 31 - np.array([[19, 21, 18, 24, 20]]) / 31, 0.25)
    assert not test.has_spread
    assert (test.p, test.p_equivalent(0.1)) == (1.0, 1.0)
    assert np.isnan(test.interval().low)
    assert test.probabilities(0.01) is None
    assert test.effect() is None


def test_what_too_little_gives():
    assert "at least 2 folds" in resampled_t(np.zeros((3, 1)), 0.1).reason
    assert "undefined in 1 of 5 fits" in resampled_t(np.where(FIVE > 0.04, np.nan, FIVE), 0.25).reason
    assert isinstance(seeds_t(np.zeros((2, 5))), TooFew)


def test_seeds_are_means_of_repeats_on_the_same_images():
    differences = np.random.default_rng(1).normal(size=(6, 5))
    test = seeds_t(differences)
    assert test.p == pytest.approx(stats.ttest_1samp(differences.mean(1), 0).pvalue)
    assert (test.design.scope, test.design.df) == ("on these images", 5)


@pytest.mark.parametrize("df", [4, 8, 30])
def test_noncentrality_is_that_of_the_noncentral_t(df):
    shift, critical = noncentrality(df, 0.05), stats.t.ppf(0.975, df)
    assert stats.nct.sf(critical, df, shift) + stats.nct.cdf(-critical, df, shift) == pytest.approx(0.8, abs=1e-4)


def test_what_a_design_sees():
    design = Design(1, 5, 0.25)
    sees = [detectable(design.with_repeats(r), 0.05) for r in (1, 3, 5, 10)]
    assert sees == pytest.approx([2.52, 1.80, 1.72, 1.66], abs=0.005)
    assert detectable_for_ever(design, 0.05) == pytest.approx(1.60, abs=0.005)
    assert detectable(design.with_repeats(MOST_REPEATS), 0.05) < 1.01 * 1.60


def test_what_would_decide():
    test = paired(0.0, 0.01)
    assert outlook(test, 0.026, 0.05).repeats == 1
    assert outlook(test, 0.026, 0.05).seen_now
    assert not outlook(test, 0.024, 0.05).seen_now
    for target in (1.64, 1.66, 1.68, 1.70, 1.75, 1.80, 1.90, 2.10):  # sd
        more = outlook(test, 0.01 * target, 0.05).repeats
        assert detectable(test.design.with_repeats(more), 0.05) <= target
        assert detectable(test.design.with_repeats(more - 1), 0.05) > target
    never = outlook(test, 0.0126, 0.05)  # below 1.60 sd
    assert never.repeats is None
    assert never.images == pytest.approx((2.523 / 1.26) ** 2, rel=1e-3)  # about four times as many


def test_power_by_drawing():
    """Of independent differences, 80 % are found at the difference that is said to be seen."""
    rng = np.random.default_rng(0)
    design = Design(1, 5, 0.0)
    draws = rng.normal(detectable(design, 0.05), 1.0, (4000, 5))
    found = np.mean([PairedT(d.mean(), d.std(ddof=1), design).p < 0.05 for d in draws])
    assert found == pytest.approx(0.8, abs=0.025)
