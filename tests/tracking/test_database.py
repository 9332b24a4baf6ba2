"""Databases that several checkouts write at once, real SQLite files and a real PostgreSQL server."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from qlcnet.tracking import TrackingError, sync
from qlcnet.tracking.backend import open_backend
from qlcnet.tracking.place import VARIABLE
from tests.tracking.conftest import copy_store
from tests.tracking.postgres import serving_postgres
from tests.tracking.studies import make_grid, make_results, runs_of, sync_at_once
from tests.tracking.test_place import ODD


@contextlib.contextmanager
def fresh_database(kind: str, folder: Path) -> Iterator[str]:
    """The address of a database without tables."""
    if kind == "postgresql":
        with serving_postgres() as uri:
            yield uri
    else:
        yield f"sqlite:///{folder}/team/mlflow.db"


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_eight_that_open_a_fresh_database_at_once_make_each_run_once(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    grid, clones = make_grid(("classical", "hybrid")), [tmp_path / f"clone {i}" for i in range(7)]
    for clone in clones:
        make_results(clone, grid)
    open_backend(root)
    with fresh_database(kind, tmp_path) as uri:
        monkeypatch.setenv(VARIABLE, uri)
        added = sync_at_once([*clones, clones[0]])
        assert sum(added) == 6
        assert [run["status"] for run in runs_of(clones[0])] == ["FINISHED"] * 6
        # each clone keeps the files of the models that it wrote, whose runs are three
        kept = [len(list(clone.glob("mlruns/artifacts/*"))) * 3 for clone in clones]
        assert kept == [added[0] + added[-1], *added[1:-1]]
        assert all("roc/roc.png" in run["artifacts"] for run in runs_of(clones[0]) if run["tags"]["kind"] == "model")
        if kind == "postgresql":
            _another_path(tmp_path / ("long" * 40))


def _another_path(root: Path) -> None:
    """What PostgreSQL keeps of a path is limited."""
    with pytest.raises(TrackingError, match="MLflow keeps 200 characters in postgresql"):
        sync(root)


@pytest.mark.parametrize("name", ODD)
def test_a_project_may_lie_in_any_folder(name: str, tmp_path: Path, empty_store: Path) -> None:
    root = copy_store(empty_store, tmp_path / "disk" / name)
    make_results(root, make_grid())
    assert sync(root) == 3
    assert [len(run["artifacts"]) for run in runs_of(root)] == [0, 0, 6]
    assert len(list(root.glob("mlruns/artifacts/*/artifacts/roc/roc.png"))) == 1
    assert [path.name for path in (tmp_path / "disk").iterdir()] == [name]  # none whose name is read in another way


def test_checkouts_of_one_database_keep_their_files_apart(
    root: Path, other_root: Path, tmp_path: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    team = tmp_path / "team.db"
    shutil.copy(empty_store, team)  # its experiment began in a third checkout
    monkeypatch.setenv(VARIABLE, f"sqlite:///{team}")
    for checkout, rate in ((root, 0.1), (other_root, 0.2)):
        make_results(checkout, make_grid(learning_rate=rate))
        assert sync(checkout) == 3
        assert len(list(checkout.glob("mlruns/artifacts/*/artifacts/roc/roc.png"))) == 1
    assert not (empty_store.parent / "artifacts").exists()
    backend = open_backend(root)
    for run in backend.client.search_runs([backend.experiment_id]):
        checkout = root if run.data.params["training.learning_rate"] == "0.1" else other_root
        assert run.info.artifact_uri == f"{checkout}/mlruns/artifacts/{run.info.run_id}/artifacts"
        assert run.info.status == "FINISHED"

    moved = root.rename(tmp_path / "moved")
    open_backend(moved)
    assert [len(run["artifacts"]) for run in runs_of(moved)] == [0, 0, 0, 0, 6, 6]
    make_results(moved, make_grid(learning_rate=0.3))
    assert sync(moved) == 3
    assert len(list(moved.glob("mlruns/artifacts/*"))) == 2
    assert not root.exists()


def test_files_go_where_the_maker_of_an_experiment_wants_them(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = open_backend(root)
    backend.client.create_experiment("ours", artifact_location=str(root / "bucket"))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "ours")
    make_results(root, make_grid())
    assert sync(root) == 3
    assert len(list(root.glob("bucket/*/artifacts/roc/roc.png"))) == 1
    assert not (root / "mlruns/artifacts").exists()


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        (
            "postgresql+psycopg2://u:geheim@h/db",
            r"postgresql\+psycopg2://h/db needs .* psycopg2.*pip install 'psycopg2-binary'",
        ),
        ("mysql://u:geheim@h/db", r"mysql://h/db needs .* MySQLdb.*pip install 'mysqlclient'"),
        ("sqlite:////proc/nowhere/x.db", "/proc/nowhere.*correct MLFLOW_TRACKING_URI, or unset it"),
    ],
)
def test_what_cannot_be_opened_is_one_line_with_the_remedy(
    uri: str, says: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, uri)
    with pytest.raises(TrackingError, match=says) as error:
        sync(root)
    assert "geheim" not in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_no_database_is_said_within_seconds(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # MLflow tries ten times, 100 s in all
    monkeypatch.setattr("time.sleep", _at_most_three_seconds())
    (root / "notes.txt").write_text("no database" * 100)
    monkeypatch.setenv(VARIABLE, f"sqlite:///{root}/notes.txt")
    with pytest.raises(TrackingError, match=r"notes\.txt cannot be opened: .*file is not a database"):
        open_backend(root)
    monkeypatch.setenv(VARIABLE, f"sqlite:///{root}/mlruns")
    with pytest.raises(TrackingError, match=r"mlruns cannot be opened: .*unable to open database file"):
        open_backend(root)


def _at_most_three_seconds():  # type: ignore[no-untyped-def]
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        assert sum(waited) <= 3

    return sleep
