"""The grid of fits of one task: which there are, which the store lacks, and linking their results."""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qlcnet.config import Backbone, Params, canonical, fingerprint
from qlcnet.cost.workload import CountNetworks, NetworkKind, TaskShape, Work, count_sizes
from qlcnet.fit.code import FIT_PACKAGES, hash_of_sources
from qlcnet.fit.fold_folder import fold_path
from qlcnet.fit.spec import DataPaths, FitSpec
from qlcnet.fit.store import FoldStore
from qlcnet.machine import accelerators

# Paths whose change makes a tree "dirty". dvc.lock and results/ are written by every run: they decide nothing.
DECIDING = ("src", "params.yaml", "dvc.yaml", "pyproject.toml", "requirements.lock")


class NotPreparedError(FileNotFoundError):
    """A stage before `train` has not run; the message names it."""


@dataclass
class Grid:
    """All fits of a task in the order of params.yaml, and which of them the store lacks."""

    task: str
    specs: list[FitSpec]
    configs: dict[str, dict[str, Any]]  # fingerprint -> config.json but for what the fit adds
    todo: list[FitSpec] = field(default_factory=list)
    shape: TaskShape | None = None
    colours: Mapping[str, str] = field(default_factory=dict)  # the `colour` setting of each circuit

    def kind(self, spec: FitSpec) -> NetworkKind:
        """The kind of network that a fit trains."""
        assert self.shape is not None
        return NetworkKind.of(spec, self.shape, self.colours)

    def work(self, store: FoldStore, count: CountNetworks) -> dict[str, Work]:
        """What each fit to do asks of a machine, by its name. `count` is asked for networks not counted before."""
        assert self.shape is not None
        kinds = [self.kind(spec) for spec in self.todo]
        sizes = count_sizes(kinds, store.root.parent / "network_sizes.json", count)
        pairs = zip(self.todo, kinds, strict=True)
        return {spec.name: Work.of(spec, self.shape, kind, sizes[kind.key]) for spec, kind in pairs}

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
    """Every fit of `task` with its fingerprint; imports no torch. NotPreparedError where a stage has not run."""
    from qlcnet.data.fold_table import FoldTable

    digests = data_digests(root, task, circuits_of(params))
    paths = DataPaths.of(root, task)
    folds = FoldTable.read(paths.folds)
    class_names = digests.pop("class_names")
    numerics = numerics_of(params)
    sources = hash_of_sources()
    training = {
        key: value for key, value in canonical(params.training).items() if key != "device"
    }  # in the tuple, resolved
    weights = {name: weights_digest(name, backbone, root) for name, backbone in params.backbones.items()}
    grid = _empty_grid(params, task, TaskShape.of_files(paths, folds, len(class_names)))
    for spec in _specs(params, task, folds.repeats, folds.folds, numerics["device"]):
        config = {
            "task": task,
            "backbone": spec.backbone_name,
            "model": spec.model_name,
            "repeat": spec.repeat,
            "fold": spec.fold,
            "seed": params.seed,
            "params": {
                "backbone": canonical(spec.backbone),
                "model": canonical(spec.model),
                "training": training,
                "protocol": canonical(params.datasets[task].protocol),
            },
            "data": {
                "images": digests["images"],
                "folds": digests["folds"],
                "channels": {name: digests["channels"][name] for name in spec.model.circuits},
                "pretrained": weights[spec.backbone_name],
            },
            "class_names": class_names,
            "sources": sources,
            "tuple": numerics,
        }
        config["fingerprint"] = fingerprint(config)
        backbone = with_whole_path(spec.backbone, root)  # config.json keeps the path as it is in params.yaml
        grid.specs.append(replace(spec, fingerprint=config["fingerprint"], sources=sources, backbone=backbone))
        grid.configs[config["fingerprint"]] = config
    grid.todo = [spec for spec in grid.specs if spec.fingerprint not in store]
    return grid


def with_whole_path(backbone: Backbone, root: Path) -> Backbone:
    """A path of pretrained weights is relative to the project, wherever `train` was started."""
    if not isinstance(backbone.pretrained, str):
        return backbone
    return backbone.model_copy(update={"pretrained": str(root / backbone.pretrained)})


def weights_digest(name: str, backbone: Backbone, root: Path) -> str | None:
    """SHA-256 of a local file of pretrained weights: its content decides a fit, not its path."""
    if not isinstance(backbone.pretrained, str):
        return None
    path = root / backbone.pretrained
    if not path.is_file():
        raise FileNotFoundError(f"backbones.{name}.pretrained: there is no file {path}")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def expected_grid(params: Params, task: str) -> Grid | None:
    """The grid of a task that is not fetched yet, without fingerprints; None where nothing is known of its source."""
    shape = TaskShape.expected(params.datasets[task])
    if shape is None:
        return None
    grid = _empty_grid(params, task, shape)
    device = numerics_of(params)["device"]
    grid.specs = list(_specs(params, task, range(shape.repeats), range(shape.folds), device))
    grid.todo = list(grid.specs)
    return grid


def _empty_grid(params: Params, task: str, shape: TaskShape) -> Grid:
    colours = {name: circuit.colour for name, circuit in params.circuits.items()}
    return Grid(task, [], {}, shape=shape, colours=colours)


def _specs(params: Params, task: str, repeats: Iterable[int], folds: Iterable[int], device: str) -> Iterator[FitSpec]:
    """All fits in the order of params.yaml."""
    cells = itertools.product(params.backbones.items(), params.models.items(), repeats, folds)
    for (backbone_name, backbone), (model_name, model), repeat, fold in cells:
        yield FitSpec(
            task, backbone_name, model_name, repeat, fold, params.seed, backbone, model, params.training, device
        )


def link_results(grid: Grid, store: FoldStore, results: Path) -> None:
    """Make `results/<task>` hold exactly the grid's folds, taken from the store."""
    shutil.rmtree(results / grid.task, ignore_errors=True)
    for spec in grid.specs:
        store.link(
            spec.fingerprint, fold_path(results, spec.task, spec.backbone_name, spec.model_name, spec.repeat, spec.fold)
        )


def note_inputs(root: Path, task: str, results: Path) -> None:
    """Write `results/<task>/inputs.json`: SHA-256 of what the report shows of a task besides its fits.

    DVC cannot make the report depend on a list of folders; so its dependency, the fits, says when these have changed.
    """
    paths = DataPaths.of(root, task)
    circuits = sorted(paths.quanvolved.glob("*/circuit.json"))
    shown = [paths.raw / "about.json", *circuits, paths.quanvolved / "preview.png"]
    found = {
        path.relative_to(root / "data").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in shown
        if path.is_file()
    }
    (results / task).mkdir(parents=True, exist_ok=True)
    (results / task / "inputs.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def data_digests(root: Path, task: str, circuits: Sequence[str]) -> dict[str, Any]:
    """Digests of a task's images, folds and channels, and its class names; names the stage to run if one is missing."""
    paths = DataPaths.of(root, task)
    wanted = [
        (paths.raw / "about.json", "fetch"),
        (paths.folds, "split"),
        *((paths.quanvolved / c / "circuit.json", "quanvolve") for c in circuits),
    ]
    for path, stage in wanted:
        if not path.is_file():
            raise NotPreparedError(
                f"{path.relative_to(root)} is missing: run `qlcnet {stage} {task}` first, or `dvc repro`"
            )
    about = json.loads((paths.raw / "about.json").read_text(encoding="utf-8"))
    cards = {c: json.loads((paths.quanvolved / c / "circuit.json").read_text(encoding="utf-8")) for c in circuits}
    return {
        "images": about["digest"],
        "class_names": about["class_names"],
        "folds": hashlib.sha256(paths.folds.read_bytes()).hexdigest(),
        # the count of evaluations is part of a fit's record
        "channels": {
            name: {"digest": card["digest"], "qnode_evaluations": card["qnode_evaluations"]}
            for name, card in cards.items()
        },
    }


def numerics_of(params: Params) -> dict[str, Any]:
    """What decides rounding: versions, threads, memory layout, device. Same tuple, same bytes."""
    device = params.training.device
    if device == "auto":
        # a look at the device nodes instead of a 4 s import of torch; the worker finds out if torch cannot use it
        device = "cuda" if accelerators() else "cpu"
    return {
        **{name: importlib.metadata.version(name) for name in FIT_PACKAGES},
        "threads": 1,
        "layout": "channels_last",
        "device": device,
        "precision": params.training.precision,
    }
