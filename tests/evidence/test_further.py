"""Metrics beside the five, baselines and calibration: against scikit-learn, by hand, and by repeated draws."""

import numpy as np
import pytest
from sklearn import metrics as reference

from qlcnet.evidence.calibration import LEAST_IN_BIN, calibration_error, reliability
from qlcnet.evidence.further import (
    ALL_METRICS,
    FURTHER_METRICS,
    LOWER_IS_BETTER,
    baselines,
    f1_per_class,
    further_metrics_of,
    kappa,
)
from qlcnet.evidence.metrics import METRICS, average_precision, average_precision_per_class
from tests.evidence.test_metrics import predictions


@pytest.mark.parametrize("decimals", [None, 1], ids=["distinct", "ties"])
@pytest.mark.parametrize("classes", [2, 7])
def test_equal_to_scikit_learn(classes, decimals):
    targets, p = predictions(500, classes, decimals=decimals)
    ours, predicted, exact = further_metrics_of(targets, p), p.argmax(1), p.astype(np.float64)
    hot = np.eye(classes)[targets]
    assert tuple(ours) == FURTHER_METRICS
    assert ours["f1_macro"] == pytest.approx(reference.f1_score(targets, predicted, average="macro"), abs=1e-14)
    assert ours["kappa"] == pytest.approx(reference.cohen_kappa_score(targets, predicted), abs=1e-14)
    assert ours["average_precision_macro"] == pytest.approx(
        reference.average_precision_score(hot, exact, average="macro"), abs=1e-14
    )
    np.testing.assert_allclose(
        average_precision_per_class(targets, p), reference.average_precision_score(hot, exact, average=None)
    )
    assert ours["brier"] == pytest.approx(((exact - hot) ** 2).sum(1).mean(), abs=1e-14)
    if decimals is None:  # rounded rows no longer sum to 1, which scikit-learn refuses
        theirs = reference.brier_score_loss(targets, exact / exact.sum(1, keepdims=True), scale_by_half=False)
        assert ours["brier"] == pytest.approx(theirs, abs=1e-6)


def test_absent_classes_as_scikit_learn_has_them():
    targets = np.array([0, 0, 1, 1, 1])
    p = np.eye(4)[[0, 2, 1, 1, 0]]  # class 2 is predicted, though absent; 3 is neither
    np.testing.assert_array_equal(f1_per_class(targets, p), [1 / 2, 4 / 5, 0, np.nan])
    ours = further_metrics_of(targets, p)
    assert ours["f1_macro"] == pytest.approx(reference.f1_score(targets, p.argmax(1), average="macro"))
    assert ours["average_precision_macro"] == np.mean(average_precision_per_class(targets, p)[:2])
    assert np.isnan(kappa(np.zeros(3, int), np.eye(2)[[0, 0, 0]]))
    assert kappa(np.zeros(3, int), np.eye(2)[[0, 0, 1]]) == 0


def test_average_precision_by_hand():
    # from the top: right, wrong, two equal scores of which one is right: 1/2 (1) + 1/2 (2/4)
    positive = np.array([True, False, True, False])
    assert average_precision(positive, np.array([4.0, 3.0, 2.0, 2.0])) == 3 / 4
    assert np.isnan(average_precision(~positive & positive, np.arange(4.0)))


def test_baselines_by_hand():
    targets = np.array([0, 0, 0, 1])
    found = baselines(targets, 2)
    assert set(found["majority"]) == set(ALL_METRICS) == {*METRICS, *FURTHER_METRICS}
    for name in ("majority", "priors"):
        assert found[name]["accuracy"] == 0.75
        assert found[name]["balanced_accuracy"] == 0.5
        assert found[name]["auc_macro"] == 0.5
        assert found[name]["kappa"] == 0
        assert found[name]["average_precision_macro"] == 0.5  # of every class its share
    assert found["priors"]["loss"] == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    assert found["priors"]["brier"] == pytest.approx(1 - 0.75**2 - 0.25**2)
    assert found["majority"]["brier"] == pytest.approx(0.25 * 2)
    assert found["priors"]["calibration_error"] == pytest.approx(0, abs=1e-12)
    assert {"loss", "brier", "calibration_error"} == LOWER_IS_BETTER


def test_reliability_by_hand():
    p = np.repeat([[0.9, 0.1], [0.6, 0.4]], [20, 20], axis=0)
    targets = np.r_[np.zeros(20, int), np.tile([0, 1], 10)]
    bins = reliability(targets, p)
    np.testing.assert_array_equal(bins.count, [20, 20])
    np.testing.assert_allclose(bins.confidence, [0.6, 0.9])
    np.testing.assert_allclose(bins.accuracy, [0.5, 1.0])
    np.testing.assert_allclose(bins.noise, [0.25 / 19, 0], atol=1e-15)
    assert bins.error == pytest.approx(np.sqrt((0.1**2 - 0.25 / 19 + 0.1**2) / 2))


def test_bins_are_of_equal_mass_and_do_not_depend_on_the_order_of_rows():
    targets, p = predictions(1000, 3, decimals=2)
    order = np.random.default_rng(1).permutation(1000)
    first, again = reliability(targets, p), reliability(targets[order], p[order])
    np.testing.assert_array_equal(first.count, again.count)
    assert first.error == pytest.approx(again.error, abs=1e-12)
    distinct = reliability(*predictions(1000, 3))
    assert len(distinct.count) == 15
    assert distinct.count.min() >= 66
    few = reliability(*predictions(25, 3))
    assert len(few.count) == 2
    assert few.count.min() >= LEAST_IN_BIN


def test_the_squared_calibration_error_is_unbiased():
    rng = np.random.default_rng(0)
    levels, gaps = np.repeat([0.55, 0.65, 0.75, 0.85, 0.95], 40), np.repeat([0.05, 0.0, 0.1, -0.05, 0.0], 40)
    p = np.column_stack([levels, 1 - levels])
    squares, plain = [], []
    for _ in range(600):
        targets = (rng.random(200) >= levels - gaps).astype(int)
        bins = reliability(targets, p)
        gap = (bins.confidence - bins.accuracy) ** 2
        squares.append((bins.count * (gap - bins.noise)).sum() / 200)
        plain.append((bins.count * gap).sum() / 200)
    truth, error = np.mean(gaps**2), np.std(squares) / np.sqrt(600)
    assert abs(np.mean(squares) - truth) < 3.5 * error
    assert np.mean(plain) - truth > 10 * error  # what is subtracted matters


def test_calibration_error_tells_sure_from_right():
    rng = np.random.default_rng(1)
    right = rng.uniform(0.5, 1, 20_000)
    targets = (rng.random(20_000) > right).astype(int)
    assert calibration_error(targets, np.column_stack([right, 1 - right])) < 0.01
    assert calibration_error(targets, np.tile([0.99, 0.01], (20_000, 1))) == pytest.approx(0.24, abs=0.01)
