"""Makes the grid, fold store and results of a fitted model without fitting, and reads a tracking store back."""

from __future__ import annotations

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from qlcnet.config import Backbone, Model, Training, canonical, fingerprint
from qlcnet.fit.fold_folder import CONFIG, HISTORY, PREDICTIONS, WEIGHTS
from qlcnet.fit.identity import settings_of
from qlcnet.fit.spec import FitSpec
from qlcnet.fit.store import FoldStore
from qlcnet.fit.task_facts import TaskFacts
from qlcnet.grid.grid import Grid, link_results
from qlcnet.paths import Project
from qlcnet.tracking import sync
from qlcnet.tracking.backend import open_backend
from qlcnet.tracking.place import place_of

CLASS_NAMES = ["naevus", "melanoma", "keratosis"]
EPOCHS = 3
PROVENANCE = {
    "seconds": 2.5,
    "host": "here",
    "finished_at": "2026-01-02T03:04:05Z",
    "commit": "d" * 40,
    "dirty": True,
}
IMAGES = 60


def make_grid(
    models: tuple[str, ...] = ("classical",), folds: int = 2, learning_rate: float = 1e-3, kind: str = "pooled-cv"
) -> Grid:
    """A grid of task `spots`, lcnet_050 and the named models, as `plan_grid` makes it."""
    training = Training(epochs=EPOCHS, learning_rate=learning_rate)
    sections = {"backbone": Backbone(), "training": training}
    settings = {name: canonical({**sections, "model": _model(name)}) for name in models}
    protocol = {"kind": kind, "folds": folds, "repeats": 1}
    data = {"images": "a" * 64, "folds": "b" * 64, "channels": {"ry": "c" * 64}}
    facts = TaskFacts("spots", 42, tuple(CLASS_NAMES), protocol, data, {"lcnet_050": settings}, {})
    grid = Grid("spots", [], {}, facts=facts)
    for name in models:
        model = _model(name)
        for fold in range(folds):
            config: dict[str, Any] = {
                "settings": settings_of("lcnet_050", Backbone(), model, training, None),
                "rows": {"validation": f"{kind} {folds} {fold}"},
                "inputs": len(model.inputs),
                "numerics": {
                    "torch": "2.15.0",
                    "threads": 1,
                    "layout": "channels_last",
                    "device": "cpu",
                    "precision": "float32",
                },
                "computed_on": {"vendor": "AuthenticAMD", "torch": "AVX512"},
            }
            config["fingerprint"] = fingerprint(config)
            spec = FitSpec(
                "spots", "lcnet_050", name, 0, fold, 42, Backbone(), model, training, "cpu", config["fingerprint"]
            )
            grid.specs.append(spec)
            grid.configs[spec.fingerprint] = config
    return grid


def _model(name: str) -> Model:
    return Model(inputs=("image", "quanv:ry") if name == "hybrid" else ("image",))


def history_of(spec: FitSpec) -> list[dict[str, float]]:
    """What the fit of `spec` reports, epoch by epoch. The AUC of the first epoch is undefined."""
    rng = np.random.default_rng(int(spec.fingerprint[:8], 16))
    losses = np.sort(rng.uniform(0.2, 1.1, EPOCHS))[::-1]
    return [
        {
            "epoch": epoch,
            "train_loss": float(loss),
            "val_accuracy": float(1 - loss / 2),
            "val_auc_macro": float("nan") if epoch == 0 else float(1 - loss / 3),
        }
        for epoch, loss in enumerate(losses)
    ]


def put(store: FoldStore, grid: Grid, spec: FitSpec) -> Path:
    """Keep a finished fit of `spec` in the store."""
    rng = np.random.default_rng(int(spec.fingerprint[:8], 16))
    folds = [s.fold for s in grid.specs if s.model_name == spec.model_name]
    index = np.arange(IMAGES)[np.arange(IMAGES) % len(folds) == spec.fold]
    tests = np.arange(IMAGES, IMAGES + 10)
    rows = np.r_[index, tests]
    target = rows % len(CLASS_NAMES)
    scores = np.exp(rng.normal(size=(len(rows), len(CLASS_NAMES))) + np.eye(len(CLASS_NAMES))[target])
    probabilities = (scores / scores.sum(1, keepdims=True)).astype(np.float32)
    part = np.r_[np.zeros(len(index), np.uint8), np.ones(len(tests), np.uint8)]
    evaluations = {"executed": 81, "hardware_quanvolution": 10**7, "hardware_head": 0}
    facts = {"parameters": 1000, "multiply_adds": 2000, "circuit_evaluations": evaluations}
    history = history_of(spec)
    lines = [",".join(history[0]), *(",".join(repr(value) for value in row.values()) for row in history)]
    files = {
        CONFIG: json.dumps({**grid.configs[spec.fingerprint], **facts}, sort_keys=True).encode(),
        HISTORY: ("\n".join(lines) + "\n").encode(),
        PREDICTIONS: save({"index": rows, "target": target, "part": part, "probabilities": probabilities}),
        WEIGHTS: save({"w": np.zeros(3, np.float32)}),
    }
    provenance = {
        "seconds": 2.5,
        "host": "here",
        "finished_at": "2026-01-02T03:04:05Z",
        "commit": "d" * 40,
        "dirty": True,
    }
    return store.put(spec.fingerprint, files, provenance)


def store_of(root: Path) -> FoldStore:
    """The fold store of a project."""
    return FoldStore(Project(root).store)


def make_results(root: Path, grid: Grid) -> None:
    """All fits of `grid` in the store and linked below results/, as `train` leaves them."""
    store = store_of(root)
    for spec in grid.specs:
        if spec.fingerprint not in store:
            put(store, grid, spec)
    link_results(grid, store, root / "results" / "folds")


def ids_of(root: Path) -> set[str]:
    """MLflow's ids of the active runs."""
    backend = open_backend(root)
    return {run.info.run_id for run in backend.client.search_runs([backend.experiment_id])}


def runs_of(root: Path, deleted: bool = False) -> list[dict[str, Any]]:
    """Every run as plain values: name, status, parent's name, params, tags, metric histories, artifacts; no times."""
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    client = MlflowClient(place_of(root).uri)
    experiment = client.get_experiment_by_name(os.environ.get("MLFLOW_EXPERIMENT_NAME", "qlcnet"))
    if experiment is None:
        return []
    view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
    found = client.search_runs([experiment.experiment_id], run_view_type=view)
    names = {run.info.run_id: run.info.run_name for run in found}
    runs = []
    for run in found:
        histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        tags = dict(run.data.tags)
        tags.pop("owner")
        tags = {name: value.replace(run.info.run_id, "its id") for name, value in tags.items()}
        files = [
            file.path
            for folder in client.list_artifacts(run.info.run_id)
            for file in client.list_artifacts(run.info.run_id, folder.path)
        ]
        runs.append(
            {
                "name": run.info.run_name,
                "status": run.info.status,
                "parent": names.get(tags.pop("mlflow.parentRunId", "")),
                "params": run.data.params,
                "tags": tags,
                "metrics": {name: [(m.step, m.value) for m in history] for name, history in histories.items()},
                "artifacts": sorted(files),
                "datasets": [(d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs],
            }
        )
    return sorted(runs, key=lambda run: (run["name"], run["status"]))


def sync_at_once(roots: list[Path]) -> list[int]:
    """What `sync` returns of each project, in processes that begin together. Forked: MLflow is imported already."""
    context = multiprocessing.get_context("fork")
    together = context.Barrier(len(roots))
    with ProcessPoolExecutor(len(roots), context, initializer=together.wait, initargs=(60,)) as pool:
        return list(pool.map(sync, roots))
