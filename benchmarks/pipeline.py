"""Claims: nothing to do is quick, a study pays its imports once, two workers are near twice as fast, tracking is free.

Run: python benchmarks/pipeline.py [--rounds 5] [--quick]    (a few minutes)

A small study on digits is run once in a folder of its own; then each round times `qlcnet --help`, a `dvc repro` that
has nothing to do, and each stage where its work is next to nothing (so: its start-up). `train` is timed twice: with
all fits in the store, and from its start to its first step. One and two workers fit ten folds of the size of
DermaMNIST, made up, in turn (imports apart). Tracking: processor time of an epoch's writes against that of a fit. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MLFLOW_DISABLE_TELEMETRY="true")  # before torch or mlflow is imported
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import yaml

from machine import describe_machine
from scaling import make_study, run_study

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
STAGES = ("fetch", "split", "quanvolve", "train", "report")


def run(*command: str, cwd: Path) -> float:
    """Wall-clock seconds of a command that must succeed."""
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    started = time.perf_counter()
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - started


def small_project(folder: Path) -> Path:
    """A repository with the demo, cut down to two fits."""
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder / name)
    params = yaml.safe_load((ROOT / "studies" / "demo.yaml").read_text())
    params["backbones"] = {"lcnet_035": {"activation": "relu"}}
    params["datasets"]["digits"]["protocol"]["folds"] = 2
    params["datasets"]["digits"]["images_per_class"] = 20
    del params["models"]["hybrid"]
    params["training"]["epochs"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    run("git", "init", "-q", cwd=folder)
    run("dvc", "init", "-q", cwd=folder)
    run("dvc", "repro", cwd=folder)
    return folder


def first_step(project: Path) -> float:
    """Seconds from the start of `train` to the start of its first fit, with bytecode written and an empty store."""
    started = time.time()
    shutil.rmtree(project / ".qlcnet" / "folds")
    begun: list[float] = []
    command = [str(BIN / "python"), "-c", FIRST_STEP]
    env = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=True)
    begun = [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("started ")]
    return begun[0] - started


# `qlcnet train digits`, saying when the first fit begins
FIRST_STEP = """
import time
from qlcnet.grid import progress
plain = progress.ProgressBar.started
def started(self, spec, worker):
    print("started", time.time(), flush=True)
    plain(self, spec, worker)
progress.ProgressBar.started = started
from qlcnet.cli import main
raise SystemExit(main(["train", "digits"]))
"""


def start_up(project: Path, rounds: int) -> dict[str, list[float]]:
    """Seconds of each command, one round after the other."""

    def stage(name: str) -> Callable[[], float]:
        task = () if name == "report" else ("digits",)
        return lambda: run("qlcnet", name, *task, cwd=project)

    commands: dict[str, Callable[[], float]] = {
        "--help": lambda: run("qlcnet", "--help", cwd=project),
        "no-op repro": lambda: run("dvc", "repro", cwd=project),
        "train to first step": lambda: first_step(project),
        **{name: stage(name) for name in STAGES},
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            times[name].append(command())
    return times


def two_workers(rounds: int, epochs: int) -> dict[str, Any]:
    """Ten folds on one and on two workers, in turn; seconds without the start of the workers."""
    walls: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        params = make_study(Path(folder), epochs, folds=5)
        for _ in range(rounds):
            for workers in walls:
                walls[workers].append(run_study(Path(folder), params, workers)["wall"])
    speedups = [one / two for one, two in zip(walls[1], walls[2], strict=True)]
    return {"one": median(walls[1]), "two": median(walls[2]), "speedup": median(speedups), "all": speedups}


def tracking(rounds: int) -> dict[str, float]:
    """Processor seconds of one epoch's write to a local store, median, and of opening and closing a run."""
    from qlcnet.tracking.projection import Projection

    metrics = {f"{part}_metric_{i}": 0.5 for part in ("train", "val") for i in range(14)}
    config: dict[str, Any] = {
        "task": "t", "backbone": "b", "model": "m", "repeat": 0, "fold": 0, "seed": 1, "fingerprint": "0" * 32,
        "params": {"protocol": {"kind": "pooled-cv", "folds": 2, "repeats": 1}, "training": {}},
        "data": {"images": "x", "folds": "x", "channels": {}}, "class_names": ["a", "b"], "tuple": {},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "params.yaml").write_text("{}\n")
        projection = Projection.open(Path(folder))
        parent = projection.parent([config])
        started = time.process_time()
        child = projection.start_fold(parent, config)
        opened = time.process_time() - started
        epochs = []
        for epoch in range(10 * rounds):
            started = time.process_time()
            projection.log_epochs(child, [({**metrics, "epoch": float(epoch)}, int(time.time() * 1000))])
            epochs.append(time.process_time() - started)
    return {"epoch": median(epochs), "open": opened}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one round, short fits")
    options = parser.parse_args()
    rounds, epochs = (1, 1) if options.quick else (options.rounds, 2)
    with tempfile.TemporaryDirectory() as folder:
        times = start_up(small_project(Path(folder)), rounds)
    print(f"{'command':22s} {'median s':>9s} {'least':>7s} {'most':>7s}")
    for name, values in times.items():
        print(f"{name:22s} {median(values):9.2f} {min(values):7.2f} {max(values):7.2f}")
    workers = two_workers(max(1, rounds // 2), epochs)
    print(f"ten folds: {workers['one']:.1f} s on one worker, {workers['two']:.1f} s on two, {workers['speedup']:.2f} x")
    written = tracking(rounds)
    epoch_seconds = workers["one"] / 10 / epochs
    share = written["epoch"] / epoch_seconds
    print(f"tracking: {written['epoch'] * 1e3:.1f} ms an epoch, {share:.2%} of an epoch of {epoch_seconds:.2f} s")
    print(describe_machine("torch", "mlflow", "dvc"))
    print(
        json.dumps(
            {
                "seconds": {name: round(median(values), 3) for name, values in times.items()},
                "two_workers_speedup": round(workers["speedup"], 3),
                "two_workers_all": [round(x, 3) for x in workers["all"]],
                "tracking_ms_per_epoch": round(written["epoch"] * 1e3, 2),
                "tracking_share_of_epoch": round(share, 5),
            }
        )
    )


if __name__ == "__main__":
    main()
