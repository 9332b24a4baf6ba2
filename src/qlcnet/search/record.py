"""The trials of a study as plain records, and back to JSON: all that is shown, compared and tracked of a search."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from qlcnet.config import Dimension
from qlcnet.search.outcome import Outcome, SearchRecord, State, TrialRecord
from qlcnet.search.pruner import FITS, SPREAD
from qlcnet.search.space import Space
from qlcnet.search.study import ERROR, Slots
from qlcnet.search.trials import EQUAL, FACTS, NEW_FITS, PRUNED, SECONDS, SETTING

LEAST_TRIALS = 10  # complete ones, to say what mattered
STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "fail",
}


def record_of(
    slots: Slots, space: Space, task: str, fold: int, seed: int, replicates: int, stopped: str = "", ended: bool = True
) -> SearchRecord:
    """What a study holds now. ended: with the importance of its keys."""
    attributes = slots.study.user_attrs
    spread = attributes.get(SPREAD)
    return SearchRecord(
        slots.name, task, space.backbone, space.model, fold, seed, space.params.tuning.metric,
        space.params.tuning.folds, slots.trials, tuple(_trial(one) for one in slots.settled()),
        {key: _bounds(space, key, dimension) for key, dimension in space.dimensions.items()},
        replicates * space.params.tuning.folds if spread else 0,
        spread["variance"] ** 0.5 if spread else None,
        stopped,
        _importances(slots.study) if ended else None,
    )  # fmt: skip


def _trial(frozen: FrozenTrial) -> TrialRecord:
    known = frozen.user_attrs
    facts, pruned = known.get(FACTS, {}), known.get(PRUNED, {})
    return TrialRecord(
        frozen.number, STATES[frozen.state], known.get(SETTING, {}),
        tuple(frozen.intermediate_values[step] for step in sorted(frozen.intermediate_values)),
        tuple(known.get(FITS, ())), float(known.get(SECONDS, 0.0)), int(known.get(NEW_FITS, 0)),
        int(facts.get("parameters", 0)), int(facts.get("multiply_adds", 0)), known.get(EQUAL), pruned.get("p"),
        str(known.get(ERROR, "")), *(moment.isoformat() if moment else "" for moment in
        (frozen.datetime_start, frozen.datetime_complete)),
    )  # fmt: skip


def _bounds(space: Space, key: str, dimension: Dimension) -> dict[str, Any]:
    if dimension.choices is not None:
        return {"choices": list(dimension.choices)}
    return {"low": dimension.low, "high": dimension.high, "log": dimension.log}


def _importances(study: optuna.Study) -> dict[str, float] | None:
    """Share of each key in what good trials have in common (PED-ANOVA, Watanabe et al. 2023); None of few trials."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < LEAST_TRIALS or len({one.value for one in complete}) < 2:
        return None
    try:
        found = optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError):  # of a space with one key of one choice
        return None
    return {key: float(share) for key, share in found.items()}


def to_json(outcome: Outcome) -> dict[str, Any]:
    """A search and what was found, as search.json holds it."""
    winner = outcome.winner
    return {
        **asdict(outcome.search),
        "winner": winner.number,
        "chosen": outcome.chosen.number,
        "verdict": outcome.verdict.word if outcome.verdict else "the default itself",
        "value": winner.value,
        "value_is": "optimistic: the best of several, on the folds that it was chosen on",
        "bias": outcome.bias,
        "corrected": outcome.corrected,
        "rule": outcome.rule,
        "at_the_edge": outcome.at_the_edge,
        "without_effect": outcome.without_effect,
    }
