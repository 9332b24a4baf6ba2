"""The stage `quanvolve`: channels of a task's images, made before any training, one folder and one card a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlcnet.config import QUBITS, WORDS, Channels, Circuit, Params
from qlcnet.data.channel_card import ARRAY, CIRCUIT, ChannelCard, Decode, Evaluations
from qlcnet.data.channel_files import make_of_file
from qlcnet.data.preview import Shown, choose_examples, draw_preview
from qlcnet.data.search_path import Fetcher
from qlcnet.paths import Project
from qlcnet.quantum.circuits import all_words, single_words
from qlcnet.quantum.quanvolution import prepare
from qlcnet.quantum.quanvolve import circuit_runs, write_circuit
from qlcnet.whole import whole_folder


def quanvolve(task: str, params: Params, root: Path) -> Path:
    """Make the channels of all `circuits` and `channels` for a task; returns data/quanvolved/<task>.

    Raises DataError or ValueError for what cannot be used, FileNotFoundError where the task is not fetched.
    """
    project = Project(root)
    fetcher = Fetcher(params.data, root)
    make_channels(project.raw(task), {**params.circuits, **params.channels}, project.channels(task), fetcher)
    return project.channels(task)


def make_channels(raw_folder: Path, sections: Mapping[str, Circuit | Channels], out: Path, fetcher: Fetcher) -> None:
    """Write out/<name>/{channels.npy, card.json} and what is known of their maker for every name, and out/preview.png.

    `raw_folder` holds images.npy (uint8 N x H x W x 1 or 3) and perhaps labels.npy. `out` appears whole or not at all.
    """
    images = _open_images(raw_folder)
    with whole_folder(out) as folder:
        for name, section in sections.items():
            (folder / name).mkdir()
            make = MAKERS[CIRCUIT if isinstance(section, Circuit) else section.kind]
            make(name, section, images, folder / name, fetcher).write(folder / name)
        if sections:
            _write_preview(raw_folder, images, list(sections), folder)


def make_of_circuit(
    name: str, section: Circuit, images: NDArray[np.uint8], folder: Path, fetcher: Fetcher
) -> ChannelCard:
    """The circuit on every patch: channels.npy, circuit.json, circuit.qasm."""
    quanvolution = prepare(section)
    digest = write_circuit(images, name, quanvolution, folder)
    executed = quanvolution.evaluations + quanvolution.tally.patches
    return ChannelCard(
        name,
        CIRCUIT,
        quanvolution.stored_shape(images.shape),
        Decode(quanvolution.storage.scale, quanvolution.storage.offset),
        quanvolution.fresh_shots,
        digest,
        Evaluations(executed, circuit_runs(quanvolution, images.shape)),
    )


# kind -> (name, section, images, folder, search path) -> card, with channels.npy in the folder
Maker = Callable[[str, Any, NDArray[np.uint8], Path, Fetcher], ChannelCard]
MAKERS: dict[str, Maker] = {CIRCUIT: make_of_circuit, "file": make_of_file}


def _open_images(raw_folder: Path) -> NDArray[np.uint8]:
    path = raw_folder / "images.npy"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run `qlcnet fetch {raw_folder.name}` first, or `dvc repro`")
    images: NDArray[np.uint8] = np.load(path, mmap_mode="r", allow_pickle=False)
    return images


def _write_preview(raw_folder: Path, images: NDArray[np.uint8], names: list[str], folder: Path) -> None:
    labels = raw_folder / "labels.npy"
    rows = choose_examples(np.load(labels) if labels.is_file() else None, len(images))
    shown = np.stack([images[row] for row in rows])
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
