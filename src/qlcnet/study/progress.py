"""The progress bar of a grid: fits done, fits running with their epoch, time left."""

from __future__ import annotations

import sys
from pathlib import Path

from tqdm import tqdm

from qlcnet.study.spec import FitSpec


class ProgressBar:
    """One bar over all epochs of a grid. Where the output is no terminal, one line a finished fit instead."""

    def __init__(self, task: str, specs: list[FitSpec], done_before: int) -> None:
        self._running: dict[str, int] = {}  # fingerprint -> epochs done
        self._fits, self._finished, self._failed = len(specs), 0, 0
        self._live = sys.stderr.isatty()
        kept = f" ({done_before} already fitted)" if done_before else ""
        self._bar = tqdm(
            total=sum(spec.training.epochs for spec in specs),
            desc=f"{task}: {len(specs)} fits to do{kept}",
            unit="epoch",
            disable=None if self._live else not specs,
            mininterval=0.5 if self._live else 15.0,
            dynamic_ncols=True,
            smoothing=0.05,
        )

    def started(self, spec: FitSpec, worker: str) -> None:
        """A fit began; again after its worker died, then its epochs count once more."""
        self._bar.update(-self._running.get(spec.fingerprint, 0))
        self._running[spec.fingerprint] = 0
        self._show(spec)

    def epoch(self, spec: FitSpec, metrics: dict[str, float]) -> None:
        """A fit finished an epoch."""
        self._running[spec.fingerprint] = int(metrics.get("epoch", 0)) + 1
        self._bar.update(1)
        self._show(spec, metrics.get("val_accuracy"))

    def finished(self, spec: FitSpec, folder: Path) -> None:
        """A fit is in the store."""
        self._running.pop(spec.fingerprint, None)
        self._finished += 1
        self._show(spec)

    def failed(self, spec: FitSpec, error: BaseException) -> None:
        """A fit raised."""
        self._running.pop(spec.fingerprint, None)
        self._failed += 1
        self._bar.write(f"{spec.name} failed: {error}", file=sys.stderr)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()

    def _show(self, spec: FitSpec, accuracy: float | None = None) -> None:
        epoch = self._running.get(spec.fingerprint)
        now = f"{spec.backbone_name} {spec.model_name} fold {spec.fold}"
        if epoch:
            now += f" epoch {epoch}/{spec.training.epochs}"
        if accuracy is not None:
            now += f" accuracy {accuracy:.3f}"
        failed = f", {self._failed} failed" if self._failed else ""
        self._bar.set_postfix_str(
            f"{self._finished}/{self._fits} fits{failed}, {len(self._running)} running | {now}", False
        )
