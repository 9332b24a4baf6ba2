"""Files and folders that appear whole or not at all: written beside, synced, renamed."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when all went well, and vanishes otherwise. Raises OSError.

    Its name holds the process: processes that write the same file do not meet, and the last one wins.
    """
    _make(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield beside
        _sync(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str) -> None:
    """A whole file with this content; text is written as UTF-8 with its own line ends."""
    with whole_file(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


def write_synced(path: Path, content: bytes | str) -> None:
    """A file of a folder that is not yet in its place: on disk, once this returns."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    _sync(path)


def sync_folder(folder: Path) -> None:
    """The names in a folder: on disk, once this returns."""
    _sync(folder)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` when all went well, and vanishes otherwise.

    Processes that write the same folder wait for each other. Raises OSError.
    """
    from filelock import FileLock  # fits read image sets and folds without it

    _make(folder.parent)
    beside, old = (folder.with_name(f".{folder.name}.{word}") for word in ("partial", "old"))
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        for leftover in (beside, old):  # of a run that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        beside.mkdir()
        try:
            yield beside
            if folder.exists():
                folder.rename(old)
            beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def share_file(file: Path, target: Path) -> None:
    """A hard link in the place of `target`, or a copy across file systems.

    Beside, then renamed: to copy onto a name that another process has just linked would write into its file.
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}.partial")
    beside.unlink(missing_ok=True)
    try:
        os.link(file.resolve(), beside)  # of what a symbolic link leads to
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES):
            raise
        shutil.copyfile(file, beside)
    beside.replace(target)
    beside.unlink(missing_ok=True)  # a rename onto another link of the same file does nothing


def _make(folder: Path) -> None:
    """A folder that is there, or is made. Raises OSError, which names a link that leads nowhere."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        dangling = next((p for p in (folder, *folder.parents) if p.is_symlink() and not p.exists()), None)
        if dangling is None:
            raise
        raise FileExistsError(
            errno.EEXIST, f"is a link to {os.readlink(dangling)}, which is not there: make that, or remove the link",
            str(dangling),
        ) from None  # fmt: skip


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
