"""Whether numbers travel: bytes of small fits with `numerics: portable`, held against other CPUs'; and what it costs.

The fits (LCNet 050 on 28 px noise: classical; hybrid with a quantum head and AdamW; separate backbones with a sine head
and SGD) run in a process of their own. Their digests go to benchmarks/portable.json, which is committed: a line for
each CPU and libc, under a key of the code that fits run, versions and settings. Two lines of one key that differ are an
error that names both: the bytes did not travel.

Then training steps of LCNet 050 and 200, 28 px, batch 64, in processes that take turns on one core: fast and portable,
processor time. Medians of the rounds' ratios, with the lowest and the highest round as their spread.

Run: python benchmarks/portable.py [--rounds 7]. Under an emulator, whose /proc/cpuinfo may be the host's, all in one
process: qemu-x86_64 -cpu Haswell python benchmarks/portable.py --only-bytes --cpu "GenuineIntel AVX2 (Haswell, QEMU)"
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

from machine import describe_machine
from qlcnet import machine
from qlcnet.grid.worker_process import HUGE_PAGES

KNOWN = Path(__file__).with_suffix(".json")
IMAGES, SIDE, EPOCHS = 320, 28, 2
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {  # model, training
    "classical": ({"inputs": ["image"]}, {}),
    "hybrid": (
        {"inputs": ["image", "quanv:ry"], "head": "quantum"},
        {"optimizer": "adamw", "schedule": "cosine", "class_weights": "balanced"},
    ),
    "separate": (
        {"inputs": ["image", "quanv:ry"], "fusion": "separate", "head": "sine"},
        {"optimizer": "sgd", "schedule": "one-cycle", "input_size": 32},
    ),
}
WIDTHS = ("lcnet_050", "lcnet_200")
BATCH, CHANNELS, CLASSES, STEPS, WARM_UP = 64, 7, 7, 10, 3


def fits() -> dict[str, Any]:
    """Key and digests of the fits, in this process."""
    import numpy as np

    from qlcnet.config import Model, Training, fingerprint
    from qlcnet.fit.code import LOADED
    from qlcnet.fit.fitting import fit_fold
    from qlcnet.fit.identity import numerics_of
    from qlcnet.grid.probe import made_up_fit

    digests = {}
    for name, (model, training) in MODELS.items():
        spec, data, _ = made_up_fit("lcnet_050", Model.model_validate(model), SIDE, IMAGES, EPOCHS)
        how = Training(epochs=EPOCHS, batch_size=32, device="cpu", numerics="portable", **training)
        fit = fit_fold(replace(spec, training=how), data)
        digest = hashlib.sha256(json.dumps([fit.history, fit.facts], sort_keys=True).encode())
        for group in (fit.predictions, fit.weights):
            for column in sorted(group):
                digest.update(np.ascontiguousarray(group[column]).tobytes())
        digests[name] = digest.hexdigest()[:16]
    of = {"code": LOADED.whole, "numerics": numerics_of("cpu", "float32"), "fits": [MODELS, IMAGES, SIDE, EPOCHS]}
    return {"key": fingerprint(of), "digests": digests}


def hold_against_others(cpu: str, found: dict[str, Any]) -> list[str]:
    """Add what was found to KNOWN; returns what is wrong: each other CPU whose bytes of the same fits differ."""
    lines: list[dict[str, Any]] = json.loads(KNOWN.read_text(encoding="utf-8")) if KNOWN.exists() else []
    own = {"key": found["key"], "cpu": cpu, "libc": " ".join(platform.libc_ver()), "digests": found["digests"]}
    same = [line for line in lines if line["key"] == own["key"]]
    if own not in lines:
        lines.append(own)
        KNOWN.write_text("[\n" + ",\n".join(map(json.dumps, lines)) + "\n]\n", encoding="utf-8")
    print(
        f"{len(same)} known with this code and these versions: " + "; ".join(f"{o['cpu']}, {o['libc']}" for o in same)
    )
    wrong = []
    for other in same:
        names = [name for name, digest in own["digests"].items() if other["digests"][name] != digest]
        if names:
            pair = " and on ".join(f"{one['cpu']} ({one['libc']})" for one in (other, own))
            wrong.append(f"{', '.join(names)}: other bytes on {pair}")
    return wrong


def steps(width: str) -> None:
    """A process of the race: at each line of stdin a turn of STEPS steps, whose processor seconds a step it prints."""
    import torch

    from qlcnet.config import Backbone, Input, Model
    from qlcnet.fit.fitting import be_quiet_and_exact
    from qlcnet.models.fast.accelerate import accelerate
    from qlcnet.models.network import InputChannels, build_network
    from qlcnet.models.optimizer import QuickAdam

    be_quiet_and_exact()
    torch.manual_seed(0)
    model, channels = Model(inputs=(Input("image"),)), [InputChannels("image", CHANNELS)]
    network = build_network(model, width, Backbone(), channels, CLASSES).to(memory_format=torch.channels_last)
    network = accelerate(network, (CHANNELS, SIDE, SIDE), BATCH)
    optimizer = QuickAdam(network.parameters())
    x = torch.randn(BATCH, CHANNELS, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    y = torch.arange(BATCH) % CLASSES

    def turn(count: int) -> float:
        started = time.process_time()
        for _ in range(count):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x), y).backward()
            optimizer.step()
        return (time.process_time() - started) / count

    turn(WARM_UP)
    for _ in sys.stdin:
        print(turn(STEPS), flush=True)


def cost(width: str, rounds: int) -> dict[str, Any]:
    """Milliseconds a step, fast and portable, and their ratio."""
    fast = {name: value for name, value in os.environ.items() if name not in machine.NUMERIC_VARIABLES}
    fast |= machine.FIXED_VARIABLES | {"GLIBC_TUNABLES": HUGE_PAGES}
    starts = {"fast": fast, "portable": fast | machine.PORTABLE_VARIABLES}
    racers = {name: start(["--steps", width], environment) for name, environment in starts.items()}
    seconds: dict[str, list[float]] = {name: [] for name in racers}
    try:
        for _ in range(rounds):
            for name, racer in racers.items():
                assert racer.stdin is not None
                assert racer.stdout is not None
                racer.stdin.write("\n")
                racer.stdin.flush()
                seconds[name].append(float(racer.stdout.readline()))
    finally:
        for racer in racers.values():
            racer.communicate()
    ratios = sorted(b / a for a, b in zip(seconds["fast"], seconds["portable"], strict=True))
    milliseconds = {name: round(1e3 * statistics.median(times), 2) for name, times in seconds.items()}
    spread = [round(value, 3) for value in (ratios[0], ratios[-1])]
    return {**milliseconds, "ratio": round(statistics.median(ratios), 3), "spread": spread}


def start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    """This file again, in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def main() -> None:
    """Both parts; prints a table and, last, one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="turns of each process (default 7)")
    parser.add_argument("--only-bytes", action="store_true", help="no race, and no other process")
    parser.add_argument("--cpu", default=f"{machine.cpu_vendor()} {machine.instructions()}", help="what this CPU is")
    parser.add_argument("--fits", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--steps", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fits:
        return print(json.dumps(fits()))
    if given.steps:
        return steps(given.steps)

    if given.only_bytes:
        machine.be_portable()  # nothing has loaded torch yet
        found = fits()
    else:
        environment = dict(os.environ)
        machine.be_portable(environment)
        process = start(["--fits"], environment)
        answer, _ = process.communicate()
        if process.returncode:
            raise SystemExit("the fits did not run")
        found = json.loads(answer)
    print(f"{describe_machine('torch', 'numpy')}\n{given.cpu}: {found['digests']}")
    wrong = hold_against_others(given.cpu, found)
    costs = {} if given.only_bytes else {width: cost(width, given.rounds) for width in WIDTHS}
    for width, one in costs.items():
        low, high = one["spread"]
        print(
            f"{width}: {one['fast']:.1f} ms a step, portable {one['portable']:.1f}: {one['ratio']:.2f} times "
            f"({low:.2f} to {high:.2f})"
        )
    print(json.dumps({"benchmark": "portable", "cpu": given.cpu, **found, "cost": costs, "wrong": wrong}))
    if wrong:
        raise SystemExit("\n".join(["the bytes of portable fits did not travel:", *wrong]))


if __name__ == "__main__":
    main()
