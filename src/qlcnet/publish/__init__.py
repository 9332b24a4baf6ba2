"""docs/results/NAME: a finished study in git, small, without photographs, and enough to compute all of it again."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from qlcnet import git
from qlcnet.config import Params, load_params
from qlcnet.declarations import HEADER
from qlcnet.fit.fold_folder import FILES, fold_path
from qlcnet.fit.task_facts import TaskFacts
from qlcnet.paths import Project
from qlcnet.publish.repeats import PublishError, read_task, write_task
from qlcnet.publish.rounding import LARGEST_GAP
from qlcnet.whole import whole_folder, write_synced

if TYPE_CHECKING:
    from qlcnet.report.study import Study

log = logging.getLogger("qlcnet")

FITS, PARAMS, DECLARATIONS, MACHINE, SEARCHES = (
    "fits", "params.yaml", "declarations.csv", "machine.json", "fits/searches.json",
)  # fmt: skip


def publish_study(params: Params, root: Path, name: str) -> Path:
    """Write docs/results/`name` from the study of params.yaml; returns the folder. What it holds: docs/publishing.md.

    Repeats that are whole in results/ are written; of the others, those that are published already stay as they are.
    Every number of the folder is then computed from what it stores. Raises PublishError, StudyError, OOFError or
    DataError, and leaves an earlier folder as it was.
    """
    from qlcnet.publish.markdown import result_page, write_index
    from qlcnet.report import write_report
    from qlcnet.report.study import read_study

    project, folder = Project(root), Project(root).published / name
    if not name or Path(name).name != name or name.startswith("."):
        raise PublishError(f"{name!r} is no name of a folder: take letters, digits and dashes, such as ablation")
    for task in params.datasets:
        link_stored_repeats(params, project, task)
    here = {task: whole_repeats(params, project, task) for task in params.datasets}
    missing = [task for task, repeats in here.items() if not repeats]
    if lost := [task for task in missing if not list((folder / FITS / task).glob("repeat-*"))]:
        raise PublishError(f"task {lost[0]} has no repeat with all of its fits: run `qlcnet train {lost[0]}` first")
    study = read_study(params, root, {task: repeats for task, repeats in here.items() if repeats})
    with whole_folder(folder) as beside:
        for kept in (FITS, "README.md"):
            _copy(folder / kept, beside / kept)
        for one in study.tasks.values():
            write_task(one, beside / FITS / one.name)
        for left in sorted(path for path in (beside / FITS).iterdir() if path.is_dir()):
            if left.name not in params.datasets:
                shutil.rmtree(left)
                log.info("removed the published task %s: params.yaml no longer lists it", left.name)
        (beside / PARAMS).write_bytes(project.params.read_bytes())
        write_synced(beside / DECLARATIONS, _declarations(project, params))
        write_synced(beside / SEARCHES, _json([asdict(one) for one in study.searches]))
        published = read_published(beside)
        write_report(published, beside)
        for figure in (beside / "figures").iterdir():  # all are in the page; README files show these
            if not figure.name.startswith("forest"):
                figure.unlink()
        write_synced(beside / MACHINE, _json(_machine(published, root)))
        write_synced(beside / "results.md", result_page(beside, published.params.report.title))
        if not (beside / "README.md").exists():
            (beside / "README.md").touch()
    write_index(project.published)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    log.info("published: %s (%.1f MB)", folder, size / 1e6)
    return folder


def link_stored_repeats(params: Params, project: Project, task: str) -> None:
    """Link repeats into results/folds that `qlcnet train --only` made whole in the store, where others are still to do.

    Nothing is linked that would take a repeat out of results/folds which is there.
    """
    from qlcnet.data.fold_table import FoldTable
    from qlcnet.fit.store import FoldStore
    from qlcnet.grid.grid import link_results, only, plan_grid

    if not project.folds(task).is_file():
        return
    there, repeats = set(whole_repeats(params, project, task)), set(FoldTable.read(project.folds(task)).repeats)
    if there == repeats:
        return
    store = FoldStore(project.store)
    grid = plan_grid(params, task, project.root, store)
    todo = {spec.fingerprint for spec in grid.todo}
    whole = repeats - {spec.repeat for spec in grid.specs if spec.fingerprint in todo}
    if whole > there:
        link_results(only(grid, [f"*/*/repeat-{repeat}/*" for repeat in sorted(whole)]), store, project.fits)


def whole_repeats(params: Params, project: Project, task: str) -> list[int]:
    """Repeats of a task of which every fit is in results/folds, but for models that are left out as failed."""
    from qlcnet.data.fold_table import FoldTable

    if not (project.folds(task).is_file() and (project.fits / task).is_dir()):
        return []
    folds, facts = FoldTable.read(project.folds(task)), TaskFacts.read(project.fits / task)
    keys = [(b, m) for b in params.backbones for m in params.models if not facts.failures_of(b, m)]
    return [
        repeat
        for repeat in folds.repeats
        if all(
            (fold_path(project.fits, task, *key, repeat, fold) / file).is_file()
            for key in keys
            for fold in folds.folds
            for file in FILES
        )
    ]


def read_published(folder: Path) -> Study:
    """The study of a published folder. Its report shows no pictures: no pixels are there.

    Raises PublishError, DamagedError, OOFError, ParamsError, FileNotFoundError.
    """
    from qlcnet.evidence.check_facts import CheckedSearch, SearchedSetting
    from qlcnet.report.study import Study, fits_before

    params = load_params(folder / PARAMS)
    params = params.model_copy(update={"report": params.report.model_copy(update={"pictures": False})})
    tasks = {name: read_task(name, params, folder / FITS / name) for name in params.datasets}
    searches = tuple(
        CheckedSearch(one["name"], one["trials"], tuple(SearchedSetting(**setting) for setting in one["settings"]))
        for one in json.loads((folder / SEARCHES).read_text(encoding="utf-8"))
    )
    return Study(params, tasks, searches, fits_before(params, Project(folder)), rounding=LARGEST_GAP)


def rebuild(folder: Path) -> dict[str, str]:
    """Text of every table, of summary.json and of metrics.json, computed again from what the folder stores."""
    from qlcnet.report import context_of, texts_of

    return texts_of(context_of(read_published(folder)))


def report_from(folder: Path, out: Path) -> None:
    """The report of a published study again, without a fit, into the folder `out`."""
    from qlcnet.report import write_report

    if not (folder / FITS).is_dir():
        raise PublishError(f"{folder} is no published study (no {FITS}/ in it): `qlcnet publish NAME` makes one")
    if out.resolve() == folder.resolve():
        raise PublishError(f"--out: {out} is the published study itself; name another folder")
    out.mkdir(parents=True, exist_ok=True)
    write_report(read_published(folder), out)


def _copy(old: Path, new: Path) -> None:
    if old.is_dir():
        shutil.copytree(old, new)
    elif old.exists():
        shutil.copy2(old, new)
    elif old.name == FITS:
        new.mkdir()


def _declarations(project: Project, params: Params) -> str:
    """The rows of declarations.csv of this study's tasks."""
    lines = project.declarations.read_text(encoding="utf-8").splitlines() if project.declarations.is_file() else []
    kept = [line for line in lines if line.split(",")[0] in params.datasets]
    return "\n".join([",".join(HEADER), *kept]) + "\n"


def _machine(study: Study, root: Path) -> dict[str, object]:
    """What the fits were computed on, and what the tables were computed with."""
    from qlcnet.report.summary import versions

    return {
        "fits": {"numerics": study.tuples, "computed_on": study.machines},
        "published": {"commit": git.head(root), "versions": versions()},
    }


def _json(content: object) -> str:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
