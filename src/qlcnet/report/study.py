"""A finished study in memory: params, images, folds, circuits and every fit, read from the files below a project."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from qlcnet.config import Input, Params, Task
from qlcnet.data.channel_card import FUNCTION, ChannelCard
from qlcnet.data.fold_table import FoldTable
from qlcnet.data.imageset import ImageSet
from qlcnet.data.mechanism import MECHANISM, Mechanism
from qlcnet.data.near_duplicates import SMALLEST, NearDuplicates, copy_codes, find_near_duplicates
from qlcnet.declarations import digest_of, last_of
from qlcnet.evidence.check_facts import CheckedSearch
from qlcnet.evidence.oof import OOFTable
from qlcnet.fit.fold_folder import CONFIG, FILES, HISTORY, PREDICTIONS, fold_path, read_config, read_history
from qlcnet.fit.identity import settings_of
from qlcnet.fit.soundness import problem_in
from qlcnet.fit.task_facts import TaskFacts
from qlcnet.paths import Project
from qlcnet.report.predictions import read_oof, read_test, validation_hits
from qlcnet.report.reproductions import Reproduced, of_fits, read_reproductions
from qlcnet.report.searches import searches_in_use


class StudyError(ValueError):
    """Results are missing, or not those of params.yaml; the message names the fit and the command that makes it."""


@dataclass(frozen=True, eq=False)
class Fit:
    """One fit: config.json, and history.csv as columns (epochs,) by name."""

    repeat: int
    fold: int
    config: dict[str, Any]
    history: dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class ModelResults:
    """All fits of one task x backbone x model. `test`: rows scored beside the folds, empty but for train-cv."""

    task: str
    backbone: str
    model: str
    fits: tuple[Fit, ...]
    oof: OOFTable
    test: OOFTable

    @property
    def config(self) -> dict[str, Any]:
        """config.json of the first fit: what is the same for all of them."""
        return self.fits[0].config


@dataclass(frozen=True, eq=False)
class TaskResults:
    """A task with its results by (backbone, model), in the order of params.yaml."""

    name: str
    task: Task
    images: ImageSet
    folds: FoldTable
    cards: dict[str, ChannelCard]  # of stored channels that models read, by name
    circuits: dict[str, dict[str, Any]]  # circuit.json by name, of those that circuits made
    functions: dict[str, dict[str, Any]]  # function.json by name, of controls that are functions of a patch
    mechanisms: dict[str, Mechanism]  # by name, of what `quanvolve` measured on a sample
    preview: Path | None
    results: dict[tuple[str, str], ModelResults]
    failed: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # models with fits that raised: why

    def width(self, one: Input) -> int:
        """Channels that an input brings on this task."""
        stored = {name: card.channels for name, card in self.cards.items()}
        return one.width(int(self.images.images.shape[3]), stored)

    @cached_property
    def used(self) -> np.ndarray:
        """Images in the fold table, ascending: all of them, unless `images_per_class` drew a subset."""
        return np.unique(self.folds.index)

    @cached_property
    def class_counts(self) -> np.ndarray:
        """Used images of each class, (K,)."""
        return np.bincount(self.images.labels[self.used], minlength=len(self.images.class_names))

    @cached_property
    def scored(self) -> np.ndarray:
        """Images that out-of-fold metrics are computed from, ascending."""
        return scored_images(self.folds, self.task.protocol.kind)

    @cached_property
    def copies(self) -> np.ndarray:
        """A code an image of the set, (N,), equal where every pixel is."""
        return copy_codes(self.images.images)

    @cached_property
    def near_duplicates(self) -> NearDuplicates | None:
        """Of the set; None where groups are known, which say more, and where images are too small to tell."""
        known = self.images.groups is not None and self.task.protocol.grouped != "near-duplicates"
        if known or min(self.images.images.shape[1:3]) < SMALLEST:
            return None
        return find_near_duplicates(self.images.images)

    @property
    def is_grouped(self) -> bool:
        """Whether no group stands on both sides of a fold."""
        return self.task.protocol.grouped and self.images.groups is not None

    @property
    def groups(self) -> np.ndarray | None:
        """Groups of all images of the set where folds are grouped, else None: images that are no evidence apart."""
        return self.images.groups if self.is_grouped else None

    @property
    def majority_share(self) -> float:
        """Accuracy of always naming the commonest class, on the scored images."""
        return float(np.bincount(self.images.labels[self.scored]).max() / len(self.scored))


@dataclass(frozen=True, eq=False)
class Study:
    """Everything that a report is made from. searches: that models have their settings from, as far as known here.

    fits_before: fits of these models that there were when what is declared was first seen; None: not known.
    rounding: most that a probability of a published study can differ by in models that are one function.
    reproductions: records of its fits that were run again.
    """

    params: Params
    tasks: dict[str, TaskResults]
    searches: tuple[CheckedSearch, ...] = ()
    fits_before: int | None = None
    rounding: float = 0.0
    reproductions: tuple[Reproduced, ...] = ()

    def __iter__(self) -> Iterator[ModelResults]:
        return (model for task in self.tasks.values() for model in task.results.values())

    @property
    def tuples(self) -> list[dict[str, Any]]:
        """Each tuple of package versions, threads, layout and device that some fit was made with, once."""
        return self._distinct("numerics")

    @property
    def machines(self) -> list[dict[str, Any]]:
        """Each kind of CPU, and each setting of variables that change numerics, that some fit was computed on, once."""
        return self._distinct("computed_on")

    def _distinct(self, key: str) -> list[dict[str, Any]]:
        texts = {
            json.dumps(fit.config[key], sort_keys=True) for model in self for fit in model.fits if key in fit.config
        }
        return [json.loads(text) for text in sorted(texts)]


def scored_images(folds: FoldTable, protocol_kind: str) -> np.ndarray:
    """Images that must stand in an out-of-fold table exactly once a repeat, ascending."""
    role = "test" if protocol_kind == "official" else "cv"
    return np.unique(folds.index[folds.part == role])


def remove_unlisted(params: Params, results: Path) -> list[str]:
    """Remove `results/folds/<task>` of tasks that params.yaml no longer lists; returns their names."""
    folders = sorted(path for path in results.glob("*") if path.is_dir() and path.name not in params.datasets)
    for folder in folders:
        shutil.rmtree(folder)
    return [folder.name for folder in folders]


def read_study(params: Params, root: Path, repeats: Mapping[str, Collection[int]] | None = None) -> Study:
    """Read all that params.yaml lists. Raises StudyError, OOFError or DataError naming what is missing or stale.

    repeats: of these tasks alone, and of each these repeats alone; None: all.
    """
    of_task = dict.fromkeys(params.datasets) if repeats is None else repeats
    tasks = {name: _read_task(name, params.datasets[name], params, root, of_task[name]) for name in of_task}
    study = Study(params, tasks, searches_in_use(params, root), fits_before(params, Project(root)))
    made = {str(fit.config.get("fingerprint")) for model in study for fit in model.fits}
    return replace(study, reproductions=of_fits(read_reproductions(Project(root).reproductions), made))


def fits_before(params: Params, project: Project) -> int | None:
    """Fits that there were when what is declared was first seen, by declarations.csv; None: it does not say."""
    last = [last_of(project.declarations, task) for task in params.datasets]
    digest = digest_of(params.evidence)
    found = [row.fits for row in last if row and row.digest == digest]
    return sum(found) if len(found) == len(last) else None


def _read_task(name: str, task: Task, params: Params, root: Path, repeats: Collection[int] | None) -> TaskResults:
    project = Project(root)
    images, folds = ImageSet.load(project.raw(name)), FoldTable.read(project.folds(name))
    if repeats is not None:
        rows = np.isin(folds.repeat, list(repeats))
        folds = FoldTable(
            folds.index[rows],
            folds.label[rows],
            None if folds.group is None else folds.group[rows],
            folds.part[rows],
            folds.repeat[rows],
            folds.fold[rows],
        )
    if task.protocol.grouped == "near-duplicates":
        images = _with_groups_of(folds, images)
    quanvolved = project.channels(name)
    cards, circuits, functions, mechanisms = {}, {}, {}, {}
    for stored in dict.fromkeys(one for model in params.models.values() for one in model.stored):
        try:
            cards[stored] = ChannelCard.read(quanvolved / stored)
            if stored in params.circuits:
                circuits[stored] = json.loads((quanvolved / stored / "circuit.json").read_text(encoding="utf-8"))
            elif (function := quanvolved / stored / FUNCTION).is_file():
                functions[stored] = json.loads(function.read_text(encoding="utf-8"))
            if (quanvolved / stored / MECHANISM).is_file():  # not there in what was made before it was measured
                mechanisms[stored] = Mechanism.read_mechanism(quanvolved / stored)
        except FileNotFoundError:
            what = f"{'circuit' if stored in params.circuits else 'channel'} {stored} of task {name}"
            raise StudyError(f"{what} is missing: run `qlcnet quanvolve {name}`, or `dvc repro`") from None
    preview = quanvolved / "preview.png"
    results: dict[tuple[str, str], ModelResults] = {}
    failed: dict[tuple[str, str], list[str]] = {}
    facts = TaskFacts.read(project.fits / name)
    for key in itertools.product(params.backbones, params.models):
        if reasons := facts.failures_of(*key):
            failed[key] = reasons
        else:
            results[key] = _read_model(name, *key, folds, params, project.fits)
            _check_targets(results[key], images.labels)
    if not results:
        first = next(iter(failed.values()))[0]
        raise StudyError(f"no model of task {name} has all of its fits, so that there is nothing to report: {first}")
    shown = preview if preview.is_file() else None
    return TaskResults(name, task, images, folds, cards, circuits, functions, mechanisms, shown, results, failed)


def _with_groups_of(folds: FoldTable, images: ImageSet) -> ImageSet:
    """Groups that `split` found, of which only the fold table knows; images that it leaves out stand alone."""
    if folds.group is None:
        return images
    groups = np.arange(len(images)) + int(folds.group.max()) + 1
    groups[folds.index] = folds.group
    grouped = replace(images, groups=groups)
    grouped.__dict__["digest"] = images.digest  # known from disk, and of the same images
    return grouped


def _read_model(task: str, backbone: str, model: str, folds: FoldTable, params: Params, results: Path) -> ModelResults:
    protocol = params.datasets[task].protocol
    fits = []
    for repeat in folds.repeats:
        for fold in folds.folds:
            folder = fold_path(results, task, backbone, model, repeat, fold)
            name, remedy = folder.relative_to(results).as_posix(), f"run `qlcnet train {task}`, or `dvc repro`"
            if not all((folder / file).is_file() for file in FILES):
                raise StudyError(f"the fit {name} is missing: {remedy}")
            config = read_config(folder, ["settings"])
            if problem := problem_in(folder, (CONFIG, HISTORY, PREDICTIONS)):
                raise StudyError(f"the fit {name} is damaged ({problem}): {remedy}")
            if changed := changed_settings(config, params, backbone, model):
                raise StudyError(f"the fit {name} was made with other settings ({', '.join(changed)}): {remedy}")
            rows = read_history(folder)
            if "files" in config:
                _check_history(folder, rows[-1], f"the fit {name}", remedy)
            columns = {column: np.array([row[column] for row in rows]) for column in rows[0]}
            fits.append(Fit(repeat, fold, config, columns))
    folder = results / task / backbone / model
    oof = read_oof(folder, protocol.kind, scored_images(folds, protocol.kind))
    test = read_test(folder, protocol.kind)
    return ModelResults(task, backbone, model, tuple(fits), oof, test)


def _check_targets(model: ModelResults, labels: np.ndarray) -> None:
    """Predictions are of these images: raises StudyError where a target is not the image's label."""
    for table in (model.oof, model.test):
        wrong = np.flatnonzero(labels[table.index] != table.target)
        if len(wrong):
            name = f"{model.task}/{model.backbone}/{model.model}"
            raise StudyError(
                f"{name}: {len(wrong)} targets are not the labels of their images (the first of image "
                f"{table.index[wrong[0]]}): run `qlcnet train {model.task}`, or `dvc repro`"
            )


def _check_history(folder: Path, last: dict[str, float], fit: str, remedy: str) -> None:
    """Predictions come from the weights after the last epoch: its accuracy is theirs (bfloat16: but for 2 images)."""
    hits, count = validation_hits(folder)
    if count and abs(last.get("val_accuracy", hits / count) - hits / count) > 2.5 / count:
        stated = last["val_accuracy"]
        raise StudyError(f"{fit} has the accuracy {hits / count:.4f}, its history ends with {stated:.4f}: {remedy}")


def changed_settings(config: dict[str, Any], params: Params, backbone: str, model: str) -> list[str]:
    """Sections of a fit's settings that params.yaml has otherwise now."""
    settings = settings_of(backbone, params.backbones[backbone], params.models[model], params.training_of(model), None)
    return [key for key in settings if not _same_settings(config["settings"][key], settings[key])]


def _same_settings(recorded: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Whether a section is as params.yaml has it; of pretrained weights a fit records the digest, not the path."""
    return {k: v for k, v in recorded.items() if k != "pretrained"} == {
        k: v for k, v in asked.items() if k != "pretrained"
    }
