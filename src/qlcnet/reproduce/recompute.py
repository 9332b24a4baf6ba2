"""Runs the stages of a commit in its clone, with its own code: what is needed for the fits asked for, once each."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml

from qlcnet.config.digest import fingerprint
from qlcnet.fit.fold_folder import FILES, PROVENANCE, read_provenance
from qlcnet.paths import Project
from qlcnet.reproduce.lock import checksum_of, files_below, md5_of
from qlcnet.reproduce.recorded import Recorded, copy_fits, copy_output, copy_path
from qlcnet.reproduce.revision import ReproduceError
from qlcnet.reproduce.workplace import Workplace

log = logging.getLogger("qlcnet")
STARTS = ("raw", "folds", "train", "report")  # of --from
TOLERANCE = 1e-3  # of a channel's values, which are between -1 and 1 and stored in 16 bits


def paths_of(task: str) -> tuple[str, str, str]:
    """Outputs that a task's fits are made from: images, folds, channels."""
    return f"data/raw/{task}", f"data/folds/{task}.csv", f"data/quanvolved/{task}"


def tasks_of(clone: Path) -> list[str]:
    """Tasks of the commit's params.yaml."""
    return list(yaml.safe_load((clone / "params.yaml").read_text(encoding="utf-8"))["datasets"])


def make_inputs(place: Workplace, recorded: Recorded, task: str, start: str) -> None:
    """Images of a task by checksum from what was recorded, else fetched; its folds and channels made again."""
    raw, folds, channels = paths_of(task)
    if not place.has_done(f"raw-{task}"):
        if start != "raw" and recorded.is_whole(raw):
            copy_output(recorded, raw, place.clone)
        else:
            place.run_whole("fetch", task)
        place.set_done(f"raw-{task}")
    for command, path in (("split", folds), ("quanvolve", channels)):
        if not place.has_done(f"{command}-{task}"):
            place.run_whole(command, task)
            place.set_done(f"{command}-{task}")
        if start == "train" and recorded.is_whole(path) and checksum_of(place.clone / path) != recorded.lock[path]:
            log.info("%s is not as recorded: kept beside, and fits are made from the recorded one", path)
            copy_path(place.clone / path, place.folder / "made" / path)
            copy_output(recorded, path, place.clone)


def compare_inputs(place: Workplace, recorded: Recorded, task: str) -> tuple[list[str], list[str]]:
    """What of a task's images, folds and channels is not as recorded: (not the same, the same but for rounding)."""
    different: list[str] = []
    rounded: list[str] = []
    for path in paths_of(task):
        made = place.folder / "made" / path
        made = made if made.exists() else place.clone / path
        if path not in recorded.lock or not made.exists() or checksum_of(made) == recorded.lock[path]:
            continue
        names = recorded.lists.get(path)
        if names is None:
            different.append(f"{path}: dvc.lock says {recorded.lock[path][:12]}, made again {checksum_of(made)[:12]}")
            continue
        again = {"": made} if made.is_file() else {f.relative_to(made).as_posix(): f for f in files_below(made)}
        for name in sorted(names.keys() | again.keys()):
            whole = f"{path}/{name}".rstrip("/")
            if name not in again or name not in names:
                different.append(f"{whole} is {'not made again' if name not in again else 'new'}")
            elif md5_of(again[name]) != names[name]:
                says = _what_differs(recorded.root / whole, again[name])
                (rounded if says.startswith("rounding") else different).append(f"{whole} differs: {says}")
    # a card holds the digest of its channels
    return (different, rounded) if any(not line.split(" ")[0].endswith(".json") for line in different) else (
        [], rounded + different
    )  # fmt: skip


def _what_differs(then: Path, now: Path) -> str:
    if not then.is_file():
        return "the recorded file is not at hand"
    if now.suffix == ".npy":
        try:
            one, other = (np.load(path, allow_pickle=False) for path in (then, now))
        except (ValueError, EOFError, OSError) as error:
            return str(error)
        if one.shape == other.shape and one.dtype.kind == "f" and other.dtype.kind == "f":
            largest = float(np.abs(one.astype(np.float64) - other).max())
            word = "rounding, " if largest <= TOLERANCE else ""
            return f"{word}{int((one != other).sum())} of {one.size} numbers, by at most {largest:.1e}"
        return "other shapes or values"
    lines = [path.read_bytes().splitlines() for path in (then, now)]
    rows = [i for i, (a, b) in enumerate(zip(*lines, strict=False), 1) if a != b]
    return f"line {rows[0]}, and {len(rows) - 1} more" if rows else "other lengths"


def make_fits(place: Workplace, task: str, fits: Sequence[str], is_whole: bool) -> int:
    """Fit these folds of a task, which are all of them or some; returns how many this process fitted."""
    step = f"train-{task}-{fingerprint(sorted(fits))}"
    if place.has_done(step):
        return 0
    before = set(_store(place))
    only = () if is_whole else (word for fit in fits for word in ("--only", fit.removeprefix(f"{task}/")))
    place.run_whole("train", task, *only)
    made = len(set(_store(place)) - before)
    place.set_done(step, fits=made)
    return made


def takes_only(place: Workplace) -> bool:
    """Whether the commit's `qlcnet train` can be asked for some fits; older ones fit all of a task."""
    return "--only" in place.run("train", "--help", quiet=True)[1]


def _store(place: Workplace) -> Mapping[str, Path]:
    """Folders of finished fits of the clone, by fingerprint."""
    store = Project(place.clone).store
    return {p.name: p for p in store.iterdir() if (p / FILES[0]).is_file()} if store.is_dir() else {}


def link_fits(place: Workplace, recorded: Recorded, fits: Sequence[str]) -> dict[str, Path]:
    """The folder of each recomputed fit, by name; a fit that stands under several names has one in the store."""
    by_name: dict[str, Path] = {}
    store = _store(place)
    for folder in store.values():
        by_name[read_provenance(folder).get("name", "")] = folder
    found = {}
    for fit in fits:
        linked = Project(place.clone).fits / fit
        recorded_as = recorded.fingerprint_of(fit)
        if fit in by_name:
            found[fit] = by_name[fit]
        elif recorded_as in store:
            found[fit] = store[recorded_as]
        elif (linked / FILES[0]).is_file():
            found[fit] = linked
    return found


def make_report(
    place: Workplace, recorded: Recorded, made: Mapping[str, Path], fits: Collection[str], start: str
) -> str:
    """The commit's own report of recomputed fits, with recorded ones where none was; why not, where it cannot be."""
    step = f"report-{fingerprint(sorted(made))}"
    if place.has_done(step):
        return ""
    others = sorted(set(fits) - made.keys())
    if lacking := [fit for fit in others if not recorded.has_fit(fit)]:
        return f"report not recomputed: the recorded fit {lacking[0]} is not at hand, nor {len(lacking) - 1} others"
    try:
        for task in tasks_of(place.clone):
            for path in paths_of(task):
                if not (place.clone / path).exists():
                    if not recorded.is_whole(path):
                        return f"report not recomputed: {path} is not at hand"
                    copy_output(recorded, path, place.clone)
        results = Project(place.clone).fits
        if others or start == "report":
            copy_fits(recorded, others, results)
            for fit, folder in made.items():
                shutil.rmtree(results / fit, ignore_errors=True)
                shutil.copytree(folder, results / fit, ignore=shutil.ignore_patterns(PROVENANCE))
        place.run_whole("report")
    except (ReproduceError, OSError) as error:
        return f"report not recomputed: {error}"
    place.set_done(step)
    return ""
