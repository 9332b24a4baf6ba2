"""The source `folder`: from what params.yaml says of a folder of image files to an image set."""

from __future__ import annotations

import importlib.metadata
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np

from qlcnet.config import FolderSource, portable_path
from qlcnet.data.folder.ids import ids_as_written
from qlcnet.data.folder.labels import read_labels
from qlcnet.data.folder.layout import (
    ImageFile,
    Listing,
    classes_of,
    in_order_of_parts,
    list_folder,
    parts_of,
)
from qlcnet.data.folder.picture import PictureRules
from qlcnet.data.folder.reading import Reading, read_all
from qlcnet.data.groups import Groups, read_groups
from qlcnet.data.imageset import DataError, ImageStream
from qlcnet.data.search_path import Fetcher
from qlcnet.data.shown import MOST_SHOWN, shown
from qlcnet.paths import Project

log = logging.getLogger("qlcnet")


class Files(NamedTuple):
    """Image files in the order of the set, each with its part and class."""

    images: list[ImageFile]
    parts: list[str]
    classes: list[str]

    @property
    def names(self) -> list[str]:
        return [image.name for image in self.images]

    def at(self, positions: Sequence[int]) -> Files:
        """Those at some positions."""
        images, parts, classes = self
        return Files([images[i] for i in positions], [parts[i] for i in positions], [classes[i] for i in positions])


def open_folder(source: FolderSource, fetcher: Fetcher) -> ImageStream:
    """Images in subfolders that are classes, or that a CSV labels; reads every file. Raises DataError, OSError."""
    folder, known_as = fetcher.bring_folder(source.path), portable_path(source.path)
    listing, called = list_folder(folder), PurePath(source.path).name
    checksum: dict[str, str] = {}
    files = _sort_in(source, folder, listing, fetcher, checksum)
    class_names, label_of = _number_classes(source, set(files.classes))
    labels = np.array([label_of[name] for name in files.classes], dtype=np.int64)
    groups = _read_groups(source, files, labels, fetcher, checksum)
    rules = PictureRules(source.size, source.colour == "grey", source.window)
    reading = read_all(files.images, rules, Project(fetcher.root).scratch)
    checksum[called] = reading.digest(files.names)
    _refuse_what_cannot_be_used(source, folder, files, reading)
    _compare_digest(source, folder, checksum[called], len(files.images))
    notes = [str(rules), *_findings(listing, files, reading)]
    files = files.at(reading.kept)
    if lost := sorted(label_of.keys() - set(files.classes)):
        raise DataError(f"{folder}: every image of {shown(lost)} is broken")
    about: dict[str, Any] = {
        "title": source.title or known_as,
        "source": f"the folder {known_as}, declared in params.yaml",
        "licence": source.licence,
        "url": "",
        "checksum": checksum,
        "note": "; ".join([*notes, f"Pillow {importlib.metadata.version('pillow')}"]),
        "skipped": len(reading.broken),
        "listing": listing.digest,
    }
    channels = 3 if source.colour == "rgb" or reading.has_colour else 1
    shape, labels, codes = (len(reading.kept), source.size, source.size, channels), labels[reading.kept], None
    if groups:
        codes, about["groups"] = groups.codes[reading.kept], groups.about
    return ImageStream(shape, reading.chunks(channels), labels, np.array(files.parts), class_names, codes, about)


def has_changed(source: FolderSource, about: Mapping[str, Any], fetcher: Fetcher) -> bool:
    """Whether a folder holds other files than when it was fetched, by their names and sizes; not if it is not here."""
    folder = fetcher.find_folder(source.path)
    return folder is not None and list_folder(folder).digest != about.get("listing")


def _sort_in(source: FolderSource, folder: Path, listing: Listing, fetcher: Fetcher, checksum: dict[str, str]) -> Files:
    """The files that are images of the set; adds the MD5 of the table of labels to `checksum`."""
    if listing.others:
        count, kinds = len(listing.others), listing.others_by_ending
        log.info("%s: files that are no images are left out: %s (%s)", folder, f"{count:,}", kinds)
    if not listing.images:
        raise DataError(
            f"{folder}: no PNG, JPEG, TIFF or WebP in it; other files: {listing.others_by_ending or 'none'}"
        )
    parts = parts_of(listing)
    classes: Sequence[str | None]
    if source.labels:
        table, md5 = fetcher.bring_own(source.labels.path, source.labels.md5)
        checksum[table.name] = md5
        classes = read_labels(table, source.labels, [image.name for image in listing.images])
    else:
        classes = classes_of(listing, parts is not None)
    parts = parts or ["train"] * len(classes)
    listed = [i for i in in_order_of_parts(parts) if classes[i] is not None]
    return Files(list(listing.images), parts, [name or "" for name in classes]).at(listed)


def _read_groups(
    source: FolderSource, files: Files, labels: np.ndarray, fetcher: Fetcher, checksum: dict[str, str]
) -> Groups | None:
    """Groups of the files, before the long work; adds the MD5 of their table to `checksum`."""
    if source.groups is None:
        return None
    table, md5 = fetcher.bring_own(source.groups.path, source.groups.md5)
    checksum[table.name] = md5

    def names(written: Sequence[str]) -> list[str]:
        try:
            return ids_as_written(written, files.names)
        except DataError as error:
            raise DataError(f"{table.name}: {error}") from None

    return read_groups(table, source.groups, labels, np.array(files.parts), names)


def _refuse_what_cannot_be_used(source: FolderSource, folder: Path, files: Files, reading: Reading) -> None:
    total = f"{len(files.images):,}"
    if deep := reading.without_window:
        low, high = min(one.low for one in deep), max(one.high for one in deep)
        raise DataError(
            f"{folder}: {len(deep):,} of {total} pictures have more than 8 bits a pixel, with values from {low:g} to "
            f"{high:g}: declare which become black and white, for example `window: [{low:g}, {high:g}]`"
        )
    broken = [f"{files.images[i].name}: {error}" for i, error in reading.broken.items()]
    if broken and not source.skip_broken:
        more = f"\n  … and {len(broken) - MOST_SHOWN:,} more" if len(broken) > MOST_SHOWN else ""
        lines = "".join(f"\n  {shown([line])}" for line in broken[:MOST_SHOWN])
        raise DataError(
            f"{folder}: {len(broken):,} of {total} files cannot be used:{lines}{more}\n"
            "Mend or remove them, or write `skip_broken: true` to leave them out."
        )
    if not reading.kept:
        raise DataError(f"{folder}: none of {total} files can be used; the first: {shown(broken[:1])}")
    if source.window and not reading.deep:
        raise DataError(f"{folder}: `window` has no meaning here, no picture has more than 8 bits a pixel; remove it")


def _compare_digest(source: FolderSource, folder: Path, digest: str, count: int) -> None:
    if source.digest is None:
        log.info(
            "%s: %s images found at %s; `digest: %s` beside its path in params.yaml would pin them (DVC looks at "
            "params.yaml, not into the folder: without a digest it does not see that images have changed)",
            source.path, f"{count:,}", folder, digest,
        )  # fmt: skip
    elif source.digest != digest:
        raise DataError(
            f"{folder}: its {count:,} images have the digest {digest}, expected {source.digest}: files were added, "
            "removed or changed; if these are the ones you mean, declare this digest"
        )
    else:
        log.info("%s: %s images found at %s, digest verified", source.path, f"{count:,}", folder)


def _findings(listing: Listing, files: Files, reading: Reading) -> list[str]:
    """What a reader of the report must know of these images besides the rules; warned of here."""
    by_checksum: dict[str, set[str]] = {}
    for i in reading.kept:
        by_checksum.setdefault(reading.checksums[i], set()).add(files.classes[i])
    copies = len(reading.kept) - len(by_checksum)
    torn = sum(len(classes) > 1 for classes in by_checksum.values())
    broken = [files.images[i].name for i in reading.broken]
    found = [
        (len(listing.images) - len(files.images), "not listed with a label and left out"),
        (len(broken), f"broken and left out: {shown(broken)}"),
        (reading.enlarged, f"smaller than {reading.rules.size} pixels and enlarged"),
        (copies, "byte for byte copies of others: folds would test on what they trained on"),
        (torn, "there with several classes, byte for byte"),
    ]
    notes = [f"{count:,} {'image' if count == 1 else 'images'} {what}" for count, what in found if count]
    for note in notes:
        log.warning("%s", note)
    return [note.partition(":")[0] for note in notes]


def _number_classes(source: FolderSource, there: set[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """Names by label, and labels by class as folders or the table call it: in the order of numbers, else of text."""
    are_numbers = all(name.isdecimal() for name in there)
    order = sorted(there, key=lambda name: (int(name), name)) if are_numbers else sorted(there)
    if len(order) == 1:
        advice = "" if source.labels else f"; if the classes are the folders in it, write `path: …/{shown(order)}`"
        raise DataError(f"one class only: {shown(order)}{advice}")
    if wrong := [name for name in order if not name.isprintable()]:
        raise DataError(f"names of classes that cannot be printed: {shown(wrong)}; rename them, in UTF-8")
    if unknown := sorted(source.class_names.keys() - there):
        raise DataError(f"class_names: there is no class {shown(unknown)}; there are {shown(order)}")
    names = tuple(source.class_names.get(name, name) for name in order)
    if len(set(names)) < len(names):
        raise DataError(f"class_names: two classes have one name; they would be {shown(names)}")
    return names, {name: label for label, name in enumerate(order)}
