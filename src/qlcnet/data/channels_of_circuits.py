"""Channels of the section `circuits`: a circuit on every patch of every image."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from qlcnet.config import Circuit
from qlcnet.data.channel_card import ARRAY, Decode, Evaluations, Made
from qlcnet.data.channel_order import Order
from qlcnet.data.imageset import DataError
from qlcnet.data.search_path import Fetcher
from qlcnet.quantum.circuits import build_circuit
from qlcnet.quantum.program import HALVING, ProgramCircuit
from qlcnet.quantum.quanvolution import Quanvolution, prepare, prepare_circuit
from qlcnet.quantum.quanvolve import circuit_data, circuit_runs, write_circuit
from qlcnet.quantum.surrogate import DegreeError

SAMPLE = 8  # images on which stored channels are compared with what the circuit gives today
MOST_BYTES = 1_000_000  # of a program
ADVICE = "If a file that was found is the one you mean, declare its MD5 under `md5` of this circuit in params.yaml."
COUNTED = "qnode_evaluations"  # of circuit.json: by the engine `pennylane` also on the images


def make_of_circuit(order: Order, folder: Path) -> Made:
    """channels.npy, circuit.json, circuit.qasm. Raises DataError for a file that is no circuit."""
    images = order.images
    quanvolution = prepare_section(order.name, order.section, order.fetcher)
    digest = write_circuit(images, order.name, quanvolution, folder)
    executed = quanvolution.evaluations + quanvolution.tally.patches
    return Made(
        quanvolution.stored_shape(images.shape),
        Decode(quanvolution.storage.scale, quanvolution.storage.offset),
        quanvolution.fresh_shots,
        digest,
        Evaluations(executed, circuit_runs(quanvolution, images.shape)),
    )


def still_made_by(order: Order, folder: Path) -> bool:
    """Whether gates, polynomial and versions are those of today, and the channels of some images too."""
    try:
        known = json.loads((folder / "circuit.json").read_text(encoding="utf-8"))
        (folder / "circuit.qasm").stat()
    except (OSError, ValueError):
        return False
    images = order.images
    quanvolution = prepare_section(order.name, order.section, order.fetcher)
    today = json.loads(json.dumps(circuit_data(order.name, quanvolution)))
    if {**known, COUNTED: 0} != {**today, COUNTED: 0}:
        return False
    stored = np.load(folder / ARRAY, mmap_mode="r", allow_pickle=False)
    rows = np.unique(np.linspace(0, len(images) - 1, SAMPLE).astype(int)).tolist()
    return all(np.array_equal(quanvolution(images[r : r + 1], first_image=r)[0], stored[r]) for r in rows)


def prepare_section(name: str, section: Circuit, fetcher: Fetcher) -> Quanvolution:
    """The circuit made ready, its file, if it has one, brought and read. Raises DataError for what is wrong there."""
    if section.file is None:
        return prepare(section)
    key = f"circuits.{name}"
    try:
        path, _ = fetcher.bring_own(section.file, section.md5, ADVICE)
    except DataError as error:
        raise DataError(f"{key}: {error}") from error
    try:
        circuit = build_circuit(section, read_program(path))
    except ValueError as error:
        raise DataError(f"{key}: {path.name}: {error}") from error
    try:
        return prepare_circuit(circuit, section)
    except DegreeError as error:
        if not (isinstance(circuit, ProgramCircuit) and circuit.may_halve):
            raise
        raise DataError(
            f"{key}: {path.name}: {', '.join(HALVING)} by t0 can bring cos(t0/2) into a channel, and do so here: "
            "that is no polynomial of cos t0 and sin t0. Turn them by an even multiple, as 2*t0, or by a number"
        ) from error


def read_program(path: Path) -> str:
    """The text of a program. Raises ValueError for a file that is too long, or no text."""
    if (size := path.stat().st_size) > MOST_BYTES:
        raise ValueError(f"has {size:,} bytes; a program has at most {MOST_BYTES:,}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is no text (UTF-8), so no OpenQASM program") from None
