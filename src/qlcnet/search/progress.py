"""What is shown while a search runs: one bar over the fold fits of all trials, with the best so far."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from qlcnet.fit.spec import FitSpec
from qlcnet.search.outcome import State


class SearchBar:
    """A listener of the grid. Where stderr is no terminal, one line a settled trial instead."""

    def __init__(self, title: str, trials: int, settled: int, folds: int, metric: str) -> None:
        self._live, self._lock = sys.stderr.isatty(), threading.Lock()
        self._trials, self._settled, self._folds, self._metric = trials, settled, folds, metric
        self._best: dict[str, float] = {}  # by search
        self._counts: dict[State, int] = {"complete": 0, "pruned": 0, "fail": 0}
        self._running: dict[str, float] = {}  # fingerprint -> part of the fit that is done
        kept = f" ({settled} settled already)" if settled else ""
        self._bar = tqdm(
            total=trials * folds, initial=settled * folds, desc=f"{title}: {trials} trials of {folds} folds{kept}",
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            disable=not self._live, mininterval=0.5, dynamic_ncols=True, smoothing=0.05,
        )  # fmt: skip

    def planned(self, seconds: Mapping[str, float]) -> None:
        """Each fit of a search is as long as another."""

    def started(self, spec: FitSpec, worker: str) -> None:
        """A fit began; again after its worker died, then its epochs count once more."""
        self._move(spec.fingerprint, 0.0)

    def epoch(self, spec: FitSpec, metrics: dict[str, float]) -> None:
        """A fit finished an epoch."""
        self._move(spec.fingerprint, (int(metrics.get("epoch", 0)) + 1) / spec.training.epochs)

    def finished(self, spec: FitSpec, folder: Path) -> None:
        """A fit is in the store: settled trials count it."""

    def failed(self, spec: FitSpec, error: BaseException) -> None:
        """A fit raised: its trial says so."""

    def settled(self, search: str, number: int, state: State, value: float | None, folds: int, fits: list[str]) -> None:
        """A trial came to its end with so many folds."""
        with self._lock:
            self._settled += 1
            self._counts[state] += 1
            if state == "complete" and value is not None:
                self._best[search] = max(self._best.get(search, value), value)
            done = sum(self._running.pop(one, 0.0) for one in fits)
            self._bar.update(self._folds - done)
            self._show()
            if not self._live:
                text = "" if value is None else f" {self._metric} {value:.4f} over {folds} of {self._folds} folds,"
                best = f"best {self._best[search]:.4f}" if search in self._best else "no best yet"
                line = f"{self._settled}/{self._trials} trials | {search} trial {number} {state},{text} {best}"
                self._bar.write(line, file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    def _move(self, fingerprint: str, part: float) -> None:
        with self._lock:
            self._bar.update(part - self._running.get(fingerprint, 0.0))
            self._running[fingerprint] = part
            self._show()

    def _show(self) -> None:
        counts = ", ".join(f"{count} {state}" for state, count in self._counts.items() if count)
        best = ", ".join(f"{value:.4f}" for value in self._best.values())
        self._bar.set_postfix_str(f"{self._settled}/{self._trials} trials ({counts}) best {best or '–'}", False)
