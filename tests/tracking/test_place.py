"""Which store MLFLOW_TRACKING_URI names, and the addresses that name none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from qlcnet.tracking import TrackingError
from qlcnet.tracking.place import VARIABLE, place_of

ODD = ["plain", "per%20cent", "q?a=b#c;d e", "grün 中文", "a:b@c&d'e\"f+g", "back\\slash%zz"]


@pytest.mark.parametrize(
    "uri",
    [
        "sqlite:///",
        "sqlite://",
        "sqlite:",
        "sqlite:///:memory:",
        "sqlite+pysqlite:///:memory:",
        "sqlite:///file:x?mode=memory&uri=true",
        "sqlite:///file::memory:?cache=shared&uri=true",
        "sqlite://mlflow.db",
    ],
)
def test_a_store_without_a_file_is_refused(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, uri)
    with pytest.raises(TrackingError, match=r"names no file, and runs in memory are lost: write sqlite:///"):
        place_of(tmp_path)


def test_a_relative_path_does_not_depend_on_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "project"
    (project / "deep").mkdir(parents=True)
    git = ["git", "-C", str(project), "-c", "user.name=x", "-c", "user.email=x@y"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "x"], check=True)
    subprocess.run([*git, "worktree", "add", "--quiet", str(tmp_path / "tree")], check=True, stderr=subprocess.DEVNULL)
    monkeypatch.setenv(VARIABLE, "sqlite:///mlflow.db")
    monkeypatch.chdir(project / "deep")
    assert place_of(project).file == place_of(tmp_path / "tree").file == project / "mlflow.db"
    monkeypatch.setenv(VARIABLE, f"sqlite:///{tmp_path}/team%20store/m.db")
    assert place_of(project).file == tmp_path / "team store" / "m.db"


@pytest.mark.parametrize("name", ODD)
def test_any_folder_name_can_be_part_of_the_address(name: str, tmp_path: Path) -> None:
    place = place_of(tmp_path / name)
    assert make_url(place.uri).database == str(place.file) == f"{tmp_path / name}/mlruns/mlflow.db"
    assert place.shown == str(place.file)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("http://mlflow:ab/geheim@127.0.0.1:1", "http://127.0.0.1:1: write '/' in its user or password as %2F"),
        ("https://mlflow:a?geheim@host", "https://host: write '?' in its user or password as %3F"),
        ("postgresql://mlflow:p@geheim@host/db", "postgresql://host/db: write '@' in its user or password as %40"),
        ("mysql+pymysql://u:p geheim@host/db", "mysql+pymysql://host/db: write ' ' in its user or password as %20"),
    ],
)
def test_a_password_that_would_be_read_as_a_host_is_said(
    uri: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, uri)
    with pytest.raises(TrackingError) as error:
        place_of(tmp_path)
    assert says in str(error.value)
    assert "geheim" not in str(error.value)


@pytest.mark.parametrize(
    ("uri", "kind", "shown"),
    [
        ("https://mlflow:geheim@host:5000/@team/x?token=geheim", "server", "https://team/x"),
        ("https://host/@team", "server", "https://team"),
        ("databricks", "server", "databricks"),
        ("postgresql://mlflow:ab/geheim@host:1/db", "postgresql", "postgresql://host:1/db"),
        ("postgresql+psycopg2://mlflow@host/db?password=geheim", "postgresql", "postgresql+psycopg2://host/db"),
    ],
)
def test_other_addresses_stay_as_they_are(
    uri: str, kind: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, uri)
    place = place_of(tmp_path)
    assert (place.uri, place.kind, place.file) == (os.environ[VARIABLE], kind, None)
    assert place.shown == shown
