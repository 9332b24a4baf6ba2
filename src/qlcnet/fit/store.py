"""The fold store `.qlcnet/folds/<fingerprint>/`: says which fits are done, and outlives every DVC output."""

from __future__ import annotations

import glob
import json
import logging
import os
import re
import shutil
import socket
import tarfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from qlcnet.fit.fold_folder import CONFIG, FILES, PROVENANCE, config_text, read_provenance
from qlcnet.fit.soundness import digest_of, problem_in, problem_of
from qlcnet.stored import DamagedError
from qlcnet.whole import share_file, sync_folder, whole_file, write_synced

log = logging.getLogger("qlcnet")
FINGERPRINT = re.compile(r"[0-9a-f]{32}")
NOTHING_TAKEN = "nothing was imported from it"
PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zX", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd
MOST_BYTES = 2 << 30  # of one file of a fit: weights of half a billion parameters


class StoreError(RuntimeError):
    """The store or an archive of it cannot be used."""


@dataclass(frozen=True)
class Entry:
    """One fit of the store."""

    fingerprint: str
    name: str  # task/backbone/model/repeat-r/fold-k under which it was fitted; it may stand under others too
    size: int  # bytes
    seconds: float | None
    fitted_at: float  # seconds since the epoch


class FoldStore:
    """Folders named by fingerprint. A folder appears whole or not at all: written beside, fsynced, renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def path(self, fingerprint: str) -> Path:
        """Where the fit with this fingerprint is, or would be."""
        return self.root / fingerprint

    def __contains__(self, fingerprint: str) -> bool:
        return (self.path(fingerprint) / CONFIG).is_file()

    def put(self, fingerprint: str, files: Mapping[str, bytes], provenance: Mapping[str, Any]) -> Path:
        """Keep a fit. One that is there already wins: two writers of one fingerprint write the same."""
        return self._commit(self._begin(fingerprint), fingerprint, files, provenance)

    def keep_as(self, former: str, fingerprint: str, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> Path:
        """Keep a fit under another fingerprint and config.json too; large files are shared, the former one stays."""
        known = {**read_provenance(self.path(former)), **provenance, "adopted_from": former}
        beside = self._begin(fingerprint)
        for name in FILES:
            if name != CONFIG:
                share_file(self.path(former) / name, beside / name)
        return self._commit(beside, fingerprint, {CONFIG: config_text(config).encode()}, known)

    def _begin(self, fingerprint: str) -> Path:
        """An empty folder in which this process writes a fit."""
        beside = self._beside(fingerprint)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        return beside

    def _commit(
        self, beside: Path, fingerprint: str, files: Mapping[str, bytes], provenance: Mapping[str, Any]
    ) -> Path:
        """Write `files` and a provenance that vouches for config.json, and let the folder take its place."""
        vouched = {**provenance, "config": digest_of(files[CONFIG])}
        for name, content in {**files, PROVENANCE: config_text(vouched).encode()}.items():
            write_synced(beside / name, content)
            (beside / name).chmod(0o444)  # hard-linked into results/: an edit there must not reach the store
        sync_folder(beside)
        final = self.path(fingerprint)
        try:
            beside.rename(final)
        except OSError:
            if fingerprint in self:
                shutil.rmtree(beside)
            else:  # a folder without config.json is no fit, and would be in the way for good
                self.set_aside(fingerprint, f"{CONFIG} is missing")
                beside.rename(final)
        sync_folder(self.root)
        return final

    def set_aside(self, fingerprint: str, why: str) -> None:
        """Take a fit that is not what it was out of the store, and say so; the folder is kept as `.damaged-…`."""
        folder = self.root / f".damaged-{fingerprint}-{time.time_ns()}"
        log.warning("the stored fit %s is damaged (%s): set aside as %s", fingerprint, why, folder.name)
        self.path(fingerprint).rename(folder)

    def problem(self, fingerprint: str) -> str | None:
        """What is wrong with the files of a stored fit; None where nothing is."""
        return problem_in(self.path(fingerprint))

    def link(self, fingerprint: str, destination: Path) -> None:
        """Put the fit's files, without provenance, at `destination`: hard links, or copies across file systems.

        Raises StoreError where they are not what was written.
        """
        if problem := self.problem(fingerprint):
            raise StoreError(f"the stored fit {fingerprint} is damaged ({problem}); run the same command again")
        destination.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            share_file(self.path(fingerprint) / name, destination / name)

    def entries(self) -> Iterator[Entry]:
        """All fits, by name. What cannot be read is left out, with a warning."""
        found = []
        for folder in self.root.iterdir():
            if FINGERPRINT.fullmatch(folder.name) and (folder / CONFIG).is_file():
                try:
                    known = read_provenance(folder)
                except DamagedError as error:
                    log.warning("left out: %s", error)
                    continue
                size = sum(file.stat().st_size for file in folder.iterdir())
                name = str(known.get("name", "?"))
                found.append(Entry(folder.name, name, size, known.get("seconds"), (folder / CONFIG).stat().st_mtime))
        yield from sorted(found, key=lambda entry: (entry.name, entry.fitted_at))

    def prune(self, keep: Collection[str], older_than_days: float = 0.0, dry_run: bool = False) -> list[Entry]:
        """Remove the fits that `keep` does not name and that are older than so many days; returns them."""
        limit = time.time() - older_than_days * 86400
        doomed = [e for e in self.entries() if e.fingerprint not in keep and e.fitted_at <= limit]
        if not dry_run:
            for entry in doomed:
                # renamed first: a kill between two unlinks must not leave a folder that looks whole
                dying = self._beside(entry.fingerprint)
                self.path(entry.fingerprint).rename(dying)
                shutil.rmtree(dying)
        return doomed

    def export(self, archive: Path, fingerprints: Collection[str] | None = None) -> int:
        """Write fits into a tar archive (beside, then renamed); returns how many. Damaged ones are left out.

        Raises StoreError for a name that does not say it is an archive: it would take the place of another file.
        """
        if archive.suffix != ".tar":
            raise StoreError(f"{archive}: an archive's name must end in .tar")
        chosen = [e.fingerprint for e in self.entries() if fingerprints is None or e.fingerprint in fingerprints]
        written = 0
        with whole_file(archive) as beside, tarfile.open(beside, "w") as tar:
            for fingerprint in chosen:
                if problem := self.problem(fingerprint):
                    log.warning("left out: the stored fit %s is damaged (%s)", fingerprint, problem)
                    continue
                tar.add(self.path(fingerprint), arcname=fingerprint)
                written += 1
        return written

    def import_(self, archive: Path) -> int:
        """Take the fits of an archive that the store lacks; returns how many.

        All or nothing: anything but sound fits is refused with a StoreError before one is taken.
        """
        if archive.exists() and not archive.is_file():  # a pipe or a device can be read for ever
            raise StoreError(f"{archive} is no regular file; {NOTHING_TAKEN}")
        try:
            with tarfile.open(archive, "r:") as tar:  # not compressed: what it puts into the store is as large as it is
                members = _members(archive, tar)
                for fingerprint, files in members.items():
                    if problem := problem_of({name: _read_member(tar, member) for name, member in files.items()}):
                        raise StoreError(f"{archive}: the fit {fingerprint} is damaged ({problem}); {NOTHING_TAKEN}")
                    config = json.loads(_read_member(tar, files[CONFIG]))
                    if config.get("fingerprint") != fingerprint:
                        stated = config.get("fingerprint")
                        raise StoreError(f"{archive}: fit {fingerprint} says it is {stated}; {NOTHING_TAKEN}")
                wanted = {name: files for name, files in members.items() if name not in self}
                for fingerprint, files in wanted.items():
                    contents = {name: _read_member(tar, member) for name, member in files.items()}
                    provenance = json.loads(contents.pop(PROVENANCE, b"{}"))
                    self.put(fingerprint, contents, provenance)
                return len(wanted)
        except (tarfile.TarError, EOFError, json.JSONDecodeError) as error:
            with archive.open("rb") as file:
                packed = file.read(4).startswith(PACKED)
            hint = "it is compressed; unpack it first" if packed else f"{error}"
            raise StoreError(f"{archive}: not a whole archive of the fold store: {hint}") from error

    def _beside(self, fingerprint: str) -> Path:
        """Where this process writes a fit before it is whole. Machines may share a store: a pid alone says nothing."""
        return self.root / f".partial-{fingerprint}-{socket.gethostname()}-{os.getpid()}"

    def _sweep(self) -> None:
        """Remove what killed processes of this machine left half written."""
        for folder in self.root.glob(f".partial-*-{glob.escape(socket.gethostname())}-*"):
            pid = folder.name.rpartition("-")[2]
            if pid.isdigit() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)


def _members(archive: Path, tar: tarfile.TarFile) -> dict[str, dict[str, tarfile.TarInfo]]:
    """Files of each fit, by fingerprint and name. Raises StoreError for anything else, and for files without bound."""
    members: dict[str, dict[str, tarfile.TarInfo]] = {}
    for member in tar:
        if member.isdir():
            continue
        fingerprint, _, name = member.name.partition("/")
        if not (
            member.isfile()
            and not member.issparse()
            and FINGERPRINT.fullmatch(fingerprint)
            and name in (*FILES, PROVENANCE)
        ):
            raise StoreError(f"{archive}: {member.name!r} is no file of a fold; {NOTHING_TAKEN}")
        if member.size > MOST_BYTES:
            raise StoreError(f"{archive}: {member.name!r} has {member.size:,} bytes; {NOTHING_TAKEN}")
        members.setdefault(fingerprint, {})[name] = member
    for fingerprint, files in members.items():
        if not set(FILES) <= files.keys():
            lacking = sorted(set(FILES) - files.keys())
            raise StoreError(f"{archive}: fit {fingerprint} lacks {lacking}; {NOTHING_TAKEN}")
    return members


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # it is a regular file: checked before
    return file.read()
