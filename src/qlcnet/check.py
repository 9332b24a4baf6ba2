"""`qlcnet check`: what a study needs, each looked at once, a line each, before the first stage. Imports no MLflow."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from qlcnet import git, tracking
from qlcnet.config import FolderSource, Params, ParamsError, load_params
from qlcnet.data.folder.source import has_changed
from qlcnet.data.imageset import DataError
from qlcnet.data.search_path import Fetcher
from qlcnet.data.sharing import recipe_of
from qlcnet.fit.store import FoldStore
from qlcnet.grid.forecast import data_bytes
from qlcnet.grid.grid import DECIDING, expected_grid
from qlcnet.grid.text import count_text, size_text
from qlcnet.paths import Project
from qlcnet.scratch import scratch_folder
from qlcnet.stored import DamagedError, read_object

OK, WARNING, WRONG = "ok", "warning", "WRONG"
COPIES = 2  # of data: in data/, and in DVC's cache
LITTLE = 1e9  # bytes free below which a study may stop halfway


class Finding(NamedTuple):
    """One line: what was looked at, how it is, and what there is or what to do."""

    what: str
    state: str  # OK, WARNING or WRONG
    text: str

    def __str__(self) -> str:
        return f"{self.what:<10}{self.state:<9}{self.text}"


def look_at(root: Path) -> Iterator[Finding]:
    """Look at the project in `root`; each finding comes as it is made. Raises nothing: what cannot be is WRONG."""
    project = Project(root)
    params: Params | None = None
    try:
        params = load_params(project.params)
        text = ", ".join(
            f"{count_text(len(section), what)}"
            for what, section in (("task", params.datasets), ("model", params.models), ("backbone", params.backbones))
        )
        yield Finding("params", OK, text)
    except (ParamsError, OSError) as error:
        yield Finding("params", WRONG, str(error))
    looks: tuple[tuple[str, Callable[[Project, Params | None], Finding]], ...] = (
        ("git", _git), ("DVC", _dvc), ("store", _store), ("tracking", _tracking), ("disk", _disk)
    )  # fmt: skip
    if params and any(task.source.kind == "folder" for task in params.datasets.values()):
        looks += (("images", _images),)
    for what, look in looks:
        try:
            yield look(project, params)
        except OSError as error:
            yield Finding(what, WRONG, f"{error.filename or project.root}: {error.strerror or error}")


def _git(project: Project, params: Params | None) -> Finding:
    if git.repository_of(project.root) is None:
        return Finding("git", WARNING, "no repository: results cannot say of which commit they are (`git init`)")
    commit = git.head(project.root)
    if commit is None:
        return Finding("git", WARNING, "no commit yet: results cannot say of which they are (`git commit`)")
    edits = " and edits that are not committed" if git.differs(project.root, DECIDING) else ""
    return Finding("git", OK, f"commit {commit[:7]}{edits}")


def _dvc(project: Project, params: Params | None) -> Finding:
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import SCMError

    in_git = git.repository_of(project.root) is not None
    try:
        with Repo(str(project.root)) as repo:
            remote = repo.config["core"].get("remote") or "none"
    except NotDvcRepoError:
        return Finding("DVC", WRONG, f"not set up here: `dvc init{'' if in_git else ' --no-scm'}`")
    except SCMError:
        text = "it is set to use git, and this folder is in no repository: `dvc config core.no_scm true`, or `git init`"
        return Finding("DVC", WRONG, text)
    except DvcException as error:
        return Finding("DVC", WRONG, f"{error}")
    return Finding("DVC", OK, f"{importlib.metadata.version('dvc')}, remote: {remote}")


def _store(project: Project, params: Params | None) -> Finding:
    with scratch_folder(project.scratch):  # whether one can write there
        entries = list(FoldStore(project.store).entries())
    size = size_text(sum(entry.size for entry in entries))
    return Finding("store", OK, f"{count_text(len(entries), 'fit')}, {size}, in {project.store}")


def _tracking(project: Project, params: Params | None) -> Finding:
    try:
        return Finding("tracking", OK, tracking.look(project.root))
    except tracking.TrackingError as error:
        return Finding("tracking", WARNING, f"{error}")


def _disk(project: Project, params: Params | None) -> Finding:
    free = shutil.disk_usage(project.root).free
    needed = COPIES * _bytes_to_come(project, params) if params else 0.0
    text = f"{size_text(free)} are free"
    if needed:
        text += f"; data that are not there yet take {size_text(needed)}"
    if free < needed:
        return Finding("disk", WRONG, text)
    if free - needed < LITTLE:
        return Finding("disk", WARNING, f"{text}; `qlcnet plan` says what the fits take")
    return Finding("disk", OK, text)


def _images(project: Project, params: Params | None) -> Finding:
    """Whether folders of images still hold what was fetched: DVC looks at params.yaml, not into them."""
    changed = []
    for name, task in params.datasets.items() if params else ():
        about = project.raw(name) / "about.json"
        if params and isinstance(task.source, FolderSource) and about.is_file():
            try:
                fetched = read_object(about, f"run `qlcnet fetch {name}`, or `dvc repro`")
                is_of_source = fetched.get("recipe") == recipe_of(task.source, fetched.get("checksum"))
                if is_of_source and has_changed(task.source, fetched, Fetcher(params.data, project.root)):
                    changed.append(name)
            except (DamagedError, DataError) as error:
                return Finding("images", WARNING, f"{name}: {error}")
    if not changed:
        return Finding("images", OK, "no folder holds other files than when it was fetched")
    remedy = " ".join(["`dvc repro --force --single-item", *(f"fetch@{name}" for name in changed)]) + "`"
    return Finding(
        "images", WARNING, f"{', '.join(changed)}: other files than when they were fetched; {remedy} takes them"
    )


def _bytes_to_come(project: Project, params: Params) -> float:
    """Of the tasks that are not fetched yet; 0 for those of which nothing is known before."""
    grids = [expected_grid(params, task) for task in params.datasets if not project.raw(task).is_dir()]
    return sum(data_bytes(params, grid) for grid in grids if grid)
