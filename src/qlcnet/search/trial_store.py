"""Where the fits of trials are kept: as in the fold store, beside it, without their weights.

50 trials of 25 fits of 2.4 MB would be 3 GB. config.json keeps the digest of the weights, so that a winner that is
fitted again can be held to the bytes of its trial (tests/search/test_trials.py).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qlcnet.fit.fold_folder import CONFIG, FILES, WEIGHTS
from qlcnet.fit.soundness import problem_in
from qlcnet.fit.store import FoldStore
from qlcnet.paths import Project

KEPT = tuple(name for name in FILES if name != WEIGHTS)


class TrialStore(FoldStore):
    """The store of trials' fits. A fit that the project's own store has whole is read from there."""

    def __init__(self, project: Project) -> None:
        super().__init__(project.trial_fits)
        self.whole = FoldStore(project.store)
        self._being_made: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    @contextmanager
    def alone_with(self, fingerprint: str) -> Iterator[None]:
        """Lanes that want one fit at a time wait for each other: the second finds it there."""
        with self._guard:
            lock = self._being_made.setdefault(fingerprint, threading.Lock())
        with lock:
            yield

    def put(self, fingerprint: str, files: Mapping[str, bytes], provenance: Mapping[str, Any]) -> Path:
        return super().put(fingerprint, {name: files[name] for name in KEPT}, provenance)

    def problem(self, fingerprint: str) -> str | None:
        return problem_in(self.path(fingerprint), KEPT)

    def kept_at(self, fingerprint: str) -> Path | None:
        """The sound folder of a fit; None where there is none. A damaged one is set aside, and is to do again."""
        stores: tuple[FoldStore, ...] = (self.whole, self)
        for store in stores:
            if not (store.path(fingerprint) / CONFIG).is_file():
                continue
            if (problem := store.problem(fingerprint)) is None:
                return store.path(fingerprint)
            store.set_aside(fingerprint, problem)
        return None
