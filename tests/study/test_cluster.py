"""Fits on a real Dask cluster of this machine: the same bytes as local ones, also when a worker is killed."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from qlcnet.config import Params
from qlcnet.study import cluster, transfer
from qlcnet.study.cluster import ClusterError, DaskEngine
from qlcnet.study.grid import circuits_of
from qlcnet.study.run import run_grid
from qlcnet.study.spec import DataPaths
from tests.study.conftest import Reference
from tests.study.projects import TASK, Record, bytes_of, make_project, plan

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Two workers in processes of their own, each with a nanny that starts it again."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None, memory_limit=0
    ) as local:
        yield local.scheduler_address


def fit_on_cluster(scheduler: str, root: Path, params: Params, listener: Any) -> dict[str, bytes]:
    """Fit what is missing on the cluster; the bytes of the store."""
    grid, store = plan(params, root)
    paths, circuits = DataPaths.of(root, TASK), circuits_of(params)
    run_grid(grid, store, lambda on_event: DaskEngine(scheduler, paths, circuits, on_event), [listener], {})
    return bytes_of(store)


class Killer(Record):
    """Kills the worker of the first fit that has an epoch behind it."""

    def __init__(self, pids: dict[str, int]) -> None:
        super().__init__()
        self.pids, self.workers, self.victim = pids, {}, None

    def started(self, spec: Any, worker: str) -> None:
        super().started(spec, worker)
        self.workers[spec.name] = worker.split()[-1]

    def epoch(self, spec: Any, metrics: dict[str, float]) -> None:
        super().epoch(spec, metrics)
        if self.victim is None:
            self.victim = spec.name
            os.kill(self.pids[self.workers[spec.name]], signal.SIGKILL)


def test_a_killed_worker_costs_only_its_running_fit(scheduler: str, reference: Reference, tmp_path: Path) -> None:
    params = make_project(tmp_path)
    with distributed.Client(scheduler, set_as_default=False) as client:
        listener = Killer(client.run(os.getpid))
        made = fit_on_cluster(scheduler, tmp_path, params, listener)
    assert made == bytes_of(reference.store)
    starts = [name for kind, name, _ in listener.told if kind == "started"]
    assert {name for name in starts if starts.count(name) > 1} == {listener.victim}
    for name in set(starts):
        of_fit = [(kind, epoch) for kind, fit, epoch in listener.told if fit == name]
        again = name == listener.victim
        assert of_fit[-4:] == [("started", None), ("epoch", 0), ("epoch", 1), ("finished", None)]
        assert of_fit[:-4] == ([("started", None), ("epoch", 0)] if again else [])


def _see_only_the_spool() -> None:
    def paths_seen(files: transfer.TaskFiles, worker: Any) -> DataPaths | None:
        spool = transfer.spool_of(worker, files.digest)
        return transfer.spooled(spool) if spool.is_dir() else None

    transfer.paths_seen = paths_seen


def _sees_again(seen: Any) -> None:
    transfer.paths_seen = seen


def _spooled(dask_worker: Any = None) -> list[str]:
    folder = transfer.spool_of(dask_worker, "x").parent
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_files_that_workers_do_not_see_are_sent_once_and_removed(
    scheduler: str, reference: Reference, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    params = make_project(tmp_path).model_copy(update={"models": {"classical": reference.params.models["classical"]}})
    caplog.set_level("INFO", "qlcnet")
    with distributed.Client(scheduler, set_as_default=False) as client:
        client.run(_see_only_the_spool)
        made = fit_on_cluster(scheduler, tmp_path, params, Record())
        left = client.run(_spooled)
        client.run(_sees_again, transfer.paths_seen)
    assert made.items() <= bytes_of(reference.store).items()
    assert len(made) == 3 * 4
    assert sum("sending" in message for message in caplog.messages) == 1
    assert not any(left.values())


def test_workers_of_other_versions_are_an_error_that_names_both(
    scheduler: str, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, params, *_ = reference
    monkeypatch.setattr(cluster, "versions", lambda: {"torch": "1.0"})
    with pytest.raises(ClusterError, match=r"torch \d\.\d+.* there, 1\.0 here"):
        DaskEngine(scheduler, DataPaths.of(root, TASK), circuits_of(params), print)


def test_a_scheduler_that_does_not_answer_is_named(reference: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    root, params, *_ = reference
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"no Dask scheduler answers at {address}"):
            DaskEngine(address, DataPaths.of(root, TASK), circuits_of(params), print)


def test_the_missing_extra_is_named(reference: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    root, params, *_ = reference
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install qlcnet\[cluster\]"):
        DaskEngine("tcp://127.0.0.1:1", DataPaths.of(root, TASK), circuits_of(params), print)


def test_a_fit_that_loses_every_worker_is_given_up(reference: Reference) -> None:
    root, params, *_ = reference
    engine = object.__new__(DaskEngine)
    engine._lock, engine._waiting = cluster.threading.Lock(), cluster.deque()
    fit = cluster._Fit(plan(params, root)[0].specs[0])
    future: Future[Any] = fit.future
    for _ in range(cluster.RETRIES):
        engine._lose(fit, "died")
        assert engine._waiting.popleft() is fit
    engine._lose(fit, "died")
    assert not engine._waiting
    assert "died 4 times" in str(future.exception(timeout=0))
