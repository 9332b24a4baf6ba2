"""Search training settings with Optuna on an inner split: the images of the first outer fold are never seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qlcnet.config import Params, fingerprint
from qlcnet.data.streams import stream
from qlcnet.fit.code import LOADED
from qlcnet.fit.identity import numerics_of
from qlcnet.fit.spec import DataPaths, FitSpec
from qlcnet.fit.task_data import data_of
from qlcnet.grid.grid import device_of, weights_digest, with_whole_path
from qlcnet.paths import Project
from qlcnet.search.journal import open_journal

if TYPE_CHECKING:
    import optuna

    from qlcnet.data.fold_table import FoldTable
    from qlcnet.fit.data import FitData

PRUNE_AFTER = 5  # trials that run whole before the median of their epochs may stop others


class TuningError(ValueError):
    """The search cannot be run as asked."""


def tune(params: Params, task: str, root: Path, trials: int, model: str | None, backbone: str | None) -> str:
    """Add `trials` trials to the search of one model on one task; returns the best settings as text for params.yaml.

    The objective is one number a trial, `tuning.metric` after the last epoch, on folds 2 to k: fold 1 of the outer
    table is left out whole, so that its score stays honest. Trials are kept in a journal and the search goes on
    where it stopped; a trial that raises is recorded as failed and the search continues.
    """
    import optuna

    from qlcnet.fit.computed_on import NumericsError, check_numerics
    from qlcnet.fit.data import open_fit_data

    if trials < 1:
        raise TuningError(f"--trials: {trials} is no number of trials to add; give 1 or more")
    try:
        check_numerics(params.training.numerics)  # trials run in this process
    except NumericsError as error:
        raise TuningError(str(error)) from None
    model, backbone = model or next(iter(params.models)), backbone or next(iter(params.backbones))
    for kind, name, known in (("model", model, params.models), ("backbone", backbone, params.backbones)):
        if name not in known:
            raise TuningError(f"no {kind} {name!r} in params.yaml (there: {', '.join(known)})")
    data = open_fit_data(DataPaths.of(root, task), params.models[model].stored)
    data.folds = inner_folds(data.folds)
    name = study_name(params, task, root, model, backbone)
    storage = open_journal(Project(root).state / "tuning", name)
    study = optuna.create_study(
        study_name=name,
        storage=storage,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=PRUNE_AFTER),
        direction="maximize",
        load_if_exists=True,
    )
    # a stream of its own for each time it goes on: else the same settings would be drawn again
    seed = stream(params.seed, "tune", len(study.trials)) % 2**32
    study.sampler = optuna.samplers.TPESampler(seed=seed)
    fold = data.folds.folds[0]
    spec = FitSpec(
        task, backbone, model, 0, fold, params.seed, with_whole_path(params.backbones[backbone], root),
        params.models[model], params.training_of(model), device_of(params),
    )  # fmt: skip
    study.optimize(lambda trial: _score(trial, spec, data, params), n_trials=trials, catch=(RuntimeError, ValueError))
    return _summary(study, params)


def study_name(params: Params, task: str, root: Path, model: str, backbone: str) -> str:
    """Task, network and a fingerprint of all that decides a trial's score: trials under one name can be compared."""
    decides = {
        "training": params.training_of(model),
        "model": params.models[model],
        "backbone": params.backbones[backbone],
        "pretrained": weights_digest(backbone, params.backbones[backbone], root),
        "tuning": params.tuning,
        "seed": params.seed,
        "data": data_of(root, task, params.models[model].stored).digests,
        "code": LOADED.whole,
        "numerics": numerics_of(device_of(params), params.training_of(model).precision),
    }
    return f"{task}/{backbone}/{model}/{fingerprint(decides)[:8]}"


def inner_folds(table: FoldTable) -> FoldTable:
    """The fold table without the first outer fold's images and without every test image; one fold to validate on."""
    from qlcnet.data.fold_table import FoldTable

    outer = table.folds[0]
    kept = (table.part != "test") & ~((table.part == "cv") & (table.fold == outer))
    kept &= table.repeat == table.repeats[0]
    group = None if table.group is None else table.group[kept]
    inner = FoldTable(
        table.index[kept], table.label[kept], group, table.part[kept], table.repeat[kept], table.fold[kept]
    )
    if not np.any(inner.part == "val") and len(inner.folds) < 2:
        raise TuningError("tuning on an inner split needs at least 3 folds (datasets.<task>.protocol.folds)")
    return inner


def _score(trial: optuna.Trial, spec: FitSpec, data: FitData, params: Params) -> float:
    import optuna

    from qlcnet.fit.fitting import fit_fold

    space, metric = params.tuning, params.tuning.metric
    low, high = space.learning_rate
    drawn: dict[str, Any] = {
        "learning_rate": trial.suggest_float("learning_rate", low, high, log=True),
        "batch_size": trial.suggest_categorical("batch_size", space.batch_size),
        "schedule": trial.suggest_categorical("schedule", space.schedule),
        "class_weights": trial.suggest_categorical("class_weights", space.class_weights),
    }

    def on_epoch(metrics: Mapping[str, float]) -> None:
        trial.report(metrics[metric], int(metrics["epoch"]))
        if trial.should_prune():
            raise optuna.TrialPruned

    result = fit_fold(replace(spec, training=spec.training.with_changes(drawn)), data, on_epoch)
    return result.history[-1][metric]


def _summary(study: optuna.Study, params: Params) -> str:
    states = [trial.state.name.lower() for trial in study.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    if "complete" not in states:
        raise TuningError(f"no trial of {study.study_name} was completed ({counts})")
    best = study.best_trial
    lines = [
        f"# {study.study_name}: {counts}",
        f"# best: trial {best.number}, {params.tuning.metric} {best.value:.4f} on the inner split",
        "training:",
        *(
            f"  {key}: {value:.4g}" if isinstance(value, float) else f"  {key}: {value}"
            for key, value in best.params.items()
        ),
    ]
    return "\n".join(lines)
