"""What is said of a search: winner, bias, one standard error, edges, stops; on numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qlcnet.search.outcome import Outcome, SearchRecord, TrialRecord, outcome_of, tibshirani_bias
from qlcnet.search.stopping import Clock, is_flat
from qlcnet.search.words import counts_sentence, gain_sentence, notes, pruning_sentence, value_sentence

RATE = "training.learning_rate"
BOUNDS: dict[str, dict[str, Any]] = {RATE: {"low": 1e-4, "high": 1e-2, "log": True}}


def trial(number: int, values: tuple[float, ...], rate: float = 1e-3, **known: Any) -> TrialRecord:
    state = known.pop("state", "complete")
    return TrialRecord(number, state, {RATE: rate}, values, **known)


def record(*trials: TrialRecord, **known: Any) -> SearchRecord:
    given = {"asked": len(trials), "folds": 3, "bounds": BOUNDS, **known}
    return SearchRecord("d/b/m/0/fold-0/seed-0", "d", "b", "m", 0, 0, "accuracy", trials=trials, **given)


def outcome(*trials: TrialRecord, simplest: bool = False, **known: Any) -> Outcome:
    found = outcome_of(record(*trials, **known), 0.01, 0.05, simplest)
    assert found
    return found


def test_the_bias_is_the_mean_distance_of_the_winner_from_each_folds_best() -> None:
    trials = [trial(0, (0.7, 0.8, 0.6)), trial(1, (0.8, 0.7, 0.9), 2e-3), trial(2, (0.9, 0.6), 5e-3, state="pruned")]
    # the winner is 1: fold 0 best 0.9 (of the dropped trial), fold 1 best 0.8, fold 2 best 0.9
    assert tibshirani_bias(trials, trials[1]) == pytest.approx((0.1 + 0.1 + 0.0) / 3)
    found = outcome(*trials)
    assert found.winner.number == 1
    assert found.corrected == pytest.approx(0.8 - 0.2 / 3)
    assert "optimistic, by about 0.0667" in value_sentence(found)


def test_the_winner_replaces_the_default_only_where_the_folds_say_so() -> None:
    clear = outcome(trial(0, (0.70, 0.71, 0.72)), trial(1, (0.80, 0.812, 0.821), 2e-3))
    assert clear.is_better
    assert clear.chosen.number == 1
    assert gain_sentence(clear).startswith("tuned: trial 1 is better")
    noisy = outcome(trial(0, (0.70, 0.80, 0.75)), trial(1, (0.80, 0.78, 0.76), 2e-3))
    assert noisy.winner.number == 1
    assert not noisy.is_better
    assert noisy.chosen.number == 0
    assert gain_sentence(noisy).startswith("tuned: no gain shown: trial 1 has +0.03")
    itself = outcome(trial(0, (0.7, 0.8, 0.75)), trial(1, (0.6, 0.6, 0.6), 2e-3))
    assert itself.chosen.number == 0
    assert gain_sentence(itself) == "tuned: no gain shown: the setting of params.yaml itself is the best"


def test_of_equal_trials_the_first_wins() -> None:
    assert outcome(trial(0, (0.5, 0.75, 1.0)), trial(1, (0.75, 0.75, 0.75), 2e-3)).winner.number == 0


def test_the_simplest_within_one_standard_error() -> None:
    best = trial(3, (0.80, 0.84, 0.88), 4e-3, parameters=900)  # mean 0.84, standard error 0.0231
    near, far = trial(2, (0.82, 0.82, 0.82), 3e-3, parameters=100), trial(1, (0.81, 0.81, 0.81), 2e-3, parameters=10)
    same = trial(4, (0.83, 0.83, 0.83), 5e-3, parameters=100, multiply_adds=5)
    assert outcome(trial(0, (0.5, 0.5, 0.5)), far, near, best, same).winner is best
    assert outcome(trial(0, (0.5, 0.5, 0.5)), far, near, best, same, simplest=True).winner is near


def test_what_a_reader_should_be_told() -> None:
    trials = [
        trial(0, (0.7, 0.7, 0.7)),
        trial(1, (0.8, 0.8, 0.81), 9.9e-3),
        trial(2, (0.5,), 1e-4, state="pruned", p=0.003),
        trial(3, (), 2e-3, state="fail", error="DivergedError: the loss is nan\nmore"),
        trial(4, (0.8, 0.8, 0.81), 9.9e-3, equal_to=1),
    ]
    found = outcome(*trials, importances={RATE: 0.97, "training.schedule": 0.03}, replicates=3, seed_sd=0.004)
    assert found.at_the_edge == [RATE]
    assert found.without_effect == ["training.schedule"]
    said = "\n".join(notes(found))
    assert "at the edge of the space: training.learning_rate" in said
    assert "never mattered: training.schedule" in said
    assert "answered from the store: trials 4" in said
    assert "failed: trial 3: DivergedError: the loss is nan" in said
    assert "1 trials dropped, each with p up to 0.003" in pruning_sentence(found.search)
    assert "2 of 12 fold fits saved (17 %), 3 spent on replicates" in pruning_sentence(found.search)
    assert counts_sentence(found.search) == "5 of 5 trials settled (3 complete, 1 pruned, 1 fail)"
    middle = outcome(trial(0, (0.7, 0.7, 0.7)), trial(1, (0.8, 0.8, 0.81), 2e-3))
    assert middle.at_the_edge == []
    short = record(trials[0], asked=9, stopped="the 1 minutes are over")
    assert counts_sentence(short) == "1 of 9 trials settled (1 complete); 8 were not begun: the 1 minutes are over"


def test_nothing_is_said_where_no_trial_has_all_folds() -> None:
    assert outcome_of(record(trial(0, (0.7,), state="fail")), 0.01, 0.05) is None


def test_best_so_far_counts_dropped_trials_as_settled() -> None:
    of = record(trial(0, (0.7,) * 3), trial(1, (0.9,), 2e-3, state="pruned"), trial(2, (0.8,) * 3, 3e-3))
    assert of.best_so_far() == [(1, pytest.approx(0.7)), (2, pytest.approx(0.7)), (3, pytest.approx(0.8))]


@pytest.mark.parametrize("folds", [3, 4, 5, 9])
def test_of_equal_settings_it_is_right_at_four_folds(folds: int) -> None:
    """As published it is sqrt(k) - 1 times the bias of equal settings, whose folds differ by independent noise."""
    rng = np.random.default_rng(3)
    bias, estimated = [], []
    for values in rng.normal(0.8, 0.02, (300, 30, folds)):
        trials = [trial(i, tuple(row)) for i, row in enumerate(values.tolist())]
        winner = max(trials, key=lambda one: one.value)
        bias.append(winner.value - 0.8)
        estimated.append(tibshirani_bias(trials, winner))
    assert np.mean(estimated) / np.mean(bias) == pytest.approx(np.sqrt(folds) - 1, rel=0.06)


def test_a_search_is_flat_when_the_last_third_brought_less_than_the_folds_noise() -> None:
    rng = np.random.default_rng(0)
    folds = rng.normal(0, 0.02, 5)

    def values(quality: float) -> list[float]:
        return list(quality + folds + rng.normal(0, 0.004, 5))

    rising = [(i, values(0.6 + 0.01 * i)) for i in range(30)]
    flat = [(i, values(min(0.6 + 0.02 * i, 0.7))) for i in range(30)]
    assert not is_flat(rising, 30)
    assert is_flat(flat, 30)
    assert not is_flat(flat[:10], 10)


def test_the_clock_is_over_when_its_minutes_are() -> None:
    assert Clock(0.0).is_over
    assert not Clock(1.0).is_over
    assert not Clock(None).is_over


def test_the_bias_estimate_is_right_over_noise() -> None:
    """Equal settings over 5 folds: the best is optimistic, and what is left without the estimated bias is not.

    The short form of benchmarks/search.py, part noise, which has --nested beside it.
    """
    rng = np.random.default_rng(2)
    best, left = [], []
    for _ in range(300):
        shared = rng.normal(0, 0.02, 5)  # the folds are hard or easy for all settings
        values = 0.8 + shared + rng.normal(0, 0.02, (30, 5))
        trials = [trial(i, tuple(row), 1e-3 * (1 + i)) for i, row in enumerate(values.tolist())]
        found = outcome(*trials, folds=5)
        truth = 0.8 + shared.mean()
        best.append(found.winner.value - truth)
        left.append(found.corrected - truth)
    assert np.mean(best) > 0.015
    assert abs(np.mean(left)) < np.mean(best)
