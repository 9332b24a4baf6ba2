"""The stage `quanvolve`: channels of a task's images, made before any training, one folder and one card a name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from qlcnet.config import QUBITS, WORDS, Channels, Circuit, Controls, Params, canonical, fingerprint
from qlcnet.data.channel_card import ARRAY, CIRCUIT, ChannelCard, Made
from qlcnet.data.channel_files import make_of_file
from qlcnet.data.channel_order import Order
from qlcnet.data.channels_of_circuits import make_of_circuit, still_made_by
from qlcnet.data.channels_of_controls import (
    filters_still_made,
    make_filters,
    make_noise,
    make_random_polynomials,
    polynomials_still_made,
)
from qlcnet.data.imageset import ImageSet
from qlcnet.data.preview import Shown, choose_examples, draw_preview
from qlcnet.data.search_path import Fetcher
from qlcnet.data.sharing import is_whole, link_files, recipe_of
from qlcnet.paths import Project
from qlcnet.quantum.circuits import all_words, single_words
from qlcnet.whole import whole_folder

log = logging.getLogger("qlcnet")

Sections = Mapping[str, Circuit | Channels]


class Maker(NamedTuple):
    """make: (order, folder) -> what the card says, with channels.npy in the folder.

    still_makes: (the same) -> whether today's code gives what once was made of the same.
    """

    make: Callable[[Order, Path], Made]
    still_makes: Callable[[Order, Path], bool]


MAKERS: dict[str, Maker] = {
    CIRCUIT: Maker(make_of_circuit, still_made_by),
    "file": Maker(make_of_file, lambda order, folder: True),  # its MD5 is part of the section
    "conv": Maker(make_filters, filters_still_made),
    "fourier-random": Maker(make_random_polynomials, polynomials_still_made),
    "noise": Maker(make_noise, lambda order, folder: True),  # its seed is part of the section
}


def quanvolve(task: str, params: Params, root: Path) -> Path:
    """Make the channels of all `circuits` and `channels` for a task; returns data/quanvolved/<task>.

    Raises DataError for images or files, ValueError for circuits that cannot be.
    """
    project = Project(root)
    sections: Sections = {**params.circuits, **params.channels}
    other = params.datasets[task].images_of
    shared = project.channels(other) if other else None
    make_channels(project.raw(task), sections, project.channels(task), Fetcher(params.data, root), shared)
    return project.channels(task)


def make_channels(
    raw_folder: Path, sections: Sections, out: Path, fetcher: Fetcher, shared: Path | None = None
) -> None:
    """Write out/<name>/{channels.npy, card.json} and what is known of their maker for every name, and out/preview.png.

    `raw_folder` holds an image set. `out` appears whole or not at all. `shared`: such a folder of another task, from
    which is linked what would be made here.
    """
    images = ImageSet.load(raw_folder)
    with whole_folder(out) as folder:
        for name, section in sections.items():
            order = Order(name, section, images.images, fetcher, _twin_of(section, sections))
            (folder / name).mkdir()
            if shared and would_be_made(shared / name, order, images.digest):
                link_files(shared / name, folder / name)
                log.info("channels %s: those of %s", name, shared.name)
                continue
            made = MAKERS[kind_of(section)].make(order, folder / name)
            ChannelCard(name, kind_of(section), images.digest, recipe_of_channels(order), *made).write(folder / name)
        if sections:
            _write_preview(images, list(sections), folder)


def would_be_made(folder: Path, order: Order, images: str) -> bool:
    """Whether these channels of another task are whole, and what would be made of these images, byte by byte.

    `images`: digest of the set.
    """
    try:
        card = ChannelCard.read(folder)
    except (OSError, ValueError):
        return False
    if (card.name, card.kind, card.images, card.recipe) != (
        order.name,
        kind_of(order.section),
        images,
        recipe_of_channels(order),
    ):
        return False
    return is_whole(folder, card) and MAKERS[card.kind].still_makes(order, folder)


def recipe_of_channels(order: Order) -> str:
    """Fingerprint of what says how they are made: of a control its circuit too, whatever that is called."""
    if order.circuit is None:
        return recipe_of(order.section)
    section = {key: value for key, value in canonical(order.section).items() if key != "of"}
    return fingerprint([section, recipe_of(order.circuit)])


def _twin_of(section: Circuit | Channels, sections: Sections) -> Circuit | None:
    circuit = sections[section.of] if isinstance(section, Controls) else None
    assert circuit is None or isinstance(circuit, Circuit)
    return circuit


def kind_of(section: Circuit | Channels) -> str:
    """The key of MAKERS."""
    return CIRCUIT if isinstance(section, Circuit) else section.kind


def _write_preview(images: ImageSet, names: list[str], folder: Path) -> None:
    rows = choose_examples(images.labels, len(images))
    shown = np.stack([images.images[row] for row in rows])
    draw_preview(shown, {name: _shown(folder / name, rows) for name in names}, folder / "preview.png")


def _shown(folder: Path, rows: list[int]) -> Shown:
    """Decoded channels of some images; of those with fresh shots the expectation values that are drawn around."""
    card = ChannelCard.read(folder)
    stored = np.load(folder / ARRAY, mmap_mode="r", allow_pickle=False)
    values = np.stack([stored[row] for row in rows]).astype(np.float32)
    values = values * np.float32(card.decode.scale) + np.float32(card.decode.offset)
    if card.shots is not None:
        at = [all_words(QUBITS).index(word) for word in single_words(QUBITS)]
        values = values.reshape(*values.shape[:3], -1, WORDS)[..., at].reshape(*values.shape[:3], -1)
    limits = (-1.0, 1.0) if card.kind == CIRCUIT else (float(values.min()), float(values.max()))
    return Shown(values, limits)
