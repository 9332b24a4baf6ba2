"""The folds of a search: drawn inside one outer training part, in a folder that looks like a project to the grid.

Nothing of the outer validation and test part is in its fold table, so that no fit of a search can train on it, watch it
or predict it (tests/search/test_inner.py poisons those images and counts what is read). The table lies beside links
to the task's own images and channels: fits of a search are planned and run like any other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from qlcnet.config import Channels, Circuit, Controls, Params, Protocol, Task, fingerprint
from qlcnet.data.channel_card import ARRAY, ChannelCard
from qlcnet.data.channel_order import Order
from qlcnet.data.channels import make_channels, recipe_of_channels
from qlcnet.data.fold_table import FoldTable
from qlcnet.data.folds import make_folds
from qlcnet.data.imageset import DataError
from qlcnet.data.search_path import Fetcher
from qlcnet.data.streams import stream
from qlcnet.paths import Project
from qlcnet.search.errors import TuningError
from qlcnet.stored import read_object

Sections = Mapping[str, Circuit | Channels]
_linking = threading.Lock()


@dataclass(frozen=True, eq=False)
class _Images:
    """What a split needs to know of the images of an outer training part, which are not opened for it."""

    labels: np.ndarray
    parts: np.ndarray
    groups: np.ndarray | None
    class_names: tuple[str, ...]


def inner_table(outer: FoldTable, task: Task, classes: tuple[str, ...], folds: int, seed: int, fold: int) -> FoldTable:
    """`folds` stratified folds of the images that outer fold `fold` of repeat 0 trains on, grouped where the task is.

    Raises TuningError where a class has fewer images, or groups, than there are folds.
    """
    rows = outer.split(0, fold).train
    here = np.flatnonzero((outer.repeat == 0) & np.isin(outer.index, rows))
    here = here[np.argsort(outer.index[here], kind="stable")]
    groups = None if outer.group is None else outer.group[here]
    images = _Images(outer.label[here], np.full(len(here), "train", "<U5"), groups, classes)
    protocol = Protocol(kind="pooled-cv", folds=folds, grouped=task.protocol.grouped)
    inner = task.model_copy(update={"protocol": protocol, "images_per_class": None})
    try:
        table = make_folds(images, inner, stream(seed, "inner folds", 0, fold))
    except DataError as error:
        raise TuningError(
            f"no {folds} inner folds (tuning.folds) in the training part of fold {fold}: {error}"
        ) from None
    return FoldTable(outer.index[here][table.index], table.label, groups, table.part, table.repeat, table.fold)


@dataclass(frozen=True)
class InnerProject:
    """A folder with the inner folds of one outer training part, and links to a task's images and channels."""

    project: Project  # the real one
    root: Path
    task: str
    fetcher: Fetcher

    @classmethod
    def make(cls, params: Params, task: str, root: Path, folds: int, fold: int) -> InnerProject:
        """The folder, made or found as it was: its name says all that its table depends on. Raises TuningError."""
        project = Project(root)
        outer = FoldTable.read(project.folds(task))
        known = fold_numbers(outer)
        if fold not in known:
            raise TuningError(f"--fold {fold}: {task} has the folds {', '.join(map(str, known))}")
        about = read_object(project.raw(task) / "about.json", f"run `qlcnet fetch {task}`", ("class_names", "digest"))
        table = inner_table(outer, params.datasets[task], tuple(about["class_names"]), folds, params.seed, fold)
        columns = [table.index, table.label, table.fold, table.group if table.group is not None else ()]
        name = fingerprint(
            [task, str(root.resolve()), about["digest"], *(list(map(int, column)) for column in columns)]
        )
        inner = cls(project, project.searches / "inner" / name[:16], task, Fetcher(params.data, root))
        view = Project(inner.root)
        if not view.folds(task).is_file():
            view.folds(task).parent.mkdir(parents=True, exist_ok=True)
            table.write(view.folds(task))
        _link(view.raw(task), project.raw(task))
        view.channels(task).mkdir(parents=True, exist_ok=True)
        return inner

    @property
    def table(self) -> FoldTable:
        """The inner folds."""
        return FoldTable.read(Project(self.root).folds(self.task))

    def with_channels(self, params: Params, model: str) -> Params:
        """The same params, with the stored channels that `model` reads under names by content, made where they lack.

        Those of the project are linked; channels of a circuit that is only searched are made once, and kept below
        `.qlcnet/channels/<task>`.
        """
        sections: dict[str, Circuit | Channels] = {**params.circuits, **params.channels}
        renamed = {name: self._bring(name, sections) for name in params.models[model].stored}
        raw = params.model_dump(mode="json", exclude_unset=True)
        inputs = []
        for one in params.models[model].inputs:
            text, new = str(one), renamed.get(one.name)
            inputs.append(text if new is None else text.replace(f":{one.name}", f":{new}", 1))
            if new is not None:
                key = "circuits" if one.kind == "quanv" else "channels"
                raw[key][new] = raw[key][one.name]
        raw["models"][model]["inputs"] = inputs
        return Params.model_validate(raw)

    def _bring(self, name: str, sections: Sections) -> str:
        """The name under which the channels of a section lie in this folder."""
        section, own = sections[name], self.project.channels(self.task) / name
        circuit = sections[section.of] if isinstance(section, Controls) else None
        order = Order(name, section, np.empty((0, 0, 0, 1), np.uint8), self.fetcher, circuit)  # type: ignore[arg-type]
        recipe = recipe_of_channels(order)
        images = read_object(self.project.raw(self.task) / "about.json", "", ("digest",))["digest"]
        if _is_made(own, recipe, images):
            source = own
        else:
            source = self.project.state / "channels" / self.task / fingerprint([images, recipe])[:16] / name
            source.parent.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(source.parent.with_suffix(".lock")):  # others may want the same
                if not _is_made(source, recipe, images):
                    needed = {name: section} if circuit is None else {section.of: circuit, name: section}  # type: ignore[union-attr]
                    make_channels(self.project.raw(self.task), needed, source.parent, self.fetcher)
        new = f"{name[:40]}-{fingerprint([images, recipe])[:8]}"
        _link(Project(self.root).channels(self.task) / new, source)
        return new


def fold_numbers(outer: FoldTable) -> tuple[int, ...]:
    """The outer folds in which a search may be."""
    return outer.folds


def _is_made(folder: Path, recipe: str, images: str) -> bool:
    try:
        card = ChannelCard.read(folder)
    except (OSError, ValueError):
        return False
    return (card.recipe, card.images) == (recipe, images) and (folder / ARRAY).is_file()


def _link(at: Path, to: Path) -> None:
    """A symbolic link, renewed where the project was moved."""
    with _linking:  # lanes of one process use the same name beside it
        if at.is_symlink() and Path(os.readlink(at)) == to.resolve():
            return
        at.parent.mkdir(parents=True, exist_ok=True)
        beside = at.with_name(f".{at.name}.{os.getpid()}")
        beside.unlink(missing_ok=True)
        beside.symlink_to(to.resolve(), target_is_directory=True)
        beside.replace(at)


def outer_view(inner: InnerProject) -> Path:
    """A folder like that of the inner folds, with the same channels, and with the task's own fold table."""
    root, task = inner.root / "outer", inner.task
    view, of_inner = Project(root), Project(inner.root)
    _link(view.raw(task), inner.project.raw(task))
    _link(view.channels(task), of_inner.channels(task))
    _link(view.folds(task), inner.project.folds(task))
    return root
