"""What MLflow is told of searches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qlcnet.config import fingerprint
from qlcnet.search.outcome import Outcome, SearchRecord, TrialRecord
from qlcnet.search.tune import Found
from qlcnet.search.words import counts_sentence, gain_sentence
from qlcnet.tracking.searches import TrackedSearch, TrackedTrial


def tracked(found: Found, folder: Path | None) -> list[TrackedSearch]:
    """Each search with its trials; `folder`: the files of the whole, kept with the first."""
    return [_search(found, one, folder if number == 0 else None) for number, one in enumerate(found.outcomes)]


def still_running(search: SearchRecord) -> TrackedSearch:
    """What can be told of a search before its end: its settled trials and the best so far."""
    task, backbone, model = search.task, search.backbone, search.model
    return TrackedSearch(
        fingerprint([search.name]),
        f"{backbone} {model}, {task}, fold {search.fold}, seed {search.seed}",
        search.metric,
        {f"space.{key}": _text(bounds) for key, bounds in search.bounds.items()}
        | {"metric": search.metric, "folds": str(search.folds), "trials": str(search.asked)}
        | {"outer_fold": str(search.fold)},
        {
            "task": task, "backbone": backbone, "model": model, "study": search.name,
            "settled": counts_sentence(search),
        },
        {},
        # as they ended: what was logged of the first ones stays right when others come
        replace(search, trials=tuple(sorted(search.trials, key=lambda one: one.ended))).best_so_far(),
        [_trial(one, search.metric, {"task": task, "backbone": backbone, "model": model}) for one in search.trials],
        ended=False,
    )  # fmt: skip


def _search(found: Found, outcome: Outcome, folder: Path | None) -> TrackedSearch:
    search, default = outcome.search, outcome.search.default
    shown = still_running(search)
    outer = {
        name: side[one.folds.index(search.fold)]
        for one in found.nested
        if (one.model, one.seed) == (search.model, search.seed)
        for name, side in ((f"outer_default_{search.metric}", one.default), (f"outer_tuned_{search.metric}", one.tuned))
    }
    spread = {} if search.seed_sd is None else {"seed_sd": search.seed_sd}
    return replace(
        shown,
        tags={
            **shown.tags, "search": found.name, "verdict": gain_sentence(outcome),
            "winner": str(outcome.winner.number), "chosen": str(outcome.chosen.number),
        },
        metrics={
            "value_optimistic": outcome.winner.value, "bias": outcome.bias, "value_without_bias": outcome.corrected,
            "value_default": default.value if default else float("nan"), **spread, **outer,
        },
        folder=folder,
        ended=True,
    )  # fmt: skip


def _trial(trial: TrialRecord, metric: str, names: Mapping[str, str]) -> TrackedTrial:
    known = {"error": trial.error, "equal_to": "" if trial.equal_to is None else f"trial {trial.equal_to}"}
    known["fits"] = ", ".join(trial.fits)
    return TrackedTrial(
        trial.number, trial.state, {key: str(value) for key, value in trial.setting.items()},
        {metric: trial.value, "seconds_fit": trial.seconds, "new_fits": trial.new_fits}, trial.values,
        {**names, **{key: value for key, value in known.items() if value}}, trial.began, trial.ended,
    )  # fmt: skip


def _text(bounds: Mapping[str, Any]) -> str:
    if "choices" in bounds:
        return ", ".join(map(str, bounds["choices"]))
    return f"{bounds['low']:g} to {bounds['high']:g}" + (", log" if bounds["log"] else "")
