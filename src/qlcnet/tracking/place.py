"""Where the tracking store is: the project's own SQLite file, or what MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qlcnet.address import without_password
from qlcnet.paths import Project

VARIABLE = "MLFLOW_TRACKING_URI"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # that MLflow opens itself; all else is a server or a service
LOCK_SECONDS = 300  # a fresh database takes 10 s to make, more where many wait for the disk
BUSY_SECONDS = 60  # that a writer waits for others of a SQLite file; its own default of 5 is short for eight of them


class TrackingError(RuntimeError):
    """The tracking store cannot be used; the message says which one, why, and what to do."""


@dataclass(frozen=True)
class Place:
    """A store, of a project, that is not open yet. `kind`: one of DATABASES, or server. `file`: of SQLite."""

    uri: str
    kind: str
    project: Project
    file: Path | None = None

    @property
    def is_server(self) -> bool:
        """Whether something else than a database is behind the address: MLflow's server, or a service."""
        return self.kind == "server"

    @property
    def is_own(self) -> bool:
        """Whether it is the file below the project's mlruns/."""
        return self.file == self.project.mlruns / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """The folder for the files of the runs that this project writes; a server has its own."""
        return self.project.mlruns / "artifacts"

    @property
    def shown(self) -> str:
        """The store as it may stand in a message."""
        return str(self.file) if self.file else without_password(self.uri)


def place_of(root: Path) -> Place:
    """The store of the project in `root`. TrackingError where MLFLOW_TRACKING_URI names none that lasts."""
    project, given = Project(root), os.environ.get(VARIABLE)
    if not given:
        return _sqlite(project.mlruns / "mlflow.db", project, {})
    kind = given.partition(":")[0].partition("+")[0]
    if kind != "sqlite" and (bare := _bare(given, kind in DATABASES)):
        raise TrackingError(
            f"{VARIABLE}={without_password(''.join(given.split()))}: write {bare!r} in its user or password "
            f"as %{ord(bare):02X}; left bare, the address is read in another way"
        )
    if kind not in DATABASES:
        return Place(given, "server", project)
    if kind != "sqlite":
        return Place(given, kind, project)
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(given)
    except ArgumentError:
        url = make_url("sqlite://")
    name = url.database or ""
    if not name or url.host or name.startswith((":memory:", "file:")) or "mode" in url.query:
        raise TrackingError(
            f"{VARIABLE}={without_password(given)} names no file, and runs in memory are lost: write sqlite:/// and "
            "the file's path (an absolute one makes four slashes), or unset it"
        )
    return _sqlite((project.shared / name).resolve(), project, url.query)


def _bare(given: str, is_database: bool) -> str:
    """A character of a user or password that had to be encoded; what opens the address takes another host from it."""
    rest = given.partition("://")[2]
    host = re.split("[/?#]", rest)[0]
    if blank := re.search(r"\s", given):
        return blank[0]
    if is_database:
        return "@" if rest.partition("?")[0].count("@") > 1 else ""
    return rest[len(host)] if "@" in rest and "@" not in host and ":" in host else ""


def _sqlite(file: Path, project: Project, options: Mapping[str, Any]) -> Place:
    from sqlalchemy.engine import URL

    # With the driver's name: of sqlite:/// MLflow makes the parent folder itself, of the path as it stands quoted here.
    query = {"timeout": str(BUSY_SECONDS), **options}
    url = URL.create("sqlite+pysqlite", database=str(file), query=query)
    return Place(url.render_as_string(hide_password=False), "sqlite", project, file)
