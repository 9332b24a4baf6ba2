"""Opens the tracking store, once for whoever writes it. Imports MLflow when it opens."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from qlcnet.address import without_password
from qlcnet.data.search_path import cache_folder
from qlcnet.tracking.place import LOCK_SECONDS, VARIABLE, Place, TrackingError, place_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from qlcnet.tracking.database import Database

log = logging.getLogger("qlcnet")

# One name for every checkout: on a shared server the same fit must be the same run, whatever the folder is called.
EXPERIMENT = "qlcnet"
# Set where the user has not. MLflow's own defaults keep a caller four minutes when a server is down.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
WAITS = (0.5, 1.0)  # seconds before a database is tried again: it may be starting, or have all its connections in use


@dataclass(frozen=True)
class Backend:
    """An open store. `lock` keeps whoever finds or creates runs apart from others that do.

    `is_locked`: from all others; else only from those on this machine, as no server has a lock to give.
    """

    client: MlflowClient
    experiment_id: str
    place: Place
    lock: Callable[[], AbstractContextManager[object]]
    is_locked: bool
    database: Database | None


def open_backend(root: Path) -> Backend:
    """Open the store, creating it and the experiment once. Raises TrackingError, after seconds, where it cannot."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # of each try at a server; the last one is said
    place = place_of(root)
    place.project.mlruns.mkdir(parents=True, exist_ok=True)
    try:
        return _open(place)
    except TrackingError:
        raise
    except Exception as error:  # of the network, of SQLAlchemy, of MLflow, which wraps some of them
        remedy = f"; correct {VARIABLE}, or unset it" if os.environ.get(VARIABLE) else ""
        raise TrackingError(f"the tracking store {place.shown} cannot be opened: {brief(error)}{remedy}") from error


def _open(place: Place) -> Backend:
    database = None
    if not place.is_server:
        from qlcnet.tracking.database import Database

        database = Database(place)
        _wait_for(database)
    lock, is_locked = _lock_of(place, database)
    from mlflow import MlflowClient

    # Processes that make the tables of a fresh database side by side leave it broken.
    with lock():
        client = MlflowClient(tracking_uri=place.uri)
        experiment = _experiment(client, database.artifacts if database else None)
        if database and database.follow_moved_files():
            log.info("the project was moved: files of tracked runs are now looked for in %s", place.artifacts)
    return Backend(client, experiment, place, lock, is_locked, database)


def _wait_for(database: Database) -> None:
    for wait in WAITS:
        try:
            return database.check()
        except Exception:
            time.sleep(wait)
    database.check()


def _lock_of(place: Place, database: Database | None) -> tuple[Callable[[], AbstractContextManager[object]], bool]:
    """What all writers of the store lock, and whether those of other machines do too."""
    if place.kind == "postgresql" and database:
        return database.lock, True
    if place.file:
        return FileLock(f"{place.file}.lock", timeout=LOCK_SECONDS).acquire, True
    return FileLock(_machine_wide(place), timeout=LOCK_SECONDS).acquire, False


def _machine_wide(place: Place) -> Path:
    """A file that all checkouts of this user lock."""
    name = f"tracking-{hashlib.sha256(place.uri.encode()).hexdigest()[:16]}.lock"
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        return cache_folder() / name
    except OSError:
        return place.project.mlruns / name


def _experiment(client: MlflowClient, artifacts: str | None) -> str:
    """Id of the experiment, made or undeleted if need be. A server (`artifacts` None) places artifacts itself."""
    from mlflow.exceptions import MlflowException

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException:
            # another machine was faster on a shared server
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def brief(error: BaseException) -> str:
    """The first line of an error, without passwords, at most 300 characters; behind its name unless it is of ours."""
    line = without_password((str(error).strip().splitlines() or [""])[0])
    return (line if type(error).__module__.startswith("qlcnet.tracking") else f"{type(error).__name__}: {line}")[:300]
