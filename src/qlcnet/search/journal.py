"""The journal file of a search: one a search, readable again after its writer was killed in the middle of a line."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.storages import JournalStorage

log = logging.getLogger("qlcnet")
GRACE = 10  # seconds after which the lock of a process that was killed with it is broken; a line takes milliseconds


class JournalError(ValueError):
    """A journal cannot be read; the message names its file."""


def open_journal(folder: Path, search: str) -> JournalStorage:
    """The storage of the search of that name, a file below `folder`. Raises JournalError."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{search.replace('/', '_')}.log"
    lock = JournalFileSymlinkLock(str(path), GRACE)
    lock.acquire()  # nobody is in the middle of a line now
    try:
        _mend(path)
    finally:
        lock.release()
    return JournalStorage(JournalFileBackend(str(path), JournalFileSymlinkLock(str(path), GRACE)))


def _mend(path: Path) -> None:
    """Drop a last line that was not finished; raise JournalError for any other that is no JSON."""
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            json.loads(line)
        except ValueError:
            raise JournalError(
                f"{path}, line {number} is damaged: remove the file to start this search again; other searches have "
                "files of their own"
            ) from None
    if len(whole) < len(content):
        log.warning("%s: its last line was not finished, and is dropped", path)
        with path.open("r+b") as file:
            file.truncate(len(whole))
