"""A tiny project on disk, and its grid run from a process of its own: what the tests of grids and clusters share."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qlcnet.config import Params, parse_params
from qlcnet.data.channel_card import ChannelCard, Decode, Evaluations
from qlcnet.data.folds import make_folds
from qlcnet.data.imageset import ImageSet
from qlcnet.fit.fold_folder import FILES
from qlcnet.fit.spec import DataPaths, FitSpec
from qlcnet.fit.store import FoldStore
from qlcnet.grid.grid import Grid, channels_of, plan_grid
from qlcnet.grid.keeper import Keeper
from qlcnet.grid.local import LocalEngine
from qlcnet.grid.run import run_grid
from qlcnet.paths import Project
from tests.params import REQUIRED

TASK = "squares"


def make_project(root: Path, images: int = 60, side: int = 16, epochs: int = 2, **settings: Any) -> Params:
    """Write params.yaml (as JSON), images of noise with a square whose place is the class, folds and channels."""
    raw: dict[str, Any] = {
        **REQUIRED,
        "datasets": {TASK: {"source": {"kind": "digits"}, "protocol": {"kind": "pooled-cv", "folds": 3}}},
        "circuits": {"ry": {"ansatz": "none"}},
        "models": {
            "classical": {"inputs": ["image"]},
            "hybrid": {"inputs": ["image", "quanv:ry"], "head": "quantum"},
        },
        "backbones": {"lcnet_035": {"activation": "relu"}},
        "training": {"epochs": epochs, "batch_size": 16, "device": "cpu"},
        **settings,
    }
    params = parse_params(raw)
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text(json.dumps(raw))
    rng = np.random.default_rng(0)
    labels = np.arange(images, dtype=np.int64) % 3
    pixels = rng.integers(0, 100, (images, side, side, 1), dtype=np.uint8)
    for i, label in enumerate(labels):
        pixels[i, 4 * label : 4 * label + 4, 4:12] += 100
    parts = np.full(images, "train", dtype="<U5")
    paths = DataPaths.of(root, TASK)
    image_set = ImageSet(pixels, labels, parts, ("a", "b", "c"), None, {"title": "squares"})
    image_set.save(paths.raw)
    if TASK in params.datasets:
        make_folds(image_set, params.datasets[TASK], params.seed).write(paths.folds)
    folder = paths.quanvolved / "ry"
    folder.mkdir(parents=True)
    channels = rng.standard_normal((images, side, side, 4)).astype(np.float16)
    np.save(folder / "channels.npy", channels)
    digest = hashlib.sha256(channels.tobytes()).hexdigest()
    evaluations = Evaluations(executed=81, hardware=side * side)
    ChannelCard(
        "ry", "circuit", image_set.digest, "", channels.shape, Decode(1.0, 0.0), None, digest, evaluations
    ).write(folder)
    return params


class Record:
    """A listener that keeps what it is told: (kind, fold name, epoch or None)."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, int | None]] = []
        self.seconds: dict[str, float] = {}

    def planned(self, seconds: Mapping[str, float]) -> None:
        assert not self.told
        self.seconds = dict(seconds)

    def started(self, spec: FitSpec, worker: str) -> None:
        self.told.append(("started", spec.name, None))

    def epoch(self, spec: FitSpec, metrics: dict[str, float]) -> None:
        self.told.append(("epoch", spec.name, int(metrics["epoch"])))

    def finished(self, spec: FitSpec, folder: Path) -> None:
        self.told.append(("finished", spec.name, None))

    def failed(self, spec: FitSpec, error: BaseException) -> None:
        self.told.append(("failed", spec.name, None))


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class Lines:
    """A listener that prints a line an event, for a parent that waits for one."""

    def planned(self, seconds: Mapping[str, float]) -> None:
        pass

    def started(self, spec: FitSpec, worker: str) -> None:
        _say("started", worker.removeprefix("pid "), spec.name)

    def epoch(self, spec: FitSpec, metrics: dict[str, float]) -> None:
        _say("epoch", int(metrics["epoch"]), spec.name)

    def finished(self, spec: FitSpec, folder: Path) -> None:
        _say("finished", spec.name)

    def failed(self, spec: FitSpec, error: BaseException) -> None:
        _say("failed", spec.name)


def plan(params: Params, root: Path) -> tuple[Grid, FoldStore]:
    """The grid of the project and its store."""
    store = FoldStore(root / ".qlcnet" / "folds")
    return plan_grid(params, TASK, root, store), store


def run_locally(root: Path, params: Params, listener: Any, workers: int = 2) -> tuple[Grid, FoldStore]:
    """Fit what is missing with worker processes."""
    grid, store = plan(params, root)
    paths, channels = DataPaths.of(root, TASK), channels_of(params)
    keeper = Keeper.of(grid, store, {})
    scratch = Project(root).scratch
    run_grid(grid.todo, lambda on_event: LocalEngine(paths, channels, workers, on_event, scratch), keeper, [listener])
    return grid, store


def bytes_of(store: FoldStore) -> dict[str, bytes]:
    """Every file that is a result, by fingerprint and name."""
    folders = [path for path in store.root.iterdir() if not path.name.startswith(".")]
    return {f"{folder.name}/{name}": (folder / name).read_bytes() for folder in folders for name in FILES}


if __name__ == "__main__":
    from qlcnet.config import load_params

    project = Path(sys.argv[1])
    try:
        run_locally(project, load_params(project / "params.yaml"), Lines())
    except KeyboardInterrupt:
        _say("interrupted")
        sys.exit(130)
