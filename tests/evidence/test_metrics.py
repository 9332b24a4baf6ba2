"""Metrics against scikit-learn and numbers worked out by hand, with ties and absent classes."""

import numpy as np
import pytest
from sklearn import metrics as reference

from qlcnet.evidence.metrics import (
    auc,
    auc_per_class,
    confusion_matrix,
    metrics_of,
    recall_per_class,
    roc_curve,
    roc_macro,
    roc_per_class,
)


def predictions(rows: int, classes: int, seed: int = 0, decimals: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Random targets (all classes present) and softmax probabilities that know a little about them."""
    rng = np.random.default_rng(seed)
    targets = rng.permutation(np.arange(rows) % classes)
    logits = rng.normal(size=(rows, classes)) + 1.0 * (targets[:, None] == np.arange(classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    if decimals is not None:
        probabilities = probabilities.round(decimals)
    return targets, probabilities.astype(np.float32)


@pytest.mark.parametrize("decimals", [None, 1], ids=["distinct", "ties"])
@pytest.mark.parametrize("classes", [2, 7])
def test_equal_to_scikit_learn(classes, decimals):
    targets, p = predictions(500, classes, decimals=decimals)
    ours = metrics_of(targets, p)
    exact = p.astype(np.float64)
    hot = np.eye(classes)[targets]
    assert ours["accuracy"] == reference.accuracy_score(targets, p.argmax(1))
    assert ours["balanced_accuracy"] == pytest.approx(
        reference.balanced_accuracy_score(targets, p.argmax(1)), abs=1e-15
    )
    assert ours["auc_macro"] == pytest.approx(reference.roc_auc_score(hot, exact, average="macro"), abs=1e-14)
    assert ours["auc_micro"] == pytest.approx(reference.roc_auc_score(hot, exact, average="micro"), abs=1e-14)
    if decimals is None:  # rounded rows no longer sum to 1, which scikit-learn refuses
        assert ours["loss"] == pytest.approx(reference.log_loss(targets, exact, labels=range(classes)), abs=1e-6)
    np.testing.assert_array_equal(confusion_matrix(targets, p), reference.confusion_matrix(targets, p.argmax(1)))
    np.testing.assert_allclose(recall_per_class(targets, p), reference.recall_score(targets, p.argmax(1), average=None))


def test_auc_by_hand():
    # positives 3 2 2, negatives 2 1: of 6 pairs 4 are right and 2 tie
    assert auc(np.array([True, True, True, False, False]), np.array([3.0, 2.0, 2.0, 2.0, 1.0])) == 5 / 6
    assert auc(np.array([True, False]), np.array([0.5, 0.5])) == 0.5
    assert np.isnan(auc(np.array([True, True]), np.array([0.1, 0.2])))


def test_equal_scores_in_any_order_give_the_same_bits():
    targets, p = predictions(400, 5, decimals=1)
    order = np.random.default_rng(1).permutation(len(targets))
    shuffled = metrics_of(targets[order], p[order])
    exact = {name: value for name, value in metrics_of(targets, p).items() if name != "loss"}  # a sum of floats
    assert exact == {name: shuffled[name] for name in exact}


def test_absent_class_is_left_out_of_means():
    targets, p = predictions(300, 4)
    kept = targets != 2
    ours = metrics_of(targets[kept], p[kept])
    areas = [reference.roc_auc_score(targets[kept] == k, p[kept, k]) for k in (0, 1, 3)]
    assert ours["auc_macro"] == pytest.approx(np.mean(areas), abs=1e-14)
    assert np.isnan(auc_per_class(targets[kept], p[kept])[2])
    assert np.isnan(recall_per_class(targets[kept], p[kept])[2])
    recalls = [(p[targets == k].argmax(1) == k).mean() for k in (0, 1, 3)]
    assert ours["balanced_accuracy"] == pytest.approx(np.mean(recalls))


def test_one_class_alone_has_no_auc():
    targets, p = predictions(50, 3)
    only = targets == 1
    ours = metrics_of(targets[only], p[only])
    assert np.isnan(ours["auc_macro"])
    assert 0 <= ours["accuracy"] <= 1


def test_a_probability_of_zero_gives_a_finite_loss():
    assert metrics_of(np.array([0]), np.array([[0.0, 1.0]], np.float32))["loss"] == pytest.approx(15.94, abs=0.01)


@pytest.mark.parametrize("decimals", [None, 1], ids=["distinct", "ties"])
def test_roc_curve_equals_scikit_learn(decimals):
    targets, p = predictions(300, 3, decimals=decimals)
    curve = roc_curve(targets == 1, p[:, 1])
    false, true, _ = reference.roc_curve(targets == 1, p[:, 1], drop_intermediate=False)
    np.testing.assert_allclose(curve.false_positive_rate, false)
    np.testing.assert_allclose(curve.true_positive_rate, true)
    assert np.trapezoid(true, false) == pytest.approx(auc(targets == 1, p[:, 1]))


def test_area_of_the_macro_curve_is_the_macro_auc():
    targets, p = predictions(3000, 4)
    curves = roc_per_class(targets, p)
    macro = roc_macro([*curves, None])
    area = np.trapezoid(macro.true_positive_rate, macro.false_positive_rate)
    assert area == pytest.approx(metrics_of(targets, p)["auc_macro"], abs=2e-3)
    assert roc_macro([None]) is None


@pytest.mark.parametrize(
    ("targets", "p", "message"),
    [
        ([0, 1], [[0.5, 0.5], [np.nan, 0.5]], "1 of 2 predictions are not finite, the first in row 1"),
        ([0, 2], [[0.5, 0.5], [0.5, 0.5]], "targets run from 0 to 2, classes to 1"),
        ([0], [[0.5, 0.5], [0.5, 0.5]], "expected targets"),
        ([], np.zeros((0, 2)), "expected targets"),
    ],
)
def test_impossible_input_is_an_error(targets, p, message):
    with pytest.raises(ValueError, match=message):
        metrics_of(np.array(targets, int), np.array(p, np.float32))
