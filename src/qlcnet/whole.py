"""A folder that appears whole or not at all, written beside the one whose place it takes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the place of `folder` when all went well, and vanishes otherwise.

    Processes that write the same folder wait for each other. Raises OSError.
    """
    from filelock import FileLock  # fits read image sets and folds without it

    folder.parent.mkdir(parents=True, exist_ok=True)
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
