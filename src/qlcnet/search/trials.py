"""One trial: its setting, fold by fold, until it is done, dropped or has failed.

What is scored is behind `Objective`: fits (search/fits.py), or a function of which the optimum is known
(benchmarks/search.py), through the same code.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from optuna.trial import Trial, TrialState

from qlcnet.grid.engine import EngineError
from qlcnet.search.lanes import FitFailedError
from qlcnet.search.pruner import FITS, SPREAD, Behind, FoldPruner, SeedSpread
from qlcnet.search.space import Setting, Space
from qlcnet.search.study import ERROR, Slots, attribute

log = logging.getLogger("qlcnet")

SETTING, SECONDS, NEW_FITS, FACTS, PRUNED, EQUAL = "setting", "seconds", "new_fits", "facts", "pruned", "equal_to"


@dataclass(frozen=True)
class FoldValue:
    """The metric of one inner fold. fingerprint: of its fit. seconds: of that fit. facts: of its network."""

    value: float
    fingerprint: str
    was_there: bool = False
    seconds: float = 0.0
    facts: dict[str, Any] | None = None


class Objective(Protocol):
    """What a setting is worth, inner fold by inner fold."""

    @property
    def folds(self) -> int: ...

    def fold(self, number: int, setting: Setting, fold: int, replicate: int = 0) -> FoldValue:
        """Of trial `number`; with other weight seeds where `replicate` is not 0. Raises FitFailedError."""
        ...


def run_trial(slots: Slots, trial: Trial, space: Space, objective: Objective, replicates: int) -> TrialState:
    """Run one trial to its end; returns how it ended. A trial that fails ends alone; what concerns all is raised."""
    try:
        state = _run(slots, trial, space, objective, replicates)
    except FitFailedError as error:
        trial.set_user_attr(ERROR, str(error))
        slots.study.tell(trial, state=TrialState.FAIL)
        log.warning("trial %d failed: %s", trial.number, error)
        return TrialState.FAIL
    except BaseException as error:
        if isinstance(error, Exception) and not isinstance(error, EngineError | OSError):
            trial.set_user_attr(ERROR, repr(error))
            slots.study.tell(trial, state=TrialState.FAIL)
        else:  # Ctrl-C, a full disk, a cluster that is gone: no fault of this setting
            slots.release(trial)
        raise
    return state


def _run(slots: Slots, trial: Trial, space: Space, objective: Objective, replicates: int) -> TrialState:
    setting = space.draw(trial)
    trial.set_user_attr(SETTING, attribute(setting))
    if (equal := _equal(slots, trial.number, setting)) is not None:
        trial.set_user_attr(EQUAL, equal)
        log.info("trial %d has the setting of trial %d: answered from its fits", trial.number, equal)
    reported = slots.storage.get_trial(trial._trial_id).intermediate_values  # of a process that died with it
    values, fits, seconds, new = [], [], 0.0, 0
    for fold in range(objective.folds):
        found = objective.fold(trial.number, setting, fold)
        if not math.isfinite(found.value):
            raise FitFailedError(f"the metric is undefined in inner fold {fold} (a class is absent); take fewer folds")
        values.append(found.value)
        fits.append(found.fingerprint)
        seconds, new = seconds + found.seconds, new + (not found.was_there)
        attributes = {FITS: fits, SECONDS: seconds, NEW_FITS: new, FACTS: found.facts or {}}
        for name, value in attributes.items():
            trial.set_user_attr(name, attribute(value))
        if fold not in reported:
            trial.report(found.value, fold)
        if trial.number and fold + 1 < objective.folds and _is_dropped(slots, trial):
            slots.study.tell(trial, state=TrialState.PRUNED)
            return TrialState.PRUNED
    if trial.number == 0:
        _measure_seeds(slots, setting, values, objective, replicates)
    slots.study.tell(trial, float(np.mean(values)))
    return TrialState.COMPLETE


def _is_dropped(slots: Slots, trial: Trial) -> bool:
    if not isinstance(slots.study.pruner, FoldPruner):
        return trial.should_prune()
    frozen = slots.storage.get_trial(trial._trial_id)
    found = slots.study.pruner.behind(slots.study, frozen)
    if not isinstance(found, Behind) or not slots.study.pruner.is_beyond_chance(found):
        return False
    trial.set_user_attr(PRUNED, {"difference": found.difference, "p": found.p})
    return True


def _measure_seeds(slots: Slots, setting: Setting, values: list[float], objective: Objective, replicates: int) -> None:
    """The spread between weight seeds, from replicates of the default: what the pruner needs to know."""
    if not replicates or SPREAD in slots.study.user_attrs:
        return
    again = [
        [objective.fold(0, setting, fold, replicate).value for fold in range(objective.folds)]
        for replicate in range(1, replicates + 1)
    ]
    spread = SeedSpread.of(np.array([values, *again]).T)
    if spread is not None and math.isfinite(spread.variance):
        slots.study.set_user_attr(SPREAD, {"variance": spread.variance, "df": spread.df})


def _equal(slots: Slots, number: int, setting: Setting) -> int | None:
    """An earlier trial with the same setting."""
    wanted = attribute(setting)
    for one in slots.settled():
        if one.number < number and one.user_attrs.get(SETTING) == wanted and one.user_attrs.get(FITS):
            return one.number
    return None


def run_all(
    slots: Slots, space: Space, objective: Objective, replicates: int, more: Callable[[], bool] = lambda: True
) -> int:
    """Take and run slots until there is none, or `more` says no; returns how many. Of one lane."""
    done = 0
    while more() and (trial := slots.take()) is not None:
        run_trial(slots, trial, space, objective, replicates)
        done += 1
    return done
