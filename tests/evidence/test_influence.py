"""Influence values: derivatives of the metrics themselves, DeLong's variance, and variances of groups by loops."""

import numpy as np
import pytest

from qlcnet.evidence.further import further_metrics_of
from qlcnet.evidence.influence import influence_values, linearised, of_auc, summed
from qlcnet.evidence.metrics import auc_per_class, metrics_of, recall_per_class
from tests.evidence.test_metrics import predictions


def every_metric(targets: np.ndarray, p: np.ndarray) -> dict[str, float]:
    recalls, areas = recall_per_class(targets, p), auc_per_class(targets, p)
    named = {f"recall_{k}": r for k, r in enumerate(recalls)} | {f"auc_{k}": a for k, a in enumerate(areas)}
    return metrics_of(targets, p) | further_metrics_of(targets, p) | named


NAMES = {"accuracy", "balanced_accuracy", "auc_macro", "auc_micro", "loss", "brier", "kappa", "f1_macro"}


@pytest.mark.parametrize("decimals", [None, 1], ids=["distinct", "ties"])
@pytest.mark.parametrize("classes", [2, 4])
def test_influence_is_the_derivative_by_an_images_weight(classes, decimals):
    targets, p = predictions(40, classes, decimals=decimals)
    psi = influence_values(targets, p)
    assert set(psi) == NAMES | {f"{part}_{k}" for part in ("recall", "auc") for k in range(classes)}
    copies = 100  # of every image; one more or less of image i is a change of its weight by 1 / 100
    for i in (0, 7, 23):
        moved = []
        for change in (1, -1):
            rows = np.repeat(np.arange(40), copies + change * (np.arange(40) == i))
            moved.append(every_metric(targets[rows], p[rows]))
        for name, values in psi.items():
            slope = (moved[0][name] - moved[1][name]) * copies / 2 * 40
            assert slope == pytest.approx(values[i], abs=2e-3), (name, i)


def test_values_are_the_metrics_and_influence_sums_to_nothing():
    targets, p = predictions(300, 7, decimals=1)
    expected = every_metric(targets, p)
    for name, one in linearised(targets, p).items():
        assert one.value == pytest.approx(expected[name], abs=1e-13), name
        assert one.psi.sum() == pytest.approx(0, abs=1e-8), name


def test_what_is_undefined_is_left_out():
    targets, p = predictions(60, 3)
    targets[targets == 2] = 0
    assert not {"recall_2", "auc_2"} & set(influence_values(targets, p))
    one_class = influence_values(np.zeros(5, int), np.eye(2)[np.zeros(5, int)])
    assert set(one_class) == {"accuracy", "balanced_accuracy", "loss", "brier", "f1_macro", "recall_0"}


@pytest.mark.parametrize("decimals", [None, 1], ids=["distinct", "ties"])
def test_the_variance_of_an_auc_is_delongs(decimals):
    targets, p = predictions(90, 2, seed=3, decimals=decimals)
    x, y = p[targets == 1, 1], p[targets == 0, 1]
    kernel = (x[:, None] > y) + (x[:, None] == y) / 2  # every pair
    delong = kernel.mean(1).var(ddof=1) / len(x) + kernel.mean(0).var(ddof=1) / len(y)
    one = of_auc(targets == 1, p[:, 1])
    assert one.value == pytest.approx(kernel.mean(), abs=1e-15)
    assert summed(one.psi, np.arange(90), targets).variance == pytest.approx(delong, rel=1e-12)


def test_the_covariance_of_two_aucs_is_delongs():
    targets, p = predictions(90, 2, seed=3)
    _, q = predictions(90, 2, seed=3)
    q = q + np.random.default_rng(0).normal(size=q.shape)
    sums, kernels = [], []
    for scores in (p[:, 1], q[:, 1]):
        sums.append(summed(of_auc(targets == 1, scores).psi, np.arange(90), targets).totals)
        kernels.append(scores[targets == 1][:, None] > scores[targets == 0])
    expected = sum(
        np.cov(kernels[0].mean(axis), kernels[1].mean(axis))[0, 1] / kernels[0].shape[1 - axis] for axis in (0, 1)
    )
    assert sums[0] @ sums[1] == pytest.approx(expected, rel=1e-12)


def test_sums_over_groups_by_loops():
    rng = np.random.default_rng(0)
    targets, p = predictions(60, 2, seed=1)
    codes = rng.integers(0, 15, 60)
    codes = np.unique(codes, return_inverse=True)[1]
    psi = influence_values(targets, p)["auc_1"]
    counts = [len({g for g, y in zip(codes, targets, strict=True) if y == side}) for side in (0, 1)]
    expected = 0.0
    for g in range(codes.max() + 1):
        total = sum(psi[i] * np.sqrt(counts[targets[i]] / (counts[targets[i]] - 1)) for i in range(60) if codes[i] == g)
        expected += (total / 60) ** 2
    sums = summed(psi, codes, targets)
    assert sums.variance == pytest.approx(expected, rel=1e-12)
    assert sums.groups == tuple(sorted(counts))


def test_copies_of_an_image_in_one_group_are_one_image():
    targets, p = predictions(200, 3)
    alone = summed(influence_values(targets, p)["auc_micro"], np.arange(200))
    fourfold = influence_values(np.repeat(targets, 4), np.repeat(p, 4, axis=0))["auc_micro"]
    together = summed(fourfold, np.repeat(np.arange(200), 4))
    assert together.variance == pytest.approx(alone.variance, rel=1e-12)
    assert together.df == pytest.approx(alone.df)
    assert summed(fourfold, np.arange(800)).variance < alone.variance / 3.9


def test_degrees_of_freedom_of_normal_and_of_rare_values():
    rng = np.random.default_rng(0)
    normal = rng.normal(size=4000)
    assert summed(normal - normal.mean(), np.arange(4000)).df == pytest.approx(3999, rel=0.1)  # kurtosis 3: G - 1
    rare = (np.arange(4000) < 5) * 1.0  # five images make the whole variance: kurtosis 1/p
    assert summed(rare - rare.mean(), np.arange(4000)).df == pytest.approx(2 / (1 / 5 - 1 / 4000), rel=0.02)
    assert summed(np.zeros(9), np.arange(9)).df == 8


def test_one_group_alone_on_a_side_says_nothing_of_its_variance(recwarn):
    targets, p = predictions(20, 2)
    psi = influence_values(targets, p)["auc_1"]
    assert np.isnan(summed(psi, np.where(targets == 1, 0, np.arange(20)), targets).variance)
    assert not recwarn.list
