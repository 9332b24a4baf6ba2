"""Bring the tracking store up to date with results/folds: adds what it lacks, changes nothing that is there."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from filelock import FileLock
from tqdm import tqdm

from qlcnet.fit.fold_folder import read_config, read_provenance
from qlcnet.fit.task_facts import TaskFacts
from qlcnet.paths import Project
from qlcnet.report.predictions import fold_folders
from qlcnet.tracking import content
from qlcnet.tracking.backend import brief
from qlcnet.tracking.place import TrackingError
from qlcnet.tracking.projection import Projection
from qlcnet.tracking.verdicts import publish

log = logging.getLogger("qlcnet")


def sync(root: Path, reported: bool = False) -> int:
    """Add the runs of every complete model of results/folds that the store lacks; returns how many were added.

    reported: results/ has the report of all of them; the study's own run and the verdicts of its models are added too.

    Models whose folds are not all there, or that a running `train` is writing, are left to it. Runs of other params
    and commits are never touched. Syncs side by side wait for each other. Raises TrackingError, after the other models
    where the files of one cannot be read or kept.
    """
    project = Project(root)
    folders = sorted({path.parents[2] for path in project.fits.glob("*/*/*/repeat-*/fold-*/config.json")})
    project.mlruns.mkdir(parents=True, exist_ok=True)
    with FileLock(project.mlruns / "sync.lock"):
        projection, failed = Projection.open(root), []
        projection.end_orphans()
        for folder in tqdm(folders, desc="tracking", unit="model", disable=None, leave=False):
            try:
                _sync_model(projection, folder, project.store)
            except Exception as error:
                failed.append(f"{'/'.join(folder.parts[-3:])}: {brief(error)}")
                if _is_of_the_store(error):
                    break
        added = projection.made
        if reported and not failed:
            try:
                added += publish(root)
            except Exception as error:
                failed.append(f"the study: {brief(error)}")
    if failed:
        store, count = projection.backend.place.shown, f"{added} runs were added"
        raise TrackingError("\n  ".join([f"the tracking store {store} is not up to date, {count}", *failed]))
    return added


def _is_of_the_store(error: Exception) -> bool:
    """Whether the store cannot be written; else the files of one model are to blame."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, MlflowException | RequestException | SQLAlchemyError)


def _sync_model(projection: Projection, folder: Path, store: Path) -> None:
    folds = fold_folders(folder)
    facts, backbone, model = TaskFacts.read(folder.parents[1]), folder.parent.name, folder.name
    configs = [facts.describe(backbone, model, *key, read_config(fold)) for key, fold in folds.items()]
    expected = content.fits_of(configs[0])
    if len(folds) != expected:
        task = configs[0]["task"]
        log.warning(
            "%s: %d of %d fits are there; left out until `qlcnet train %s` is done", folder, len(folds), expected, task
        )
        return
    parent = projection.parent(configs)
    if parent.foreign:
        log.info("%s: another process is writing its runs", parent.name)
        return
    provenances: list[dict[str, Any]] = []
    with projection.failing_with(parent):
        for fold, config in zip(folds.values(), configs, strict=True):
            provenance = read_provenance(store / config["fingerprint"])
            projection.add_fold(parent, config, fold, provenance)
            provenances.append(provenance)
        projection.finish_parent(parent, folder, provenances)
