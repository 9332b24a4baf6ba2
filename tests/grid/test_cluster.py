"""Fits on a real Dask cluster of this machine: the same bytes as local ones, also when a worker is killed."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qlcnet import machine
from qlcnet.config import Params
from qlcnet.fit.spec import DataPaths
from qlcnet.grid.cluster import engine as cluster
from qlcnet.grid.cluster import transfer
from qlcnet.grid.cluster import worker as cluster_worker
from qlcnet.grid.cluster.engine import ClusterError, DaskEngine
from qlcnet.grid.cluster.worker import SpoolGoneError
from qlcnet.grid.grid import Grid, channels_of
from qlcnet.grid.keeper import Keeper
from qlcnet.grid.run import run_grid
from tests.grid.conftest import Reference
from tests.grid.projects import TASK, Record, bytes_of, make_project, plan

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two workers in processes of their own, each with a nanny that starts it again."""
    scratch = str(tmp_path_factory.mktemp("scratch"))
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None, memory_limit=0,
        local_directory=scratch,
    ) as local:  # fmt: skip
        yield local.scheduler_address


def fit_on_cluster(scheduler: str, root: Path, params: Params, listener: Any) -> dict[str, bytes]:
    """Fit what is missing on the cluster; the bytes of the store."""
    grid, store = plan(params, root)
    paths, channels = DataPaths.of(root, TASK), channels_of(params)
    keeper = Keeper.of(grid, store, {})
    run_grid(grid.todo, lambda on_event: DaskEngine(scheduler, paths, channels, on_event), keeper, [listener])
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
        spool = transfer.spool_of(worker, files.spool)
        return transfer.spooled(spool) if transfer.is_whole(spool, files.names) else None

    transfer.paths_seen = paths_seen


def _sees_again(seen: Any) -> None:
    transfer.paths_seen = seen


def _spooled(dask_worker: Any = None) -> list[str]:
    folder = transfer.spool_of(dask_worker, "x").parent
    return sorted(str(path) for path in folder.iterdir()) if folder.is_dir() else []


class Sweeper(Record):
    """Removes one of the files when the first epoch is told, as who sweeps /tmp does."""

    def __init__(self, client: Any) -> None:
        super().__init__()
        self.client, self.swept = client, set()

    def epoch(self, spec: Any, metrics: dict[str, float]) -> None:
        super().epoch(spec, metrics)
        if not self.swept:
            self.swept = {folder for folders in self.client.run(_spooled).values() for folder in folders}
            for folder in self.swept:
                Path(folder, "raw", "images.npy").unlink()


def test_files_that_workers_do_not_see_are_sent_once_and_removed(
    scheduler: str, reference: Reference, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _fit_from_the_spool(scheduler, reference, tmp_path, caplog, lambda client: Record())
    assert sum("sending" in message for message in caplog.messages) == 1


def test_files_that_vanish_while_the_grid_runs_are_sent_again(
    scheduler: str, reference: Reference, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _fit_from_the_spool(scheduler, reference, tmp_path, caplog, Sweeper)
    assert sum("sending" in message for message in caplog.messages) >= 2
    assert any("lost its files" in message for message in caplog.messages)


def _fit_from_the_spool(
    scheduler: str,
    reference: Reference,
    root: Path,
    caplog: pytest.LogCaptureFixture,
    listener: Callable[[Any], Record],
) -> None:
    """Fit the grid on workers that see the sent files only; nothing of them stays."""
    params = make_project(root).model_copy(update={"models": {"classical": reference.params.models["classical"]}})
    caplog.set_level("INFO", "qlcnet")
    with distributed.Client(scheduler, set_as_default=False) as client:
        client.run(_see_only_the_spool)
        made = fit_on_cluster(scheduler, root, params, listener(client))
        left = client.run(_spooled)
        client.run(_sees_again, transfer.paths_seen)
    assert made.items() <= bytes_of(reference.store).items()
    assert len(made) == 3 * 4
    assert not any(left.values())


def test_workers_of_other_versions_are_an_error_that_names_both(
    scheduler: str, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, params, *_ = reference
    monkeypatch.setattr(cluster, "versions", lambda: {"torch": "1.0"})
    with pytest.raises(ClusterError, match=r"torch \d\.\d+.* there, 1\.0 here"):
        DaskEngine(scheduler, DataPaths.of(root, TASK), channels_of(params), print)


def test_a_scheduler_that_does_not_answer_is_named(reference: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    root, params, *_ = reference
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(ClusterError, match=f"no Dask scheduler answers at {address}"):
            DaskEngine(address, DataPaths.of(root, TASK), channels_of(params), print)


@pytest.mark.parametrize("address", ["tcp://user:ge/heim@127.0.0.1:1", "http://user:geheim@127.0.0.1:1"])
def test_an_address_that_is_none_is_said_at_once_without_its_password(address: str, reference: Reference) -> None:
    root, params, *_ = reference
    with pytest.raises(ClusterError, match=r"(tcp|http)://127\.0\.0\.1:1 is no address of a Dask scheduler") as error:
        DaskEngine(address, DataPaths.of(root, TASK), channels_of(params), print)
    assert "heim" not in str(error.value)


def test_the_missing_extra_is_named(reference: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    root, params, *_ = reference
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install qlcnet\[cluster\]"):
        DaskEngine("tcp://127.0.0.1:1", DataPaths.of(root, TASK), channels_of(params), print)


class Remote:
    """A Dask future that ends when a test says so."""

    def __init__(self) -> None:
        self.status, self.error, self.ended = "pending", None, None

    def add_done_callback(self, ended: Callable[[Remote], None]) -> None:
        self.ended = ended

    def exception(self) -> BaseException | None:
        return self.error

    def end(self, status: str, error: BaseException | None = None) -> None:
        self.status, self.error = status, error
        self.ended(self)


class Link:
    """In place of a Dask client: one worker that fits the project, until the scheduler is `gone`."""

    def __init__(self) -> None:
        self.status, self.gone, self.described = "running", False, 0
        self.scheduler = SimpleNamespace(ncores=lambda: {"tcp://w": 1})
        self.fits: list[Remote] = []

    def subscribe_topic(self, topic: str, handler: Any) -> None: ...

    def sync(self, function: Callable[[], Any], callback_timeout: float) -> Any:
        self._reach()
        return function()

    def run(self, function: Any, *_: Any, **__: Any) -> dict[str, Any]:
        self._reach()
        self.described += function is cluster_worker.describe_worker
        versions, cpu = cluster_worker.versions(), machine.kind_of_cpu()
        well = {"cuda_fault": None, "numerics_fault": None}
        seen = {"paths": DataPaths(Path("raw"), Path("folds.csv"), Path("quanvolved")), "spool": ("w", "spool")}
        return {"tcp://w": {"versions": versions, "cpu": cpu, "threads": 1, **well, **seen}}

    def submit(self, function: Any, *arguments: Any, **_: Any) -> Any:
        self.fits.append(Remote())
        return self.fits[-1]

    def cancel(self, remotes: list[Remote], force: bool) -> None:
        self._reach()

    def close(self, timeout: float) -> None: ...

    def _reach(self) -> None:
        if self.gone:
            raise OSError("no route to host")


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    return plan(make_project(tmp_path), tmp_path)[0]


@pytest.fixture
def linked(grid: Grid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[DaskEngine, Link]]:
    link = Link()
    monkeypatch.setattr(cluster, "_connect", lambda scheduler: link)
    monkeypatch.setattr(cluster, "POLL_SECONDS", 0.1)
    engine = DaskEngine("tcp://s", DataPaths.of(tmp_path, TASK), ("ry",), print)
    yield engine, link
    engine.close(abort=True)


def _until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_lost_scheduler_fails_fits_that_wait_that_run_and_that_come_later(
    linked: tuple[DaskEngine, Link], grid: Grid
) -> None:
    engine, link = linked
    first, second, third = grid.specs[:3]
    fits = [engine.submit(first), engine.submit(second)]
    _until(lambda: link.fits)
    link.gone = True
    fits[0].add_done_callback(lambda _: fits.append(engine.submit(third)))
    for fit in fits:
        assert "lost the scheduler" in str(fit.exception(timeout=10))
    assert "lost the scheduler" in str(engine.submit(third).exception(timeout=10))
    assert not engine._unresolved


@pytest.mark.parametrize("worker_left", [False, True])
def test_a_fit_that_is_off_its_worker_when_the_scheduler_is_lost_fails_too(
    linked: tuple[DaskEngine, Link], grid: Grid, worker_left: bool
) -> None:
    engine, link = linked
    future = engine.submit(grid.specs[0])
    _until(lambda: link.fits)
    link.sync = lambda function, callback_timeout: {} if worker_left else function()
    link.gone = True  # felt when the fit, off its worker, is cancelled
    if not worker_left:
        link.fits[0].end("cancelled")
    assert "lost the scheduler" in str(future.exception(timeout=10))


def test_a_worker_whose_files_vanished_is_asked_anew_and_gets_the_fit_again(
    linked: tuple[DaskEngine, Link], grid: Grid
) -> None:
    engine, link = linked
    future = engine.submit(grid.specs[0])
    _until(lambda: link.fits)
    link.fits[0].end("error", SpoolGoneError("raw is missing"))
    _until(lambda: len(link.fits) == 2)
    assert link.described == 2
    assert not future.done()


def test_a_scheduler_lost_while_a_fit_runs_is_said_and_left_at_once(grid: Grid, tmp_path: Path) -> None:
    said: list[logging.LogRecord] = []
    listener = logging.Handler()
    listener.emit = said.append  # type: ignore[method-assign]
    file = tmp_path / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    scheduler = subprocess.Popen(
        [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)],
        **quiet,
    )
    worker = subprocess.Popen(
        [*dask, "worker", "--scheduler-file", str(file), "--no-nanny", "--nthreads", "1", "--no-dashboard",
         "--memory-limit", "0", "--local-directory", str(tmp_path)],
        **quiet,
    )  # fmt: skip
    try:
        _until(lambda: file.exists() and file.stat().st_size)
        address = json.loads(file.read_text())["address"]
        engine = DaskEngine(address, DataPaths.of(tmp_path, TASK), ("ry",), print)
        logging.getLogger("distributed.client").addHandler(listener)
        fit = engine.submit(grid.specs[0])
        threading.Timer(0.5, scheduler.kill).start()
        with pytest.raises(ClusterError, match=f"lost the scheduler at {address}"):
            fit.result(timeout=60)
        started = time.monotonic()
        engine.close(abort=True)
        assert time.monotonic() - started < cluster.CLOSE_SECONDS
        assert not said
    finally:
        logging.getLogger("distributed.client").removeHandler(listener)
        scheduler.kill()
        worker.kill()
        scheduler.wait()
        worker.wait()


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
    assert "lost its worker 4 times, which at last died" in str(future.exception(timeout=0))
