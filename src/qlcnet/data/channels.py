"""The stage `quanvolve`: channels of a task's images, made before any training, one folder and one card a name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

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
from qlcnet.data.mechanism import MECHANISM, Mechanism, mechanism_of, patches_behind, sample_of
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
            else:
                made = MAKERS[kind_of(section)].make(order, folder / name)
                card = ChannelCard(name, kind_of(section), images.digest, recipe_of_channels(order), *made)
                card.write(folder / name)
            if not (folder / name / MECHANISM).is_file():
                mechanism_in(folder / name, order).write_mechanism(folder / name)
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
    """Channels of some images, and the values between which they are drawn."""
    card = ChannelCard.read(folder)
    values = _decoded(folder, card, rows)
    limits = (-1.0, 1.0) if card.kind == CIRCUIT else (float(values.min()), float(values.max()))
    return Shown(values, limits)


def _decoded(folder: Path, card: ChannelCard, rows: list[int]) -> NDArray[np.float32]:
    """Decoded channels of some images; of those with fresh shots the expectation values that are drawn around."""
    stored = np.load(folder / ARRAY, mmap_mode="r", allow_pickle=False)
    values = np.stack([stored[row] for row in rows]).astype(np.float32)
    values = values * np.float32(card.decode.scale) + np.float32(card.decode.offset)
    if card.shots is not None:
        at = [all_words(QUBITS).index(word) for word in single_words(QUBITS)]
        values = values.reshape(*values.shape[:3], -1, WORDS)[..., at].reshape(*values.shape[:3], -1)
    return values


def mechanism_in(folder: Path, order: Order) -> Mechanism:
    """What the channels of a folder hold that their images do not, on a fixed sample."""
    card = ChannelCard.read(folder)
    rows = sample_of(card.shape)
    values = _decoded(folder, card, rows)
    dtype = np.load(folder / ARRAY, mmap_mode="r", allow_pickle=False).dtype
    largest = float(np.abs(values).max())
    step = abs(card.decode.scale) if dtype.kind in "iu" else float(np.finfo(dtype).eps) * largest
    circuit = order.circuit or (order.section if isinstance(order.section, Circuit) else None)
    laid = (circuit.stride, circuit.padding) if circuit else ()
    images = np.stack([order.images[row] for row in rows])
    return mechanism_of(images, values, step, patches_behind(images.shape[1:3], card.shape[1:3], *laid))
