"""One circuit over all images of a task, from disk to disk, in chunks so that memory stays flat."""

from __future__ import annotations

import json
import logging
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlcnet import config
from qlcnet.quantum.card import describe
from qlcnet.quantum.circuits import circuit_from_data
from qlcnet.quantum.images import check_images
from qlcnet.quantum.polynomial import TrigPolynomial
from qlcnet.quantum.qasm import to_openqasm
from qlcnet.quantum.quanvolution import Quanvolution
from qlcnet.quantum.storage import let_go, write_array
from qlcnet.whole import write_synced

logger = logging.getLogger("qlcnet")


def write_circuit(images: NDArray[np.uint8], name: str, quanvolution: Quanvolution, folder: Path) -> str:
    """Write channels.npy, circuit.json and circuit.qasm into `folder`; log images a second; returns the digest.

    `images` is an array or memory map, uint8 (N, H, W, 1 or 3). Raises ValueError for others.
    """
    check_images(images)
    if quanvolution.params.engine != "pennylane":
        quanvolution(images[:1])  # compiles or loads the kernel, which is not what is measured
    start = time.perf_counter()
    digest = stream_channels(images, quanvolution, folder / "channels.npy", name)
    seconds = time.perf_counter() - start
    data = circuit_data(name, quanvolution)
    text = json.dumps(data, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    write_synced(folder / "circuit.json", text + "\n")
    write_synced(folder / "circuit.qasm", to_openqasm(quanvolution.circuit))
    runs = len(images) * circuit_runs(quanvolution, images.shape)
    logger.info(
        f"circuit {name}: {len(images):,} images in {seconds:.2f} s, {len(images) / seconds:,.0f} images/s, "
        f"{seconds / runs * 1e9:.0f} ns a circuit with reading and writing"
    )
    for warning in data["warnings"]:
        logger.warning(f"circuit {name}: {warning}")
    return digest


def circuit_runs(quanvolution: Quanvolution, shape: tuple[int, ...]) -> int:
    """How often hardware would run the circuit for one of the images (N, H, W, C): once a patch."""
    _, rows, columns, _ = quanvolution.stored_shape(shape)
    return rows * columns * (shape[3] if quanvolution.params.colour == "channels" else 1)


def stream_channels(images: NDArray[np.uint8], quanvolution: Quanvolution, path: Path, name: str = "") -> str:
    """Write the .npy of channels chunk by chunk; returns its digest. Pages of a memory map are let go once read."""
    shape, storage = quanvolution.stored_shape(images.shape), quanvolution.storage

    def fill(first: int, values: NDArray[Any]) -> None:
        quanvolution(images[first : first + len(values)], values, first)
        let_go(images)

    return write_array(path, shape, storage.dtype, fill, f"circuit {name}", quanvolution.fresh_shots)


def circuit_data(name: str, quanvolution: Quanvolution) -> dict[str, Any]:
    """circuit.json: params, gates and angles, the polynomial, and what the circuit really computes."""
    in_torch = quanvolution.params.engine == "torch"
    if in_torch:
        from qlcnet.quantum.torch_quanvolution import accelerator
    params = quanvolution.params.model_dump(mode="json")
    if "file" in params:
        params["file"] = config.portable_path(params["file"])
    return {
        "name": name,
        "params": params,
        "circuit": quanvolution.circuit.to_data(),
        "words": [list(word) for word in quanvolution.words],
        "polynomial": quanvolution.polynomial.to_data(),
        "versions": {"pennylane": version("pennylane")} | ({"torch": version("torch")} if in_torch else {}),
        "computed_on": accelerator() if in_torch else "cpu",
        **describe(quanvolution).to_data(),
    }


def load_circuit(folder: Path) -> Quanvolution:
    """The circuit stored in a folder of data/quanvolved, from its gates and coefficients: no seed, no PennyLane."""
    data = json.loads((folder / "circuit.json").read_text(encoding="utf-8"))
    return Quanvolution(
        params=config.Circuit.model_validate(data["params"]),
        circuit=circuit_from_data(data["circuit"]),
        words=tuple(tuple(word) for word in data["words"]),
        polynomial=TrigPolynomial.from_data(data["polynomial"]),
        evaluations=int(data["qnode_evaluations"]),
    )
