"""What a commit recorded, from where the user has it: the checkout, DVC's caches; a tree of links to it.

What other sources keep of a fit (MLflow, docs/results) is laid beside it: partial.py.

Every file is held against the checksum of the commit's dvc.lock: one that is not what was recorded is named.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qlcnet import git
from qlcnet.fit.fold_folder import FILES, read_config
from qlcnet.fit.soundness import problem_in
from qlcnet.fit.task_facts import FILE as TASK_FILE
from qlcnet.paths import Project
from qlcnet.reproduce.lock import (
    DIRECTORY,
    Cache,
    Stage,
    cache_of,
    files_below,
    listing,
    md5_of,
    outputs_of,
    parse_lock,
)
from qlcnet.reproduce.partial import Partial

SUMMARY, METRICS = "results/summary.json", "results/metrics.json"
IN_GIT = (SUMMARY, METRICS, "results/curves.csv")


@dataclass
class Recorded:
    """root: a tree of links, laid out as a project. origins: where each output is from.

    problems: files that are not what was recorded, a line each; unsound: the outputs that they are of. lists: of the
    outputs that DVC knows file by file, checksums by path. partial: of fits that are at hand in part, by name.
    published: the folder of a published study that some of them are from.
    """

    root: Path
    stages: dict[str, Stage]
    cache: Cache
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unsound: set[str] = field(default_factory=set)
    lists: dict[str, dict[str, str]] = field(default_factory=dict)
    partial: dict[str, Partial] = field(default_factory=dict)
    published: Path | None = None

    @property
    def project(self) -> Project:
        """The places of its files."""
        return Project(self.root)

    @property
    def lock(self) -> dict[str, str]:
        """Checksum of each output."""
        return outputs_of(self.stages)

    def fits(self) -> list[str]:
        """Names of the fits at hand or known by name: task/backbone/model/repeat-r/fold-k, in order."""
        names = {
            f"{output.removeprefix('results/folds/')}/{path.rpartition('/')[0]}"
            for output, files in self.lists.items()
            if output.startswith("results/folds/")
            for path in files
            if path.count("/") == 4
        }
        return sorted(names)

    def has_fit(self, name: str) -> bool:
        """Whether all files of a fit are at hand."""
        return all((self.project.fits / name / file).is_file() for file in FILES)

    def knows_fit(self, name: str) -> bool:
        """Whether a fit is at hand, whole or in part."""
        return name in self.partial or self.has_fit(name)

    def fingerprint_of(self, name: str) -> str:
        """That which a recorded fit states; empty where it is not at hand or damaged."""
        try:
            return str(read_config(self.project.fits / name).get("fingerprint", ""))
        except (OSError, ValueError):
            return ""

    def is_whole(self, path: str) -> bool:
        """Whether every file of an output is at hand, and what was recorded."""
        names = self.lists.get(path)
        return names is not None and path not in self.unsound and all((self.root / path / n).is_file() for n in names)

    def name_problem(self, output: str, what: str) -> None:
        """A file of an output is not what was recorded."""
        self.problems.append(what)
        self.unsound.add(output)


def gather(root: Path, commit: str, folder: Path, wanted: Callable[[str], bool], clone: Path | None = None) -> Recorded:
    """Link what the commit in the repository of `root` recorded into `folder`, anew.

    wanted: whether a path is to be verified byte by byte; others are linked alone. clone: whose cache is looked at too.
    """
    found = nothing_in(folder)
    found.cache = Cache([cache_of(root), *([clone / ".dvc" / "cache"] if clone else [])])
    found.stages = parse_lock(git.text_at(root, commit, "dvc.lock"))
    in_checkout = outputs_of(parse_lock(_text(root / "dvc.lock")))
    is_here = git.head(root) == commit
    for path, md5 in found.lock.items():
        if path in IN_GIT:
            continue
        source = root / path if in_checkout.get(path) == md5 and (root / path).exists() else None
        _take(found, path, md5, source, wanted)
    for path in IN_GIT:
        text = _text(root / path) if is_here else None
        origin = "the checkout" if text is not None else f"the commit {commit[:12]}"
        text = git.text_at(root, commit, path) if text is None else text
        if text is None:
            continue
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text.encode())
        found.origins[path] = origin
        if path in found.lock and _md5(text.encode()) != found.lock[path]:
            found.name_problem(path, f"{path} of {origin} is not what dvc.lock says was made")
    return found


def nothing_in(folder: Path) -> Recorded:
    """No record as yet, laid out in `folder`, anew."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Recorded(folder, {}, Cache([]))


def _take(found: Recorded, path: str, md5: str, source: Path | None, wanted: Callable[[str], bool]) -> None:
    """One output: each file from the checkout where that has it, else from the cache."""
    cache = found.cache
    files = cache.list_files(md5)
    if files is None and source is None:
        return
    listed = files is not None
    if files is None:
        assert source is not None
        files = {file.relative_to(source).as_posix(): "" for file in files_below(source)}
    origins, actual = set(), {}
    for name, expected in files.items():
        whole = f"{path}/{name}".rstrip("/")
        place = source / name if source and name else source
        origin = "the checkout"
        if place is None or not place.is_file():
            if source is not None and cache.find_object(expected):
                found.name_problem(path, f"{whole} is missing in the checkout: taken from DVC's cache")
            place, origin = cache.find_object(expected), "DVC's cache"
        if place is None:
            continue
        origins.add(origin)
        _link(place, found.root / whole)
        if not listed:
            actual[name] = md5_of(place)
        elif wanted(whole) and md5_of(place) != expected:
            found.name_problem(path, f"{whole} of {origin} is not what dvc.lock says was recorded")
    if source is not None and source.is_dir() and listed:
        extra = sorted({file.relative_to(source).as_posix() for file in files_below(source)} - files.keys())
        if extra:
            found.name_problem(path, f"{path}/{extra[0]} of the checkout is not in what dvc.lock says was recorded")
    if not listed and md5.endswith(DIRECTORY) and _md5(listing(actual)) + DIRECTORY != md5:
        found.name_problem(path, f"{path} of the checkout is not what dvc.lock says was recorded")
    found.lists[path] = files if listed else actual
    if origins:
        found.origins[path] = " and ".join(sorted(origins))


def problems_of_fits(folders: Mapping[str, Path], side: str) -> list[str]:
    """Fits whose files contradict the digests that their config.json holds, or their own identity."""
    found = {name: problem_in(folder) for name, folder in folders.items()}
    return [f"{name}, {side}: {problem}" for name, problem in found.items() if problem]


def copy_output(recorded: Recorded, path: str, target: Path) -> None:
    """A recorded output, with files of its own, in the place of `path` below another project."""
    copy_path(recorded.root / path, target / path)


def copy_path(source: Path, target: Path) -> None:
    """A copy of a file or folder in the place of another."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def copy_fits(recorded: Recorded, fits: Collection[str], results: Path) -> None:
    """Copies of recorded fits, and of what their task says of itself, into results/folds of another project."""
    for name in fits:
        target = results / name
        target.mkdir(parents=True, exist_ok=True)
        for file in (recorded.project.fits / name).iterdir():
            shutil.copyfile(file, target / file.name)
    for task in {name.split("/")[0] for name in fits}:
        if (facts := recorded.project.fits / task / TASK_FILE).is_file() and not (results / task / TASK_FILE).is_file():
            shutil.copyfile(facts, results / task / TASK_FILE)


def _link(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(file.resolve())


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
