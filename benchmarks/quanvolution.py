"""Claim: quanvolution at memory speed, exact for any circuit, in flat memory.

Run: python benchmarks/quanvolution.py [--rounds 9] [--images 20000]       (a minute or two)
     python benchmarks/quanvolution.py --scale [--folder DIR]              (1,000 to 100,000 images, CIFAR-10, 224 px)

Every round runs every candidate, one after the other, and ratios are taken within a round: ours on all cores, output
conversion to float16 included; the QNode in a loop over patches and lightning.qubit (on a sample: they would take
hours); the QNode broadcast over a batch of patches; and numpy's copy of as many bytes as ours reads and writes, between
arrays that are there already, as ours are. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_NUM_THREADS", "1")  # PennyLane's numpy: one thread; ours has its own

import numpy as np

from machine import describe_machine
from qlcnet.config import Circuit, Noise
from qlcnet.quantum.circuits import make_qnode
from qlcnet.quantum.images import cut_patches, pixel_angles
from qlcnet.quantum.quanvolution import prepare
from qlcnet.quantum.quanvolve import stream_channels
from qlcnet.quantum.storage import STORAGES

PIXELS = 28
LOOPED, BROADCAST = 60, 16_384  # patches of the samples
CIRCUITS = {
    "default": Circuit(),
    "default, uint8": Circuit(storage="uint8"),
    "entangled": Circuit(ansatz="entangled"),
    "entangled, 2 layers": Circuit(ansatz="entangled", layers=2),
    "entangled, 3 layers": Circuit(ansatz="entangled", layers=3),
    "rxy": Circuit(encoding="rxy"),
    "noisy": Circuit(noise=Noise(amplitude_damping=0.1)),
    "stride 2": Circuit(stride=2),
}


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def random_images(count: int, side: int = PIXELS, colours: int = 1) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, colours), dtype=np.uint8)


def compare(rounds: int, images: np.ndarray) -> dict[str, object]:
    """Table of every candidate; the JSON line is of the default circuit."""
    ready = {name: prepare(params) for name, params in CIRCUITS.items()}
    outs = {name: q(images) for name, q in ready.items()}
    runs = {name: int(np.prod(out.shape[:3])) for name, out in outs.items()}
    circuit = ready["default"].circuit
    batched, lightning = make_qnode(circuit), make_qnode(circuit, "lightning.qubit")
    angles = pixel_angles(cut_patches(images[:40], ready["default"].patches(PIXELS, PIXELS)).reshape(-1, 4)).T
    error = np.abs(
        np.stack(batched(angles[:, :BROADCAST]), 1)
        - ready["default"](images[:40], storage=STORAGES["float32"]).reshape(-1, 4)[:BROADCAST]
    ).max()
    source = np.zeros(images.size + outs["default"].nbytes, np.uint8)
    target = np.ones_like(source)
    candidates: dict[str, tuple[Callable[[], object], int]] = {
        "QNode in a loop (default.qubit)": (lambda: [batched(angles[:, i]) for i in range(LOOPED)], LOOPED),
        "lightning.qubit in a loop": (lambda: [lightning(angles[:, i]) for i in range(LOOPED)], LOOPED),
        "QNode broadcast": (lambda: batched(angles[:, :BROADCAST]), BROADCAST),
        "copy of the same bytes": (lambda: np.copyto(target, source), runs["default"]),
    }
    for name, q in ready.items():
        candidates[f"ours, {name}"] = (lambda q=q, out=outs[name]: q(images, out), runs[name])  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for work, _ in candidates.values():
        work()
    for _ in range(rounds):
        for name, (work, count) in candidates.items():
            times[name].append(seconds(work) / count * 1e9)
    ours = times["ours, default"]
    ratios = {
        "speedup_vs_loop": [a / b for a, b in zip(times["QNode in a loop (default.qubit)"], ours, strict=True)],
        "speedup_vs_lightning": [a / b for a, b in zip(times["lightning.qubit in a loop"], ours, strict=True)],
        "speedup_vs_broadcast": [a / b for a, b in zip(times["QNode broadcast"], ours, strict=True)],
        "ratio_to_copy": [a / b for a, b in zip(ours, times["copy of the same bytes"], strict=True)],
    }
    print(f"{len(images):,} images of {PIXELS} px, {runs['default']:,} circuits; ns a circuit over {rounds} rounds")
    print(f"largest difference to the broadcast QNode before storage: {error:.1e}\n")
    print(f"{'':34}{'median':>12}{'least':>12}{'most':>12}{'terms a qubit':>16}")
    for name, each in times.items():
        known = ready.get(name.removeprefix("ours, "))
        terms = "/".join(str(len(list(known.polynomial.terms(q)))) for q in range(4)) if known else ""
        print(f"{name:34}{median(each):12,.2f}{min(each):12,.2f}{max(each):12,.2f}{terms:>16}")
    print()
    for name, each in ratios.items():
        print(f"{name:34}{median(each):12,.1f}{min(each):12,.1f}{max(each):12,.1f}")
    result: dict[str, object] = {"ns_per_circuit": round(median(ours), 2)}
    for name, each in ratios.items():
        result[name] = round(median(each), 1)
        result[f"{name}_range"] = [round(min(each), 1), round(max(each), 1)]
    return result


BARE = "print(int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) / 1024)"  # the interpreter alone


def peak_mb() -> float:
    """Largest resident memory of this process so far (ru_maxrss would count that of the process that started it)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def stream_once(path: Path, out: Path) -> dict[str, float]:
    """In a process of its own: memory map in, file out. Peak memory is that of the whole process."""
    quanvolution = prepare(Circuit())
    images = np.load(path, mmap_mode="r")
    quanvolution(images[:1])
    before = peak_mb()
    whole = seconds(lambda: stream_channels(images, quanvolution, out))
    return {"seconds": whole, "before_mb": before, "peak_mb": peak_mb()}


def scale(folder: Path) -> dict[str, object]:
    """Streams growing sets from and to disk, each in a fresh process; the kernel alone on CIFAR-10."""
    bare = float(subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=True).stdout)
    sets = {f"{count:,} images of 28 px": (count, 28, 1) for count in (1_000, 3_000, 10_000, 30_000, 100_000)}
    sets |= {f"{count:,} images of 224 px, RGB": (count, 224, 3) for count in (1_000, 4_000)}
    rows = []
    print(f"{'from disk to disk':34}{'seconds':>10}{'images/s':>12}{'ns/circuit':>12}{'MB above the interpreter':>26}")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        path, out = Path(name) / "images.npy", Path(name) / "channels.npy"
        for title, (count, side, colours) in sets.items():
            images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, side, side, colours))
            for start in range(0, count, 1000):
                images[start : start + 1000] = random_images(min(1000, count - start), side, colours)
            images.flush()
            del images
            run = [sys.executable, __file__, "--stream", str(path), str(out)]
            row = json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
            row |= {"set": title, "ns_per_circuit": row["seconds"] / (count * side**2) * 1e9}
            row["above_interpreter_mb"] = row["peak_mb"] - bare
            print(
                f"{title:34}{row['seconds']:10.3f}{count / row['seconds']:12,.0f}"
                f"{row['ns_per_circuit']:12.1f}{row['above_interpreter_mb']:26.0f}"
            )
            rows.append(row)
    result: dict[str, object] = {"scale": rows}
    if (cifar := find_cifar()) is not None:
        quanvolution = prepare(Circuit())
        out = quanvolution(cifar)
        each = [seconds(lambda: quanvolution(cifar, out)) for _ in range(7)]
        print(
            f"\nCIFAR-10, {len(cifar):,} images in memory, stride 1: "
            f"median {median(each):.2f} s, least {min(each):.2f} s of {len(each)} runs"
        )
        result["cifar10_seconds"] = round(median(each), 3)
    return result


def find_cifar() -> np.ndarray | None:
    """CIFAR-10's 60,000 images from QLCNET_DATA or ../shared/data, if they are there."""
    from qlcnet.data.cifar10 import read_batch

    places = [*os.environ.get("QLCNET_DATA", "").split(os.pathsep), str(Path(__file__).parents[2] / "shared" / "data")]
    for place in filter(None, places):
        folder = Path(place) / "cifar-10-batches-py"
        if folder.is_dir():
            names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
            return np.concatenate([read_batch((folder / name).read_bytes(), name)[0] for name in names])
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument(
        "--scale", action="store_true", help="time and memory from 1,000 to 100,000 images, and CIFAR-10"
    )
    parser.add_argument("--folder", type=Path, default=None, help="where --scale writes its files (4 GB)")
    parser.add_argument("--stream", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream:
        print(json.dumps(stream_once(*options.stream)))
        return
    result = scale(options.folder) if options.scale else compare(options.rounds, random_images(options.images))
    print(f"\n{describe_machine('numpy', 'numba', 'pennylane')}")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
