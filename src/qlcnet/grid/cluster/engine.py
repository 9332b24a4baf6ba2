"""Fits on a Dask cluster: hands each worker one fit at a time, and a fit whose worker died to another."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qlcnet import machine
from qlcnet.address import without_password
from qlcnet.fit.spec import DataPaths, FitResult, FitSpec
from qlcnet.grid.cluster import transfer
from qlcnet.grid.cluster.worker import SpoolGoneError, describe_worker, fit_on_worker, versions
from qlcnet.grid.engine import EngineError, OnEvent

if TYPE_CHECKING:
    from distributed import Client
    from distributed import Future as DaskFuture


log = logging.getLogger("qlcnet")
T = TypeVar("T")

CONNECT_SECONDS = 15.0
CLOSE_SECONDS = 5.0
ANSWER_SECONDS = 120.0  # for a worker that is importing torch while it is asked
POLL_SECONDS = 1.0  # how often workers that joined or left are looked for
RESULT_SECONDS = 60.0
RETRIES = 3  # of a fit whose worker died


class ClusterError(EngineError):
    """The cluster cannot run the grid; the message says what to do."""


@dataclass
class _Worker:
    """A worker that may fit folds. `fit` is the one it has, if any."""

    paths: DataPaths
    fit: _Fit | None = None


@dataclass(eq=False)
class _Fit:
    spec: FitSpec
    future: Future[FitResult] = field(default_factory=Future)
    remote: DaskFuture | None = None
    lost: int = 0  # workers that died with it


class DaskEngine:
    """Fits on the workers of a Dask scheduler, wherever they run. One fit a worker, whatever its threads.

    The scheduler only carries: which worker gets which fit is decided here, so that long fits start first, a worker
    that joins late is used as soon as it is there, and one whose versions differ, or that cannot fit on the `device` or
    with the `numerics` asked for, never is. `weights`: local files of pretrained weights that the fits read. Raises
    ClusterError.
    """

    def __init__(
        self,
        scheduler: str,
        paths: DataPaths,
        channels: Collection[str],
        on_event: OnEvent,
        weights: Collection[str] = (),
        device: str = "cpu",
        numerics: str = "fast",
    ) -> None:
        self.scheduler = without_password(scheduler)  # as messages show it
        self.device, self.numerics = device, numerics
        self.files = transfer.TaskFiles.of(paths, channels, weights)
        self._own: dict[str, Any] = {"versions": versions(), "cpu": machine.kind_of_cpu()}
        self._topic = f"qlcnet-{self.files.digest}-{time.time_ns()}"
        self._workers: dict[str, _Worker] = {}
        self._refused: set[str] = set()
        self._waiting: deque[_Fit] = deque()
        self._unresolved: set[_Fit] = set()
        self._lost: ClusterError | None = None  # why nothing is handed out any more
        self._ended: queue.SimpleQueue[tuple[_Fit, DaskFuture]] = queue.SimpleQueue()
        self._lock = threading.Lock()  # of _workers, _waiting, _unresolved and _lost
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._dispatch, name="cluster", daemon=True)
        self._client = _connect(scheduler)
        try:
            self._client.subscribe_topic(self._topic, lambda event: on_event(tuple(event[1])))
            self._wait_for_workers()
        except BaseException:
            self._client.close(timeout=2)
            raise
        self._thread.start()

    @property
    def workers(self) -> int:
        """Workers that may fit, at this moment."""
        return len(self._workers)

    def submit(self, spec: FitSpec) -> Future[FitResult]:
        """Queue one fit; fits start in the order in which they were queued."""
        fit = _Fit(spec)
        fit.future.add_done_callback(lambda _: self._unresolved.discard(fit))
        with self._lock:
            if (lost := self._lost) is None:
                self._waiting.append(fit)
                self._unresolved.add(fit)
        if lost:
            fit.future.set_exception(lost)
        self._wake.set()
        return fit.future

    def close(self, abort: bool = False) -> None:
        """Leave the cluster; with `abort`, fits that run there stop at their next epoch."""
        self._closing.set()
        self._wake.set()
        try:
            if self._client.status == "running":  # else nobody answers: the thread too waits until the client closes
                self._thread.join(ANSWER_SECONDS)
                with self._lock:
                    remotes = [w.fit.remote for w in self._workers.values() if w.fit and w.fit.remote]
                if remotes:
                    self._client.cancel(remotes, force=True)
                self._ask(transfer.remove_spool, self.files.spool)
        except Exception as error:  # the scheduler may be what failed
            log.debug("cluster: %r", error)
        try:
            self._client.close(timeout=CLOSE_SECONDS)
        except Exception as error:  # must not hide the error that closes this
            log.debug("cluster: %r", error)

    # --- workers ------------------------------------------------------------------------------------------------

    def _wait_for_workers(self) -> None:
        """Until one worker may be used. Workers that are there and may not are an error now, later a warning."""
        said = False
        while not self._workers:
            refusals = self._admit()
            if refusals:
                raise ClusterError(f"{self.scheduler}: workers do not fit this project\n  " + "\n  ".join(refusals))
            if not self._workers:
                if not said:
                    log.info("no workers at %s yet; waiting (`dask worker %s --nthreads 1`)", *2 * (self.scheduler,))
                said = True
                time.sleep(POLL_SECONDS)

    def _admit(self) -> list[str]:
        """Look which workers are there, take new ones that may be used; returns why others may not."""
        present = self._client.sync(self._client.scheduler.ncores, callback_timeout=ANSWER_SECONDS)
        with self._lock:
            gone = [address for address in self._workers if address not in present]
            lost = [fit for address in gone if (fit := self._workers.pop(address).fit)]
        for fit in lost:
            self._lose(fit, "is gone")
        new = [address for address in present if address not in self._workers and address not in self._refused]
        if not new:
            return []
        answers = self._ask(describe_worker, self.files, self.device, self.numerics, workers=new)
        refusals = []
        for address, answer in answers.items():
            if isinstance(answer, OSError):  # it left while it was asked
                continue
            if why := self._why_not(answer):
                self._refused.add(address)
                refusals.append(f"worker {address}: {why}")
        admitted = {a: answer for a, answer in answers.items() if isinstance(answer, dict) and a not in self._refused}
        return refusals + self._take_in(admitted)

    def _why_not(self, answer: Any) -> str | None:
        if isinstance(answer, Exception):
            return f"{answer!r}; install the same qlcnet there, with `pip install qlcnet[cluster]`"
        own, other = self._own["versions"], answer["versions"]
        differ = [f"{name} {other[name]} there, {own[name]} here" for name in own if other[name] != own[name]]
        if differ:
            return "; ".join(differ) + "; install the same versions (requirements.lock), restart it"
        if fault := answer["cuda_fault"]:
            return f"{fault}, and these fits need CUDA; set training.device to cpu, or start it elsewhere"
        if fault := answer["numerics_fault"]:
            return str(fault)
        return None

    def _take_in(self, answers: dict[str, dict[str, Any]]) -> list[str]:
        """Send the files to new workers that do not see them, once a spool folder; returns why some lack them."""
        blind = {answer["spool"]: address for address, answer in answers.items() if answer["paths"] is None}
        failed = transfer.send(self._client, self.files, list(blind.values())) if blind else {}
        refusals = []
        for address, answer in answers.items():
            if answer["paths"] is None and (error := failed.get(blind[answer["spool"]])):
                self._refused.add(address)
                refusals.append(f"worker {address}: cannot keep the files of the task ({error!r})")
                continue
            if answer["threads"] > 1:
                log.warning(
                    "worker %s has %d threads and gets one fit at a time: start more workers with `--nthreads 1`",
                    address, answer["threads"],
                )  # fmt: skip
            if answer["cpu"] != self._own["cpu"] and self.numerics == "fast":
                log.warning(
                    "worker %s has another kind of CPU (%s; here %s): its fits may differ in their last bits",
                    address, answer["cpu"], self._own["cpu"],
                )  # fmt: skip
            with self._lock:
                self._workers[address] = _Worker(answer["paths"] or transfer.spooled(Path(answer["spool"][1])))
        return refusals

    def _ask(self, function: Callable[..., T], *arguments: Any, workers: list[str] | None = None) -> dict[str, Any]:
        """The answers of workers by address; an exception is an answer too."""
        return dict(self._client.run(function, *arguments, workers=workers, on_error="return"))

    # --- fits ---------------------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """The thread that hands out fits and takes results."""
        looked = time.monotonic()
        while not self._closing.is_set():
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
            try:
                self._take_results()
                if time.monotonic() - looked >= POLL_SECONDS:
                    for refusal in self._admit():
                        log.warning("not used: %s", refusal)
                    looked = time.monotonic()
                self._hand_out()
            except Exception as error:
                log.debug("cluster", exc_info=True)
                self._fail_all(self._lost_scheduler(error))
                return

    def _hand_out(self) -> None:
        with self._lock:
            for address, worker in self._workers.items():
                if worker.fit is None and self._waiting:
                    worker.fit = fit = self._waiting.popleft()
                    fit.remote = self._client.submit(
                        fit_on_worker, fit.spec, worker.paths, self.files, self._topic,
                        key=f"{fit.spec.name}-{time.time_ns()}", pure=False, workers=[address],
                    )  # fmt: skip
                    fit.remote.add_done_callback(lambda remote, fit=fit: self._end(fit, remote))

    def _end(self, fit: _Fit, remote: DaskFuture) -> None:
        self._ended.put((fit, remote))
        self._wake.set()

    def _take_results(self) -> None:
        from distributed import KilledWorker

        while not self._ended.empty():
            fit, remote = self._ended.get()
            if fit.remote is not remote:
                continue  # it was given up, and another attempt runs
            error: BaseException | None = remote.exception() if remote.status == "error" else None
            with self._lock:
                for address in [a for a, worker in self._workers.items() if worker.fit is fit]:
                    if isinstance(error, SpoolGoneError):  # asked again what it has, like one that joins
                        del self._workers[address]
                    else:
                        self._workers[address].fit = None
            if remote.status in ("cancelled", "lost") or isinstance(error, KilledWorker):
                self._lose(fit, "died")
            elif isinstance(error, SpoolGoneError):
                self._lose(fit, f"lost its files ({error})")
            elif error is not None:
                fit.future.set_exception(error)
            else:
                try:
                    fit.future.set_result(remote.result(timeout=RESULT_SECONDS))
                except Exception as broken:  # the worker died with the result
                    self._lose(fit, f"died ({type(broken).__name__})")
            fit.remote = None  # released: its worker forgets the result

    def _lose(self, fit: _Fit, why: str) -> None:
        """The worker of a fit is gone: queue it again, first of all, or give it up."""
        if fit.remote is not None:
            self._client.cancel([fit.remote], force=True)  # or it would start again on a worker of the same address
        fit.remote, fit.lost = None, fit.lost + 1
        if fit.lost > RETRIES:
            message = (
                f"it lost its worker {fit.lost} times, which at last {why} (out of memory? the workers' logs say more)"
            )
            fit.future.set_exception(RuntimeError(message))
            return
        log.warning(
            "the worker of %s %s; the fit starts again on another (%d of %d)", fit.spec.name, why, fit.lost, RETRIES
        )
        with self._lock:
            self._waiting.appendleft(fit)

    def _fail_all(self, error: ClusterError) -> None:
        """Also those that were between the queue and a worker when something raised, and those submitted later."""
        with self._lock:
            self._lost, fits = error, list(self._unresolved)
            self._waiting.clear()
        for fit in fits:
            fit.future.set_exception(error)

    def _lost_scheduler(self, error: Exception) -> ClusterError:
        return ClusterError(
            f"lost the scheduler at {self.scheduler} ({without_password(repr(error))}); finished fits are kept, "
            "run the same command again when it is back"
        )


def _connect(scheduler: str) -> Client:
    try:
        from distributed import Client
        from distributed.comm.addressing import get_address_host_port
    except ModuleNotFoundError:
        raise ClusterError("a cluster needs the optional packages: pip install qlcnet[cluster]") from None
    for name in ("distributed", "distributed.client"):  # distributed gives the second a level of its own
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what it tells of is handled, and said, here
    try:
        get_address_host_port(scheduler)  # a client of an address that cannot be read waits for ever when it is dropped
    except ValueError:
        raise ClusterError(
            f"execution.scheduler, or --scheduler: {without_password(scheduler)} is no address of a Dask scheduler, as "
            "tcp://host:8786 is; they know no user and password"
        ) from None
    try:
        return Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False, name="qlcnet")
    except (OSError, TimeoutError, ValueError) as error:
        shown = without_password(scheduler)
        raise ClusterError(
            f"no Dask scheduler answers at {shown} within {CONNECT_SECONDS:.0f} s ({type(error).__name__}); "
            "start one with `dask scheduler`, or correct execution.scheduler in params.yaml"
        ) from error
