"""Writes the settled trials of searches from a thread of its own while they run: a slow store never holds a fit.

Opening a store that is not there yet takes seconds, which then pass while workers fit.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from qlcnet.tracking.backend import brief, open_backend
from qlcnet.tracking.searches import TrackedSearch, end_search, track_search

if TYPE_CHECKING:
    from qlcnet.tracking.backend import Backend

log = logging.getLogger("qlcnet")

PAUSE = 1.0  # seconds between two writes: trials that end meanwhile are written together
LATEST = 60  # seconds that the end of a search waits for a write that runs

Now = Callable[[], TrackedSearch]


class LiveSearches:
    """A context in which `settled` may be called from any thread; it returns at once.

    What is not written when it ends is left to `track_searches`. A search that is stopped has the status KILLED then.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Condition()
        self._waiting: dict[str, Now] = {}  # the newest of each search
        self._ending = threading.Event()
        # daemon: a process that must go, goes
        self._thread = threading.Thread(target=self._write_all, name="tracking searches", daemon=True)
        # below: only the writing thread, and others once it has ended
        self._backend: Backend | None = None
        self._written: set[str] = set()  # fingerprints

    def settled(self, search: str, now: Now) -> None:
        """A trial of a search came to its end; `now` says, when it is called, what there is."""
        with self._lock:
            self._waiting[search] = now
            self._lock.notify()

    def __enter__(self) -> LiveSearches:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()
        with self._lock:
            self._lock.notify()
        self._thread.join(LATEST)
        if kind is not None and self._backend is not None and not self._thread.is_alive():
            self._end_all(self._backend)

    def _write_all(self) -> None:
        try:
            while (waiting := self._next()) is not None:
                self._backend = self._backend or open_backend(self._root)
                for now in waiting:
                    search = now()
                    self._written.add(search.fingerprint)
                    track_search(self._backend, search)
                self._ending.wait(PAUSE)
        except Exception as error:
            log.warning("trials are not tracked while they run: %s; the end of the search adds them", brief(error))

    def _next(self) -> list[Now] | None:
        """What is to be written; None at the end."""
        with self._lock:
            self._lock.wait_for(lambda: bool(self._waiting) or self._ending.is_set())
            if self._ending.is_set():
                return None
            waiting = list(self._waiting.values())
            self._waiting.clear()
            return waiting

    def _end_all(self, backend: Backend) -> None:
        try:
            for fingerprint in self._written:
                end_search(backend, fingerprint)
        except Exception as error:
            log.warning("a run of the search is left open: %s; the same command goes on with it", brief(error))
