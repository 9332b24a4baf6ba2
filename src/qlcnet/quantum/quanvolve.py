"""One circuit over all images of a task, from disk to disk, in chunks so that memory stays flat."""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlcnet import config
from qlcnet.quantum.card import describe
from qlcnet.quantum.circuits import PatchCircuit
from qlcnet.quantum.images import check_images
from qlcnet.quantum.polynomial import TrigPolynomial
from qlcnet.quantum.qasm import to_openqasm
from qlcnet.quantum.quanvolution import Quanvolution
from qlcnet.whole import write_synced

CHUNK_BYTES = 32 << 20  # of stored channels; two chunks are in memory, one computed while the other is written
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
    """Write the .npy of channels chunk by chunk; returns the SHA-256 of how it is stored and of what.

    Memory: two chunks, whatever the number of images; pages of a memory map are let go as soon as they are read.
    """
    from tqdm import tqdm

    shape = quanvolution.stored_shape(images.shape)
    storage = quanvolution.storage
    digest = hashlib.sha256(json.dumps([list(shape), storage.name, quanvolution.fresh_shots]).encode())
    step = max(1, CHUNK_BYTES // (int(np.prod(shape[1:])) * storage.dtype.itemsize))
    buffers = [np.empty((min(step, shape[0]), *shape[1:]), storage.dtype) for _ in range(2)]
    with (
        path.open("wb") as file,
        ThreadPoolExecutor(1) as writer,
        tqdm(total=shape[0], desc=f"circuit {name}", unit="image", unit_scale=True, leave=False, disable=None) as bar,
    ):
        header = {"descr": np.lib.format.dtype_to_descr(storage.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)

        def write(values: NDArray[Any]) -> None:
            data = values.reshape(-1).view(np.uint8).data
            digest.update(data)
            file.write(data)

        written = None
        for number, first in enumerate(range(0, shape[0], step)):
            chunk = images[first : first + step]
            values = buffers[number % 2][: len(chunk)]  # the other buffer is being written
            quanvolution(chunk, values, first)
            _let_go(images)
            if written is not None:
                written.result()
            written = writer.submit(write, values)
            bar.update(len(chunk))
        if written is not None:
            written.result()
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def circuit_data(name: str, quanvolution: Quanvolution) -> dict[str, Any]:
    """circuit.json: params, gates and angles, the polynomial, and what the circuit really computes."""
    in_torch = quanvolution.params.engine == "torch"
    if in_torch:
        from qlcnet.quantum.torch_quanvolution import accelerator
    return {
        "name": name,
        "params": quanvolution.params.model_dump(mode="json"),
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
        circuit=PatchCircuit.from_data(data["circuit"]),
        words=tuple(tuple(word) for word in data["words"]),
        polynomial=TrigPolynomial.from_data(data["polynomial"]),
        evaluations=int(data["qnode_evaluations"]),
    )


def _let_go(images: NDArray[Any]) -> None:
    """Give a memory map's pages back: the kernel would count all that was read as this process's memory."""
    mapped = getattr(images, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)
