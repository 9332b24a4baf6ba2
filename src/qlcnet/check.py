"""`qlcnet check`: what a study needs, each looked at once, a line each, before the first stage. Imports no MLflow."""

from __future__ import annotations

import importlib.metadata
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from qlcnet import git, tracking
from qlcnet.config import FolderSource, Params, ParamsError, load_params
from qlcnet.data.folder.source import has_changed
from qlcnet.data.imageset import DataError
from qlcnet.data.search_path import Fetcher
from qlcnet.data.sharing import is_of
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
    looks: list[tuple[str, Callable[[], Finding]]] = [
        ("git", lambda: _git(project)),
        ("DVC", lambda: _dvc(project)),
        ("store", lambda: _store(project)),
        ("tracking", lambda: _tracking(project)),
        ("disk", lambda: _disk(project, params)),
    ]
    if params and (folders := {n: s for n, t in params.datasets.items() if isinstance(s := t.source, FolderSource)}):
        data = params.data
        looks.append(("images", lambda: _images(project, folders, Fetcher(data, root))))
    for what, look in looks:
        try:
            yield look()
        except OSError as error:
            yield Finding(what, WRONG, f"{error.filename or project.root}: {error.strerror or error}")


def _git(project: Project) -> Finding:
    if git.repository_of(project.root) is None:
        return Finding("git", WARNING, "no repository: results cannot say of which commit they are (`git init`)")
    commit = git.head(project.root)
    if commit is None:
        return Finding("git", WARNING, "no commit yet: results cannot say of which they are (`git commit`)")
    edits = " and edits that are not committed" if git.differs(project.root, DECIDING) else ""
    return Finding("git", OK, f"commit {commit[:7]}{edits}")


def _dvc(project: Project) -> Finding:
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        with Repo(str(project.root)) as repo:
            remote = repo.config["core"].get("remote") or "none"
    except NotDvcRepoError:
        option = "" if git.repository_of(project.root) else " --no-scm"
        return Finding("DVC", WRONG, f"not set up here: `dvc init{option}`")
    except SCMError:
        text = "it is set to use git, and this folder is in no repository: `dvc config core.no_scm true`, or `git init`"
        return Finding("DVC", WRONG, text)
    except DvcException as error:
        return Finding("DVC", WRONG, f"{error}")
    return Finding("DVC", OK, f"{importlib.metadata.version('dvc')}, remote: {remote}")


def _store(project: Project) -> Finding:
    with scratch_folder(project.scratch):  # whether one can write there
        entries = list(FoldStore(project.store).entries())
    size = size_text(sum(entry.size for entry in entries))
    return Finding("store", OK, f"{count_text(len(entries), 'fit')}, {size}, in {project.store}")


def _tracking(project: Project) -> Finding:
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


def _images(project: Project, sources: Mapping[str, FolderSource], fetcher: Fetcher) -> Finding:
    """Whether folders of images still hold what was fetched: DVC looks at params.yaml, not into them."""
    changed = []
    for name, source in sources.items():
        about = project.raw(name) / "about.json"
        if not about.is_file():
            continue
        try:
            fetched = read_object(about, f"run `qlcnet fetch {name}`, or `dvc repro`")
            if is_of(source, fetched) and has_changed(source, fetched, fetcher):
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
