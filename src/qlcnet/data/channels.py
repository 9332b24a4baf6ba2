"""The stage `quanvolve`: channels of a task's images, made before any training, one folder and one card a name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlcnet.config import QUBITS, WORDS, Circuit
from qlcnet.data.channel_card import ARRAY, ChannelCard, Decode, Evaluations
from qlcnet.data.preview import choose_examples, draw_preview
from qlcnet.quantum.circuits import all_words, single_words
from qlcnet.quantum.quanvolution import prepare
from qlcnet.quantum.quanvolve import circuit_runs, write_circuit
from qlcnet.whole import whole_folder


def make_channels(raw_folder: Path, circuits: Mapping[str, Circuit], out: Path) -> None:
    """Write out/<name>/{channels.npy, card.json} and what is known of their maker for every name, and out/preview.png.

    `raw_folder` holds images.npy (uint8 N x H x W x 1 or 3) and perhaps labels.npy. `out` appears whole or not at all.
    Raises ValueError for images or circuits that cannot be, FileNotFoundError where there are no images.
    """
    images = _open_images(raw_folder)
    with whole_folder(out) as folder:
        for name, circuit in circuits.items():
            (folder / name).mkdir()
            make_of_circuit(images, name, circuit, folder / name).write(folder / name)
        if circuits:
            _write_preview(raw_folder, images, list(circuits), folder)


def make_of_circuit(images: NDArray[np.uint8], name: str, circuit: Circuit, folder: Path) -> ChannelCard:
    """The circuit on every patch: channels.npy, circuit.json, circuit.qasm."""
    quanvolution = prepare(circuit)
    digest = write_circuit(images, name, quanvolution, folder)
    executed = quanvolution.evaluations + quanvolution.tally.patches
    return ChannelCard(
        name,
        "circuit",
        quanvolution.stored_shape(images.shape),
        Decode(quanvolution.storage.scale, quanvolution.storage.offset),
        quanvolution.fresh_shots,
        digest,
        Evaluations(executed, circuit_runs(quanvolution, images.shape)),
    )


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
    channels = {name: _values(folder / name, rows) for name in names}
    draw_preview(shown, channels, folder / "preview.png")


def _values(folder: Path, rows: list[int]) -> NDArray[Any]:
    """Decoded channels (n, H, W, channels) of some images; of those with fresh shots the values drawn around."""
    card = ChannelCard.read(folder)
    stored = np.load(folder / ARRAY, mmap_mode="r", allow_pickle=False)
    values = np.stack([stored[row] for row in rows]).astype(np.float32)
    values = values * np.float32(card.decode.scale) + np.float32(card.decode.offset)
    if card.shots is None:
        return values
    at = [all_words(QUBITS).index(word) for word in single_words(QUBITS)]
    return values.reshape(*values.shape[:3], -1, WORDS)[..., at].reshape(*values.shape[:3], -1)
