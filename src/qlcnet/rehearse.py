"""A rehearsal: every model of a task on two batches of its own images. Leaves nothing behind."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from qlcnet.config import Channels, Circuit, FileChannels, Params
from qlcnet.data.channel_files import bring_array
from qlcnet.data.channels import make_channels
from qlcnet.data.fold_table import NO_FOLD, FoldTable, Split
from qlcnet.data.folds import make_folds
from qlcnet.data.imageset import ImageSet
from qlcnet.data.near_duplicates import with_near_duplicates_as_groups
from qlcnet.data.partfile import md5_of
from qlcnet.data.search_path import Fetcher
from qlcnet.data.sharing import is_of
from qlcnet.data.sources import fetch
from qlcnet.fit.fold_folder import read_history
from qlcnet.fit.store import FoldStore
from qlcnet.grid.engines import engine_for
from qlcnet.grid.grid import plan_grid, with_whole_path
from qlcnet.grid.keeper import Keeper
from qlcnet.grid.progress import ProgressBar
from qlcnet.grid.run import GridError, run_grid
from qlcnet.grid.text import count_text, table
from qlcnet.paths import Project
from qlcnet.scratch import scratch_folder

T = TypeVar("T")

BATCHES = 2  # that a network trains on: the first step, and one with changed weights


@dataclass(frozen=True)
class Rehearsal:
    """What became of each model of a task: its loss in training, or why it failed."""

    task: str
    seconds: float
    losses: Mapping[str, float]  # by `backbone/model`
    failures: Mapping[str, str]

    def __str__(self) -> str:
        rows = [["model", "", "training loss"]]
        rows += [[name, "trained and predicted", f"{loss:.3f}"] for name, loss in self.losses.items()]
        rows += [[name, f"FAILED  {why}", ""] for name, why in self.failures.items()]
        count = count_text(len(self.losses) + len(self.failures), "model")
        end = f"{len(self.failures)} of {count} failed" if self.failures else f"{count} can be trained on {self.task}"
        return f"{table(rows)}\n{end} ({self.seconds:.0f} s)"


def rehearse_task(params: Params, task: str, root: Path, workers: int | None) -> Rehearsal:
    """Train and predict with every model of `task`, one epoch of BATCHES batches on images of its first fold.

    Images are fetched if they are not there yet; folds and channels are made as the stages make them, in a folder that
    goes. Raises what those stages raise: DataError, ValueError.
    """
    started = time.perf_counter()
    images = _images(params, task, root)
    section = params.datasets[task]
    split = make_folds(with_near_duplicates_as_groups(images, section.protocol), section, params.seed).split(0, 0)
    with scratch_folder(Project(root).scratch) as folder:
        small = _shortened(params, root)
        _write_part(small, task, root, images, split, folder)
        store = FoldStore(folder / "folds")
        grid = plan_grid(small, task, folder, store)
        # networks are counted as for `plan`, and what is counted is kept there
        keeper = replace(Keeper.of(grid, FoldStore(Project(root).store), {}, workers), store=store)
        bar = ProgressBar(f"{task}, {BATCHES} batches", grid.todo, 0)
        failures: dict[str, str] = {}
        try:
            run_grid(grid.todo, engine_for(small, grid, folder, keeper, workers), keeper, [bar])
        except GridError as error:
            if not error.failures:
                raise
            failures = error.failures
        finally:
            bar.close()
        losses = {
            spec.name: read_history(store.path(spec.fingerprint))[-1]["train_loss"]
            for spec in grid.specs
            if spec.fingerprint in store
        }
    seconds = time.perf_counter() - started
    return Rehearsal(task, seconds, _by_model(losses), _by_model(failures))


def _by_model(of_fits: Mapping[str, T]) -> dict[str, T]:
    """By `backbone/model`: there is one fit of each."""
    return {"/".join(name.split("/")[1:3]): value for name, value in of_fits.items()}


def _images(params: Params, task: str, root: Path) -> ImageSet:
    """The images of a task, fetched if they are not there, or are those of another source."""
    source, raw = params.datasets[task].source, Project(root).raw(task)
    if (raw / "about.json").is_file():
        images = ImageSet.load(raw)
        if is_of(source, images.about):
            return images
    fetch(task, params.datasets[task], params.data, root)
    return ImageSet.load(raw)


def _shortened(params: Params, root: Path) -> Params:
    """The same study with one epoch, and circuits on the fast engine: it gives the values of the slow one."""
    return params.model_copy(
        update={
            "training": params.training.with_changes({"epochs": 1}),
            "models": {
                name: model.model_copy(update={"training": {**model.training, "epochs": 1}})
                for name, model in params.models.items()
            },
            "backbones": {name: with_whole_path(backbone, root) for name, backbone in params.backbones.items()},
            "circuits": {
                name: circuit.model_copy(update={"engine": "exact"}) if circuit.engine == "pennylane" else circuit
                for name, circuit in params.circuits.items()
            },
        }
    )


def _write_part(params: Params, task: str, root: Path, images: ImageSet, split: Split, folder: Path) -> None:
    """A small project in `folder`: some images of each part of a fold, the table of that fold, their channels."""
    batch = max(params.training_of(name).batch_size for name in params.models)
    rng = np.random.default_rng(params.seed)
    parts = {
        "train": _some(split.train, images.labels, BATCHES * batch, rng),
        "val": _some(split.validation, images.labels, batch, rng),
        "test": _some(split.test, images.labels, batch, rng),
    }
    rows = np.concatenate(list(parts.values()))
    roles = np.repeat(list(parts), [len(part) for part in parts.values()])
    labels, index, project = images.labels[rows], np.arange(len(rows)), Project(folder)
    ImageSet(images.images[rows], labels, roles, images.class_names).save(project.raw(task))
    FoldTable(index, labels, None, roles, np.zeros_like(index), np.full_like(index, NO_FOLD)).write(project.folds(task))
    fetcher = Fetcher(params.data, root)
    channels = {
        name: _part_of_file(name, section, len(images), rows, folder, fetcher)
        if isinstance(section, FileChannels)
        else section
        for name, section in params.channels.items()
    }
    sections: dict[str, Circuit | Channels] = {**params.circuits, **channels}
    make_channels(project.raw(task), sections, project.channels(task), fetcher)


def _part_of_file(
    name: str, section: FileChannels, images: int, rows: np.ndarray, folder: Path, fetcher: Fetcher
) -> FileChannels:
    """The rows of some images of a channel file, as a file of its own."""
    part = folder / f"{name}.npy"
    np.save(part, bring_array(section, images, fetcher)[rows])
    return section.model_copy(update={"path": str(part), "md5": md5_of(part)})


def _some(rows: np.ndarray, labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` of `rows` at random, of every class at first one."""
    shuffled = rng.permutation(rows)
    first = np.unique(labels[shuffled], return_index=True)[1]
    return np.sort(np.concatenate([shuffled[first], np.delete(shuffled, first)])[:count])
