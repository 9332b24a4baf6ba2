"""Where fits run: worker processes of this machine, or a Dask cluster. Both behind one small engine interface."""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

from qlcnet.fit.code import is_current
from qlcnet.fit.spec import DataPaths, FitResult, FitSpec

if TYPE_CHECKING:
    from qlcnet.cost.workload import NetworkKind, NetworkSize
    from qlcnet.fit.data import FitData

log = logging.getLogger("qlcnet")

HUGE_PAGES = "glibc.malloc.hugetlb=1"  # of GLIBC_TUNABLES

Event = tuple[str, str, Any]  # (kind, fingerprint, payload): ("start", …, worker), ("epoch", …, metrics)
OnEvent = Callable[[Event], None]


class EngineError(RuntimeError):
    """An engine cannot go on: an error of the whole grid, not of a fit."""


class SourcesChangedError(EngineError):
    """A worker's code is not the code that the grid was planned for: its fits would be kept under a wrong name."""


class Engine(Protocol):
    """Runs fits somewhere and reports their epochs to `on_event` of this process."""

    @property
    def workers(self) -> int:
        """Fits that can run at a time."""

    def submit(self, spec: FitSpec) -> Future[FitResult]:
        """Queue one fit."""

    def close(self, abort: bool = False) -> None:
        """Free the workers; with `abort`, without waiting for running fits."""


# --- worker processes of this machine ---------------------------------------------------------------------------

_events: Any = None
_opened: dict[tuple[DataPaths, tuple[str, ...]], FitData] = {}


def _start_worker(events: Any, devices: Any) -> None:
    global _events
    _events = events
    if device := devices.get():
        os.environ["CUDA_VISIBLE_DEVICES"] = device  # CUDA reads it when it starts: at the first fit, not at an import
    end_with_the_parent()


def end_with_the_parent() -> None:
    """Of a worker process: it ends when its parent does, however that ends, and not by Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()


def _die_with(sentinel: int) -> None:
    """Ends this worker when its parent is gone, also after a kill -9."""
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def open_cached(paths: DataPaths, circuits: Collection[str]) -> FitData:
    """A task's arrays, opened once a process."""
    from qlcnet.fit.data import open_fit_data

    key = (paths, tuple(circuits))
    if key not in _opened:
        _opened[key] = open_fit_data(paths, circuits)
    return _opened[key]


def check_sources(spec: FitSpec) -> None:
    """Raises SourcesChangedError unless this worker has loaded the code that `spec` was planned for, and it is there.

    What it loaded decides; what lies on disk, too, because some modules are imported when a fit needs them.
    """
    if not is_current(spec.code, spec.words):
        raise SourcesChangedError("the sources changed while the grid ran; run again (finished fits are kept)")


def cuda_fault() -> str | None:
    """Why torch cannot use CUDA in this process; None where it can. Imports torch.

    Whoever plans sees device nodes; only here shows an old driver, a container without its libraries, a torch for CPU.
    """
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch that was built without CUDA
        return f"torch {torch.__version__} cannot use CUDA: {error}"
    return None


def check_device(spec: FitSpec) -> None:
    """Raises EngineError where `spec`, and with it the whole grid, was planned for CUDA and this worker has none."""
    if spec.device == "cuda" and (fault := cuda_fault()):
        auto = " (chosen by `auto`, as there are NVIDIA device nodes)" if spec.training.device == "auto" else ""
        raise EngineError(
            f"training.device is cuda{auto}, but {fault}\n"
            "Set training.device: cpu in params.yaml; or mend the driver, or install a torch that was built for it"
        )


def _run_local(spec: FitSpec, paths: DataPaths, circuits: tuple[str, ...], answers: str) -> str:
    """Fit one fold; returns the file, below `answers`, that holds the FitResult.

    The pool's pipe carries its name alone: a worker killed halfway through a message leaves whoever reads it waiting
    for ever, and a pipe takes what is shorter than PIPE_BUF as a whole (test_a_killed_worker_cannot_stop_halfway).
    """
    check_sources(spec)
    check_device(spec)
    from qlcnet.fit.fitting import fit_fold

    _events.put(("start", spec.fingerprint, f"pid {os.getpid()}"))
    data = open_cached(paths, circuits)
    result = fit_fold(spec, data, lambda metrics: _events.put(("epoch", spec.fingerprint, dict(metrics))))
    path = Path(answers, f"{spec.fingerprint}.npz")
    try:
        result.save(path)
    except OSError as error:
        raise EngineError(f"cannot write a fit's result: {error}; make room, or set TMPDIR") from None
    return str(path)


def _take(answer: Future[str], result: Future[FitResult]) -> None:
    """Bring the file that a worker named to whoever waits for its fit."""
    if answer.cancelled():
        result.cancel()
    elif error := answer.exception():
        result.set_exception(error)
    else:
        try:
            path = Path(answer.result())
            fitted = FitResult.load(path)
            path.unlink()
        except Exception as error:
            result.set_exception(error)
        else:
            result.set_result(fitted)


def count_in_a_worker(kinds: list[NetworkKind]) -> list[NetworkSize]:
    """Count networks; this process need not import torch, and what the worker imports those of a grid share."""
    with ProcessPoolExecutor(1, worker_context(), end_with_the_parent) as pool:
        try:
            return pool.submit(_count_networks, kinds).result()
        except BrokenProcessPool:
            raise EngineError("the process that counted the networks died (out of memory?)") from None


def _count_networks(kinds: list[NetworkKind]) -> list[NetworkSize]:
    from qlcnet.cost.network_size import network_sizes

    return network_sizes(kinds)


def worker_context() -> Any:
    """What starts worker processes: from a forkserver that has imported torch, timm and Lightning, with one thread."""
    # read by OpenMP when torch is first imported, so before the forkserver starts
    os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE", MKL_NUM_THREADS="1")
    # glibc then asks for huge pages: a step is up to 4 % faster (docs/speed.md)
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc.hugetlb" not in tunables:
        os.environ["GLIBC_TUNABLES"] = f"{tunables}:{HUGE_PAGES}".lstrip(":")
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["qlcnet.grid.preload"])
    return context


class LocalEngine:
    """Worker processes from a forkserver that has imported torch, timm and Lightning once; one torch thread each.

    `devices`: the accelerator of each worker (room.deal), which then sees no other.
    """

    def __init__(
        self,
        paths: DataPaths,
        circuits: Collection[str],
        workers: int,
        on_event: OnEvent,
        devices: Sequence[str] = (),
    ) -> None:
        self.paths, self.circuits, self.workers = paths, tuple(circuits), workers
        self._context = worker_context()
        self._events = self._context.SimpleQueue()
        self._on_event = on_event
        hands = self._context.SimpleQueue()  # a worker takes its device when it starts
        for device in devices or [""] * workers:
            hands.put(device)
        self._answers = TemporaryDirectory(prefix="qlcnet-")
        self._pool = ProcessPoolExecutor(workers, self._context, _start_worker, (self._events, hands))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while (event := self._events.get()) is not None:
            self._on_event(event)

    def submit(self, spec: FitSpec) -> Future[FitResult]:
        """Queue one fit."""
        result: Future[FitResult] = Future()
        try:
            answer = self._pool.submit(_run_local, spec, self.paths, self.circuits, self._answers.name)
        except BrokenProcessPool as error:  # a worker died meanwhile
            result.set_exception(error)
        else:
            answer.add_done_callback(lambda answer: _take(answer, result))
        return result

    def close(self, abort: bool = False) -> None:
        """Free the workers; with `abort`, kill them."""
        processes = list((self._pool._processes or {}).values()) if abort else []
        for process in processes:
            process.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._answers.cleanup()
        if not abort:  # a worker killed while it wrote an event has taken the queue's lock along: a put would hang
            self._events.put(None)
            self._reader.join(timeout=10)
