"""The grid of fits of one task: which are to do, running them on an engine, linking their results."""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from qlcnet.config import Params, canonical, fingerprint
from qlcnet.study.fold_folder import files_of, fold_path
from qlcnet.study.spec import FitSpec
from qlcnet.study.store import FoldStore

if TYPE_CHECKING:
    from qlcnet.study.executors import Engine, OnEvent
    from qlcnet.study.fit import FitResult

log = logging.getLogger("qlcnet")

# The code that determines what a fit gives. dvc.yaml's train stage depends on the same list (a test compares them).
FIT_SOURCES = (
    "models",
    "quantum/head.py",
    "quantum/ansatz.py",
    "quantum/fresh_shots.py",
    "data/batches.py",
    "study/fit.py",
)
# Paths whose change makes a tree "dirty". dvc.lock and results/ are written by every run: they decide nothing.
DECIDING = ("src", "params.yaml", "dvc.yaml", "pyproject.toml", "requirements.lock")
RESTARTS = 2  # of a broken worker pool: an out-of-memory kill should cost the running folds, not the grid


class GridError(RuntimeError):
    """Some fits failed; the message names each with its cause. The others are in the store."""


class Listener(Protocol):
    """Follows a grid: the progress bar, and the tracker."""

    def started(self, spec: FitSpec, worker: str) -> None:
        """A fit began on a worker."""

    def epoch(self, spec: FitSpec, metrics: dict[str, float]) -> None:
        """A fit finished an epoch."""

    def finished(self, spec: FitSpec, folder: Path) -> None:
        """A fit is in the store."""

    def failed(self, spec: FitSpec, error: BaseException) -> None:
        """A fit raised."""


@dataclass
class Grid:
    """All fits of a task in the order of params.yaml, and which of them the store lacks."""

    task: str
    specs: list[FitSpec]
    configs: dict[str, dict[str, Any]]  # fingerprint -> config.json but for what the fit adds
    todo: list[FitSpec] = field(default_factory=list)

    def by_model(self) -> dict[tuple[str, str], list[FitSpec]]:
        """Fits grouped by (backbone, model)."""
        groups: dict[tuple[str, str], list[FitSpec]] = {}
        for spec in self.specs:
            groups.setdefault((spec.backbone_name, spec.model_name), []).append(spec)
        return groups


def circuits_of(params: Params) -> tuple[str, ...]:
    """Circuits that some model reads."""
    return tuple(dict.fromkeys(name for model in params.models.values() for name in model.circuits))


def plan_grid(params: Params, task: str, root: Path, store: FoldStore) -> Grid:
    """Every fit of `task` with its fingerprint. Needs the stages before `train`; imports no torch."""
    from qlcnet.data.folds import FoldTable

    digests = data_digests(root, task, circuits_of(params))
    folds = FoldTable.read(root / "data" / "folds" / f"{task}.csv")
    class_names = digests.pop("class_names")
    numerics = numerics_of(params)
    sources = hash_of_sources()
    grid = Grid(task, [], {})
    for backbone_name, backbone in params.backbones.items():
        for model_name, model in params.models.items():
            for repeat in folds.repeats:
                for fold in folds.folds:
                    spec = FitSpec(
                        task, backbone_name, model_name, repeat, fold, params.seed, backbone, model, params.training,
                        numerics["device"],
                    )  # fmt: skip
                    config = {
                        "task": task,
                        "backbone": backbone_name,
                        "model": model_name,
                        "repeat": repeat,
                        "fold": fold,
                        "seed": params.seed,
                        "params": {
                            "backbone": canonical(backbone),
                            "model": canonical(model),
                            "training": canonical(params.training),
                            "protocol": canonical(params.datasets[task].protocol),
                        },
                        "data": {
                            "images": digests["images"],
                            "folds": digests["folds"],
                            "channels": {name: digests["channels"][name] for name in model.circuits},
                        },
                        "class_names": class_names,
                        "sources": sources,
                        "tuple": numerics,
                    }
                    config["fingerprint"] = fingerprint(config)
                    grid.specs.append(replace(spec, fingerprint=config["fingerprint"]))
                    grid.configs[config["fingerprint"]] = config
    grid.todo = [spec for spec in grid.specs if spec.fingerprint not in store]
    return grid


def run_grid(
    grid: Grid,
    store: FoldStore,
    open_engine: Callable[[OnEvent], Engine],
    listeners: Sequence[Listener],
    provenance: Mapping[str, Any],
) -> None:
    """Fit what the store lacks, longest first. Raises GridError after all others are done if some fits failed."""
    if not grid.todo:
        return
    specs = {spec.fingerprint: spec for spec in grid.todo}

    def on_event(event: tuple[str, str, Any]) -> None:
        kind, key, payload = event
        for listener in listeners:
            if kind == "start":
                listener.started(specs[key], payload)
            else:
                listener.epoch(specs[key], payload)

    failures: dict[str, BaseException] = {}
    remaining = dict(specs)
    for _attempt in range(RESTARTS + 1):
        engine = open_engine(on_event)
        try:
            _run_on(engine, grid, store, remaining, failures, listeners, provenance)
        except BrokenProcessPool:
            log.warning("a worker process died (out of memory?); %d fits go on in new workers", len(remaining))
            engine.close(abort=True)
            continue
        except BaseException:
            engine.close(abort=True)
            raise
        engine.close()
        break
    else:
        raise GridError(
            f"worker processes died {RESTARTS + 1} times; {len(remaining)} fits are left. "
            "If memory is short, use fewer workers: execution.workers in params.yaml, or --workers 1"
        )
    if failures:
        lines = [f"{specs[key].name}: {type(error).__name__}: {error}" for key, error in failures.items()]
        raise GridError(
            f"{len(failures)} of {len(grid.specs)} fits failed, the others are kept\n  " + "\n  ".join(lines)
        )


def _run_on(
    engine: Engine,
    grid: Grid,
    store: FoldStore,
    remaining: dict[str, FitSpec],
    failures: dict[str, BaseException],
    listeners: Sequence[Listener],
    state: Mapping[str, Any],
) -> None:
    """Submit all, keep each as it ends; a finished or failed fit leaves `remaining`."""
    order = list(remaining.values())
    costs = dict(zip((s.fingerprint for s in order), engine.costs(order), strict=True))
    order.sort(key=lambda spec: -costs[spec.fingerprint])  # longest first: no long fit left alone at the end
    pending: dict[Future[FitResult], FitSpec] = {engine.submit(spec): spec for spec in order}
    while pending:
        done, _ = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            spec = pending.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                raise error
            if error is None:
                result = future.result()
                provenance = {
                    **state,
                    "seconds": round(result.seconds, 3),
                    "host": socket.gethostname(),
                    "finished_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "cost": costs[spec.fingerprint],
                    "workers": engine.workers,
                }
                folder = store.put(spec.fingerprint, files_of(grid.configs[spec.fingerprint], result), provenance)
                for listener in listeners:
                    listener.finished(spec, folder)
            else:
                failures[spec.fingerprint] = error
                for listener in listeners:
                    listener.failed(spec, error)
            del remaining[spec.fingerprint]


def link_results(grid: Grid, store: FoldStore, results: Path) -> None:
    """Make `results/<task>` hold exactly the grid's folds, taken from the store."""
    shutil.rmtree(results / grid.task, ignore_errors=True)
    for spec in grid.specs:
        store.link(
            spec.fingerprint, fold_path(results, spec.task, spec.backbone_name, spec.model_name, spec.repeat, spec.fold)
        )


def data_digests(root: Path, task: str, circuits: Sequence[str]) -> dict[str, Any]:
    """Digests of a task's images, folds and channels, and its class names; names the stage to run if one is missing."""
    import json

    raw, folds, quanvolved = (
        root / "data/raw" / task,
        root / "data/folds" / f"{task}.csv",
        root / "data/quanvolved" / task,
    )
    wanted = [
        (raw / "about.json", "fetch"),
        (folds, "split"),
        *((quanvolved / c / "circuit.json", "quanvolve") for c in circuits),
    ]
    for path, stage in wanted:
        if not path.is_file():
            raise FileNotFoundError(
                f"{path.relative_to(root)} is missing: run `qlcnet {stage} {task}` first, or `dvc repro`"
            )
    about = json.loads((raw / "about.json").read_text(encoding="utf-8"))
    cards = {c: json.loads((quanvolved / c / "circuit.json").read_text(encoding="utf-8")) for c in circuits}
    return {
        "images": about["digest"],
        "class_names": about["class_names"],
        "folds": hashlib.sha256(folds.read_bytes()).hexdigest(),
        "channels": {name: card["digest"] for name, card in cards.items()},
    }


def numerics_of(params: Params) -> dict[str, Any]:
    """What decides rounding: versions, threads, memory layout, device. Same tuple, same bytes."""
    device = params.training.device
    if device == "auto":
        # a look at the device nodes instead of a 4 s import of torch; the worker finds out if torch cannot use it
        device = "cuda" if any(Path("/dev").glob("nvidia[0-9]*")) else "cpu"
    return {
        "torch": importlib.metadata.version("torch"),
        "threads": 1,
        "layout": "channels_last",
        "device": device,
        "precision": params.training.precision,
    }


def hash_of_sources() -> str:
    """One hash over the files that determine a fit."""
    package = Path(__file__).resolve().parents[1]
    total = hashlib.sha256()
    for name in FIT_SOURCES:
        path = package / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            total.update(file.relative_to(package).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return total.hexdigest()[:32]


def git_state(root: Path) -> tuple[str | None, bool | None]:
    """Commit, and whether what decides results differs from it; (None, None) outside a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--", *DECIDING))
    except (OSError, subprocess.CalledProcessError):
        return None, None
