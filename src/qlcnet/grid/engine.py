"""What runs fits, seen from a grid: the interface of an engine, what it reports, how it fails."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from qlcnet.fit.spec import FitResult, FitSpec

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
