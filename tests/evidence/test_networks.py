"""Two models, or one under two kinds of folds, paired by image; and the words of verdicts on images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qlcnet.evidence.comparison import NotComparable
from qlcnet.evidence.image_difference import ImageDifference
from qlcnet.evidence.limits import Limits, TooFew
from qlcnet.evidence.metrics import metrics_of
from qlcnet.evidence.networks import compare_networks, leakage, seen_and_unseen
from qlcnet.evidence.oof import OOFTable
from qlcnet.evidence.statistics import Interval
from qlcnet.evidence.verdict_on_images import word_of


def make_table(skill: float, seed: int, repeats: int = 1, images: int = 240, folds: int = 4) -> OOFTable:
    """Three classes; image i in fold i % folds (of another repeat another one); probabilities by skill."""
    rng = np.random.default_rng(seed)
    index = np.tile(np.arange(images), repeats)
    repeat = np.repeat(np.arange(repeats), images)
    target = index % 3
    logits = rng.normal(size=(len(index), 3))
    logits[np.arange(len(index)), target] += skill
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    order = np.lexsort((index, (index + repeat) % folds, repeat))
    columns = (repeat, (index + repeat) % folds, index, target, p.astype(np.float32))
    return OOFTable("t", "b", f"m{seed}", ("a", "b", "c"), *(column[order] for column in columns))


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy", "auc_macro", "auc_micro"])
@pytest.mark.parametrize("repeats", [1, 2])
def test_the_difference_is_that_of_the_metrics_and_swaps_its_sign(metric: str, repeats: int) -> None:
    a, b = make_table(2.0, 1, repeats), make_table(1.0, 2, repeats)
    found, turned = compare_networks(a, b, metric), compare_networks(b, a, metric)
    assert isinstance(found, ImageDifference)
    assert isinstance(turned, ImageDifference)
    each = [
        np.mean([metrics_of(w.target, w.probabilities)[metric] for w in map(table.of_repeat, table.repeats)])
        for table in (a, b)
    ]
    assert found.difference == pytest.approx(each[0] - each[1])
    assert found.interval.low == pytest.approx(-turned.interval.high)
    assert found.interval.low > 0


def test_more_repeats_are_not_more_images() -> None:
    def repeated(table: OOFTable, repeats: int) -> OOFTable:
        names = ("index", "target", "probabilities", "fold")
        columns = {name: np.concatenate([getattr(table, name)] * repeats) for name in names}
        return replace(table, **columns, repeat=np.repeat(np.arange(repeats), len(table)))

    widths = []
    for repeats in (1, 5):
        pair = (repeated(table, repeats) for table in (make_table(1.5, 1), make_table(1.0, 2)))
        found = compare_networks(*pair, "accuracy")
        assert isinstance(found, ImageDifference)
        widths.append(found.interval.high - found.interval.low)
    assert widths[0] == pytest.approx(widths[1])


def test_groups_widen_the_interval_where_their_images_share_errors() -> None:
    a, b = make_table(1.5, 1), make_table(1.0, 2)
    copies = [
        replace(
            table,
            repeat=np.repeat(table.repeat, 3), fold=np.repeat(table.fold, 3), target=np.repeat(table.target, 3),
            probabilities=np.repeat(table.probabilities, 3, axis=0),
            index=np.repeat(3 * table.index, 3) + np.tile(np.arange(3), len(table)),
        )
        for table in (a, b)
    ]  # fmt: skip
    once, thrice = compare_networks(a, b, "accuracy"), compare_networks(*copies, "accuracy", np.arange(720) // 3)
    assert isinstance(once, ImageDifference)
    assert isinstance(thrice, ImageDifference)
    assert thrice.interval.low == pytest.approx(once.interval.low, abs=1e-9)


def test_other_folds_are_refused_but_for_leakage() -> None:
    a = make_table(1.5, 1)
    other = replace(a, fold=a.fold[::-1].copy())
    with pytest.raises(NotComparable, match="not the same folds"):
        compare_networks(a, other, "accuracy")
    found = leakage(make_table(2.0, 3, folds=3), a, "accuracy", np.arange(240) // 2)
    assert isinstance(found, ImageDifference)
    with pytest.raises(NotComparable, match="not the same images"):
        leakage(a.rows(a.index < 100), a, "accuracy", np.arange(240))


def test_seen_and_unseen_parts_make_the_whole() -> None:
    table, seen = make_table(1.5, 1), np.arange(240) < 80
    found = seen_and_unseen(table, seen, "accuracy", None)
    assert found is not None
    assert (found.seen.images, found.unseen.images) == (80, 160)
    whole = metrics_of(table.target, table.probabilities)["accuracy"]
    assert (80 * found.seen.value + 160 * found.unseen.value) / 240 == pytest.approx(whole)
    assert isinstance(found.seen.interval, Limits)
    assert seen_and_unseen(table, np.ones(240, bool), "accuracy", None) is None


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.02, 0.06, "better by more than the margin"),
        (-0.06, -0.02, "worse by more than the margin"),
        (0.001, 0.006, "better, by less than the margin"),
        (0.002, 0.03, "better"),
        (-0.03, -0.002, "worse"),
        (-0.005, 0.006, "equivalent"),
        (-0.02, 0.03, "undecided"),
    ],
)
def test_the_first_line_of_the_table_counts(low: float, high: float, word: str) -> None:
    def at(level: float) -> ImageDifference:
        return ImageDifference(
            "accuracy", (low + high) / 2, Interval(low, high), "influence values", 9, None, (1, 2), None
        )

    assert word_of(at, margin=0.01, alpha=0.05) == word
    assert word_of(lambda level: TooFew("nothing"), 0.01, 0.05) == "too few"
