"""What a fit costs, whether the cost model foresees it, and what a study takes on W workers (docs/scaling.md).

Parts, each with a table and, last, one JSON line:
  fits       fit_fold on made-up images for LCNet widths and sizes: seconds by the clock and of CPU, memory;
             the cost model is fitted to all but one network and predicts that one
  schedule   a real grid on one and on two workers; the measured fit times replayed through the simulated schedule
  medmnist   all 2D MedMNIST sets at 224 px on W workers, from the cost model: hours, bytes moved, the bottleneck

Run: python benchmarks/scaling.py fits --quick
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import psutil

from qlcnet.config import Backbone, Head, Model, Params, Training, parse_params
from qlcnet.cost.cost_model import TERMS, CostModel
from qlcnet.cost.room import worker_memory
from qlcnet.cost.schedule import makespan, simulate
from qlcnet.cost.workload import NetworkKind, TaskShape, Work
from qlcnet.fit.spec import FitSpec
from qlcnet.grid.probe import made_up_fit

WIDTHS = ("lcnet_050", "lcnet_075", "lcnet_100", "lcnet_150", "lcnet_200")
HYBRID = Model(inputs=("image", "quanv:ry"), head=Head(kind="quantum"))
CLASSICAL = Model(inputs=("image",))

# (network, side in pixels, training images): chosen so that each takes a few seconds of CPU
CASES = [
    *((width, 28, images) for width, images in zip(WIDTHS, (1600, 1280, 960, 640, 512), strict=True)),
    ("lcnet_050", 64, 640),
    ("lcnet_100", 64, 384),
    ("lcnet_200", 64, 192),
    ("lcnet_050", 224, 128),
    ("lcnet_100", 224, 96),
    ("lcnet_200", 224, 64),
    ("resnet18", 28, 320),
    ("mobilenetv3_small_100", 64, 320),
]


# --- fits -----------------------------------------------------------------------------------------------------------


def measure(case: tuple[str, Model, int, int, int]) -> tuple[Work, float, float, float]:
    """(work, seconds, CPU seconds, private bytes) of one fit; in a process of its own, forked as workers are."""
    import multiprocessing

    import qlcnet.fit.fitting  # noqa: F401  (before the fork, as the forkserver does)

    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_measure, case)


def _measure(network: str, model: Model, side: int, images: int, epochs: int) -> tuple[Work, float, float, float]:
    from qlcnet.fit.fitting import fit_fold

    fit_fold(*made_up_fit("lcnet_050", CLASSICAL, 28, 128, 1)[:2])  # what only the first fit of a process pays
    spec, data, work = made_up_fit(network, model, side, images, epochs)
    size = sum(array.stored.nbytes for array in (data.images, *data.channels.values()))
    peak = _Peak(psutil.Process())
    cpu, wall = time.process_time(), time.perf_counter()
    fit_fold(spec, data)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return work, wall, cpu, peak.stop() - size


class _Peak:
    """The most memory that this process had to itself, sampled."""

    def __init__(self, process: psutil.Process) -> None:
        import threading

        self.most, self._process, self._ended = 0.0, process, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        while not self._ended.wait(0.2):
            self.most = max(self.most, float(self._process.memory_full_info().uss))

    def stop(self) -> float:
        self._ended.set()
        self._thread.join()
        return self.most


def fits(options: argparse.Namespace) -> dict[str, Any]:
    """Measure, fit the cost model, and predict each network from the others."""
    epochs = 1 if options.quick else 3
    rows: list[tuple[str, Work, float, float, float]] = []
    cases = [case for case in CASES if not options.quick or case[1] == 28]
    print(f"{'network':24s}   px model      steps       s   CPU s  ms/step  images/s  memory")
    for network, side, images in cases:
        for name, model in (("classical", CLASSICAL), ("hybrid", HYBRID)):
            work, wall, cpu, memory = measure((network, model, side, images, epochs))
            rows.append((f"{network}@{side}/{name}", work, wall, cpu, memory))
            print(
                f"{network:24s} {side:4d} {name:9s} {work.steps:6d} {wall:7.2f} {cpu:7.2f} "
                f"{1000 * cpu / work.steps:8.2f} {work.train_images / cpu:9.0f}  "
                f"{memory / 1e9:.2f} GB (predicted {worker_memory(work, 64) / 1e9:.2f})",
                flush=True,
            )
    times = [(work, cpu) for _, work, _, cpu, _ in rows]
    model = CostModel.calibrated(times)
    print("\ncoefficients (CPU seconds a term):")
    for term, value in zip(TERMS, model.coefficients["cpu"], strict=True):
        print(f"  {term:17s} {value:.3g}")
    print(f"mean residual on what it was fitted to: {100 * model.spread['cpu']:.0f} %")
    errors = {}
    for network in dict.fromkeys(name.split("/")[0] for name, *_ in rows):
        others = [(work, cpu) for name, work, _, cpu, _ in rows if not name.startswith(network + "/")]
        mine = [(work, cpu) for name, work, _, cpu, _ in rows if name.startswith(network + "/")]
        predicted = CostModel.calibrated(others)
        errors[network] = sum(predicted.seconds(w) for w, _ in mine) / sum(s for _, s in mine) - 1
    print("\nleft out and predicted from the others:")
    for network, error in errors.items():
        print(f"  {network:28s} {100 * error:+5.0f} %")
    if options.save:
        text = [{"name": n, "work": asdict(w), "seconds": s, "cpu_seconds": c, "bytes": m} for n, w, s, c, m in rows]
        options.save.write_text(json.dumps(text, indent=1) + "\n")
    return {"coefficients": model.coefficients["cpu"].tolist(), "left_out": errors}


# --- schedule -------------------------------------------------------------------------------------------------------


class Clock:
    """A listener that notes when each fit started and when its result was kept."""

    def __init__(self) -> None:
        self.start: dict[str, float] = {}
        self.end: dict[str, float] = {}

    def started(self, spec: FitSpec, worker: str) -> None:
        self.start[spec.fingerprint] = time.perf_counter()

    def epoch(self, spec: FitSpec, metrics: dict[str, float]) -> None: ...

    def finished(self, spec: FitSpec, folder: Path) -> None:
        self.end[spec.fingerprint] = time.perf_counter()

    def failed(self, spec: FitSpec, error: BaseException) -> None:
        raise error


def make_study(root: Path, epochs: int, folds: int) -> Params:
    """A project with images of the size and number of DermaMNIST, made up: times do not depend on what they show."""
    from qlcnet.data.channel_card import ChannelCard, Decode, Evaluations
    from qlcnet.data.folds import make_folds
    from qlcnet.data.imageset import ImageSet
    from qlcnet.fit.spec import DataPaths

    params = parse_params(
        {
            "seed": 42,
            "datasets": {
                "made-up": {"source": {"kind": "medmnist", "name": "dermamnist"}, "protocol": {"folds": folds}}
            },
            "circuits": {"ry": {}},
            "channels": {},
            "models": {
                "classical": {"inputs": ["image"]},
                "hybrid": {"inputs": ["image", "quanv:ry"], "head": "quantum"},
            },
            "backbones": {"lcnet_050": {"activation": "relu"}},
            "training": {"epochs": epochs, "device": "cpu"},
        }
    )
    rng, count = np.random.default_rng(0), 10_015
    labels = np.arange(count, dtype=np.int64) % 7
    images = rng.integers(0, 256, (count, 28, 28, 3), dtype=np.uint8)
    image_set = ImageSet(images, labels, np.full(count, "train", "<U5"), tuple("abcdefg"), None, {"title": "made up"})
    paths = DataPaths.of(root, "made-up")
    image_set.save(paths.raw)
    make_folds(image_set, params.datasets["made-up"], params.seed).write(paths.folds)
    (paths.quanvolved / "ry").mkdir(parents=True)
    np.save(paths.quanvolved / "ry" / "channels.npy", rng.standard_normal((count, 28, 28, 4)).astype(np.float16))
    shape, evaluations = (count, 28, 28, 4), Evaluations(executed=81, hardware=784)
    card = ChannelCard("ry", "circuit", image_set.digest, "", shape, Decode(1.0, 0.0), None, "made up", evaluations)
    card.write(paths.quanvolved / "ry")
    return params


def run_study(root: Path, params: Params, workers: int) -> dict[str, Any]:
    """Fit everything with an empty store; times in seconds, of the grid without the start of its workers."""
    from qlcnet.cost.calibration import finished_fits
    from qlcnet.fit.spec import DataPaths
    from qlcnet.fit.store import FoldStore
    from qlcnet.grid.grid import channels_of, plan_grid
    from qlcnet.grid.keeper import Keeper
    from qlcnet.grid.local import LocalEngine
    from qlcnet.grid.run import run_grid

    with tempfile.TemporaryDirectory() as folder:
        store, clock = FoldStore(Path(folder) / "folds"), Clock()
        grid = plan_grid(params, "made-up", root, store)
        paths, channels = DataPaths.of(root, "made-up"), channels_of(params)
        opened = time.perf_counter()
        keeper = Keeper.of(grid, store, {}, workers)
        scratch = Path(folder) / "tmp"
        run_grid(grid.todo, lambda on_event: LocalEngine(paths, channels, workers, on_event, scratch), keeper, [clock])
        fits = {fit.fingerprint: fit for fit in finished_fits(store)}
    first = min(clock.start.values())
    order = sorted(fits, key=lambda key: -fits[key].predicted_seconds)
    return {
        "workers": workers,
        "startup": first - opened,
        "wall": max(clock.end.values()) - first,
        "seconds": [fits[key].seconds for key in order],
    }


def schedule(options: argparse.Namespace) -> dict[str, Any]:
    """One and two workers, interleaved; each real run replayed through the simulated schedule."""
    # in fits of one epoch, what a worker pays once (means of its inputs, first calls) would be a tenth of the time
    rounds, epochs, folds = (1, 1, 2) if options.quick else (2, 5, 5)
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        params = make_study(Path(folder), epochs, folds)
        run_study(Path(folder), params, 2)  # starts the forkserver: imports are not what is measured
        for _ in range(rounds):
            runs += [run_study(Path(folder), params, workers) for workers in (1, 2)]
    print("workers  fits   real s  replayed  error  from 1 worker  error")
    alone = statistics.median(sum(run["seconds"]) for run in runs if run["workers"] == 1)
    for run in runs:
        # handed out in the order of the list, as they were
        costs = list(range(len(run["seconds"]), 0, -1))
        run["replayed"] = makespan(simulate(run["seconds"], run["workers"], costs=[float(c) for c in costs]))
        scaled = [s * alone / sum(run["seconds"]) for s in run["seconds"]]
        run["foreseen"] = makespan(simulate(scaled, run["workers"], costs=[float(c) for c in costs]))
        print(
            f"{run['workers']:7d} {len(run['seconds']):5d} {run['wall']:8.2f} {run['replayed']:9.2f} "
            f"{100 * (run['replayed'] / run['wall'] - 1):+5.0f}% {run['foreseen']:14.2f} "
            f"{100 * (run['foreseen'] / run['wall'] - 1):+5.0f}%"
        )
    pairs = [one["wall"] / two["wall"] for one, two in zip(runs[::2], runs[1::2], strict=True)]
    spread = f"of {len(pairs)}: {min(pairs):.2f} to {max(pairs):.2f}"
    print(f"two workers are {statistics.median(pairs):.2f} times as fast as one ({spread})")
    replays = [run["replayed"] / run["wall"] - 1 for run in runs]
    return {"speedup": statistics.median(pairs), "replay_error": max(replays, key=abs)}


# --- medmnist -------------------------------------------------------------------------------------------------------


def medmnist(options: argparse.Namespace) -> dict[str, Any]:
    """All 2D sets at 224 px: 5 widths x classical and hybrid x 5 folds x 10 epochs each."""
    from qlcnet.cost.network_size import network_sizes
    from qlcnet.cost.room import data_disk, fit_disk
    from qlcnet.data.medmnist_info import medmnist_info

    measured = json.loads(options.measured.read_text()) if options.measured else []
    model = CostModel.calibrated([(Work.from_json(row["work"]), row["cpu_seconds"]) for row in measured])
    workers, side, training = options.workers, options.side, Training(device="cpu")
    rows: list[dict[str, Any]] = []
    for name, entry in medmnist_info().items():
        # ChestMNIST is multi-label, which qlcnet does not train; its size is counted as if it had one label an image
        count, channels = sum(entry["n_samples"].values()), entry["n_channels"]
        one = (count - count // 5, count // 5, 0)
        shape = TaskShape(count, side, side, channels, len(entry["label"]), 5, 1, {(0, fold): one for fold in range(5)})
        specs = [
            FitSpec(name, width, text, 0, fold, 42, Backbone(), network, training, "cpu")
            for width in WIDTHS
            for text, network in (("classical", CLASSICAL), ("hybrid", HYBRID))
            for fold in range(5)
        ]
        kinds = [NetworkKind.of(spec, shape, {"ry": "grey"}) for spec in specs]
        known = {kind.key: kind for kind in kinds}
        sizes = dict(zip(known, network_sizes(list(known.values())), strict=True))
        work = [Work.of(spec, shape, kind, sizes[kind.key]) for spec, kind in zip(specs, kinds, strict=True)]
        seconds = [model.seconds(one) for one in work]
        read = [
            (w.train_images + w.evaluated_images) * side**2 * (channels + (8 if spec.model_name == "hybrid" else 0))
            for w, spec in zip(work, specs, strict=True)
        ]
        rows.append(
            {
                "name": name,
                "images": count,
                "seconds": seconds,
                "read": sum(read),
                "fastest_read": max(r / s for r, s in zip(read, seconds, strict=True)),
                "data": data_disk(shape, {"ry": 8.0}),
                "results": sum(fit_disk(w, shape, training.epochs) for w in work),
                "memory": max(worker_memory(w, training.batch_size) for w in work),
            }
        )
    print(f"set              images  data GB   core h longest fit h  hours alone on {workers} workers  read TB")
    for row in rows:
        alone = makespan(simulate(row["seconds"], workers))
        print(
            f"{row['name']:14s} {row['images']:8d} {row['data'] / 1e9:8.1f} {sum(row['seconds']) / 3600:8.0f} "
            f"{max(row['seconds']) / 3600:13.1f} {alone / 3600:27.1f} {row['read'] / 1e12:8.1f}"
        )
    everything = [s for row in rows for s in row["seconds"]]
    one_by_one = sum(makespan(simulate(row["seconds"], workers)) for row in rows)
    together = makespan(simulate(everything, workers))
    read = sum(row["read"] for row in rows)
    summary = {
        "fits": len(everything),
        "core_hours": sum(everything) / 3600,
        "hours_tasks_one_by_one": one_by_one / 3600,
        "hours_tasks_together": together / 3600,
        "hours_ideal": sum(everything) / workers / 3600,
        "hours_longest_fit": max(everything) / 3600,
        "data_gb": sum(row["data"] for row in rows) / 1e9,
        "results_gb": sum(row["results"] for row in rows) / 1e9,
        "read_tb": read / 1e12,
        "read_gb_per_s_together": read / together / 1e9,
        "read_gb_per_s_at_most": workers * max(row["fastest_read"] for row in rows) / 1e9,
        "worker_memory_gb": max(row["memory"] for row in rows) / 1e9,
    }
    for key, value in summary.items():
        print(f"{key:26s} {value:10.1f}")
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("fits", "schedule", "medmnist"))
    parser.add_argument("--quick", action="store_true", help="fewer cases, one round")
    parser.add_argument("--save", type=Path, help="fits: where to keep the measurements")
    parser.add_argument("--measured", type=Path, help="medmnist: measurements that `fits --save` kept")
    parser.add_argument("--workers", type=int, default=100, help="medmnist: how many (default 100)")
    parser.add_argument("--side", type=int, default=224, help="medmnist: pixels (default 224)")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    parts = {"fits": fits, "schedule": schedule, "medmnist": medmnist}
    print(json.dumps({options.part: parts[options.part](options)}))


if __name__ == "__main__":
    main()
