"""The comparison that drops a trial: exact on small cases, right about equal trials, and never of other images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.metrics import metrics_of
from qlcnet.search.lanes import Predictions
from qlcnet.search.pruner import Behind, FoldPruner, SeedSpread, compare_on_folds
from qlcnet.search.space import Setting
from qlcnet.search.study import Slots
from qlcnet.search.trials import FoldValue, run_all
from tests.search.networks import Fold, make_fold, predict
from tests.search.test_study import SPACE

SMALL = SeedSpread(1e-4, 6)


def of(right: list[int], images: int = 40) -> Predictions:
    """A network that has these images right, of two classes that alternate."""
    target = np.arange(images) % 2
    said = np.where(np.isin(np.arange(images), right), target, 1 - target)
    return Predictions(np.arange(images), target, np.eye(2)[said] * 0.8 + 0.1)


def test_accuracy_is_mcnemars_comparison_with_the_seeds_spread_added() -> None:
    a, b = of([*range(20), *range(30, 36)]), of([*range(12), *range(36, 40), *range(20, 30)])
    both = np.isin(np.arange(40), [*range(20), *range(30, 36)]).astype(int)
    other = np.isin(np.arange(40), [*range(12), *range(36, 40), *range(20, 30)]).astype(int)
    found = compare_on_folds([a], [b], "accuracy", SMALL)
    assert isinstance(found, Behind)
    difference = both - other
    only_a, only_b = int((difference > 0).sum()), int((difference < 0).sum())
    assert found.difference == pytest.approx((only_a - only_b) / 40)
    # the variance of a difference of paired shares: (b + c - (b - c)^2 / n) / (n (n - 1))
    images = (only_a + only_b - (only_a - only_b) ** 2 / 40) / (40 * 39)
    assert found.se**2 == pytest.approx(images + 2 * SMALL.variance)
    apart = compare_on_folds([a, a], [b, b], "accuracy", SMALL)
    assert isinstance(apart, Behind)
    assert apart.difference == pytest.approx(found.difference)
    assert apart.se**2 == pytest.approx(found.se**2 / 2)


def test_the_spread_between_seeds_is_the_variance_within_folds() -> None:
    spread = SeedSpread.of(np.array([[0.8, 0.9], [0.5, 0.5], [0.6, 0.8]]))
    assert spread == SeedSpread(pytest.approx((0.005 + 0 + 0.02) / 3), 3)  # type: ignore[arg-type]
    assert SeedSpread.of(np.array([[0.8], [0.5]])) is None


def test_other_images_and_nothing_that_varies_are_no_comparison() -> None:
    a = of([1, 2, 3])
    other = replace(a, index=a.index + 1)
    assert isinstance(compare_on_folds([a], [other], "accuracy", SMALL), TooFew)
    assert isinstance(compare_on_folds([a], [a], "accuracy", SeedSpread(0.0, 3)), TooFew)
    same = compare_on_folds([a], [a], "accuracy", SMALL)
    assert isinstance(same, Behind)
    assert (same.difference, same.p) == (0.0, 0.5)


def test_images_of_one_group_count_as_one() -> None:
    rng = np.random.default_rng(0)
    labels, hard = make_fold(rng, 60)
    fold = np.repeat(labels, 2), np.repeat(hard, 2)
    a, b = (predict(rng, fold, 1.5, 0.0, 0.0) for _ in range(2))
    b = replace(b, probabilities=b.probabilities[:, ::-1])
    groups = np.repeat(np.arange(60), 2)
    alone = compare_on_folds([a], [b], "accuracy", SMALL)
    grouped = compare_on_folds([a], [b], "accuracy", SMALL, groups)
    assert isinstance(alone, Behind)
    assert isinstance(grouped, Behind)
    assert grouped.se > 1.2 * alone.se


@pytest.mark.parametrize("metric", ["accuracy", "auc_macro"])
def test_an_equal_trial_is_dropped_in_5_percent_of_comparisons_at_most_and_a_worse_one_mostly(metric: str) -> None:
    """The short form of benchmarks/search.py, part pruner; there without the seeds' spread it is 0.05 to 0.23."""
    rng = np.random.default_rng(1)
    dropped = {"equal": 0, "worse": 0, "seeds ignored": 0}
    rounds = 150
    for _ in range(rounds):
        folds = [make_fold(rng, 125) for _ in range(3)]
        twice = [[predict(rng, fold, 2.0, 0.3, 0.5) for _ in range(2)] for fold in folds]
        values = [[metrics_of(one.target, one.probabilities)[metric] for one in pair] for pair in twice]
        spread = SeedSpread.of(np.array(values))
        assert spread
        best = [pair[0] for pair in twice]
        for name, quality in (("equal", 2.0), ("worse", 0.8)):
            trial = [predict(rng, fold, quality, 0.3, 0.5) for fold in folds]
            found = compare_on_folds(trial, best, metric, spread)
            dropped[name] += isinstance(found, Behind) and found.p < 0.05
            if name == "equal":
                ignored = compare_on_folds(trial, best, metric, SeedSpread(0.0, 3))
                dropped["seeds ignored"] += isinstance(ignored, Behind) and ignored.p < 0.05
    shares = {name: count / rounds for name, count in dropped.items()}
    assert shares["equal"] < 0.07  # 0.05, and the chance of 150 rounds
    assert shares["worse"] > 0.8
    assert shares["seeds ignored"] > shares["equal"]


class Synthetic:
    """Settings whose quality falls with the distance of their rate from 0.001, scored on images."""

    def __init__(self, folds: list[Fold]) -> None:
        self.folds, self._images = len(folds), folds
        self.made: dict[str, Predictions] = {}

    def fold(self, number: int, setting: Setting, fold: int, replicate: int = 0) -> FoldValue:
        quality = 2.0 - 0.9 * abs(np.log10(setting["training.learning_rate"]) + 3)
        rng = np.random.default_rng([number, fold, replicate])
        name = f"{number}-{fold}-{replicate}"
        self.made[name] = predict(rng, self._images[fold], quality, 0.15, 0.3)
        value = metrics_of(self.made[name].target, self.made[name].probabilities)["accuracy"]
        return FoldValue(value, name)


def test_a_dropped_trial_stands_as_pruned_with_the_folds_that_it_has(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    objective = Synthetic([make_fold(rng, 125) for _ in range(4)])
    pruner = FoldPruner("accuracy", objective.made.get)
    slots = Slots.open(tmp_path, "a/b", 12, 42, SPACE.as_drawn(SPACE.default), pruner)
    run_all(slots, SPACE, objective, replicates=1)
    states = [trial.state.name for trial in slots.settled()]
    assert set(states) == {"COMPLETE", "PRUNED"}
    for trial in slots.settled():
        assert list(trial.intermediate_values) == list(range(len(trial.user_attrs["fits"])))  # folds, never epochs
        if trial.state.name == "PRUNED":
            assert 1 <= len(trial.intermediate_values) < 4
            assert trial.user_attrs["pruned"]["p"] < 0.05
        else:
            assert trial.value == pytest.approx(np.mean(list(trial.intermediate_values.values())))
    # where the best one's predictions are not on this machine nothing is dropped
    away = Slots.open(
        tmp_path / "away", "a/b", 12, 42, SPACE.as_drawn(SPACE.default), FoldPruner("accuracy", lambda _: None)
    )
    run_all(away, SPACE, objective, replicates=1)
    assert {trial.state.name for trial in away.settled()} == {"COMPLETE"}
