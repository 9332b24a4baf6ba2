"""A folder of image files: which there are, and what the folders that they lie in say of part and class."""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from qlcnet.data.imageset import PARTS, DataError
from qlcnet.data.shown import MOST_SHOWN, shown

ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".webp"})
RUBBISH = frozenset({"__macosx", "thumbs.db", "desktop.ini"})  # besides all that starts with a dot
PART_FOLDERS = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
LABELS_ADVICE = (
    "put each into a subfolder that is named after its class, or give `labels: {path: <a CSV>, file: <its column of "
    "file names>, label: <its column of classes>}`"
)


class ImageFile(NamedTuple):
    """`name`: below the folder, with `/`, in Unicode's composed form, as it counts everywhere."""

    name: str
    path: str
    size: int  # bytes


@dataclass(frozen=True)
class Listing:
    """What a folder holds, sorted: image files, names of other files, subfolders (also empty ones) by name."""

    images: tuple[ImageFile, ...]
    others: tuple[str, ...]
    folders: tuple[str, ...]

    @property
    def digest(self) -> str:
        """SHA-256 over names and sizes of the image files: cheap, and other whenever files come, go or are replaced."""
        lines = (f"{image.name}\0{image.size}\n" for image in self.images)
        return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()

    @property
    def others_by_ending(self) -> str:
        """Such as `12 .csv, 1 without an ending`."""
        counts = Counter(PurePosixPath(name).suffix.lower() or "without an ending" for name in self.others)
        return ", ".join(f"{count:,} {ending}" for ending, count in counts.most_common(MOST_SHOWN))


def list_folder(folder: Path) -> Listing:
    """All below a folder but what is hidden; links are followed. Raises DataError for a link into itself, OSError."""
    images: list[ImageFile] = []
    others: list[str] = []
    folders: list[str] = []
    for name, entry in _walk(folder, "", ()):
        if entry.is_dir():
            folders.append(name)
        elif PurePosixPath(name).suffix.lower() in ENDINGS and (size := _size(entry)) is not None:
            images.append(ImageFile(name, entry.path, size))
        else:
            others.append(name)
    return Listing(tuple(sorted(images)), tuple(sorted(others)), tuple(sorted(folders)))


def _walk(
    folder: str | Path, above: str, opened: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    status = os.stat(folder)
    if (here := (status.st_dev, status.st_ino)) in opened:
        raise DataError(f"{above.rstrip('/')} is a link to a folder that it lies in; remove it")
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name.casefold() in RUBBISH:
                continue
            name = above + unicodedata.normalize("NFC", entry.name)
            yield name, entry
            if entry.is_dir():
                yield from _walk(entry.path, f"{name}/", (*opened, here))


def _size(entry: os.DirEntry[str]) -> int | None:
    """Bytes of a file; 0 of a link that leads nowhere, which is a broken image; None of a pipe and the like."""
    try:
        status = entry.stat()
    except OSError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def parts_of(listing: Listing) -> list[str] | None:
    """The part of the official split of each image, by the folders at the top; None where these are not split folders.

    They are where all of them are named so (PART_FOLDERS, in any case) and no image lies beside them. Raises DataError
    where it is not clear whether a name means a part or a class.
    """
    tops = [image.name.partition("/")[0] if "/" in image.name else "" for image in listing.images]
    there = sorted(set(tops))
    named = {top: PART_FOLDERS[top.casefold()] for top in there if top.casefold() in PART_FOLDERS}
    if not named:
        return None
    if others := [top for top in there if top not in named]:
        # a class may be called `train`; several parts, or one with folders in it, are a split with something beside it
        if len(named) == 1 and not any(f.startswith(f"{top}/") for top in named for f in listing.folders):
            return None
        beside = "images" if others == [""] else ", ".join(other or "images" for other in others[:MOST_SHOWN])
        raise DataError(
            f"beside the split folders {', '.join(named)} lie {beside}: move what belongs to no part elsewhere, or "
            "rename what is no part"
        )
    twice = [part for part, count in Counter(named.values()).items() if count > 1]
    if twice:
        same = [top for top, part in named.items() if part == twice[0]]
        raise DataError(f"{' and '.join(same)} are both the {twice[0]} part: keep one")
    if "train" not in named.values():
        raise DataError(
            f"of the split there is {', '.join(named)}, but no folder train: if its subfolders are the classes, give "
            f"`path: …/{next(iter(named))}`"
        )
    return [named[top] for top in tops]


def classes_of(listing: Listing, are_split: bool) -> list[str]:
    """The class of each image: the folder below the top, or below its part, however deep the image lies in it.

    Raises DataError for images outside of class folders, and for class folders without an image.
    """
    depth = 1 if are_split else 0
    components = [image.name.split("/") for image in listing.images]
    if stray := [image.name for image, parts in zip(listing.images, components, strict=True) if len(parts) < depth + 2]:
        raise DataError(f"images in no class folder: {shown(stray)}; {LABELS_ADVICE}")
    classes = [parts[depth] for parts in components]
    folders = [folder.split("/") for folder in listing.folders]
    there = {f[depth] for f in folders if len(f) == depth + 1 and (not are_split or f[0].casefold() in PART_FOLDERS)}
    if empty := sorted(there - set(classes)):
        raise DataError(
            f"class folders without an image: {shown(empty)}; read are PNG, JPEG, TIFF and WebP (other files here: "
            f"{listing.others_by_ending or 'none'}); convert what they hold, or move them away"
        )
    return classes


def in_order_of_parts(parts: Sequence[str]) -> list[int]:
    """Positions sorted by part, within a part as they were."""
    return sorted(range(len(parts)), key=lambda i: PARTS.index(parts[i]))
