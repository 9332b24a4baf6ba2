"""Claim: a search drops what is behind at a stated risk, says how optimistic it is, and is fast.

Run: python benchmarks/search.py [--part pruner] [--simulations 200] [--only "k = 3"] (tens of minutes; goes on where it
stopped). Parts:
  pruner   an equal trial is dropped in at most 5 % of comparisons; fold fits saved; what the winner loses
  noise    searches over noise: --nested is unbiased, the inner best is not, the estimated bias is right
  planted  trials until a planted optimum is found, median of 20 seeds, beside random search
  speed    trials an hour against the same search written plainly, and two workers against one (not simulated), of
           BreastMNIST as its study trains it (--images: the folder of MedMNIST's files) and of digits, where a fit is
           shorter than what a search takes to start
What a cell gave stands in benchmarks/search.json, which is in git. The last line is JSON.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from machine import describe_machine
from simulate.cells import Cell, Kept, run
from simulate.searches import noise_cells, planted_cells, pruner_cells

SIMULATIONS = 200
HERE = Path(__file__).resolve().parent
PARTS: Mapping[str, Callable[[], Mapping[str, Cell]]] = {
    "pruner": pruner_cells,
    "noise": noise_cells,
    "planted": planted_cells,
}
TRIALS, ROUNDS = 24, 3
PLAIN_TRIALS = 8  # of the plain search, which prunes nothing
WAYS = ("two", "one", "one, all folds", "plain")
BASE: dict[str, Any] = {
    "circuits": {},
    "channels": {},
    "models": {"classical": {"inputs": ["image"]}},
    "tuning": {
        "folds": 3,
        "metric": "accuracy",
        "space": {"training.learning_rate": {"low": 1e-3, "high": 0.3, "log": True}},
    },
}
TRAINING = {"batch_size": 64, "optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.9, "device": "cpu"}
TASKS: Mapping[str, Mapping[str, Any]] = {  # sections of params.yaml
    "breastmnist": {
        "datasets": {
            "breastmnist": {
                "source": {"kind": "medmnist", "name": "breastmnist", "size": 28},
                "protocol": {"kind": "pooled-cv", "folds": 5},
            }
        },
        "backbones": {"lcnet_050": {"activation": "relu", "strides": [2, 2, 2, 2, 2]}},
        "training": {**TRAINING, "epochs": 10},
    },
    "digits": {
        "datasets": {
            "digits": {"source": {"kind": "digits", "size": 16}, "protocol": {"kind": "pooled-cv", "folds": 3}}
        },
        "backbones": {"lcnet_050": {"activation": "relu", "strides": [1, 2, 1, 2, 2]}},
        "training": {**TRAINING, "epochs": 3},
    },
}


def main(arguments: Sequence[str] | None = None) -> None:
    """The chosen parts; prints a line a cell and, last, one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = (*PARTS, "speed")
    parser.add_argument("--part", choices=parts, action="append", help="one part (default: all); may be repeated")
    parser.add_argument("--simulations", type=int, default=SIMULATIONS, help=f"a cell (default {SIMULATIONS})")
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of part speed (default {ROUNDS})")
    parser.add_argument("--task", choices=TASKS, action="append", help="of part speed, one task (default: all)")
    parser.add_argument("--images", type=Path, help="of part speed, a folder with MedMNIST's files (default: fetched)")
    parser.add_argument("--trials", type=int, default=TRIALS, help=f"of part speed (default {TRIALS})")
    parser.add_argument("--way", choices=WAYS, action="append", help="of part speed, one way (default: all)")
    given = parser.parse_args(arguments)
    machine = describe_machine("numpy", "optuna", "torch")
    print(machine, flush=True)
    found: dict[str, Any] = {}
    for part in given.part or parts:
        kept = Kept(part, HERE / "search.json", HERE.parent / ".qlcnet" / "benchmarks")
        if part == "speed":
            for task in given.task or TASKS:
                name = f"{given.trials} trials of {task}, 3 inner folds"
                rounds = Rounds(task, given.trials, given.images, kept)
                found[f"{part}: {name}"] = result = {**rounds.run(given.rounds, given.way or WAYS), "machine": machine}
                kept.keep_result(name, result)
                print(f"{part}: {name}\n  {json.dumps(result)}", flush=True)
            continue
        cells = {name: cell for name, cell in PARTS[part]().items() if given.only in name}
        for name, result in run(cells, given.simulations, kept):
            found[f"{part}: {name}"] = result
            print(f"{part}: {name}\n  {json.dumps(result)}", flush=True)
    print(json.dumps({"benchmark": "search", "machine": machine, "cells": found}))


# --- speed ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rounds:
    """Searches of one task, each way in turn; the seconds of each are kept, so that a killed run goes on."""

    task: str
    trials: int
    images: Path | None
    kept: Kept

    def run(self, rounds: int, ways: Sequence[str]) -> dict[str, Any]:
        """Trials an hour by the command with two workers and one, and by a plain search; start and end included."""
        name, code = f"{self.trials} of {self.task}", _sources()
        _, sums = self.kept.sums(name, code)
        for number in range(rounds):
            for way in ways if number % 2 == 0 else reversed(ways):
                key = f"{number} {way}"
                if key not in sums:
                    sums[key] = self.seconds(way, seed=42 + number)  # type: ignore[assignment]
                    self.kept.keep_sums(name, code, 0, sums)
                    print(f"  {self.task}, round {number}, {way}: {sums[key]:.1f} s, load {os.getloadavg()[0]:.1f}")
        return self.summary({way: [float(sums[f"{number} {way}"]) for number in range(rounds)] for way in ways})

    def seconds(self, way: str, seed: int) -> float:
        """Of one search in a project of its own."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            data = {"data": {"search_path": [str(self.images.resolve())]}} if self.images else {}
            (root / "params.yaml").write_text(yaml.safe_dump({**BASE, **TASKS[self.task], **data, "seed": seed}))
            for stage in ("fetch", "split", "quanvolve"):
                _run(root, "-m", "qlcnet.cli", stage, self.task)
            started = time.perf_counter()
            if way == "plain":
                # all trials cost the same: what it takes to start, and a few of them, timed
                timed = str(min(PLAIN_TRIALS, self.trials))
                said = _run(root, str(HERE / "rivals" / "plain_search.py"), timed, str(time.time()))
                first, each = json.loads(said)
                return float(first + each * self.trials)
            else:
                workers = "2" if way == "two" else "1"
                rest = ["--no-prune"] if way == "one, all folds" else []
                search = ["tune", self.task, "--trials", str(self.trials), "--workers", workers, *rest]
                _run(root, "-m", "qlcnet.cli", *search)
            return time.perf_counter() - started

    def summary(self, took: Mapping[str, Sequence[float]]) -> dict[str, Any]:
        """Medians; ratios within a round as (median, least, most)."""
        hourly = {f"trials_an_hour_{way}": round(3600 * self.trials / median(each), 1) for way, each in took.items()}

        def ratio(slow: str, fast: str) -> list[float]:
            each = sorted(a / b for a, b in zip(took[slow], took[fast], strict=True))
            return [round(one, 2) for one in (median(each), each[0], each[-1])]

        pairs = [("plain", "two"), ("one", "two"), ("plain", "one, all folds")]
        ratios = {f"{slow} over {fast}": ratio(slow, fast) for slow, fast in pairs if slow in took and fast in took}
        seconds = {f"seconds_{way}": [round(one, 1) for one in each] for way, each in took.items()}
        return {**hourly, **ratios, **seconds, "rounds": len(next(iter(took.values())))}


def _run(root: Path, *arguments: str) -> str:
    # not through a pipe, which what a command leaves behind would hold open for a moment
    with (root / "said").open("w+") as said:
        subprocess.run([sys.executable, *arguments], cwd=root, check=True, stdout=said, stderr=subprocess.DEVNULL)
        said.seek(0)
        return said.read()


def _sources() -> str:
    """Digest of all code that is timed."""
    files = [*sorted((HERE.parent / "src").rglob("*.py")), Path(__file__), HERE / "rivals" / "plain_search.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


if __name__ == "__main__":
    main()
