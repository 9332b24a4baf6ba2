"""What each command does once its options are read. Imports come with the command: `qlcnet --help` needs none."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qlcnet.config import Params
    from qlcnet.fit.store import FoldStore
    from qlcnet.paths import Project

log = logging.getLogger("qlcnet")


def _params(project: Project) -> Params:
    """params.yaml; this process and all that it starts then compute as its `training.numerics` says."""
    from qlcnet import machine
    from qlcnet.config import load_params

    params = load_params(project.params)
    if params.training.numerics == "portable":
        machine.be_portable()  # here, where nothing has loaded torch yet
    return params


# --- stages of dvc.yaml -----------------------------------------------------------------------------------------


def _task(options: argparse.Namespace):  # type: ignore[no-untyped-def]  # the import of config is worth avoiding for --help
    from qlcnet.config import ParamsError
    from qlcnet.paths import Project

    project = Project.find()
    params = _params(project)
    if options.task not in params.datasets:
        raise ParamsError(
            f"no task {options.task!r} under `datasets` in params.yaml (there: {', '.join(params.datasets)})"
        )
    return project, params, params.datasets[options.task]


def fetch(options: argparse.Namespace) -> int:
    from qlcnet.data import sources

    project, params, task = _task(options)
    sources.fetch(options.task, task, params.data, project.root)
    return 0


def split(options: argparse.Namespace) -> int:
    from qlcnet.data.folds import make_folds
    from qlcnet.data.imageset import ImageSet
    from qlcnet.data.near_duplicates import with_near_duplicates_as_groups

    project, params, task = _task(options)
    images = with_near_duplicates_as_groups(ImageSet.load(project.raw(options.task)), task.protocol)
    make_folds(images, task, params.seed).write(project.folds(options.task))
    return 0


def quanvolve(options: argparse.Namespace) -> int:
    from qlcnet.data import channels

    project, params, _ = _task(options)
    channels.quanvolve(options.task, params, project.root)
    return 0


def train(options: argparse.Namespace) -> int:
    from qlcnet.train import train_only, train_task

    project, params, _ = _task(options)
    workers = _workers(options.workers or params.execution.workers)
    scheduler = options.scheduler or params.execution.scheduler
    if options.only:
        print(train_only(params, options.task, project.root, options.only, workers, scheduler))
    else:
        train_task(params, options.task, project.root, workers, scheduler)
    return 0


def _workers(text: str | int) -> int | None:
    """A number of workers, or None for auto."""
    if text == "auto":
        return None
    if not str(text).isdigit() or int(text) < 1:
        raise ValueError(f"--workers: {text!r} is neither `auto` nor a number of 1 or more")
    return int(text)


def report(options: argparse.Namespace) -> int:
    if options.source is not None:
        return _report_from(options)
    if options.out is not None:
        raise ValueError("report --out: goes with --from; without it the report is an output of DVC, in results/")
    from qlcnet.config import load_params
    from qlcnet.paths import Project
    from qlcnet.report import build_report
    from qlcnet.tracking import publish
    from qlcnet.tracking.backend import brief

    project = Project.find()
    build_report(load_params(project.params), project.root)
    try:  # the page is there: a tracking store that is not is no reason to make it again
        publish(project.root)
    except Exception as error:
        log.warning("the tracking store lacks the verdicts: %s; `qlcnet report` tries again", brief(error))
    return 0


def _report_from(options: argparse.Namespace) -> int:
    from qlcnet.paths import Project
    from qlcnet.publish import report_from

    out = options.out or Project.find().results / f"from-{options.source.resolve().name}"
    report_from(options.source, out)
    print(out / "report.html")
    return 0


def publish(options: argparse.Namespace) -> int:
    from qlcnet.config import load_params
    from qlcnet.paths import Project
    from qlcnet.publish import publish_study

    project = Project.find()
    print(publish_study(load_params(project.params), project.root, options.name))
    return 0


# --- around the pipeline ----------------------------------------------------------------------------------------


def compare(options: argparse.Namespace) -> int:
    """Two tables of anybody's predictions: verdicts, printed; the exit code says which."""
    from qlcnet.compare import REFUSED, CompareError, compare_files
    from qlcnet.evidence.comparison import NotComparable
    from qlcnet.evidence.prediction_table import PredictionTableError

    try:
        text, code = compare_files(options.a, options.b, options.group_by, options.margin, options.metric)
    except (CompareError, PredictionTableError, NotComparable) as error:
        print(f"qlcnet compare: {error}", file=sys.stderr)
        return REFUSED
    print(text)
    return code


def check(options: argparse.Namespace) -> int:
    from qlcnet.check import WRONG, look_at
    from qlcnet.paths import Project

    wrong = 0
    for finding in look_at(Project.find().root):
        print(finding, flush=True)
        wrong += finding.state == WRONG
    return 1 if wrong else 0


def study(options: argparse.Namespace) -> int:
    from qlcnet.presets import list_presets, read_preset, use_preset

    if options.action == "list":
        for name, summary in list_presets():
            print(f"{name:20s} {summary}")
        return 0
    if not options.name:
        raise ValueError(f"study {options.action}: which one? `qlcnet study list` prints the names")
    if options.action == "show":
        print(read_preset(options.name), end="")
        return 0
    print(use_preset(options.name, options.force))
    return 0


def store(options: argparse.Namespace) -> int:
    from qlcnet.fit.store import FoldStore
    from qlcnet.paths import Project

    project = Project.find()
    store = FoldStore(project.store)
    if options.action in ("export", "import") and options.archive is None:
        raise ValueError(f"store {options.action}: name an archive, for example fits.tar")
    if options.action == "list":
        total = 0
        for entry in store.entries():
            seconds = f"{entry.seconds:8.1f} s" if entry.seconds is not None else "         -"
            print(f"{entry.fingerprint}  {entry.size / 1e6:7.2f} MB  {seconds}  {entry.name}")
            total += entry.size
        print(f"{total / 1e6:.1f} MB in {store.root}")
    elif options.action == "prune":
        from qlcnet.config import load_params
        from qlcnet.grid.in_use import fingerprints_in_use, fingerprints_of_searches

        used = fingerprints_in_use(load_params(project.params), project.root)
        gone = store.prune(used, options.older_than, options.dry_run)
        of_trials = FoldStore(project.trial_fits)
        gone += of_trials.prune(fingerprints_of_searches(project.root), options.older_than, options.dry_run)
        verb = "would remove" if options.dry_run else "removed"
        size = sum(entry.size for entry in gone) / 1e6
        print(f"{verb} {len(gone)} fits that neither results/, params.yaml nor a search uses, {size:.1f} MB")
    elif options.action == "adopt":
        return _adopt(options, project, store)
    elif options.action == "export":
        print(f"{store.export(options.archive)} fits written to {options.archive}")
    else:
        print(f"{store.import_(options.archive)} fits taken from {options.archive}")
    return 0


def _adopt(options: argparse.Namespace, project: Project, store: FoldStore) -> int:
    from qlcnet import machine
    from qlcnet.grid.adopt import adopt, refit_here

    params = _params(project)
    refit = refit_here(params, project.root, machine.cores())
    result = adopt(params, project.root, store, options.check, refit, options.seed)
    print(result)
    return 1 if result.differ else 0


def rehearse(options: argparse.Namespace) -> int:
    from qlcnet.paths import Project
    from qlcnet.rehearse import rehearse_task

    if options.task:
        project, params, _ = _task(options)
        tasks = [options.task]
    else:
        project = Project.find()
        params = _params(project)
        tasks = list(params.datasets)
    workers, failed = _workers(options.workers or params.execution.workers), 0
    for task in tasks:
        result = rehearse_task(params, task, project.root, workers)
        print(result)
        failed += bool(result.failures)
    return 1 if failed else 0


def plan(options: argparse.Namespace) -> int:
    from qlcnet.grid.plan import plan_text
    from qlcnet.paths import Project

    project = Project.find()
    params = _params(project)
    print(plan_text(params, project.root, _workers(options.workers or params.execution.workers)))
    return 0


def track(options: argparse.Namespace) -> int:
    from qlcnet import tracking
    from qlcnet.paths import Project
    from qlcnet.reproduce.lock import is_reported

    project = Project.find()
    if options.action == "sync":
        print(f"{tracking.sync(project.root, is_reported(project))} runs added")
        return 0
    ui = tracking.local_ui(project.root, options.port)
    print(f"in about 15 s: {ui.page}", flush=True)
    os.execvpe(ui.command[0], ui.command, ui.environment)


def reproduce(options: argparse.Namespace) -> int:
    """A commit's results again; the exit code says whether the level asked for is reached."""
    from qlcnet.paths import Project
    from qlcnet.report.summary import to_json
    from qlcnet.reproduce.again import Request, plan, reproduce
    from qlcnet.reproduce.grades import UNTOLD
    from qlcnet.reproduce.record import write_record
    from qlcnet.reproduce.revision import ReproduceError
    from qlcnet.reproduce.texts import as_junit, as_markdown, as_text
    from qlcnet.whole import write_whole

    root = Project.find().root
    try:
        request = Request(
            options.revision,
            options.start,
            tuple(options.only),
            options.sample,
            options.seed,
            options.keep,
            options.study,
        )
        if options.dry_run:
            print(plan(root, request))
            return 0
        verdict = reproduce(root, request)
    except (ReproduceError, OSError) as error:
        print(f"qlcnet reproduce: {error}", file=sys.stderr)
        return UNTOLD
    print(as_text(verdict))
    for path, text in (
        (options.json, to_json(verdict.to_json())),
        (options.junit, as_junit(verdict, options.require)),
        (options.markdown, as_markdown(verdict)),
    ):
        if path:
            write_whole(path, text)
    if options.record:
        print(f"recorded: {write_record(root, verdict)}")
    return verdict.code(options.require)


def tune(options: argparse.Namespace) -> int:
    project, params, _ = _task(options)
    scheduler = options.scheduler or params.execution.scheduler
    if not scheduler:
        from qlcnet.grid.worker_process import warm_up

        warm_up()  # torch and Optuna are imported side by side
    from qlcnet.search.preset import check_preset, write_preset
    from qlcnet.search.results import PAGE, write_results
    from qlcnet.search.tracked import still_running, tracked
    from qlcnet.search.tune import Asked
    from qlcnet.search.tune import tune as search
    from qlcnet.search.words import found_text
    from qlcnet.tracking.backend import brief
    from qlcnet.tracking.live_searches import LiveSearches
    from qlcnet.tracking.searches import track_searches

    if options.write:
        check_preset(options.write, project)  # before hours are spent
    models = tuple(name for name in (options.models or options.model or "").split(",") if name)
    asked = Asked(
        options.task, models, options.backbone, options.trials, _workers(options.workers or params.execution.workers),
        scheduler, options.storage, options.nested, options.fold,
        options.search_seeds, options.minutes, options.stop_when_flat, options.simplest, not options.no_prune,
        tuple(options.lost or ()), options.name,
    )  # fmt: skip
    with LiveSearches(project.root) as live:
        found = search(params, project.root, asked, lambda name, now: live.settled(name, lambda: still_running(now())))
    print(found_text(found))
    folder = write_results(found, project.root)
    print(f"page:     {folder / PAGE}")
    try:  # the trials are kept: a tracking store that is away is no reason to lose what was found
        track_searches(project.root, tracked(found, folder))
    except Exception as error:
        log.warning("the tracking store lacks this search: %s; the same command adds it", brief(error))
    if options.write:
        print(write_preset(found, options.write, project.root))
    return 0
