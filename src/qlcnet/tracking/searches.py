"""Searches in the tracking store: one run a search, one child a settled trial, found by fingerprint, never doubled.

Like the runs of fits they are a projection: whoever calls this adds what the store lacks, so that it does not matter
which of the processes of a search comes to its end, or how often. While a search runs, live_searches.py calls it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from qlcnet.tracking import content
from qlcnet.tracking.backend import open_backend
from qlcnet.tracking.owner import OWNER, me
from qlcnet.tracking.projection import FAILED, FINISHED, KILLED, METRICS_A_BATCH, RUNNING, RUNS_A_SEARCH

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

    from qlcnet.tracking.backend import Backend

STATUS = {"complete": FINISHED, "pruned": KILLED, "fail": FAILED}  # a pruned trial was ended before its end


@dataclass(frozen=True)
class TrackedTrial:
    """A settled trial. params: its setting by key. values: of its inner folds, in order. began, ended: ISO 8601."""

    number: int
    state: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    values: Sequence[float]
    tags: Mapping[str, str]
    began: str
    ended: str


@dataclass(frozen=True)
class TrackedSearch:
    """A search. fingerprint: of its name. metric: of the folds. best_so_far: (settled trials, value). folder: files.

    ended: False while it runs: its metrics, files and verdict come at its end.
    """

    fingerprint: str
    name: str
    metric: str
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]
    best_so_far: Sequence[tuple[int, float]]
    trials: Sequence[TrackedTrial]
    folder: Path | None = None
    ended: bool = True


def track_searches(root: Path, searches: Sequence[TrackedSearch]) -> int:
    """Add what the store lacks of these searches; returns how many runs were made. Raises TrackingError."""
    backend = open_backend(root)
    return sum(track_search(backend, one) for one in searches)


def end_search(backend: Backend, fingerprint: str) -> None:
    """Give the run of a search that this process was writing, and that did not come to its end, the status KILLED."""
    with backend.lock():
        for run in _search(backend, f"tags.fingerprint = '{fingerprint}' AND tags.kind = 'search'"):
            if run.info.status == RUNNING and run.data.tags.get(OWNER) == me():
                backend.client.set_terminated(run.info.run_id, KILLED)


def track_search(backend: Backend, search: TrackedSearch) -> int:
    """Add what the store lacks of one search; returns how many runs were made."""
    made = 0
    with backend.lock():  # finding and making are one step: processes of a search end side by side
        found = _search(backend, f"tags.fingerprint = '{search.fingerprint}' AND tags.kind = 'search'")
        tags = {**search.tags, "kind": "search", "fingerprint": search.fingerprint, OWNER: me(), **_source(search)}
        if found:
            parent = found[0].info.run_id
        else:
            began = min((moment for one in search.trials if (moment := _milliseconds(one.began))), default=None)
            parent, made = _create(backend, f"search: {search.name}", tags, search.params, began), 1
        there = {run.data.tags.get("trial") for run in _search(backend, f"tags.`mlflow.parentRunId` = '{parent}'")}
        for trial in search.trials:
            if str(trial.number) not in there:
                _add(backend, parent, search, trial)
                made += 1
        tags.pop("kind")
        status = found[0].info.status if found else RUNNING
        if search.ended and (made or status != FINISHED):
            _finish(backend, parent, search, tags)
        elif not search.ended and made:
            _log(backend, parent, search, tags)
            if status != RUNNING:  # it was stopped, or had come to its end with fewer trials
                backend.client.update_run(parent, status=RUNNING)
    return made


def _add(backend: Backend, parent: str, search: TrackedSearch, trial: TrackedTrial) -> None:
    """One trial as a child run, with a metric a fold as a series of its own: the step is the inner fold."""
    from mlflow.entities import Metric

    began, ended = (_milliseconds(moment) for moment in (trial.began, trial.ended))
    tags = {
        **trial.tags, "kind": "trial", "trial": str(trial.number), "state": trial.state, "mlflow.parentRunId": parent,
        "fingerprint": f"{search.fingerprint}-{trial.number}", **_source(search),
    }  # fmt: skip
    run = _create(backend, f"trial {trial.number}, {search.name}", tags, trial.params, began)
    moment = ended or 0
    metrics = [Metric(f"fold_{search.metric}", value, moment, fold) for fold, value in enumerate(trial.values)]
    metrics += [Metric(name, value, moment, 0) for name, value in content.finite(trial.metrics).items()]
    backend.client.log_batch(run, metrics=metrics)
    backend.client.set_terminated(run, STATUS[trial.state], end_time=ended)


def _finish(backend: Backend, parent: str, search: TrackedSearch, tags: Mapping[str, str]) -> None:
    now = _log(backend, parent, search, tags)
    if search.folder is not None:
        backend.client.log_artifacts(parent, str(search.folder))
    backend.client.set_terminated(parent, FINISHED, end_time=now or None)


def _log(backend: Backend, parent: str, search: TrackedSearch, tags: Mapping[str, str]) -> int:
    """Metrics, the best so far and tags; returns when the last trial ended."""
    from mlflow.entities import Metric, RunTag

    moments = [moment for trial in search.trials if (moment := _milliseconds(trial.ended))]
    now = max(moments, default=0)
    logged = {metric.step for metric in backend.client.get_metric_history(parent, f"best_{search.metric}")}
    series = [
        Metric(f"best_{search.metric}", value, now, step) for step, value in search.best_so_far if step not in logged
    ]
    series += [Metric(name, value, now, len(search.trials)) for name, value in content.finite(search.metrics).items()]
    for start in range(0, len(series), METRICS_A_BATCH):
        backend.client.log_batch(parent, metrics=series[start : start + METRICS_A_BATCH])
    backend.client.log_batch(
        parent, tags=[RunTag(name, value[: content.LONGEST_VALUE]) for name, value in tags.items()]
    )
    return now


def _create(
    backend: Backend, name: str, tags: Mapping[str, str], params: Mapping[str, str], started: int | None
) -> str:
    from mlflow.entities import Param

    run = backend.client.create_run(backend.experiment_id, start_time=started, tags=dict(tags), run_name=name)
    if backend.database:
        backend.database.take_files(run.info.run_id, run.info.artifact_uri)
    shown = [Param(key, value[: content.LONGEST_VALUE]) for key, value in params.items()]
    for start in range(0, len(shown), 100):
        backend.client.log_batch(run.info.run_id, params=shown[start : start + 100])
    return str(run.info.run_id)


def _source(search: TrackedSearch) -> dict[str, str]:
    return {"mlflow.source.name": f"qlcnet tune {search.tags['task']}", "mlflow.source.type": "LOCAL"}


def _search(backend: Backend, text: str) -> list[MlflowRun]:
    return list(backend.client.search_runs([backend.experiment_id], text, max_results=RUNS_A_SEARCH))


def _milliseconds(moment: str) -> int | None:
    return content.milliseconds(datetime.fromisoformat(moment).astimezone()) if moment else None
