"""Names of image files as tables write them: with or without their folders, with or without their ending."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from qlcnet.data.imageset import DataError


def match_ids(written: Sequence[str], names: Sequence[str]) -> list[int | None]:
    """For each id the position of the file that it means in `names` (with `/`, below one folder), or None.

    An id means a file whose name is the same, but for an ending that the id may lack, and whose folders are the same,
    as far as both have some, from the last on: `a`, `a.png`, `mel/a` and `/data/lesions/mel/a.png` all mean
    `mel/a.png`. Of several files it means that with which it has more folders in common; DataError where that leaves
    more than one. Ids that all are whole names mean just those. `\\` is `/`.
    """
    ids = [_tidy(text) for text in written]
    whole = {name: i for i, name in enumerate(names)}
    if all(one in whole for one in ids):
        return [whole[one] for one in ids]
    by_last: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        last = PurePosixPath(name)
        for form in {last.name, last.stem}:
            by_last[form].append(i)
    found = []
    for text, one in zip(written, ids, strict=True):
        *folders, last_part = one.split("/")
        overlaps = {i: _overlap(names[i].split("/")[:-1], folders) for i in by_last.get(last_part, ())}
        most = max(overlaps.values(), default=-1)
        hits = [i for i, overlap in overlaps.items() if overlap == most] if most >= 0 else []
        if len(hits) > 1:
            means = " or ".join(names[i] for i in hits[:3])
            raise DataError(f"{text!r} can mean {means}: write the folder and the ending too")
        found.append(hits[0] if hits else None)
    return found


def ids_as_written(written: Sequence[str], names: Sequence[str]) -> list[str]:
    """For each file the id by which a table calls it; its whole name if it does not. Raises DataError as match_ids, and
    where two ids mean one file."""
    calls = list(names)
    by: dict[int, str] = {}
    for text, i in zip(written, match_ids(written, names), strict=True):
        if i is None:
            continue
        if by.setdefault(i, text) != text:
            raise DataError(f"{by[i]!r} and {text!r} both mean {names[i]}")
        calls[i] = text
    return calls


def _tidy(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip()).replace("\\", "/").removeprefix("./")


def _overlap(one: Sequence[str], other: Sequence[str]) -> int:
    """How many folders both have, from the last on; -1 where they differ."""
    pairs = list(zip(reversed(one), reversed(other), strict=False))
    return len(pairs) if all(a == b for a, b in pairs) else -1
