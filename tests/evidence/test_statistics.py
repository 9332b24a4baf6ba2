"""Fold spread and bootstrap intervals: against plain resampling with scikit-learn, theory, and broken input."""

import numpy as np
import pytest
from sklearn import metrics as reference

from qlcnet.evidence.statistics import bootstrap, fold_spread, percentile_interval, resample_weights
from tests.evidence.test_metrics import predictions


@pytest.mark.parametrize("decimals", [None, 1], ids=["distinct", "ties"])
def test_every_draw_equals_the_metric_of_the_drawn_rows(decimals):
    targets, p = predictions(200, 4, decimals=decimals)
    draws = bootstrap(targets, [p], None, 20, seed=3)
    weights = np.concatenate(list(resample_weights(200, None, 20, seed=3)), axis=1)[:, :20]
    assert (weights.sum(0) == 200).all()
    for i, counts in enumerate(weights.T):
        rows = np.repeat(np.arange(200), counts)
        t, drawn = targets[rows], p[rows].astype(np.float64)
        hot = np.eye(4)[t]
        assert draws["accuracy"][i] == pytest.approx((drawn.argmax(1) == t).mean(), abs=1e-14)
        assert draws["balanced_accuracy"][i] == pytest.approx(reference.balanced_accuracy_score(t, drawn.argmax(1)))
        assert draws["auc_macro"][i] == pytest.approx(reference.roc_auc_score(hot, drawn, average="macro"), abs=1e-12)
        assert draws["auc_micro"][i] == pytest.approx(reference.roc_auc_score(hot, drawn, average="micro"), abs=1e-12)
        assert draws["recall_2"][i] == pytest.approx((drawn.argmax(1) == t)[t == 2].mean())
        assert draws["loss"][i] == pytest.approx(
            -np.log(np.maximum(drawn[np.arange(200), t], np.finfo(np.float32).eps)).mean(), rel=1e-6
        )


def test_a_class_that_is_not_drawn_is_left_out():
    targets, p = predictions(60, 3)
    targets[targets == 2] = 0
    targets[0] = 2  # one image: absent from about a third of the resamples
    draws = bootstrap(targets, [p], None, 64, seed=0)
    absent = np.isnan(draws["recall_2"])
    assert 5 < absent.sum() < 45
    assert not np.isnan(draws["auc_macro"]).any()
    mean = (draws["recall_0"] + draws["recall_1"]) / 2
    np.testing.assert_allclose(draws["balanced_accuracy"][absent], mean[absent])


def test_groups_are_drawn_whole():
    groups = np.array([7, 7, 3, 9, 3, 7])
    for weights in resample_weights(6, groups, 40, seed=1):
        assert (weights[[0, 1, 5]] == weights[0]).all()
        assert (weights[2] == weights[4]).all()
        assert (weights[[0, 2, 3]].sum(0) == 3).all()  # 3 groups drawn from 3


def test_groups_of_copies_widen_the_interval_as_theory_says():
    targets, p = predictions(400, 3)
    targets4, p4, groups = np.repeat(targets, 4), np.repeat(p, 4, axis=0), np.repeat(np.arange(400), 4)
    widths = []
    for codes in (None, groups):
        interval = percentile_interval(bootstrap(targets4, [p4], codes, 1000, seed=0)["accuracy"])
        widths.append(interval.high - interval.low)
    assert widths[1] / widths[0] == pytest.approx(2.0, rel=0.15)  # sqrt of 4 copies
    accuracy = (p.argmax(1) == targets).mean()
    assert widths[1] == pytest.approx(2 * 1.96 * np.sqrt(accuracy * (1 - accuracy) / 400), rel=0.1)


def test_equal_seeds_equal_draws():
    targets, p = predictions(100, 3)
    first, again, other = (bootstrap(targets, [p], None, 50, seed)["auc_macro"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    np.testing.assert_array_equal(first[:20], bootstrap(targets, [p], None, 20, 1)["auc_macro"])


def test_repeats_share_the_drawn_images():
    targets, p = predictions(100, 3)
    _, q = predictions(100, 3, seed=5)
    both = bootstrap(targets, [p, q], None, 30, seed=0)["auc_macro"]
    alone = [bootstrap(targets, [one], None, 30, seed=0)["auc_macro"] for one in (p, q)]
    np.testing.assert_allclose(both, np.mean(alone, axis=0))


def test_fold_spread_is_the_sample_standard_deviation():
    assert fold_spread([0.5, 0.7, 0.9]) == pytest.approx((0.7, 0.2))
    assert fold_spread([0.5, float("nan"), 0.7]) == pytest.approx((0.6, np.sqrt(0.02)))
    mean, sd = fold_spread([0.4])
    assert mean == 0.4
    assert np.isnan(sd)
    assert all(np.isnan(fold_spread([])))


def test_interval_of_nothing_is_undefined():
    assert percentile_interval(np.array([np.nan, np.nan])) is None
