"""Tasks of the same images (`images_of`): what is there for one is linked for the other, if it is what would be made.

Whether it is, is never taken from names: a stage of the other task may have run with former params, or not at all.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from qlcnet.config import Section, canonical, fingerprint, portable_path
from qlcnet.data.channel_card import ARRAY, ChannelCard
from qlcnet.data.imageset import DataError, ImageSet
from qlcnet.quantum.storage import digest_array
from qlcnet.whole import share_file, whole_folder

log = logging.getLogger("qlcnet")


def recipe_of(section: Section, checksum: Mapping[str, str] | None = None) -> str:
    """Fingerprint of a section that says how data are made, the same in whichever folder its files lie.

    `checksum`: by name of what was found, for files and folders that are not pinned: what they hold is unknown else.
    """
    data = canonical(section)
    tables = (data.get("groups") or {}, data.get("labels") or {})  # whose `file` is a column
    for part, keys in ((data, {"path", "file"}), *((table, {"path"}) for table in tables)):
        for key in keys & part.keys():
            pin = "digest" if "digest" in part else "md5"
            known = part[pin] or (checksum or {}).get(PurePath(part[key]).name)
            part.update({key: portable_path(part[key]), pin: known})
    return fingerprint(data)


def is_of(source: Section, about: Mapping[str, Any]) -> bool:
    """Whether a fetched set, by its about.json, is what `source` says today, as far as files were not changed since."""
    return about.get("recipe") == recipe_of(source, about.get("checksum"))


def link_images(source: Section, other: Path, folder: Path) -> bool:
    """Put the image set `other` at `folder` too, if `source` would give the same; says whether it did."""
    try:
        there = ImageSet.load(other)
        fresh = ImageSet(there.images, there.labels, there.parts, there.class_names, there.groups, there.about)
        if there.about.get("recipe") != recipe_of(source) or there.digest != fresh.digest:
            return False
    except DataError as error:
        log.debug("not shared: %s", error)
        return False
    with whole_folder(folder) as beside:
        link_files(other, beside)
    return True


def is_whole(folder: Path, card: ChannelCard) -> bool:
    """Whether the channels of a folder are those that its card says."""
    try:
        stored = np.load(folder / ARRAY, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return stored.shape == card.shape and digest_array(stored, card.shots) == card.digest


def link_files(folder: Path, target: Path) -> None:
    """Every file of a folder in another that is there: hard links, or copies across file systems."""
    for path in sorted(folder.iterdir()):
        share_file(path, target / path.name)
