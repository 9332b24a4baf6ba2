"""The grid of fits of one task: which there are, which the store lacks, and linking their results."""

from __future__ import annotations

import difflib
import hashlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from qlcnet.config import Backbone, FileChannels, Params, Section, canonical
from qlcnet.cost.room import most_memory
from qlcnet.cost.workload import CountNetworks, NetworkKind, TaskShape, Work, count_sizes
from qlcnet.data.channel_card import CARD, FUNCTION
from qlcnet.data.mechanism import MECHANISM
from qlcnet.fit.code import LOADED
from qlcnet.fit.fold_folder import path_in_task
from qlcnet.fit.identity import NOT_A_SETTING, Identity, numerics_of, rows_of, seeds_of, settings_of, words_of
from qlcnet.fit.spec import DataPaths, FitSpec
from qlcnet.fit.store import FoldStore
from qlcnet.fit.task_data import TaskData, data_of
from qlcnet.fit.task_facts import TaskFacts
from qlcnet.machine import accelerators
from qlcnet.stored import read_array
from qlcnet.whole import whole_folder

# Paths whose change makes a tree "dirty". dvc.lock and results/ are written by every run: they decide nothing.
DECIDING = ("src", "params.yaml", "dvc.yaml", "pyproject.toml", "requirements.lock")


@dataclass
class Grid:
    """All fits of a task in the order of params.yaml, and which of them the store lacks.

    Equal fits under several names are one fit of the store, and once in `todo`.
    """

    task: str
    specs: list[FitSpec]
    configs: dict[str, dict[str, Any]]  # by fingerprint: config.json but for what the fit adds
    todo: list[FitSpec] = field(default_factory=list)
    shape: TaskShape | None = None
    stored: Mapping[str, int] = field(default_factory=dict)  # how many channels there are of each name
    facts: TaskFacts | None = None

    def describe(self, spec: FitSpec) -> dict[str, Any]:
        """config.json of a fit with its names and all of its settings."""
        assert self.facts is not None
        names = (spec.backbone_name, spec.model_name, spec.repeat, spec.fold)
        return self.facts.describe(*names, self.configs[spec.fingerprint])

    def kind(self, spec: FitSpec) -> NetworkKind:
        """The kind of network that a fit trains."""
        assert self.shape is not None
        return NetworkKind.of(spec, self.shape, self.stored)

    def work(self, store: FoldStore, count: CountNetworks) -> dict[str, Work]:
        """What each fit to do asks of a machine, by its name. `count` is asked for networks not counted before."""
        assert self.shape is not None
        kinds = [self.kind(spec) for spec in self.todo]
        sizes = count_sizes(kinds, store.root.parent / "network_sizes.json", count)
        pairs = zip(self.todo, kinds, strict=True)
        return {spec.name: Work.of(spec, self.shape, kind, sizes[kind.key]) for spec, kind in pairs}

    def most_memory(self, work: Mapping[str, Work]) -> float:
        """Bytes that a worker has to itself at the most demanding of the fits to do; `work` by name."""
        return most_memory((work[spec.name], spec.training.batch_size) for spec in self.todo)

    def by_model(self) -> dict[tuple[str, str], list[FitSpec]]:
        """Fits grouped by (backbone, model)."""
        groups: dict[tuple[str, str], list[FitSpec]] = {}
        for spec in self.specs:
            groups.setdefault((spec.backbone_name, spec.model_name), []).append(spec)
        return groups


def channels_of(params: Params) -> tuple[str, ...]:
    """Names of the stored channels that some model reads."""
    return tuple(dict.fromkeys(name for model in params.models.values() for name in model.stored))


def plan_grid(params: Params, task: str, root: Path, store: FoldStore) -> Grid:
    """Every fit of `task` with its fingerprint; imports no torch. NotPreparedError where a stage has not run."""
    from qlcnet.data.fold_table import FoldTable

    paths = DataPaths.of(root, task)
    known = data_of(root, task, channels_of(params))
    folds, labels = FoldTable.read(paths.folds), read_array(paths.raw / "labels.npy", f"run `qlcnet fetch {task}`", "r")
    rows = {key: rows_of(folds.split(*key), labels) for key in itertools.product(folds.repeats, folds.folds)}
    weights = {name: weights_digest(name, backbone, root) for name, backbone in params.backbones.items()}
    grid = Grid(task, [], {}, shape=TaskShape.of_files(paths, folds, len(known.class_names)))
    grid.stored = {name: card.channels for name, card in known.cards.items()}
    for spec in _specs(params, task, folds.repeats, folds.folds, device_of(params)):
        inputs = [known.input(one) for one in spec.model.inputs]
        words = words_of(spec.model.head, spec.training) | {"fresh_shots" for one in inputs if one.get("shots")}
        identity = Identity(
            rows[spec.repeat, spec.fold],
            len(known.class_names),
            known.image_size,
            inputs,
            settings_of(spec.backbone_name, spec.backbone, spec.model, spec.training, weights[spec.backbone_name]),
            seeds_of(params.seed, spec.repeat, spec.fold, spec.model.replicate),
            numerics_of(spec.device, spec.training.precision),
            LOADED.digest(words),
        )
        backbone = with_whole_path(spec.backbone, root)
        known_as = {"fingerprint": identity.fingerprint, "code": identity.code, "words": words}
        grid.specs.append(replace(spec, backbone=backbone, **known_as))  # type: ignore[arg-type]
        grid.configs[identity.fingerprint] = {**identity.to_json(), "fingerprint": identity.fingerprint}
    grid.todo = _first_of_each(spec for spec in grid.specs if spec.fingerprint not in store)
    grid.facts = _facts_of(params, task, root, known)
    return grid


def only(grid: Grid, patterns: Collection[str]) -> Grid:
    """The same grid with those fits alone that some pattern names. Raises ValueError for a pattern that names none.

    `lcnet_050/hybrid/repeat-0/fold-0` is one fit, `lcnet_050/hybrid` all below it, `*/hybrid/*/fold-0` some of each.
    """
    names = {spec.name.removeprefix(f"{grid.task}/"): spec for spec in grid.specs}
    chosen: set[str] = set()
    for pattern in patterns:
        wanted = pattern.strip("/").removeprefix(f"{grid.task}/")
        found = [name for name in names if fnmatchcase(name, wanted) or fnmatchcase(name, f"{wanted}/*")]
        if not found:
            near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.0)
            raise ValueError(
                f"--only {pattern}: none of the {len(names)} fits of {grid.task}; the nearest is {near[0]}"
            )
        chosen.update(found)
    specs = [spec for name, spec in names.items() if name in chosen]
    missing = {spec.fingerprint for spec in grid.todo}
    return replace(grid, specs=specs, todo=_first_of_each(spec for spec in specs if spec.fingerprint in missing))


def _first_of_each(specs: Iterable[FitSpec]) -> list[FitSpec]:
    """Equal fits under several names once, under the first."""
    first: dict[str, FitSpec] = {}
    for spec in specs:
        first.setdefault(spec.fingerprint, spec)
    return list(first.values())


def _facts_of(params: Params, task: str, root: Path, known: TaskData) -> TaskFacts:
    training = {name: _shown(params.training_of(name), NOT_A_SETTING) for name in params.models}
    settings = {
        backbone: {
            model: {
                "backbone": canonical(of_backbone),
                "model": _shown(of_model, ("training",)),
                "training": training[model],
            }
            for model, of_model in params.models.items()
        }
        for backbone, of_backbone in params.backbones.items()
    }
    protocol = canonical(params.datasets[task].protocol)
    return TaskFacts(
        task, params.seed, known.class_names, protocol, known.digests, settings, _shown_digests(root, task)
    )


def _shown(section: Section, without: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in canonical(section).items() if key not in without}


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
    stored = {name: circuit.channels(shape.channels) for name, circuit in params.circuits.items()}
    for name, section in params.channels.items():  # of a file nothing is known before it is read: one at least
        stored[name] = 1 if isinstance(section, FileChannels) else stored[section.of]
    grid = Grid(task, [], {}, shape=shape, stored=stored)
    grid.specs = list(_specs(params, task, range(shape.repeats), range(shape.folds), device_of(params)))
    grid.todo = list(grid.specs)
    return grid


def _specs(params: Params, task: str, repeats: Iterable[int], folds: Iterable[int], device: str) -> Iterator[FitSpec]:
    """All fits in the order of params.yaml."""
    training = {name: params.training_of(name) for name in params.models}
    cells = itertools.product(params.backbones.items(), params.models.items(), repeats, folds)
    for (backbone_name, backbone), (name, model), repeat, fold in cells:
        yield FitSpec(task, backbone_name, name, repeat, fold, params.seed, backbone, model, training[name], device)


def link_results(grid: Grid, store: FoldStore, results: Path, failed: Mapping[str, str] | None = None) -> None:
    """Make `results/<task>` hold exactly the grid's folds, taken from the store, and what is known of the task.

    `failed`: why fits have no folder, by one of their names. The folder takes the place of a former one as a whole.
    """
    assert grid.facts is not None
    why = {spec.fingerprint: reason for spec in grid.specs if (reason := (failed or {}).get(spec.name))}
    with whole_folder(results / grid.task) as folder:
        for spec in grid.specs:
            if spec.fingerprint not in why:
                inside = path_in_task(spec.backbone_name, spec.model_name, spec.repeat, spec.fold)
                store.link(spec.fingerprint, folder / inside)
        # a fit that stands under several names failed under all of them
        named = {spec.name: why[spec.fingerprint] for spec in grid.specs if spec.fingerprint in why}
        replace(grid.facts, failed=named).write(folder)


def _shown_digests(root: Path, task: str) -> dict[str, str]:
    """SHA-256 of what the report shows of a task besides its fits, by path below data/."""
    paths = DataPaths.of(root, task)
    shown = [
        paths.raw / "about.json",
        *sorted(
            path for name in (CARD, "circuit.json", FUNCTION, MECHANISM) for path in paths.quanvolved.glob(f"*/{name}")
        ),
        paths.quanvolved / "preview.png",
    ]
    return {
        path.relative_to(root / "data").as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in shown
        if path.is_file()
    }


def device_of(params: Params) -> str:
    """`training.device`, resolved: cpu or cuda."""
    if params.training.numerics == "portable":
        return "cpu"  # `auto` too: elsewhere there may be no accelerator
    if params.training.device != "auto":
        return params.training.device
    # a look at the device nodes instead of a 4 s import of torch; the worker finds out if torch cannot use it
    return "cuda" if accelerators() else "cpu"
