"""Channels of the section `circuits`: a circuit on every patch of every image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qlcnet.config import Circuit
from qlcnet.data.channel_card import ARRAY, Decode, Evaluations, Made
from qlcnet.data.search_path import Fetcher
from qlcnet.quantum.quanvolution import prepare
from qlcnet.quantum.quanvolve import circuit_data, circuit_runs, write_circuit

SAMPLE = 8  # images on which stored channels are compared with what the circuit gives today
COUNTED = "qnode_evaluations"  # of circuit.json: by the engine `pennylane` also on the images


def make_of_circuit(name: str, section: Circuit, images: NDArray[np.uint8], folder: Path, fetcher: Fetcher) -> Made:
    """channels.npy, circuit.json, circuit.qasm."""
    quanvolution = prepare(section)
    digest = write_circuit(images, name, quanvolution, folder)
    executed = quanvolution.evaluations + quanvolution.tally.patches
    return Made(
        quanvolution.stored_shape(images.shape),
        Decode(quanvolution.storage.scale, quanvolution.storage.offset),
        quanvolution.fresh_shots,
        digest,
        Evaluations(executed, circuit_runs(quanvolution, images.shape)),
    )


def still_made_by(name: str, section: Circuit, images: NDArray[np.uint8], folder: Path) -> bool:
    """Whether gates, polynomial and versions are those of today, and the channels of some images too."""
    try:
        known = json.loads((folder / "circuit.json").read_text(encoding="utf-8"))
        (folder / "circuit.qasm").stat()
    except (OSError, ValueError):
        return False
    quanvolution = prepare(section)
    today = json.loads(json.dumps(circuit_data(name, quanvolution)))
    if {**known, COUNTED: 0} != {**today, COUNTED: 0}:
        return False
    stored = np.load(folder / ARRAY, mmap_mode="r", allow_pickle=False)
    rows = np.unique(np.linspace(0, len(images) - 1, SAMPLE).astype(int)).tolist()
    return all(np.array_equal(quanvolution(images[r : r + 1], first_image=r)[0], stored[r]) for r in rows)
