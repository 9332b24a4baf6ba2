"""The summary of a model against numbers worked out by hand and plain calls, from tables alone."""

import numpy as np
import pytest

from qlcnet.evidence.further import ALL_METRICS, further_metrics_of
from qlcnet.evidence.intervals import intervals_of
from qlcnet.evidence.limits import Limits, TooFew
from qlcnet.evidence.metrics import METRICS, metrics_of, roc_curve, roc_micro
from qlcnet.evidence.oof import OOFTable
from qlcnet.evidence.summary import CircuitEvaluations, NetworkCost, cost_of, summarise_model
from tests.evidence.test_metrics import predictions

COST = NetworkCost(10, 20, CircuitEvaluations(1, 2, 3))


def make_table(images: int, repeats: int = 1, folds: int = 3, first: int = 0) -> OOFTable:
    """Every image once a repeat, in fold `index % folds`; 3 classes; image numbers from `first`."""
    rows = []
    for repeat in range(repeats):
        targets, p = predictions(images, 3, seed=7)
        _, p = predictions(images, 3, seed=repeat)
        for fold in range(folds):
            rows += [(repeat, fold, first + i, targets[i], p[i]) for i in range(fold, images, folds)]
    repeat, fold, index, target = (np.array([row[i] for row in rows], dtype=np.int64) for i in range(4))
    return OOFTable("t", "b", "m", ("a", "b", "c"), repeat, fold, index, target, np.array([row[4] for row in rows]))


def empty(table: OOFTable) -> OOFTable:
    return table.rows(np.zeros(len(table), bool))


def test_six_predictions_by_hand():
    sure = np.float32([[0.8, 0.2], [0.8, 0.2], [0.2, 0.8], [0.2, 0.8], [0.8, 0.2], [0.2, 0.8]])
    target = np.array([0, 1, 1, 1, 0, 1])  # wrong in the second row alone
    fold = np.array([0, 0, 0, 1, 1, 1])
    table = OOFTable("t", "b", "m", ("no", "yes"), np.zeros(6, np.int64), fold, np.arange(6), target, sure)
    summary = summarise_model(table, empty(table), COST)
    assert (summary.task, summary.backbone, summary.model) == ("t", "b", "m")
    assert summary.members == (2, 4)
    np.testing.assert_array_equal(summary.confusion.counts, [[2, 0], [1, 3]])
    np.testing.assert_array_equal(summary.confusion.shares, [[1, 0], [0.25, 0.75]])
    accuracy = summary.oof.metrics["accuracy"]
    assert accuracy.value == pytest.approx(5 / 6)
    assert accuracy.fold_mean == pytest.approx((2 / 3 + 1) / 2)
    assert accuracy.fold_sd == pytest.approx(1 / 3 / np.sqrt(2))
    assert [recall.value for recall in summary.oof.recalls] == [1.0, 0.75]
    assert summary.oof.recalls[1].fold_mean == (1 / 2 + 1) / 2
    assert [(fit.repeat, fit.fold, fit.n) for fit in summary.oof.fits] == [(0, 0, 3), (0, 1, 3)]
    assert summary.oof.fits[0].metrics["recall_1"] == 0.5
    assert summary.test is None
    assert summary.cost is COST


def test_a_repeat_counts_as_much_as_another_and_a_fit_as_another():
    table = make_table(90, repeats=2)
    summary = summarise_model(table, empty(table), COST)
    assert summary.oof.n == 90
    repeats = [table.of_repeat(r) for r in (0, 1)]
    fits = [table.of_fit(*split) for split in table.splits]
    assert len(fits) == len(summary.oof.fits) == 6
    for name in METRICS:
        estimate = summary.oof.metrics[name]
        assert estimate.value == np.mean([metrics_of(t.target, t.probabilities)[name] for t in repeats])
        assert estimate.fold_mean == np.mean([metrics_of(t.target, t.probabilities)[name] for t in fits])
    assert summary.members == (30, 30, 30)
    assert summary.confusion.counts.sum() == 180


def test_intervals_are_there_when_asked_for_and_groups_are_those_of_the_images():
    table = make_table(90, repeats=2, first=10)
    assert summarise_model(table, empty(table), COST).oof.metrics["accuracy"].interval is None
    groups = np.r_[np.full(10, 99), np.arange(90) // 3]  # the first ten images of the set are not scored
    summary = summarise_model(table, empty(table), COST, intervals=True, groups=groups)
    repeats = [table.of_repeat(r) for r in (0, 1)]
    rows = [(t.target, t.probabilities) for t in repeats]
    expected = intervals_of(rows, [t.fold for t in repeats], np.arange(90) // 3)
    for name in ALL_METRICS:
        assert summary.oof.metrics[name].interval == expected[name]
    for k in range(3):
        assert summary.oof.recalls[k].interval == expected[f"recall_{k}"]
        assert summary.oof.aucs[k].interval == expected[f"auc_{k}"]


def test_what_is_shown_is_what_the_interval_is_of():
    """Of a macro AUC the mean over fits, of all else the pooled value; without an interval the pooled value."""
    table = make_table(90)
    found = summarise_model(table, empty(table), COST, intervals=True).oof.metrics
    assert isinstance(found["auc_macro"].interval, Limits)
    assert found["auc_macro"].shown == pytest.approx(found["auc_macro"].fold_mean)
    assert found["auc_macro"].shown != found["auc_macro"].value
    assert found["accuracy"].shown == found["accuracy"].value
    assert isinstance(found["calibration_error"].interval, TooFew)
    assert found["calibration_error"].limits is None
    assert (
        found["calibration_error"].shown == further_metrics_of(table.target, table.probabilities)["calibration_error"]
    )


def test_the_test_part_is_scored_by_every_fit():
    table = make_table(90)
    tests = make_table(30, repeats=3, folds=1, first=90)  # what three fits say of the same 30 images
    beside = OOFTable("t", "b", "m", tests.class_names, tests.fold, tests.repeat, *(
        tests.index, tests.target, tests.probabilities
    ))  # fmt: skip
    summary = summarise_model(table, beside, COST, intervals=True)
    assert summary.test is not None
    assert summary.test.n == 30
    assert [(fit.repeat, fit.fold, fit.n) for fit in summary.test.fits] == [(0, 0, 30), (0, 1, 30), (0, 2, 30)]
    estimate = summary.test.metrics["loss"]
    of_fits = [metrics_of(t.target, t.probabilities)["loss"] for t in (beside.of_fit(0, f) for f in range(3))]
    assert estimate.fold_mean == np.mean(of_fits)
    assert estimate.limits is not None
    assert estimate.limits.low < estimate.fold_mean < estimate.limits.high


def test_channels_cost_once_and_heads_in_every_fit():
    def config(head: int) -> dict:
        evaluations = {"executed": 81, "hardware_quanvolution": 1000, "hardware_head": head}
        return {"parameters": 5, "multiply_adds": 7, "circuit_evaluations": evaluations}

    cost = cost_of([config(10), config(12)])
    assert cost == NetworkCost(5, 7, CircuitEvaluations(81, 1000, 22))
    assert cost.circuit_evaluations.hardware == 1022


def test_the_micro_curve_takes_all_decisions_together():
    targets, p = predictions(50, 3)
    curve, expected = roc_micro(targets, p), roc_curve((targets[:, None] == np.arange(3)).ravel(), p.ravel())
    assert curve is not None
    assert expected is not None
    np.testing.assert_array_equal(curve.true_positive_rate, expected.true_positive_rate)
