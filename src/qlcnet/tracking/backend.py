"""The tracking store: where it is and how it is opened. Imports MLflow when it opens."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from qlcnet.paths import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

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


class TrackingError(RuntimeError):
    """The tracking store cannot be used; the message says which one, why, and what to do."""


@dataclass(frozen=True)
class Backend:
    """An open store. `lock` serialises whoever finds or creates runs on this machine."""

    client: MlflowClient
    experiment_id: str
    uri: str
    lock: FileLock


def tracking_uri(root: Path) -> str:
    """MLFLOW_TRACKING_URI, else the SQLite file below the project's mlruns/ (MLflow's file store is gone)."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Project(root).mlruns / 'mlflow.db'}"


def open_backend(root: Path) -> Backend:
    """Open the store, creating it and the experiment once. Raises TrackingError, after seconds, where it cannot."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    for noisy in ("mlflow", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    folder, uri = Project(root).mlruns, tracking_uri(root)
    folder.mkdir(parents=True, exist_ok=True)
    # Several processes that open a fresh SQLite file at once leave it broken.
    lock = FileLock(folder / "store.lock", timeout=300)
    try:
        from mlflow import MlflowClient

        with lock:
            if "MLFLOW_TRACKING_URI" not in os.environ:
                _follow_a_moved_project(folder)
            client = MlflowClient(tracking_uri=uri)
            return Backend(client, _experiment(client, None if is_server(uri) else folder / "artifacts"), uri, lock)
    except Exception as error:  # of the network, of SQLAlchemy, of MLflow, which wraps some of them
        raise TrackingError(f"the tracking store {without_password(uri)} cannot be opened: {brief(error)}") from error


def _experiment(client: MlflowClient, artifacts: Path | None) -> str:
    """Id of the experiment, made or undeleted if need be. A server (`artifacts` None) places artifacts itself."""
    from mlflow.exceptions import MlflowException

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=str(artifacts) if artifacts else None))
        except MlflowException:
            # another machine was faster on a shared server
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def _follow_a_moved_project(folder: Path) -> None:
    """Point a SQLite store to its artifacts where they are now: MLflow keeps absolute paths, folders get renamed."""
    database, artifacts = folder / "mlflow.db", str(folder / "artifacts")
    if not database.is_file():
        return
    connection = sqlite3.connect(database)
    try:
        row = connection.execute("SELECT artifact_location FROM experiments WHERE name = ?", (EXPERIMENT,)).fetchone()
        if row is None or row[0] == artifacts:
            return
        former, length = row[0], len(row[0]) + 1
        for table, at in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(
                f"UPDATE {table} SET {at} = ? || substr({at}, ?) WHERE {at} = ? OR substr({at}, 1, ?) = ?",
                (artifacts, length, former, length, former + "/"),
            )
        connection.commit()
        log.info("the project was moved: artifacts of the tracking store are now looked for in %s", artifacts)
    except sqlite3.OperationalError:
        return  # not a store of MLflow's, or not yet one: opening it says more
    finally:
        connection.close()


def is_server(uri: str) -> bool:
    """Whether something else than a database is behind an address: MLflow's server, or a service."""
    return not uri.startswith(("sqlite:", "postgresql", "mysql", "mssql"))


def without_password(uri: str) -> str:
    """The address as it may stand in a log."""
    return re.sub(r"//[^/@]*@", "//", uri)


def brief(error: BaseException) -> str:
    """The first line of an error, without passwords, at most 300 characters."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {without_password(lines[0])}"[:300]
