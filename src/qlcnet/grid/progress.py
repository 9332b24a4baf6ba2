"""What is shown while one waits: the progress of a grid, and seconds that pass without any."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from qlcnet.fit.spec import FitSpec

log = logging.getLogger("qlcnet")


@contextmanager
def said_while(what: str) -> Iterator[None]:
    """Say what the next seconds are for; at a terminal, count them on that line until they have passed."""
    if not sys.stderr.isatty():
        log.info("%s", what)
        yield
        return
    done = threading.Event()

    def count(bar: tqdm[NoReturn]) -> None:
        while not done.wait(0.5):
            bar.refresh()

    with tqdm(desc=what, bar_format="{desc}: {elapsed}", file=sys.stderr) as bar:
        counting = threading.Thread(target=count, args=(bar,), daemon=True)
        counting.start()
        try:
            yield
        finally:
            done.set()
            counting.join()


class ProgressBar:
    """One bar over all epochs of a grid, weighted by how long they should take: the longest fits come first.

    Where stderr is no terminal, one line a finished fit instead.
    """

    def __init__(self, task: str, specs: list[FitSpec], done_before: int) -> None:
        self._running: dict[str, int] = {}  # fingerprint -> epochs done
        self._fits, self._finished, self._failed = len(specs), 0, 0
        self._live = sys.stderr.isatty()
        self._began: dict[str, float] = {}  # fingerprint -> when its fit did
        self._first: float | None = None  # of them; workers take seconds to start
        self._cost = {spec.fingerprint: 1.0 for spec in specs}  # of an epoch: predicted seconds, when they are known
        self._trained, self._left = 0.0, float(sum(spec.training.epochs for spec in specs))  # in units of cost
        self._specs, self._total = specs, self._left
        kept = f" ({done_before} already fitted)" if done_before else ""
        self._bar = tqdm(
            total=self._left,
            desc=f"{task}: {len(specs)} fits to do{kept}",
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
            disable=not self._live,
            mininterval=0.5,
            dynamic_ncols=True,
            smoothing=0.05,
        )

    def planned(self, seconds: Mapping[str, float]) -> None:
        """What each fit should take, by its name. Comes before the first begins."""
        self._cost = {spec.fingerprint: seconds[spec.name] / spec.training.epochs for spec in self._specs}
        self._left = self._total = self._bar.total = sum(seconds[spec.name] for spec in self._specs)

    def started(self, spec: FitSpec, worker: str) -> None:
        """A fit began; again after its worker died, then its epochs count once more."""
        lost = self._running.get(spec.fingerprint, 0) * self._cost[spec.fingerprint]
        self._bar.update(-lost)
        self._left += lost
        self._running[spec.fingerprint] = 0
        self._began[spec.fingerprint] = now = time.monotonic()
        self._first = self._first or now
        self._show(spec)

    def epoch(self, spec: FitSpec, metrics: dict[str, float]) -> None:
        """A fit finished an epoch."""
        self._running[spec.fingerprint] = int(metrics.get("epoch", 0)) + 1
        cost = self._cost[spec.fingerprint]
        self._bar.update(cost)
        self._trained, self._left = self._trained + cost, self._left - cost
        self._show(spec, metrics.get("val_accuracy"))

    def finished(self, spec: FitSpec, folder: Path) -> None:
        """A fit is in the store."""
        self._running.pop(spec.fingerprint, None)
        self._finished += 1
        self._show(spec)
        if not self._live:
            self._bar.write(self._line(spec), file=sys.stderr)

    def failed(self, spec: FitSpec, error: BaseException) -> None:
        """A fit raised."""
        never = (spec.training.epochs - self._running.pop(spec.fingerprint, 0)) * self._cost[spec.fingerprint]
        self._left -= never
        self._total -= never
        self._bar.total = self._total
        self._failed += 1
        self._bar.write(f"{spec.name} failed: {error}", file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    def _line(self, spec: FitSpec) -> str:
        now, began = time.monotonic(), self._began[spec.fingerprint]
        elapsed = now - (self._first or began)
        left = self._bar.format_interval(elapsed / self._trained * max(0.0, self._left)) if self._trained else "?"
        return f"{self._done()} | {spec.name} in {now - began:.1f} s | {left} left"

    def _done(self) -> str:
        failed = f", {self._failed} failed" if self._failed else ""
        return f"{self._finished}/{self._fits} fits{failed}"

    def _show(self, spec: FitSpec, accuracy: float | None = None) -> None:
        epoch = self._running.get(spec.fingerprint)
        now = f"{spec.backbone_name} {spec.model_name} fold {spec.fold}"
        if epoch:
            now += f" epoch {epoch}/{spec.training.epochs}"
        if accuracy is not None:
            now += f" accuracy {accuracy:.3f}"
        self._bar.set_postfix_str(f"{self._done()}, {len(self._running)} running | {now}", False)
