"""Claim: a search drops what is behind at a stated risk, says how optimistic it is, and is fast.

Run: python benchmarks/search.py [--part pruner] [--simulations 200] [--only "k = 3"] (tens of minutes; goes on where it
stopped). Parts:
  pruner   an equal trial is dropped in at most 5 % of comparisons; fold fits saved; what the winner loses
  noise    searches over noise: --nested is unbiased, the inner best is not, the estimated bias is right
  planted  trials until a planted optimum is found, median of 20 seeds, beside random search
  speed    trials an hour against the same search written plainly, and two workers against one (not simulated)
What a cell gave stands in benchmarks/search.json, which is in git. The last line is JSON.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
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
TRIALS, FOLDS, EPOCHS, ROUNDS = 24, 3, 3, 3
WAYS = ("two", "one", "one, all folds", "plain")
TASK = "digits"
RATES = {"low": 1e-3, "high": 0.3, "log": True}
PARAMS: dict[str, Any] = {
    "seed": 42,
    "datasets": {TASK: {"source": {"kind": "digits", "size": 16}, "protocol": {"kind": "pooled-cv", "folds": 3}}},
    "circuits": {},
    "channels": {},
    "models": {"classical": {"inputs": ["image"]}},
    "backbones": {"lcnet_050": {"strides": [1, 2, 1, 2, 2]}},
    "training": {"epochs": EPOCHS, "batch_size": 64, "optimizer": "sgd", "learning_rate": 0.1, "device": "cpu"},
    "tuning": {"folds": FOLDS, "metric": "accuracy", "space": {"training.learning_rate": RATES}},
}


def main(arguments: Sequence[str] | None = None) -> None:
    """The chosen parts; prints a line a cell and, last, one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = (*PARTS, "speed")
    parser.add_argument("--part", choices=parts, action="append", help="one part (default: all); may be repeated")
    parser.add_argument("--simulations", type=int, default=SIMULATIONS, help=f"a cell (default {SIMULATIONS})")
    parser.add_argument("--only", default="", help="cells whose name contains this")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of part speed (default {ROUNDS})")
    parser.add_argument("--trials", type=int, default=TRIALS, help=f"of part speed (default {TRIALS})")
    parser.add_argument("--way", choices=WAYS, action="append", help="of part speed, one way (default: all)")
    given = parser.parse_args(arguments)
    machine = describe_machine("numpy", "optuna", "torch")
    print(machine, flush=True)
    found: dict[str, Any] = {}
    for part in given.part or parts:
        kept = Kept(part, HERE / "search.json", HERE.parent / ".qlcnet" / "benchmarks")
        if part == "speed":
            found[part] = {**speed(given.rounds, given.trials, given.way or WAYS), "machine": machine}
            kept.keep_result(f"{given.trials} trials of digits, 3 inner folds", found[part])
            print(f"speed\n  {json.dumps(found[part])}", flush=True)
            continue
        cells = {name: cell for name, cell in PARTS[part]().items() if given.only in name}
        for name, result in run(cells, given.simulations, kept):
            found[f"{part}: {name}"] = result
            print(f"{part}: {name}\n  {json.dumps(result)}", flush=True)
    print(json.dumps({"benchmark": "search", "machine": machine, "cells": found}))


# --- speed ----------------------------------------------------------------------------------------------------------


def speed(rounds: int, trials: int, ways: Sequence[str]) -> dict[str, Any]:
    """Trials an hour by the command with two workers and one, and by a plain search, in turns; start included."""
    took: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds):
        for way in took if number % 2 == 0 else reversed(took):
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                (root / "params.yaml").write_text(yaml.safe_dump({**PARAMS, "seed": 42 + number}))
                for stage in ("fetch", "split", "quanvolve"):
                    _run(root, "-m", "qlcnet.cli", stage, TASK)
                started = time.perf_counter()
                if way == "plain":
                    _run(root, str(HERE / "rivals" / "plain_search.py"), str(trials), str(FOLDS), str(EPOCHS))
                else:
                    workers = "2" if way == "two" else "1"
                    rest = ["--no-prune"] if way == "one, all folds" else []
                    _run(root, "-m", "qlcnet.cli", "tune", TASK, "--trials", str(trials), "--workers", workers, *rest)
                took[way].append(time.perf_counter() - started)
    hourly = {f"trials_an_hour_{way}": round(3600 * trials / median(seconds), 1) for way, seconds in took.items()}

    def ratio(slow: str, fast: str) -> list[float]:
        each = sorted(a / b for a, b in zip(took[slow], took[fast], strict=True))
        return [round(one, 2) for one in (median(each), each[0], each[-1])]

    pairs = [("plain", "two"), ("one", "two"), ("plain", "one, all folds")]
    ratios = {f"{slow} over {fast}": ratio(slow, fast) for slow, fast in pairs if slow in took and fast in took}
    return {**hourly, **ratios, "rounds": rounds}


def _run(root: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], cwd=root, check=True, capture_output=True)


if __name__ == "__main__":
    main()
