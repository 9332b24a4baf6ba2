"""What starts worker processes on this machine: a forkserver that has imported torch, timm and Lightning once."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import multiprocessing.forkserver
import os
import signal
import sys
import tempfile
import threading
from functools import cache
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any

from qlcnet import machine, scratch

PRELOADED = "qlcnet.grid.preload"
HUGE_PAGES = "glibc.malloc.hugetlb=1"  # of GLIBC_TUNABLES
# read by OpenMP when torch is first imported
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "MKL_NUM_THREADS": "1"}


def worker_context() -> Any:
    """What starts worker processes: from a forkserver that has imported torch, timm and Lightning, with one thread."""
    # before the forkserver starts: libraries read them when they are loaded
    os.environ.update(ONE_THREAD | machine.FIXED_VARIABLES)
    # glibc then asks for huge pages: a step is up to 4 % faster (docs/speed.md)
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if "glibc.malloc.hugetlb" not in tunables:
        os.environ["GLIBC_TUNABLES"] = f"{tunables}:{HUGE_PAGES}".lstrip(":")
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([PRELOADED])
    _own_the_sockets()
    return context


def warm_up() -> None:
    """Start the forkserver and return at once: it imports for seconds, in which the caller has other things to do."""
    worker_context()
    if sys.platform != "win32":
        multiprocessing.forkserver.ensure_running()


@cache
def _own_the_sockets() -> object:
    """Mark the folder of multiprocessing's sockets, which a kill leaves behind, and remove those of dead processes.

    It stays in the system's temporary folder: below a deep path a Unix socket's name is too long. Returns the lock,
    which frees itself when nobody holds it.
    """
    scratch.sweep(Path(tempfile.gettempdir()).glob("pymp-*"))
    return scratch.own(Path(get_temp_dir()))


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
