"""What a search found: its winner, whether that is better than the default, and how optimistic its value is.

Computed from the trials alone; nothing is read, nothing drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.resampled import PairedT, resampled_t
from qlcnet.evidence.verdicts import Silent, Verdict, judge

State = Literal["complete", "pruned", "fail"]
BETTER = ("better by more than the margin", "better, by less than the margin", "better")
EDGE = 0.05  # of a range, on the scale that it is searched on
LEAST_IMPORTANCE = 0.05  # share under which a key did not matter


@dataclass(frozen=True)
class TrialRecord:
    """A settled trial. values: of the inner folds that it has. seconds: of its fits. new_fits: not found in a store."""

    number: int
    state: State
    setting: Mapping[str, Any]
    values: tuple[float, ...]
    fits: tuple[str, ...] = ()
    seconds: float = 0.0
    new_fits: int = 0
    parameters: int = 0
    multiply_adds: int = 0
    equal_to: int | None = None
    p: float | None = None  # of the comparison that dropped it
    error: str = ""
    began: str = ""  # ISO 8601
    ended: str = ""

    @property
    def value(self) -> float:
        """Mean over its folds; NaN where it has none."""
        return float(np.mean(self.values)) if self.values else float("nan")


@dataclass(frozen=True)
class SearchRecord:
    """One search: of one model on one backbone, in one outer training part, with one search seed.

    bounds: of each key its choices, or (low, high, log). replicates: fits of the default with other weight seeds.
    """

    name: str
    task: str
    backbone: str
    model: str
    fold: int
    seed: int
    metric: str
    folds: int
    asked: int
    trials: tuple[TrialRecord, ...]
    bounds: Mapping[str, Mapping[str, Any]]
    replicates: int = 0
    seed_sd: float | None = None
    stopped: str = ""  # why it ended before all that were asked for
    importances: Mapping[str, float] | None = None

    @property
    def complete(self) -> list[TrialRecord]:
        """Trials with all folds."""
        return [one for one in self.trials if one.state == "complete"]

    @property
    def default(self) -> TrialRecord | None:
        """Trial 0, where it came to its end."""
        return next((one for one in self.complete if one.number == 0), None)

    def best_so_far(self) -> list[tuple[int, float]]:
        """(trials settled, best value until then), of each trial from the first complete one on, by number."""
        found, best = [], float("-inf")
        for count, one in enumerate(self.trials, 1):
            best = max(best, one.value) if one.state == "complete" else best
            if best > float("-inf"):
                found.append((count, best))
        return found

    @property
    def fold_fits(self) -> tuple[int, int]:
        """Fold fits that trials have, and that they would have if none had been pruned; failed ones apart."""
        counted = [one for one in self.trials if one.state != "fail"]
        return sum(len(one.values) for one in counted), len(counted) * self.folds


@dataclass(frozen=True)
class Outcome:
    """The winner of a search and what may be said of it. verdict: winner minus default over the inner folds.

    bias: how much higher the winner's value is, by Tibshirani and Tibshirani's estimate, than it would be elsewhere.
    """

    search: SearchRecord
    winner: TrialRecord
    verdict: Verdict | Silent | None
    bias: float
    rule: str

    @property
    def is_better(self) -> bool:
        """Whether the winner replaces the default."""
        return isinstance(self.verdict, Verdict) and self.verdict.word in BETTER

    @property
    def chosen(self) -> TrialRecord:
        """The trial whose setting is to be used: the winner, or trial 0 where no gain is shown."""
        default = self.search.default
        return self.winner if self.is_better or default is None else default

    @property
    def corrected(self) -> float:
        """The winner's value without its bias."""
        return self.winner.value - self.bias

    @cached_property
    def at_the_edge(self) -> list[str]:
        """Keys whose best value is at the end of their range or scale, so that a better one may lie beyond."""
        return [key for key, value in self.winner.setting.items() if _is_at_edge(value, self.search.bounds[key])]

    @cached_property
    def without_effect(self) -> list[str]:
        """Keys that did not matter."""
        known = self.search.importances or {}
        return [key for key, share in known.items() if share < LEAST_IMPORTANCE]


def outcome_of(search: SearchRecord, margin: float, alpha: float, simplest: bool = False) -> Outcome | None:
    """None where no trial has all folds. simplest: the smallest network within one standard error of the best."""
    if not search.complete:
        return None
    best = max(search.complete, key=lambda one: (one.value, -one.number))
    winner, rule = best, "the best mean over inner folds"
    if simplest:
        winner, rule = _simplest(search.complete, best), "the smallest network within one standard error of the best"
    return Outcome(
        search, winner, _verdict(search, winner, margin, alpha), tibshirani_bias(search.trials, winner), rule
    )


def tibshirani_bias(trials: Sequence[TrialRecord], winner: TrialRecord) -> float:
    """Mean over inner folds of the fold's best value minus the winner's there (Tibshirani and Tibshirani 2009, eq. 5).

    Theirs is of errors, which are minimised. A trial that was dropped counts in the folds that it has. It costs no fit.
    Where equal settings differ by independent normal noise in k folds, it is sqrt(k) - 1 times the bias: a fold's best
    is ahead by sd x m, the best mean, which is the bias, by sd x m / sqrt(k), with m that of the best of as many normal
    numbers. So 0.73 of it at 3 folds, right at 4, 1.24 at 5 (test_of_equal_settings_it_is_right_at_four_folds).
    """
    gaps = [
        max(one.values[fold] for one in trials if len(one.values) > fold) - value
        for fold, value in enumerate(winner.values)
    ]
    return float(np.mean(gaps))


def _simplest(complete: Sequence[TrialRecord], best: TrialRecord) -> TrialRecord:
    """Within one standard error of the best mean (Breiman 1984): fewest parameters, then operations, then first."""
    error = float(np.std(best.values, ddof=1) / np.sqrt(len(best.values))) if len(best.values) > 1 else 0.0
    near = [one for one in complete if one.value >= best.value - error]
    return min(near, key=lambda one: (one.parameters, one.multiply_adds, one.number))


def _verdict(search: SearchRecord, winner: TrialRecord, margin: float, alpha: float) -> Verdict | Silent | None:
    """The corrected resampled t test of evidence.resampled over the inner folds; None where both are one setting."""
    default = search.default
    if default is None or winner.setting == default.setting:
        return None
    differences = np.array([winner.values]) - np.array([default.values])
    test: PairedT | TooFew = resampled_t(differences, 1 / (search.folds - 1))
    return judge([test], margin, alpha)[0]


def _is_at_edge(value: Any, bounds: Mapping[str, Any]) -> bool:
    if "choices" in bounds:
        numbers = [one for one in bounds["choices"] if isinstance(one, int | float) and not isinstance(one, bool)]
        several = len(numbers) == len(bounds["choices"]) > 2
        return several and value in (min(numbers), max(numbers))
    low, high = (np.log(bounds[end]) if bounds["log"] else bounds[end] for end in ("low", "high"))
    place = ((np.log(value) if bounds["log"] else value) - low) / (high - low)
    return bool(place < EDGE or place > 1 - EDGE)
