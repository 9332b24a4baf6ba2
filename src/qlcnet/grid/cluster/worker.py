"""What a worker of a Dask cluster runs: it says what it is, and fits folds."""

from __future__ import annotations

import importlib.metadata
import socket
import threading
from typing import TYPE_CHECKING, Any

from qlcnet import machine
from qlcnet.fit.code import FIT_PACKAGES, LOADED
from qlcnet.fit.spec import DataPaths, FitResult, FitSpec
from qlcnet.grid.cluster import transfer
from qlcnet.grid.engine import Event
from qlcnet.grid.worker import cuda_fault, numerics_fault, run_fit

if TYPE_CHECKING:
    pass

_one_at_a_time = threading.Lock()  # torch's random generator belongs to the process: two fits would mix their draws


class _Cancelled(Exception):
    """Nobody waits for this fit any more."""


class SpoolGoneError(Exception):
    """The folder with the files of the grid, which this worker had, is not there any more."""


def describe_worker(files: transfer.TaskFiles, device: str, numerics: str, dask_worker: Any = None) -> dict[str, Any]:
    """What decides whether this process may fit folds of a grid, and where it finds their files."""
    return {
        "versions": versions(),
        "host": socket.gethostname(),
        "cpu": machine.kind_of_cpu(),
        "threads": dask_worker.state.nthreads,
        "cuda_fault": _cuda_fault() if device == "cuda" else None,
        "numerics_fault": numerics_fault(numerics),
        "paths": transfer.paths_seen(files, dask_worker),
        "spool": (socket.gethostname(), str(transfer.spool_of(dask_worker, files.spool))),
    }


def _cuda_fault() -> str | None:
    return cuda_fault() if machine.accelerators() else "it has no CUDA device"


def versions() -> dict[str, str]:
    """Of what decides a result."""
    packages = {name: importlib.metadata.version(name) for name in FIT_PACKAGES}
    return {**packages, "code of qlcnet": LOADED.whole}  # not what lies on disk: a worker keeps what it imported


def fit_on_worker(spec: FitSpec, paths: DataPaths, files: transfer.TaskFiles, topic: str) -> FitResult:
    """Fit one fold in a worker; its events go to `topic`. Raises SpoolGoneError where the files have to come again."""
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()

    def tell(event: Event) -> None:
        state = worker.state.tasks.get(key)
        if state is None or state.state == "cancelled":  # the grid was stopped: leave the worker to the next one
            raise _Cancelled(spec.name)
        kind, fingerprint, payload = event
        values = payload if isinstance(payload, str) else {name: float(value) for name, value in payload.items()}
        worker.log_event(topic, [kind, fingerprint, values])

    with _one_at_a_time:
        if paths != files.paths and not transfer.is_whole(paths.raw.parent, files.names):
            raise SpoolGoneError(f"{paths.raw.parent} lacks files")
        here = f"{socket.gethostname()} {worker.address}"
        # opened by content: a worker outlives grids, and paths stay when folds change
        result = run_fit(files.seen_by(spec, paths), paths, files.channels, files.digest, here, tell)
    result.host = socket.gethostname()
    return result
