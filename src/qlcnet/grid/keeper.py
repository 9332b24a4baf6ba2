"""Keeps finished fits: their files in the store, and beside them what they took and what was expected of them."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qlcnet import machine
from qlcnet.cost.calibration import calibrated_on, finished_fits, probed_here
from qlcnet.cost.workload import CountNetworks, Work
from qlcnet.fit.fold_folder import files_of
from qlcnet.fit.spec import FitResult, FitSpec
from qlcnet.fit.store import FoldStore
from qlcnet.grid.counting import count_in_a_worker
from qlcnet.grid.grid import Grid


@dataclass(frozen=True)
class Expected:
    """What a fit asks of a machine, and the seconds that the cost model gives for it on this one."""

    work: Work
    seconds: float


@dataclass(frozen=True)
class Keeper:
    """Puts fits into the store. configs: config.json by fingerprint; provenance: of all fits; expected: by name."""

    store: FoldStore
    configs: Mapping[str, Mapping[str, Any]]
    provenance: Mapping[str, Any]
    expected: Mapping[str, Expected]

    @classmethod
    def of(
        cls,
        grid: Grid,
        store: FoldStore,
        provenance: Mapping[str, Any],
        workers: int | None = None,
        count: CountNetworks = count_in_a_worker,
    ) -> Keeper:
        """For what is to do of `grid`, `workers` fits at a time (None: a fit a core).

        `count` is asked for the sizes of networks that were not counted before.
        """
        work = grid.work(store, count)
        model = calibrated_on(finished_fits(store), probed_here(store, workers or machine.cores()))
        expected = {name: Expected(one, model.seconds(one)) for name, one in work.items()}
        return cls(store, grid.configs, provenance, expected)

    def fault(self, spec: FitSpec) -> str:
        """Why the network of a fit cannot take its images; empty where it can."""
        return self.expected[spec.name].work.size.fault

    @property
    def seconds(self) -> dict[str, float]:
        """Expected seconds of each fit, by its name."""
        return {name: expected.seconds for name, expected in self.expected.items()}

    def keep(self, spec: FitSpec, result: FitResult, workers: int, startup_seconds: float) -> Path:
        """The folder of a fit that ended, among `workers` at a time, on a grid that took so long to start its first."""
        expected = self.expected[spec.name]
        provenance = {
            **self.provenance,
            "name": spec.name,
            "seconds": round(result.seconds, 3),
            "predicted_seconds": round(expected.seconds, 3),
            "startup_seconds": round(startup_seconds, 3),
            "work": asdict(expected.work),
            "host": result.host or socket.gethostname(),
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "workers": workers,
        }
        return self.store.put(spec.fingerprint, files_of(self.configs[spec.fingerprint], result), provenance)
