"""Networks paired by image: against scipy, published examples, numbers by hand, and draws with a known truth."""

import numpy as np
import pytest
from scipy import stats

from qlcnet.evidence.image_difference import (
    Clustered,
    OfRareClasses,
    bonett_price,
    clustered,
    image_difference,
    mcnemar_mid_p,
    of_rare_classes,
)
from qlcnet.evidence.limits import TooFew


def test_mcnemar_against_the_paper():
    assert mcnemar_mid_p(1, 7) == pytest.approx(0.0391, abs=5e-5)  # Bentur et al. in Fagerland et al. 2013, table 1
    exact = stats.binomtest(3, 12, 0.5).pvalue
    assert mcnemar_mid_p(9, 3) == pytest.approx(exact - stats.binom.pmf(3, 12, 0.5))
    assert mcnemar_mid_p(4, 4) == pytest.approx(1 - stats.binom.pmf(4, 8, 0.5) / 2)


def test_bonett_and_price_by_hand():
    interval = bonett_price(1, 7, 21)
    a, b = 2 / 23, 8 / 23
    half = 1.959964 * np.sqrt((a + b - (a - b) ** 2) / 23)
    assert [interval.low, interval.high] == pytest.approx([a - b - half, a - b + half], abs=1e-6)


def hits(n: int, a: float, b: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(n) < a, rng.random(n) < b


def difference_of(a: np.ndarray, b: np.ndarray, groups: np.ndarray | None = None):
    d = a.astype(float) - b
    return image_difference("accuracy", d.mean(), d - d.mean(), (a, b), np.zeros(len(a), int), groups)


def test_accuracy_without_groups_is_a_paired_t_over_images():
    a, b = hits(300, 0.8, 0.7)
    found = difference_of(a, b)
    plain = stats.ttest_rel(a.astype(float), b.astype(float))
    assert found.p == pytest.approx(plain.pvalue)
    limits = plain.confidence_interval()
    assert [found.interval.low, found.interval.high] == pytest.approx([limits.low, limits.high])
    assert found.df == 299
    assert found.discordant == ((a & ~b).sum(), (b & ~a).sum())
    assert found.mcnemar == mcnemar_mid_p(*found.discordant)


def test_groups_count_as_one_and_leave_no_mcnemar():
    a, b = hits(200, 0.8, 0.7)
    alone = difference_of(a, b)
    copies = difference_of(np.repeat(a, 3), np.repeat(b, 3), np.repeat(np.arange(200), 3))
    assert copies.interval.low == pytest.approx(alone.interval.low)
    assert copies.interval.high == pytest.approx(alone.interval.high)
    assert copies.mcnemar is None


def test_few_discordant_images():
    a = np.ones(100, bool)
    b = a.copy()
    b[:9] = False
    found = difference_of(a, b)
    assert found.method == "Bonett and Price"
    assert found.interval == bonett_price(9, 0, 100)
    b[9] = False
    assert difference_of(a, b).method == "influence values"
    b[9] = True
    assert "it takes 10" in difference_of(a, b, np.arange(100) // 2).reason  # no closed form with groups
    psi = np.zeros(100)
    assert isinstance(image_difference("auc_macro", 0.0, psi, (a, b), np.arange(100) % 2), TooFew)


def test_satterthwaite_over_classes_by_hand():
    psi = np.array([1.0, -1.0, 3.0, -3.0, 0.0, 0.0])
    spread = clustered(psi, np.arange(6), np.array([0, 0, 1, 1, 1, 1]))
    one, other = 2 * 2 / 1, 18 * 4 / 3  # sums of squares times G_c / (G_c - 1)
    assert spread.se == pytest.approx(np.sqrt(one + other) / 6)
    found, expected = ((a + b) ** 2 / (a**2 / 1 + b**2 / 3) for a, b in ((one, other), (1 / 2, 1 / 4)))
    assert expected < found
    assert spread.df == pytest.approx(expected)  # the rare class agrees by chance
    more = clustered(np.array([4.0, -4.0, 1.0, -1.0, 0.0, 0.0]), np.arange(6), np.array([0, 0, 1, 1, 1, 1]))
    one, other = 32 * 2, 2 * 4 / 3
    assert more.df == pytest.approx((one + other) ** 2 / (one**2 / 1 + other**2 / 3))
    assert isinstance(clustered(psi, np.arange(6), np.array([0, 1, 1, 1, 1, 1])), TooFew)


def test_rare_classes_have_their_own_t():
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1, 2], [5, 20, 30])
    psi = rng.normal(size=(55, 3))
    spread = of_rare_classes(psi, np.arange(55), targets)
    np.testing.assert_array_equal(spread.dfs, [4, 19, 29 - 5])
    assert spread.df == 4
    assert spread.half(0.95) > spread.half(0.9)
    level = 1 - spread.p(spread.half(0.9))
    assert level == pytest.approx(0.9)
    same = OfRareClasses(np.full(2, 0.1), np.full(2, 9), np.ones((2, 2)))  # two classes that move as one are one
    assert same.half(0.95) == pytest.approx(Clustered(0.1, 9).half(0.95))
    right = rng.random((2, 55)) < 0.5
    found = image_difference("auc_macro", 0.1, psi, (right[0], right[1]), targets)
    assert found.df == 4
    assert found.interval.high - 0.1 == pytest.approx(spread.half(0.95))


def test_equal_networks_are_told_apart_as_seldom_as_promised():
    """Groups of 1 to 6 images that are right together: 1,000 studies, size 0.05."""
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(1000):
        groups = np.repeat(np.arange(60), rng.integers(1, 7, 60))
        noise = rng.normal(size=(3, 60))[:, groups] + rng.normal(size=(3, len(groups)))
        a, b = noise[0] + noise[1] > -1, noise[0] + noise[2] > -1
        wrong += difference_of(a, b, groups).p < 0.05
    assert 0.03 <= wrong / 1000 <= 0.075
