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
from qlcnet.whole import sync_folder, whole_file, write_synced

log = logging.getLogger("qlcnet")
FINGERPRINT = re.compile(r"[0-9a-f]{32}")


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
        contents = {**files, PROVENANCE: config_text(provenance).encode()}
        beside = self._beside(fingerprint)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        for name, content in contents.items():
            write_synced(beside / name, content)
            (beside / name).chmod(0o444)  # hard-linked into results/: an edit there must not reach the store
        return self._commit(beside, fingerprint)

    def keep_as(self, former: str, fingerprint: str, config: Mapping[str, Any], provenance: Mapping[str, Any]) -> Path:
        """Keep a fit under another fingerprint and config.json too; large files are shared, the former one stays."""
        known = {**read_provenance(self.path(former)), **provenance, "adopted_from": former}
        beside = self._beside(fingerprint)
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        for name in FILES:
            if name != CONFIG:
                _share(self.path(former) / name, beside / name)
        for name, text in (
            (CONFIG, config_text(config)),
            (PROVENANCE, json.dumps(known, indent=1, sort_keys=True) + "\n"),
        ):
            write_synced(beside / name, text)
            (beside / name).chmod(0o444)
        return self._commit(beside, fingerprint)

    def _commit(self, beside: Path, fingerprint: str) -> Path:
        sync_folder(beside)
        final = self.path(fingerprint)
        try:
            beside.rename(final)
        except OSError:
            if fingerprint not in self:
                raise
            shutil.rmtree(beside)
        sync_folder(self.root)
        return final

    def link(self, fingerprint: str, destination: Path) -> None:
        """Put the fit's files, without provenance, at `destination`: hard links, or copies across file systems."""
        destination.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            (destination / name).unlink(missing_ok=True)
            _share(self.path(fingerprint) / name, destination / name)

    def entries(self) -> Iterator[Entry]:
        """All fits, by name."""
        found = []
        for folder in self.root.iterdir():
            if FINGERPRINT.fullmatch(folder.name) and (folder / CONFIG).is_file():
                known = read_provenance(folder)
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
        """Write fits into a tar archive (beside, then renamed); returns how many."""
        chosen = [e.fingerprint for e in self.entries() if fingerprints is None or e.fingerprint in fingerprints]
        with whole_file(archive) as beside, tarfile.open(beside, "w") as tar:
            for fingerprint in chosen:
                tar.add(self.path(fingerprint), arcname=fingerprint)
        return len(chosen)

    def import_(self, archive: Path) -> int:
        """Take the fits of an archive that the store lacks; returns how many. Anything but fold files is refused."""
        taken = 0
        try:
            with tarfile.open(archive) as tar:
                members: dict[str, dict[str, tarfile.TarInfo]] = {}
                for member in tar.getmembers():
                    if member.isdir():
                        continue
                    fingerprint, _, name = member.name.partition("/")
                    if not (member.isfile() and FINGERPRINT.fullmatch(fingerprint) and name in (*FILES, PROVENANCE)):
                        raise StoreError(
                            f"{archive}: {member.name!r} is no file of a fold; nothing was imported from it"
                        )
                    members.setdefault(fingerprint, {})[name] = member
                for fingerprint, files in members.items():
                    if not set(FILES) <= files.keys():
                        raise StoreError(f"{archive}: fit {fingerprint} lacks {sorted(set(FILES) - files.keys())}")
                    if fingerprint in self:
                        continue
                    contents = {name: _read_member(tar, member) for name, member in files.items()}
                    config = json.loads(contents[CONFIG])
                    if config.get("fingerprint") != fingerprint:
                        raise StoreError(f"{archive}: fit {fingerprint} says it is {config.get('fingerprint')}")
                    provenance = json.loads(contents.pop(PROVENANCE, b"{}"))
                    self.put(fingerprint, contents, provenance)
                    taken += 1
        except (tarfile.TarError, EOFError, json.JSONDecodeError) as error:
            raise StoreError(f"{archive}: not a whole archive of the fold store: {error}") from error
        return taken

    def _beside(self, fingerprint: str) -> Path:
        """Where this process writes a fit before it is whole. Machines may share a store: a pid alone says nothing."""
        return self.root / f".partial-{fingerprint}-{socket.gethostname()}-{os.getpid()}"

    def _sweep(self) -> None:
        """Remove what killed processes of this machine left half written."""
        for folder in self.root.glob(f".partial-*-{glob.escape(socket.gethostname())}-*"):
            pid = folder.name.rpartition("-")[2]
            if pid.isdigit() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)


def _share(file: Path, target: Path) -> None:
    """A hard link, or a copy across file systems."""
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # it is a regular file: checked before
    return file.read()
