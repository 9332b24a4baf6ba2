"""Fits on worker processes of this machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from qlcnet.fit.spec import DataPaths, FitResult, FitSpec
from qlcnet.grid.engine import EngineError, OnEvent
from qlcnet.grid.worker import run_fit
from qlcnet.grid.worker_process import end_with_the_parent, worker_context
from qlcnet.scratch import scratch_folder

_events: Any = None


def _start_worker(events: Any, devices: Any) -> None:
    global _events
    _events = events
    if device := devices.get():
        os.environ["CUDA_VISIBLE_DEVICES"] = device  # CUDA reads it when it starts: at the first fit, not at an import
    end_with_the_parent()


def _run_local(spec: FitSpec, paths: DataPaths, channels: tuple[str, ...], answers: str) -> str:
    """Fit one fold; returns the file, below `answers`, that holds the FitResult.

    The pool's pipe carries its name alone: a worker killed halfway through a message leaves whoever reads it waiting
    for ever, and a pipe takes what is shorter than PIPE_BUF as a whole (test_a_killed_worker_cannot_stop_halfway).
    """
    result = run_fit(spec, paths, channels, repr((paths, channels)), f"pid {os.getpid()}", _events.put)
    path = Path(answers, f"{spec.fingerprint}.npz")
    try:
        result.save(path)
    except OSError as error:
        raise EngineError(f"cannot write a fit's result: {error}; make room there") from None
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


class LocalEngine:
    """Worker processes from a forkserver that has imported torch, timm and Lightning once; one torch thread each.

    `scratch`: where a folder is made through which results come. `devices`: the accelerator of each worker
    (room.deal), which then sees no other.
    """

    def __init__(
        self,
        paths: DataPaths,
        channels: Collection[str],
        workers: int,
        on_event: OnEvent,
        scratch: Path,
        devices: Sequence[str] = (),
    ) -> None:
        self.paths, self.channels, self.workers = paths, tuple(channels), workers
        self._context = worker_context()
        self._events = self._context.SimpleQueue()
        self._on_event = on_event
        hands = self._context.SimpleQueue()  # a worker takes its device when it starts
        for device in devices or [""] * workers:
            hands.put(device)
        self._scratch = ExitStack()
        self._answers = str(self._scratch.enter_context(scratch_folder(scratch)))
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
            answer = self._pool.submit(_run_local, spec, self.paths, self.channels, self._answers)
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
        self._scratch.close()
        if not abort:  # a worker killed while it wrote an event has taken the queue's lock along: a put would hang
            self._events.put(None)
            self._reader.join(timeout=10)
