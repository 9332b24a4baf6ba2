"""Temporary folders that a killed process does not leave for good: the next one removes them.

A folder belongs to whoever holds the lock on the file OWNER in it; the kernel frees the lock of a process however that
ends, so that neither a pid that was given to another process nor one of another container says it is alive.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

OWNER = "qlcnet.lock"


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new empty folder below `parent`, removed in the end; those of dead processes are removed first. OSError."""
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent.iterdir())
    folder = Path(tempfile.mkdtemp(dir=parent))
    lock = own(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def own(folder: Path) -> BaseFileLock:
    """Mark a folder as this process's, until it ends, releases the lock or lets go of it."""
    from filelock import FileLock

    lock = FileLock(folder / f".{OWNER}.{os.getpid()}")
    lock.acquire()
    # renamed when it is locked: between its making and its locking another process would take it for a dead one's
    os.rename(lock.lock_file, folder / OWNER)
    return lock


def sweep(folders: Iterable[Path]) -> None:
    """Remove those of `folders` that belonged to processes which are gone; what was never owned stays."""
    from filelock import FileLock, Timeout

    for folder in folders:
        if not (folder / OWNER).is_file():
            continue
        lock = FileLock(folder / OWNER)
        try:
            with lock.acquire(timeout=0):
                shutil.rmtree(folder, ignore_errors=True)
        except (Timeout, OSError):  # in use, or of another user
            continue
