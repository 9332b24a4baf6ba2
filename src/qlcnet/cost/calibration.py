"""The finished fits of a store as measurements: what they asked for, what was predicted, what they took."""

from __future__ import annotations

import json
import logging
import socket
import statistics
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass

from qlcnet import machine
from qlcnet.cost.cost_model import CostModel, Timed
from qlcnet.cost.workload import Work
from qlcnet.fit.code import LOADED
from qlcnet.fit.fold_folder import PROVENANCE
from qlcnet.fit.store import FINGERPRINT, FoldStore
from qlcnet.whole import write_whole

log = logging.getLogger("qlcnet")

STARTUP_SECONDS = 7.0  # of a grid, until its first fit begins: imports, most of it; measured with bytecode written
ENOUGH = 3  # fits of this machine, to leave those of other machines aside
LATEST = 300  # fits that count: older ones may be of slower code


@dataclass(frozen=True)
class FinishedFit:
    """One fit of the store that says what it took."""

    fingerprint: str
    host: str
    work: Work
    seconds: float
    finished_at: str  # ISO 8601, UTC
    predicted_seconds: float
    startup_seconds: float


def finished_fits(store: FoldStore, only: Collection[str] | None = None) -> list[FinishedFit]:
    """Fits with a provenance that states work and time, oldest first; those without, or damaged, are left out."""
    found = []
    for folder in store.root.iterdir():
        if not FINGERPRINT.fullmatch(folder.name) or (only is not None and folder.name not in only):
            continue
        try:
            known = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
            fit = FinishedFit(
                folder.name,
                known["host"],
                Work.from_json(known["work"]),
                float(known["seconds"]),
                str(known["finished_at"]),
                float(known["predicted_seconds"]),
                float(known["startup_seconds"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
        found.append(fit)
    return sorted(found, key=lambda fit: (fit.finished_at, fit.fingerprint))


def calibrated_on(fits: Sequence[FinishedFit], probed: Sequence[Timed] = ()) -> CostModel:
    """The cost model of this machine: from its own fits where there are enough, else from all, else from its probe."""
    own = [fit for fit in fits if fit.host == socket.gethostname()]
    chosen = (own if len(own) >= ENOUGH else fits)[-LATEST:]
    return CostModel.calibrated([(fit.work, fit.seconds) for fit in chosen], probed)


def probed_here(store: FoldStore, workers: int, probe: Callable[[int], list[Timed]] | None = None) -> list[Timed]:
    """What `probe` says of this machine with `workers` fits at a time, now or before.

    Without `probe`: what it said before, of the nearest number of workers.
    """
    path = store.root.parent / "probe.json"
    of = {"host": socket.gethostname(), "code": LOADED.whole, "cpu": machine.kind_of_cpu()}
    known: dict[int, list[Timed]] = {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if {name: found[name] for name in of} == of:
            for count, rows in found["fits"].items():
                known[int(count)] = [(Work.from_json(row["work"]), float(row["seconds"])) for row in rows]
    except (OSError, ValueError, KeyError, TypeError):
        known = {}
    if probe is None:
        return known[min(known, key=lambda count: abs(count - workers))] if known else []
    if workers not in known and (timed := probe(workers)):
        known[workers] = timed
        fits = {
            str(count): [{"work": asdict(work), "seconds": seconds} for work, seconds in timed]
            for count, timed in known.items()
        }
        write_whole(path, json.dumps({**of, "fits": fits}, indent=1) + "\n")
    return known.get(workers, [])


def startup_of(fits: Sequence[FinishedFit]) -> float:
    """Median seconds from the opening of a grid's workers to its first fit."""
    return statistics.median([fit.startup_seconds for fit in fits[-LATEST:]]) if fits else STARTUP_SECONDS
