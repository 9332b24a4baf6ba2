"""The commands. Nothing heavy is imported until a command runs: `qlcnet --help` answers at once."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qlcnet.address import without_password

if TYPE_CHECKING:
    from qlcnet.fit.store import FoldStore
    from qlcnet.paths import Project

Handler = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit code 0 only when all of it worked; expected errors are one message, not a traceback."""
    parser = build_parser()
    options = parser.parse_args(arguments)
    if not hasattr(options, "run"):
        parser.print_help()
        return 2
    messages = logging.StreamHandler(sys.stderr)
    messages.setFormatter(_WithoutPasswords())
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.INFO, handlers=[messages])
    for noisy in ("matplotlib", "urllib3", "git", "alembic", "numba", "filelock", "fsspec", "asyncio", "distributed"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    run: Handler = options.run
    try:
        return run(options)
    except KeyboardInterrupt:
        print("\nstopped; every finished fold is kept, run the same command to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        if options.verbose:
            print(without_password(traceback.format_exc()), end="", file=sys.stderr)
        elif _is_expected(error):
            print(without_password(f"qlcnet {options.command}: {error}"), file=sys.stderr)
        else:
            logging.getLogger("qlcnet").exception("qlcnet %s: unexpected error", options.command)
        return 1


def _is_expected(error: Exception) -> bool:
    """Errors that say what is wrong and how to mend it: raised by our own code, or by the file system."""
    return isinstance(error, OSError | ValueError) or type(error).__module__.startswith("qlcnet.")


class _WithoutPasswords(logging.Formatter):
    """The last door for messages of other libraries, whose addresses nobody cut, and for tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        return without_password(super().format(record))


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(
        prog="qlcnet",
        description="Does a quantum part help a small CNN on medical images, and is it the quantum that helps?",
        epilog="`dvc repro` runs fetch, split, quanvolve, train and report for every task of params.yaml.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="the installed version")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, task_help, run in (
        ("fetch", "bring a task's images here, verified", _fetch),
        ("split", "write a task's fold table", _split),
        ("quanvolve", "make the channels of every circuit and of `channels` for a task's images", _quanvolve),
    ):
        command = _command(commands, name, task_help, f"qlcnet {name} digits", run)
        command.add_argument("task", help="a key of `datasets` in params.yaml")

    train = _command(
        commands, "train", "fit every fold that is not yet fitted", "qlcnet train digits --workers 2", _train
    )
    train.add_argument("task", help="a key of `datasets` in params.yaml")
    train.add_argument(
        "--workers", help="fits at a time: a number, or auto (default: execution.workers of params.yaml)"
    )
    train.add_argument("--scheduler", help="address of a Dask scheduler (default: execution.scheduler of params.yaml)")

    _command(commands, "report", "metrics, tables, figures and the HTML report", "qlcnet report", _report)

    study = _command(commands, "study", "ready-made params.yaml files", "qlcnet study use paper-dermamnist", _study)
    study.add_argument("action", choices=("list", "show", "use"))
    study.add_argument("name", nargs="?", help="a name that `qlcnet study list` prints")
    study.add_argument("--force", action="store_true", help="use: also over uncommitted edits of params.yaml")

    store = _command(commands, "store", "look after finished fits", "qlcnet store export fits.tar", _store)
    store.add_argument("action", choices=("list", "prune", "export", "import", "adopt"))
    store.add_argument("archive", nargs="?", type=Path, help="a .tar file, for export and import")
    store.add_argument("--older-than", type=float, default=0.0, metavar="DAYS", help="prune: only fits older than this")
    store.add_argument("--dry-run", action="store_true", help="prune: say what would go, remove nothing")

    store.add_argument(
        "--check", type=int, default=3, metavar="N", help="adopt: fit so many again, and compare (default 3)"
    )
    store.add_argument("--seed", type=int, default=0, help="adopt: which ones (default 0)")

    plan = _command(commands, "plan", "fits to do, predicted time, memory and disk", "qlcnet plan --workers 8", _plan)
    plan.add_argument("--workers", help="predict for so many workers (default: those of this machine)")

    track = _command(commands, "track", "the MLflow projection of the results", "qlcnet track sync", _track)
    track.add_argument("action", choices=("sync", "ui"), help="sync: add what the tracking store lacks; ui: browse it")
    track.add_argument("--port", type=int, default=5000, help="ui: port on 127.0.0.1 (default 5000)")

    tune = _command(commands, "tune", "search training settings with Optuna", "qlcnet tune digits --trials 20", _tune)
    tune.add_argument("task", help="a key of `datasets` in params.yaml")
    tune.add_argument("--trials", type=int, default=20, help="trials to add to the search (default 20)")
    tune.add_argument("--model", help="a key of `models` (default: the first)")
    tune.add_argument("--backbone", help="a key of `backbones` (default: the first)")
    return parser


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: importlib.metadata is slow."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        parser.exit(message=f"qlcnet {version('qlcnet')}\n")


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, example: str, run: Handler
) -> argparse.ArgumentParser:
    command = commands.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", epilog=f"Example: {example}"
    )
    command.add_argument("-v", "--verbose", action="store_true", help="more messages, and tracebacks of errors")
    command.set_defaults(run=run)
    return command


# --- stages of dvc.yaml -----------------------------------------------------------------------------------------


def _task(options: argparse.Namespace):  # type: ignore[no-untyped-def]  # the import of config is worth avoiding for --help
    from qlcnet.config import ParamsError, load_params
    from qlcnet.paths import Project

    project = Project.find()
    params = load_params(project.params)
    if options.task not in params.datasets:
        raise ParamsError(
            f"no task {options.task!r} under `datasets` in params.yaml (there: {', '.join(params.datasets)})"
        )
    return project, params, params.datasets[options.task]


def _fetch(options: argparse.Namespace) -> int:
    from qlcnet.data.sources import fetch

    project, params, task = _task(options)
    fetch(options.task, task, params.data, project.root)
    return 0


def _split(options: argparse.Namespace) -> int:
    from qlcnet.data.folds import make_folds
    from qlcnet.data.imageset import ImageSet

    project, params, task = _task(options)
    images = ImageSet.load(project.raw(options.task))
    make_folds(images, task, params.seed).write(project.folds(options.task))
    return 0


def _quanvolve(options: argparse.Namespace) -> int:
    from qlcnet.data.channels import quanvolve

    project, params, _ = _task(options)
    quanvolve(options.task, params, project.root)
    return 0


def _train(options: argparse.Namespace) -> int:
    from qlcnet.train import train_task

    project, params, _ = _task(options)
    workers = options.workers or params.execution.workers
    train_task(params, options.task, project.root, _workers(workers), options.scheduler or params.execution.scheduler)
    return 0


def _workers(text: str | int) -> int | None:
    """A number of workers, or None for auto."""
    if text == "auto":
        return None
    if not str(text).isdigit() or int(text) < 1:
        raise ValueError(f"--workers: {text!r} is neither `auto` nor a number of 1 or more")
    return int(text)


def _report(options: argparse.Namespace) -> int:
    from qlcnet.config import load_params
    from qlcnet.paths import Project
    from qlcnet.report import build_report

    project = Project.find()
    build_report(load_params(project.params), project.root)
    return 0


# --- around the pipeline ----------------------------------------------------------------------------------------


def _study(options: argparse.Namespace) -> int:
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


def _store(options: argparse.Namespace) -> int:
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
        from qlcnet.grid.in_use import fingerprints_in_use

        used = fingerprints_in_use(load_params(project.params), project.root)
        gone = store.prune(used, options.older_than, options.dry_run)
        verb = "would remove" if options.dry_run else "removed"
        size = sum(entry.size for entry in gone) / 1e6
        print(f"{verb} {len(gone)} fits that neither results/ nor params.yaml uses, {size:.1f} MB")
    elif options.action == "adopt":
        return _adopt(options, project, store)
    elif options.action == "export":
        print(f"{store.export(options.archive)} fits written to {options.archive}")
    else:
        print(f"{store.import_(options.archive)} fits taken from {options.archive}")
    return 0


def _adopt(options: argparse.Namespace, project: Project, store: FoldStore) -> int:
    from qlcnet import machine
    from qlcnet.config import load_params
    from qlcnet.grid.adopt import adopt, refit_here

    params = load_params(project.params)
    refit = refit_here(params, project.root, machine.cores())
    result = adopt(params, project.root, store, options.check, refit, options.seed)
    print(result)
    return 1 if result.differ else 0


def _plan(options: argparse.Namespace) -> int:
    from qlcnet.config import load_params
    from qlcnet.grid.plan import plan_text
    from qlcnet.paths import Project

    project = Project.find()
    params = load_params(project.params)
    print(plan_text(params, project.root, _workers(options.workers or params.execution.workers)))
    return 0


def _track(options: argparse.Namespace) -> int:
    from qlcnet import tracking
    from qlcnet.paths import Project

    project = Project.find()
    if options.action == "sync":
        print(f"{tracking.sync(project.root)} runs added")
        return 0
    ui = tracking.local_ui(project.root, options.port)
    print(f"in about 15 s: {ui.page}", flush=True)
    os.execvpe(ui.command[0], ui.command, ui.environment)


def _tune(options: argparse.Namespace) -> int:
    from qlcnet.search.tune import tune

    project, params, _ = _task(options)
    print(tune(params, options.task, project.root, options.trials, options.model, options.backbone))
    return 0


if __name__ == "__main__":
    sys.exit(main())
