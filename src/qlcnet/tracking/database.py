"""What MLflow's API cannot do with a database: see at once that it is away, lock it for all who write, place files.

MLflow tries for 110 s to open a database that is down, and gives the files of every run the folder that its experiment
began with, which is that of another checkout, or where this one was before it moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, create_engine, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool
from sqlalchemy.sql import column, select, table, update

from qlcnet.tracking.place import LOCK_SECONDS, VARIABLE, Place, TrackingError

CONNECT_SECONDS = 10
LOCK = int.from_bytes(b"qlcnet")  # PostgreSQL's advisory locks have numbers
CHUNK = 500  # values in one statement; SQLite once allowed 999
# drivers that take `connect_timeout`, and packages that bear another name than their module
PATIENT = ("psycopg", "psycopg2", "mysqldb", "pymysql")
PACKAGES = {"psycopg": "psycopg[binary]", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}

# of MLflow's schema
EXPERIMENTS = table("experiments", column("artifact_location"))
RUNS = table("runs", column("run_uuid"), column("artifact_uri"))
TAGS = table("tags", column("run_uuid"), column("key"), column("value"))
LONGEST_PATH = 200  # characters of runs.artifact_uri; SQLite does not count them
OURS = "/mlruns/artifacts"  # how the folder for files ends that a checkout of ours chose


class Database:
    """A database beside MLflow's own connections to it. Raises TrackingError where its driver is missing."""

    def __init__(self, place: Place) -> None:
        self.place = place
        if place.file:
            place.file.parent.mkdir(parents=True, exist_ok=True)
        patient = make_url(place.uri).get_driver_name() in PATIENT
        options = {"connect_timeout": CONNECT_SECONDS} if patient else {}
        try:
            self._engine = create_engine(place.uri, poolclass=NullPool, connect_args=options)
        except ModuleNotFoundError as error:
            package = PACKAGES.get(error.name or "", error.name)
            raise TrackingError(
                f"the tracking store {place.shown} needs the Python package {error.name}, which is not installed: "
                f"pip install '{package}', or unset {VARIABLE}"
            ) from None
        if not place.file and len(self.files_of("0" * 32)) > LONGEST_PATH:
            raise TrackingError(
                f"{place.artifacts}: of paths to files MLflow keeps {LONGEST_PATH} characters in {place.kind}; "
                "with the name of a run this one is longer: move the project to a shorter path"
            )

    @property
    def artifacts(self) -> str:
        """The folder for files of the project's runs, as MLflow keeps it: it reads %20 in a path as a space."""
        return str(self.place.artifacts).replace("%", "%25")

    def files_of(self, run: str) -> str:
        """Where below it MLflow keeps the files of a run."""
        return f"{self.artifacts}/{run}/artifacts"

    def check(self) -> None:
        """Connect and read. Raises what the driver raises."""
        inspect(self._engine).has_table("runs")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One process at a time, of all machines: PostgreSQL's advisory lock, which ends with its transaction."""
        with self._engine.begin() as connection:
            connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"))
            connection.execute(text(f"SELECT pg_advisory_xact_lock({LOCK})"))
            yield

    def place_files(self, runs: Iterable[str]) -> None:
        """Let the files of `runs` lie below the project's mlruns/artifacts."""
        values = [{"run": run, "at": self.files_of(run)} for run in runs]
        if values:
            statement = update(RUNS).where(RUNS.c.run_uuid == bindparam("run")).values(artifact_uri=bindparam("at"))
            with self._engine.begin() as connection:
                connection.execute(statement, values)

    def take_files(self, run: str, artifact_uri: str) -> None:
        """Let a run keep its files in this project, where it was given the folder of another checkout.

        A folder or a bucket that somebody chose when making the experiment stays.
        """
        folder = artifact_uri.rsplit("/", 2)[0]
        if folder != self.artifacts and folder.startswith("/") and folder.endswith(OURS):
            self.place_files([run])

    def follow_moved_files(self) -> int:
        """Point runs to the project's mlruns/artifacts whose files lie there; returns how many pointed elsewhere.

        MLflow keeps whole paths, and folders get renamed.
        """
        if self.place.is_own:
            self._move_experiments()
        here = [folder.name for folder in self.place.artifacts.iterdir()] if self.place.artifacts.is_dir() else []
        known = self._rows(select(RUNS.c.run_uuid, RUNS.c.artifact_uri), RUNS.c.run_uuid, here)
        moved_runs = [run for run, at in known if at != self.files_of(run)]
        children = select(TAGS.c.run_uuid).where(TAGS.c.key == "mlflow.parentRunId")
        self.place_files(moved_runs + [run for (run,) in self._rows(children, TAGS.c.value, moved_runs)])
        return len(moved_runs)

    def _move_experiments(self) -> None:
        at = EXPERIMENTS.c.artifact_location
        moved = at.like(f"%{OURS}") & (at != self.artifacts)
        with self._engine.begin() as connection:
            if connection.execute(select(at).where(moved)).first():
                connection.execute(update(EXPERIMENTS).where(moved).values(artifact_location=self.artifacts))

    def _rows(self, query: Select[Any], by: ColumnElement[Any], values: Sequence[str]) -> list[Any]:
        """The rows of a query whose column `by` is one of `values`."""
        found: list[Any] = []
        with self._engine.connect() as connection:
            for start in range(0, len(values), CHUNK):
                found += connection.execute(query.where(by.in_(values[start : start + CHUNK])))
        return found
