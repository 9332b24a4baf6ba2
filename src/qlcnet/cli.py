"""The commands. Nothing heavy is imported until a command runs: `qlcnet --help` answers at once."""

from __future__ import annotations

import argparse
import atexit
import gc
import logging
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from qlcnet import commands
from qlcnet.address import without_password
from qlcnet.compare import add_arguments

Handler = Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Exit code 0 only when all of it worked; expected errors are one message, not a traceback."""
    # the interpreter else looks through all of MLflow's and Optuna's objects when it ends, which takes a second
    atexit.register(gc.freeze)
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
    parsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, task_help, run in (
        ("fetch", "bring a task's images here, verified", commands.fetch),
        ("split", "write a task's fold table", commands.split),
        ("quanvolve", "make the channels of every circuit and of `channels` for a task's images", commands.quanvolve),
    ):
        command = _command(parsers, name, task_help, f"qlcnet {name} digits", run)
        command.add_argument("task", help="a key of `datasets` in params.yaml")

    train = _command(
        parsers, "train", "fit every fold that is not yet fitted", "qlcnet train digits --workers 2", commands.train
    )
    train.add_argument("task", help="a key of `datasets` in params.yaml")
    train.add_argument(
        "--workers", help="fits at a time: a number, or auto (default: execution.workers of params.yaml)"
    )
    train.add_argument("--scheduler", help="address of a Dask scheduler (default: execution.scheduler of params.yaml)")
    train.add_argument(
        "--only",
        action="append",
        metavar="FIT",
        help="these fits alone, kept for the whole run: lcnet_050/hybrid/repeat-0/fold-0, or '*/hybrid/*/fold-0'",
    )

    report = _command(
        parsers,
        "report",
        "metrics, tables, figures and the HTML report",
        "qlcnet report --from docs/results/demo --out /tmp/demo",
        commands.report,
    )
    report.add_argument(
        "--from", dest="source", type=Path, metavar="FOLDER", help="of a published study, without data and fits"
    )
    report.add_argument("--out", type=Path, metavar="FOLDER", help="with --from: where to (default: results/from-NAME)")

    publish = _command(
        parsers,
        "publish",
        "write docs/results/NAME from the study of params.yaml: small, without photographs, to be committed",
        "qlcnet publish ablation",
        commands.publish,
    )
    publish.add_argument("name", help="name of the folder; publishing again adds the repeats that are new")

    compare = _command(
        parsers,
        "compare",
        "what two tables of predictions say of a difference; exit code 0: A is better, 3: worse, 4: equivalent, "
        "5: undecided, 6: too few, 2: refused",
        "qlcnet compare hybrid.csv classical.csv --group-by patient --margin accuracy=0.01",
        commands.compare,
    )
    add_arguments(compare)

    _command(parsers, "check", "look at all that a study needs, before it runs", "qlcnet check", commands.check)

    study = _command(
        parsers, "study", "ready-made params.yaml files", "qlcnet study use paper-dermamnist", commands.study
    )
    study.add_argument("action", choices=("list", "show", "use"))
    study.add_argument("name", nargs="?", help="a name that `qlcnet study list` prints")
    study.add_argument("--force", action="store_true", help="use: also over uncommitted edits of params.yaml")

    store = _command(parsers, "store", "look after finished fits", "qlcnet store export fits.tar", commands.store)
    store.add_argument("action", choices=("list", "prune", "export", "import", "adopt"))
    store.add_argument("archive", nargs="?", type=Path, help="a .tar file, for export and import")
    store.add_argument("--older-than", type=float, default=0.0, metavar="DAYS", help="prune: only fits older than this")
    store.add_argument("--dry-run", action="store_true", help="prune: say what would go, remove nothing")

    store.add_argument(
        "--check", type=int, default=3, metavar="N", help="adopt: fit so many again, and compare (default 3)"
    )
    store.add_argument("--seed", type=int, default=0, help="adopt: which ones (default 0)")

    rehearse = _command(
        parsers,
        "rehearse",
        "train every model on two batches of one's own images, before hours are spent",
        "qlcnet rehearse digits",
        commands.rehearse,
    )
    rehearse.add_argument("task", nargs="?", help="a key of `datasets` in params.yaml (default: each)")
    rehearse.add_argument("--workers", help="models at a time (default: execution.workers of params.yaml)")

    plan = _command(
        parsers, "plan", "fits to do, predicted time, memory and disk", "qlcnet plan --workers 8", commands.plan
    )
    plan.add_argument("--workers", help="predict for so many workers (default: those of this machine)")

    track = _command(parsers, "track", "the MLflow projection of the results", "qlcnet track sync", commands.track)
    track.add_argument("action", choices=("sync", "ui"), help="sync: add what the tracking store lacks; ui: browse it")
    track.add_argument("--port", type=int, default=5000, help="ui: port on 127.0.0.1 (default 5000)")

    _add_reproduce(parsers)
    _add_tune(parsers)
    return parser


def _add_reproduce(parsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    reproduce = _command(
        parsers,
        "reproduce",
        "run a commit's study again in a clone, and say whether the results and the conclusion are the same; exit code "
        "0: the level asked for is reached, 1: it is not, 2: it cannot be told, or the commit could not be run",
        "qlcnet reproduce v1.0 --only dermamnist/lcnet_050/hybrid --sample 5",
        commands.reproduce,
    )
    reproduce.add_argument("revision", metavar="REV", help="commit, tag, branch, or the id of an MLflow run")
    reproduce.add_argument(
        "--from",
        dest="start",
        choices=("raw", "folds", "train", "report"),
        default="train",
        help="raw: fetch the images again; folds: take them by checksum; train (default): folds and channels are made "
        "and compared, and fits made from the recorded ones where these differ; report: the report alone",
    )
    reproduce.add_argument(
        "--only", action="append", default=[], metavar="FIT", help="task/backbone/model[/repeat/fold]; * and ? as usual"
    )
    reproduce.add_argument(
        "--study", default="", metavar="NAME", help="a published study, docs/results/NAME, instead of params.yaml's"
    )
    reproduce.add_argument("--sample", type=int, metavar="N", help="so many of the fits, chosen by --seed")
    reproduce.add_argument("--seed", type=int, default=0, help="of the sample (default 0)")
    reproduce.add_argument(
        "--require",
        choices=("bytes", "metrics", "rounding", "consistent", "conclusion"),
        default="consistent",
        help="what exit code 0 asks for (default: consistent)",
    )
    reproduce.add_argument("--dry-run", action="store_true", help="say what would be done and how long it takes")
    reproduce.add_argument("--keep", action="store_true", help="leave the clone and its environment, and say where")
    for name, what in (("json", "everything"), ("junit", "a test case a fit"), ("markdown", "for a pull request")):
        reproduce.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"write the verdict there: {what}")
    reproduce.add_argument("--record", action="store_true", help="write reproductions/<commit>.json, for git")


def _add_tune(parsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    tune = _command(
        parsers,
        "tune",
        "search settings with Optuna over inner folds",
        "qlcnet tune digits --model hybrid --trials 50 --workers 2",
        commands.tune,
    )
    tune.add_argument("task", help="a key of `datasets` in params.yaml")
    one_or_more = tune.add_mutually_exclusive_group()
    one_or_more.add_argument("--model", help="a key of `models` (default: the first)")
    one_or_more.add_argument("--models", help="several, with equal budgets: classical,hybrid,sine")
    tune.add_argument("--backbone", help="a key of `backbones` (default: the first)")
    tune.add_argument(
        "--trials", type=int, default=20, help="settled trials of each search in the end, however often it is run "
        "(default 20)",
    )  # fmt: skip
    tune.add_argument("--workers", help="trials at a time: a number, or auto (default: execution.workers)")
    tune.add_argument("--scheduler", help="address of a Dask scheduler (default: execution.scheduler of params.yaml)")
    tune.add_argument(
        "--storage", metavar="ADDRESS", help="a database that machines share, "
        "postgresql+psycopg://user:password@host/name (default: a journal file, which processes share)",
    )  # fmt: skip
    tune.add_argument(
        "--fold", type=int, default=0, help="the outer fold in whose training part is searched (default 0)"
    )
    tune.add_argument(
        "--nested", action="store_true", help="search in every outer training part, score the winners outside"
    )
    tune.add_argument("--search-seeds", type=int, default=1, metavar="N", help="searches of each model (default 1)")
    tune.add_argument(
        "--simplest", action="store_true", help="the smallest network within one standard error of the best"
    )
    tune.add_argument("--no-prune", action="store_true", help="every trial has all folds, and there are no replicates")
    tune.add_argument("--minutes", type=float, help="no trial begins after that; run again to go on")
    tune.add_argument(
        "--stop-when-flat", action="store_true", help="stop when trials bring less than the noise of the folds"
    )
    tune.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="what was chosen as a preset to look at and commit: studies/tuned.yaml",
    )
    tune.add_argument("--name", help="results go to results/search/NAME (default: a name made of what is searched)")
    tune.add_argument("--lost", action="append", metavar="HOST", help="this machine is gone: take its trials up")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: importlib.metadata is slow."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        parser.exit(message=f"qlcnet {version('qlcnet')}\n")


def _command(
    parsers: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, example: str, run: Handler
) -> argparse.ArgumentParser:
    command = parsers.add_parser(
        name, help=text, description=text[0].upper() + text[1:] + ".", epilog=f"Example: {example}"
    )
    command.add_argument("-v", "--verbose", action="store_true", help="more messages, and tracebacks of errors")
    command.set_defaults(run=run)
    return command


if __name__ == "__main__":
    sys.exit(main())
