"""Every picture file read once, several at a time, into a file without a name from which the set is then written.

How many can be used, and whether one has colours, is known when all are read, and a set says both before its first
image. Until then images lie, at their final size, in that file: memory stays flat, and a killed process leaves nothing.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

import numpy as np

from qlcnet import machine
from qlcnet.data.folder.layout import ImageFile
from qlcnet.data.folder.picture import BrokenPictureError, Picture, PictureRules, WindowMissingError, read_picture
from qlcnet.data.imageset import DataError, rows_in_chunk

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4  # pictures a thread that are read and wait for their turn
MOST_BYTES = 1 << 30  # of one file


class _Outcome(NamedTuple):
    """What became of one file: its SHA-256, or why it has none; its picture, or why it cannot be used."""

    checksum: str
    picture: Picture | None
    error: DataError | None


@dataclass
class Reading:
    """What is known once every file has been read. `checksums` are of all files, `kept` has positions among them."""

    rules: PictureRules
    spool: IO[bytes]  # pixels of those that are kept
    kept: list[int] = field(default_factory=list)
    checksums: list[str] = field(default_factory=list)
    broken: dict[int, BrokenPictureError] = field(default_factory=dict)  # by position
    without_window: list[WindowMissingError] = field(default_factory=list)
    has_colour: bool = False
    deep: int = 0  # pictures of more than 8 bits a pixel
    enlarged: int = 0  # pictures smaller than their image

    def add(self, outcome: _Outcome) -> None:
        """Take the next file's outcome."""
        position = len(self.checksums)
        self.checksums.append(outcome.checksum)
        if isinstance(outcome.error, BrokenPictureError):
            self.broken[position] = outcome.error
        elif isinstance(outcome.error, WindowMissingError):
            self.without_window.append(outcome.error)
        elif outcome.picture:
            pixels, side, is_deep = outcome.picture
            self.kept.append(position)
            self.spool.write(np.ascontiguousarray(pixels).data)
            self.has_colour = self.has_colour or bool((pixels != pixels[..., :1]).any())
            self.deep += is_deep
            self.enlarged += side < self.rules.size

    def digest(self, names: Iterable[str]) -> str:
        """SHA-256 over the names and bytes of all files, those that cannot be used included, 64 hex digits."""
        lines = sorted(f"{name}\0{checksum}\n" for name, checksum in zip(names, self.checksums, strict=True))
        return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()

    def chunks(self, channels: int) -> Iterator[np.ndarray]:
        """The images that are kept, uint8 (n, size, size, channels), about 16 MB at a time; once."""
        size, stored = self.rules.size, self.rules.channels
        row = size * size * stored
        with self.spool:
            self.spool.seek(0)
            while content := self.spool.read(row * rows_in_chunk((1, row))):
                # of grey pictures every channel is the same
                yield np.frombuffer(content, np.uint8).reshape(-1, size, size, stored)[..., :channels]


def read_all(files: Sequence[ImageFile], rules: PictureRules, scratch: Path) -> Reading:
    """Read files in their order, on all cores: Pillow lets go of Python's lock while it works. Raises OSError."""
    from tqdm import tqdm

    scratch.mkdir(parents=True, exist_ok=True)
    threads = machine.cores()
    with ExitStack() as open_until_read:
        reading = Reading(rules, open_until_read.enter_context(tempfile.TemporaryFile(dir=scratch)))
        bar = tqdm(total=len(files), unit="image", desc="reading", leave=False, disable=None)
        with ThreadPoolExecutor(threads) as pool, warnings.catch_warnings(), bar:
            warnings.simplefilter("ignore")  # Pillow's, of odd metadata: thousands of lines
            for outcome in _in_order(pool, partial(_read, rules=rules), files, AHEAD * threads):
                reading.add(outcome)
                bar.update()
        open_until_read.pop_all()
    return reading


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Results in the order of their items, of which at most `ahead` are begun before one is taken."""
    begun: deque[Future[Result]] = deque()
    for item in items:
        begun.append(pool.submit(work, item))
        if len(begun) == ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def _read(file: ImageFile, rules: PictureRules) -> _Outcome:
    if file.size > MOST_BYTES:
        return _Outcome("too large", None, BrokenPictureError(f"{file.size:,} bytes, more than {MOST_BYTES:,}"))
    try:
        content = Path(file.path).read_bytes()
    except OSError as error:
        return _Outcome("unreadable", None, BrokenPictureError(f"cannot be read ({error.strerror})"))
    checksum = hashlib.sha256(content).hexdigest()
    try:
        return _Outcome(checksum, read_picture(content, rules), None)
    except DataError as error:
        return _Outcome(checksum, None, error)
