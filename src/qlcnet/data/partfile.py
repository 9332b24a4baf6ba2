"""A file while it grows beside its final name, with its running MD5; and the MD5 of a whole one."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from tqdm import tqdm

from qlcnet.address import without_password

BLOCK = 1 << 20  # bytes read from the network or the disk at once
LONG = 200 * BLOCK  # bytes whose checksum takes long enough for a progress bar


def md5_of(path: Path) -> str:
    """MD5 of a file, 32 hex digits; with a progress bar where it takes seconds. Raises OSError."""
    digest = hashlib.md5(usedforsecurity=False)
    size = path.stat().st_size
    hidden = True if size < LONG else None  # None: drawn on a terminal only
    bar = tqdm(total=size, unit="B", unit_scale=True, desc=f"checking {path.name}", leave=False, disable=hidden)
    with path.open("rb") as file, bar:
        while block := file.read(BLOCK):
            digest.update(block)
            bar.update(len(block))
    return digest.hexdigest()


class PartFile:
    """The file while it grows: bytes on disk with their running MD5, and where they came from."""

    def __init__(self, path: Path) -> None:
        self.path, self.note = path, path.with_name(path.name + ".json")
        self._file = path.open("a+b")
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._file.seek(0)
        while block := self._file.read(BLOCK):
            self._md5.update(block)
        self.size = self._file.tell()
        self.most = self.size  # bytes this ever held: growth tells progress from going in circles
        self.mismatch = ""  # what the present address sent as the whole file, if that was wrong

    def __enter__(self) -> PartFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self.size == 0:
            self.path.unlink(missing_ok=True)
            self.note.unlink(missing_ok=True)

    @property
    def md5(self) -> str:
        """MD5 of the bytes so far."""
        return self._md5.hexdigest()

    def append(self, block: bytes) -> None:
        """Add bytes at the end."""
        self._file.write(block)
        self._md5.update(block)
        self.size += len(block)
        self.most = max(self.most, self.size)

    def restart(self) -> None:
        """Throw the bytes away."""
        self._file.truncate(0)
        self._md5, self.size = hashlib.md5(usedforsecurity=False), 0

    def validator(self, url: str) -> str | None:
        """ETag or date that `url` gave for these bytes, for If-Range."""
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return note.get("validator") if isinstance(note, dict) and note.get("url") == without_password(url) else None

    def remember(self, url: str, headers: Any) -> None:
        """Note where the bytes come from, and by what the server tells whether its file has changed."""
        etag = headers.get("ETag", "")
        validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
        self.note.write_text(json.dumps({"url": without_password(url), "validator": validator}), encoding="utf-8")

    def finish(self, target: Path) -> None:
        """Give the whole file its final name. Raises OSError."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self.path.replace(target)
        self.note.unlink(missing_ok=True)
