"""Effective members: the design effect by loops over pairs, and its extremes."""

import numpy as np
import pytest

from qlcnet.evidence.effective import effective_members, pooled_icc


def groups_with_hits(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """hits, classes and codes of 300 images in mixed groups that agree in part."""
    rng = np.random.default_rng(seed)
    codes = np.sort(rng.integers(0, 90, 300))
    codes = np.unique(codes, return_inverse=True)[1]
    easy = rng.normal(size=codes.max() + 1)[codes]
    return ((easy + rng.normal(size=300)) > -0.3).astype(float), rng.integers(0, 3, 300), codes


def test_pairs_by_loops():
    hits, classes, codes = groups_with_hits()
    recalls = np.array([hits[classes == k].mean() for k in range(3)])
    products = most = 0.0
    for i in range(300):
        for j in range(300):
            if i != j and codes[i] == codes[j] and classes[i] == classes[j]:
                r = recalls[classes[i]]
                products += (hits[i] - r) * (hits[j] - r)
                most += r * (1 - r)
    icc = pooled_icc(hits - recalls[classes], recalls * (1 - recalls), classes, codes)
    assert 0.2 < icc < 0.7
    assert icc == pytest.approx(products / most)
    found = effective_members(hits, classes, codes, 3)
    for k in range(3):
        m = np.bincount(codes[classes == k])
        assert found[k] == pytest.approx(m.sum() / (1 + icc * ((m**2).sum() / m.sum() - 1)))


def test_images_alone_count_one_each_and_copies_count_as_one():
    hits, classes, _ = groups_with_hits()
    members = np.bincount(classes)
    np.testing.assert_allclose(effective_members(hits, classes, np.arange(300), 3), members)
    four = [np.repeat(x, 4) for x in (hits, classes, np.arange(300))]
    np.testing.assert_allclose(effective_members(*four, 3), members)


def test_groups_that_are_all_right_may_be_wrong_together():
    codes = np.repeat(np.arange(10), 3)
    np.testing.assert_allclose(effective_members(np.ones(30), np.zeros(30, int), codes, 1), [10])


def test_disagreement_never_counts_for_more_than_independence():
    hits, codes = np.tile([0.0, 1.0], 20), np.repeat(np.arange(20), 2)
    np.testing.assert_allclose(effective_members(hits, np.zeros(40, int), codes, 1), [40])


def test_a_mean_over_repeats_varies_less_and_an_absent_class_has_no_members():
    rng = np.random.default_rng(0)
    hits = rng.binomial(3, 0.7, 3000) / 3  # three repeats that have nothing in common
    found = effective_members(hits, np.zeros(3000, int), np.arange(3000), 2)
    assert found[0] == pytest.approx(9000, rel=0.1)
    assert found[1] == 0
    same = effective_members((hits > 0.5) * 1.0, np.zeros(3000, int), np.arange(3000), 1)
    np.testing.assert_allclose(same, [3000])
