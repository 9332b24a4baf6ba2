"""Intervals of one model: what has one and what is refused, invariances, and a short coverage simulation."""

import numpy as np
import pytest
from benchmarks.simulate.cells import Cell, Kept, run, simulate
from benchmarks.simulate.coverage import judge
from benchmarks.simulate.shapes import BREASTMNIST, ONE_TO_SIX, Shape, draw, truth

from qlcnet.evidence import intervals
from qlcnet.evidence.further import ALL_METRICS
from qlcnet.evidence.intervals import intervals_of
from qlcnet.evidence.limits import Limits, TooFew, modified_wilson
from qlcnet.evidence.metrics import metrics_of, recall_per_class
from tests.evidence.test_metrics import predictions


def outcomes(targets, p, groups=None, folds=5):
    return intervals_of([(targets, p)], [np.arange(len(targets)) % folds], groups)


def test_every_metric_has_limits_around_its_value_or_a_reason():
    targets, p = predictions(600, 3)
    found = outcomes(targets, p)
    assert set(found) == {*ALL_METRICS, *(f"{part}_{k}" for part in ("recall", "auc") for k in range(3))}
    for name, one in found.items():
        if name in ("average_precision_macro", "calibration_error"):
            assert isinstance(one, TooFew)
            assert one.needs is None
        else:
            assert isinstance(one, Limits), name
            assert one.low < one.value < one.high, name
    metrics = metrics_of(targets, p)
    for name in ("accuracy", "balanced_accuracy", "auc_micro", "loss"):
        assert found[name].value == pytest.approx(metrics[name])
    of_folds = [metrics_of(targets[f::5], p[f::5])["auc_macro"] for f in range(5)]
    assert found["auc_macro"].value == pytest.approx(np.mean(of_folds))
    recall = recall_per_class(targets, p)[1]
    assert (found["recall_1"].low, found["recall_1"].high) == pytest.approx(modified_wilson(recall, 200))


def test_neither_order_of_rows_nor_names_of_groups_matter():
    targets, p = predictions(300, 3)
    groups, fold = np.arange(300) // 2, np.arange(300) // 2 % 5
    order = np.random.default_rng(0).permutation(300)
    first = intervals_of([(targets, p)], [fold], groups)
    again = intervals_of([(targets[order], p[order])], [fold[order]], (1000 - groups * 3)[order])
    for name, one in first.items():
        if isinstance(one, Limits):
            assert (again[name].low, again[name].high) == pytest.approx((one.low, one.high), abs=1e-9), name
        else:
            assert again[name] == one


def test_a_repeat_is_never_more_images():
    targets, p = predictions(300, 3)
    fold = np.arange(300) % 5
    once = intervals_of([(targets, p)], [fold])
    twice = intervals_of([(targets, p)] * 2, [fold] * 2)
    for name, one in once.items():
        if isinstance(one, Limits):
            assert (twice[name].low, twice[name].high) == pytest.approx((one.low, one.high), abs=1e-9), name
    with pytest.raises(ValueError, match="targets of the repeats differ"):
        intervals_of([(targets, p), (targets[::-1], p)], [fold] * 2)


def test_copies_in_a_group_do_not_narrow():
    targets, p = predictions(200, 3)
    alone = outcomes(targets, p, folds=1)
    four = outcomes(np.repeat(targets, 4), np.repeat(p, 4, axis=0), np.repeat(np.arange(200), 4), folds=1)
    for name, one in alone.items():
        if isinstance(one, Limits):
            assert (four[name].low, four[name].high) == pytest.approx((one.low, one.high), abs=1e-9), name


def test_refusals_say_how_many_it_would_take():
    targets, p = predictions(300, 3)
    rare = targets.copy()
    rare[np.flatnonzero(targets == 2)[2:]] = 0  # two images of class 2
    found = outcomes(rare, p)
    assert found["recall_2"] == TooFew("2 images of class 2", intervals.GROUPS_OF_RECALL)
    assert found["auc_macro"] == TooFew("2 images of class 2", intervals.GROUPS_OF_MACRO_AUC)
    assert found["auc_2"] == TooFew("2 images with or without class 2", intervals.GROUPS_OF_AUC)
    assert isinstance(found["balanced_accuracy"], Limits)
    absent = outcomes(np.where(targets == 2, 0, targets), p)
    assert absent["balanced_accuracy"] == TooFew("0 images of class 2", 1)
    assert isinstance(absent["recall_2"], TooFew)
    assert isinstance(absent["auc_2"], TooFew)
    few = outcomes(targets, p, np.arange(300) % 10)
    for name in ("accuracy", "auc_micro"):
        assert few[name] == TooFew("10 groups", intervals.GROUPS)
    assert found["f1_macro"] == TooFew("2 images of class 2", intervals.GROUPS_OF_F1)


def test_a_perfect_network_is_not_certain_and_a_constant_one_says_nothing():
    targets = np.arange(90) % 3
    perfect = outcomes(targets, np.eye(3)[targets] * 0.8 + 0.2 / 3)
    for name in ("accuracy", "balanced_accuracy", "auc_macro", "auc_micro", "recall_0", "auc_0"):
        assert perfect[name].high == 1.0, name
        assert 0.8 < perfect[name].low < 0.99, name
    for name in ("loss", "brier", "kappa", "f1_macro"):
        assert perfect[name] == TooFew("0 images with an error", intervals.ERRORS), name
    constant = outcomes(targets, np.tile([0.5, 0.3, 0.2], (90, 1)))
    for name in ("auc_0", "auc_macro", "kappa"):
        assert constant[name] == intervals.CONSTANT, name
    assert constant["recall_1"].low == 0.0
    assert constant["recall_1"].high > 0.08
    never = outcomes(targets, np.eye(3)[(targets + 1) % 3])
    assert isinstance(never["f1_macro"], TooFew)
    assert never["accuracy"].high < 0.05


@pytest.mark.parametrize(
    "shape",
    [Shape(156, BREASTMNIST), Shape(600, sizes=ONE_TO_SIX, skill=(1.5,), classes=(4, 2, 1))],
    ids=["2 classes", "3 classes in groups of 1 to 6"],
)
def test_coverage_in_short(shape):
    true, studies = truth(shape, 20_000), 150
    cell = Cell(lambda rng: judge(draw(shape, rng), true, shape, images=2_000), lambda sums, n: {}, "")
    sums = simulate("short", cell, range(studies))
    names = ["accuracy", "balanced_accuracy", "auc_macro", "auc_micro", "recall_0", "recall_1", "auc_1", "kappa"]
    for name in names:
        assert sums[f"{name}:shown"] > 0.6 * studies, name
        # 150 studies: three standard errors of 0.95 are 0.053
        assert sums[f"{name}:held"] / sums[f"{name}:shown"] > 0.89, name


def test_a_cell_goes_on_where_it_was_killed(tmp_path):
    kept = Kept("part", tmp_path / "results.json", tmp_path / "state")
    stop_at = [250]

    def one(rng):
        stop_at[0] -= 1
        if stop_at[0] < 0:
            raise KeyboardInterrupt
        return {"sum": float(rng.integers(1000))}

    cells = {"a": Cell(one, lambda sums, n: {"mean": sums["sum"] / n}, "code")}
    with pytest.raises(KeyboardInterrupt):
        list(run(cells, 400, kept))
    stop_at[0] = 200  # two blocks of 100 were kept
    [(_, resumed)] = run(cells, 400, kept)
    stop_at[0] = 400
    [(_, whole)] = run(cells, 400, Kept("part", tmp_path / "results.json", tmp_path / "other"))
    assert resumed == whole == {"simulations": 400, "mean": whole["mean"], "code": "code"}
    stop_at[0] = 0
    assert [result for _, result in run(cells, 400, kept)] == [whole]
