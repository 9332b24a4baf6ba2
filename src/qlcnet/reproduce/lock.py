"""dvc.lock of a commit: what each stage read and wrote, and where DVC keeps it. Reads DVC's files; runs no DVC."""

from __future__ import annotations

import configparser
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from qlcnet.config import ParamsError, load_params, parse_params
from qlcnet.paths import Project

LOCAL_CONFIG = "config.local"  # of DVC: of this machine, not in git
DIRECTORY = ".dir"  # ends the checksum of a folder: of its list of files


@dataclass(frozen=True)
class Entry:
    """A dependency or an output of a stage."""

    path: str
    md5: str


@dataclass(frozen=True)
class Stage:
    """params: by dotted key of params.yaml, or the whole file under an empty key's mapping."""

    name: str
    deps: tuple[Entry, ...]
    outs: tuple[Entry, ...]
    params: Mapping[str, Any]


def parse_lock(text: str | None) -> dict[str, Stage]:
    """The stages of a dvc.lock by name; none of a commit without one."""
    stages = ((yaml.safe_load(text) or {}) if text else {}).get("stages", {})
    return {name: _stage(name, of_stage) for name, of_stage in stages.items()}


def _stage(name: str, found: Mapping[str, Any]) -> Stage:
    deps, outs = (
        tuple(Entry(one["path"], str(one["md5"])) for one in found.get(kind, []) if "md5" in one)
        for kind in ("deps", "outs")
    )
    return Stage(name, deps, outs, found.get("params", {}).get("params.yaml", {}))


def outputs_of(stages: Mapping[str, Stage]) -> dict[str, str]:
    """Checksum of each output, by path."""
    return {out.path: out.md5 for stage in stages.values() for out in stage.outs}


def is_reported(project: Project) -> bool:
    """Whether results/ has, byte for byte, the report that dvc.lock says was made of params.yaml as it stands."""
    lock = project.root / "dvc.lock"
    stage = parse_lock(lock.read_text(encoding="utf-8") if lock.is_file() else None).get("report")
    try:
        if stage is None or parse_params(dict(stage.params)) != load_params(project.params):
            return False
    except ParamsError:
        return False
    made = {project.root / out.path: out.md5 for out in stage.outs if not out.md5.endswith(DIRECTORY)}
    return bool(made) and all(path.is_file() and md5_of(path) == md5 for path, md5 in made.items())


def contradictions(stages: Mapping[str, Stage], cache: Cache) -> list[str]:
    """Outputs that cannot come from their inputs: a stage read another file than the one that the lock says was made.

    A dependency on a folder above several outputs (`results/folds`) is the list of all their files, where `cache` has
    those lists.
    """
    made = outputs_of(stages)
    found = []
    for stage in stages.values():
        for dep in stage.deps:
            now = made.get(dep.path) or _joined(dep.path, made, cache)
            if now and now != dep.md5:
                outs = ", ".join(out.path for out in stage.outs)
                found.append(
                    f"dvc.lock: {outs} cannot come from its inputs: {stage.name} read {dep.path} as {dep.md5[:12]}, "
                    f"which was made as {now[:12]}"
                )
    return found


def _joined(folder: str, made: Mapping[str, str], cache: Cache) -> str | None:
    """Checksum of a folder whose subfolders are outputs; None where there is none, or a list is not at hand."""
    joined: dict[str, str] = {}
    inside = [path for path in made if path.startswith(f"{folder}/")]
    for path in inside:
        files = cache.list_files(made[path])
        if files is None:
            return None
        joined |= {f"{path.removeprefix(folder + '/')}/{name}".rstrip("/"): md5 for name, md5 in files.items()}
    return hashlib.md5(listing(joined), usedforsecurity=False).hexdigest() + DIRECTORY if inside else None


def stale(stages: Mapping[str, Stage], root: Path) -> list[str]:
    """Sources of `root`, a fresh checkout, that are not those which the stages of the lock ran with."""
    made = outputs_of(stages)
    found: dict[str, list[str]] = {}
    for stage in stages.values():
        for dep in stage.deps:
            inside = any(out.startswith(f"{dep.path}/") for out in made)
            path = root / dep.path
            if dep.path not in made and not inside and path.exists() and checksum_of(path) != dep.md5:
                found.setdefault(dep.path, []).append(stage.name)
    return [f"{path} is not the one that {', '.join(names)} ran with" for path, names in found.items()]


def checksum_of(path: Path) -> str:
    """DVC's checksum of a file, or of a folder: md5 of the JSON list of its files, ordered by path."""
    if path.is_file():
        return md5_of(path)
    files = sorted((file.relative_to(path).as_posix(), file) for file in files_below(path))
    return hashlib.md5(listing({name: md5_of(file) for name, file in files}), usedforsecurity=False).hexdigest() + (
        DIRECTORY
    )


def listing(files: Mapping[str, str]) -> bytes:
    """The content of a folder's object in DVC's cache."""
    return json.dumps([{"md5": md5, "relpath": name} for name, md5 in sorted(files.items())], sort_keys=True).encode()


def files_below(folder: Path) -> Iterator[Path]:
    """Regular files below a folder but those that .dvcignore names: caches of bytecode, and what is being written."""
    for path in folder.rglob("*"):
        hidden = path.name.startswith(".") and path.suffix in (".partial", ".old", ".lock")
        if path.is_file() and "__pycache__" not in path.parts and not hidden:
            yield path


def md5_of(path: Path) -> str:
    """32 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def cache_of(root: Path) -> Path:
    """DVC's cache of the project in `root`: `cache.dir` of its configuration, else .dvc/cache."""
    config = dvc_config(root)
    if config.has_option("cache", "dir"):
        return (root / ".dvc" / config.get("cache", "dir")).resolve()
    return root / ".dvc" / "cache"


def dvc_config(root: Path) -> configparser.ConfigParser:
    """DVC's configuration of the project in `root`: what config.local says goes before config."""
    config = configparser.ConfigParser(interpolation=None)
    config.read([root / ".dvc" / name for name in ("config", LOCAL_CONFIG)], encoding="utf-8")
    return config


@dataclass(frozen=True)
class Cache:
    """Objects of DVC by checksum, in the first of `folders` that has one."""

    folders: Sequence[Path]

    def find_object(self, md5: str) -> Path | None:
        """The file of a checksum; None where no cache has it."""
        for folder in self.folders:
            for place in (folder / "files" / "md5", folder):  # of DVC 3, of DVC 2
                if (path := place / md5[:2] / md5[2:]).is_file():
                    return path
        return None

    def list_files(self, md5: str) -> dict[str, str] | None:
        """Checksums by path of the files of an output: of a folder below it, of a file under "". None: not there."""
        if not md5.endswith(DIRECTORY):
            return {"": md5}
        found = self.find_object(md5)
        if found is None:
            return None
        return {one["relpath"]: one["md5"] for one in json.loads(found.read_text(encoding="utf-8"))}
