"""Claim: a control costs no more than what it stands for: channels and heads within 1.2 of the quantum ones.

Run: python benchmarks/controls.py [--rounds 9] [--parts head kernel] (a few minutes). Of three circuits and of their
twins: the whole making of channels of DermaMNIST's 10,015 images as rebuilt in the search path (QLCNET_DATA; random
bytes of that shape where it is not there), from the image set to channels and card on disk, and the kernel alone. Of
the quantum head and its twins: the head's own training step on an embedding of 512, forward, cross-entropy, backward
and Adam, and the step of a whole lcnet_050 with it. Processor time, which other work on the machine disturbs less than
the clock on the wall; each round runs every candidate, one after the other, and ratios are taken within a round. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import numpy as np
import torch
from torch import nn

from machine import describe_machine
from qlcnet.config import (
    Backbone,
    Channels,
    Circuit,
    ConvChannels,
    Data,
    FourierRandomChannels,
    Head,
    Model,
    NoiseChannels,
)
from qlcnet.data.channel_card import ChannelCard
from qlcnet.data.channel_order import Order
from qlcnet.data.channels import MAKERS, kind_of, recipe_of_channels
from qlcnet.data.imageset import ImageSet
from qlcnet.data.search_path import Fetcher
from qlcnet.models.fast.accelerate import accelerate
from qlcnet.models.heads import HEADS
from qlcnet.models.network import InputChannels, build_network
from qlcnet.quantum.classical_twins import PatchChannels, cosine_filters, random_filters, random_polynomial
from qlcnet.quantum.quanvolution import prepare

LIMIT = 1.2  # of a control's time over that of what it stands for
IMAGES, BATCH, EMBEDDING, CHANNELS, PIXELS, CLASSES = 10_015, 64, 512, 7, 28, 7
REBUILT = Path("dermamnist-rebuilt") / "dermamnist.npz"
PARTS = ("making", "kernel", "head", "network")
LEAST = 0.05  # seconds a head and round
Work = Callable[[], object]
CIRCUITS = {
    "random": Circuit(),
    "entangled": Circuit(ansatz="entangled"),
    "entangled, stride 2, colours": Circuit(ansatz="entangled", layers=2, stride=2, colour="channels"),
}
CONTROLS = {
    "conv": ConvChannels(kind="conv", of="circuit"),
    "cosine": ConvChannels(kind="conv", of="circuit", filters="cosine"),
    "fourier-random": FourierRandomChannels(kind="fourier-random", of="circuit"),
    "noise": NoiseChannels(kind="noise", of="circuit"),
}
ANSAETZE = ("ry", "entangled")
TWINS: dict[str, dict[str, object]] = {
    "bottleneck": {},
    "sine": {},  # of `ry` alone
    "mlp": {},
    "fourier": {},
    "stochastic": {"shots": 100},
    "frozen-quantum": {},
}


def rebuilt_images() -> np.ndarray | None:
    """All images of DermaMNIST as rebuilt, uint8 (N, 28, 28, 3), if a folder of QLCNET_DATA has them."""
    for place in filter(None, os.environ.get("QLCNET_DATA", "").split(os.pathsep)):
        if (Path(place) / REBUILT).is_file():
            with np.load(Path(place) / REBUILT) as arrays:
                return np.concatenate([arrays[f"{part}_images"] for part in ("train", "val", "test")])
    return None


def makings(images: np.ndarray, folder: Path) -> dict[str, dict[str, Work]]:
    """By circuit: the whole making of its channels, and of each control's."""
    raw, out = folder / "raw", folder / "out"
    ImageSet(images, np.zeros(len(images), np.int64), np.full(len(images), "train"), ("a", "b")).save(raw)
    stored, nowhere = ImageSet.load(raw), Fetcher(Data(), folder)
    out.mkdir()

    def making(section: Circuit | Channels, circuit: Circuit | None = None) -> Work:
        order = Order("it", section, stored.images, nowhere, circuit)
        kind = kind_of(section)

        def work() -> None:
            made = MAKERS[kind].make(order, out)
            ChannelCard("it", kind, stored.digest, recipe_of_channels(order), *made).write(out)

        return work

    return {
        name: {
            "quanvolution": making(circuit),
            **{control: making(section, circuit) for control, section in CONTROLS.items()},
        }
        for name, circuit in CIRCUITS.items()
    }


def kernels(images: np.ndarray) -> dict[str, dict[str, Work]]:
    """By circuit: the compiled kernel alone, on all cores, into arrays that are there; noise has none."""
    found: dict[str, dict[str, Work]] = {}
    for name, circuit in CIRCUITS.items():
        quanvolution = prepare(circuit)
        out = quanvolution(images)
        found[name] = {"quanvolution": lambda q=quanvolution, out=out: q(images, out)}  # type: ignore[misc]
        functions = {
            "conv": random_filters(42),
            "cosine": cosine_filters(),
            "fourier-random": random_polynomial(quanvolution.channels_polynomial, 42),
        }
        for control, function in functions.items():
            laid = PatchChannels(function, circuit.colour, circuit.stride, circuit.padding)
            found[name][control] = lambda laid=laid, out=out: laid(images, out)  # type: ignore[misc]
    return found


def training_step(network: nn.Module, x: torch.Tensor) -> Work:
    """Forward, cross-entropy, backward, Adam."""
    network.train()
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    targets = torch.randint(CLASSES, (BATCH,))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(network(x), targets).backward()
        optimizer.step()

    return step


def heads_of(ansatz: str) -> dict[str, Head]:
    """The quantum head of an ansatz and its twins, by kind."""
    size = {"ansatz": ansatz}
    found = {"quantum": Head(kind="quantum", **size)}
    for kind, keys in TWINS.items():
        if kind == "sine" and ansatz != "ry":
            continue
        found[kind] = Head(kind=kind, **keys, **({} if kind in ("bottleneck", "sine") else size))
    if ansatz != "ry":
        found["quantum, no CNOT"] = Head(kind="quantum", entangling=False, **size)
    return found


def head_steps() -> dict[str, dict[str, Work]]:
    """By ansatz: the training step of each head alone, the gradient to the embedding included."""
    embedding = torch.randn(BATCH, EMBEDDING).requires_grad_()
    return {
        ansatz: {
            name: training_step(HEADS[head.kind](EMBEDDING, CLASSES, head), embedding)
            for name, head in heads_of(ansatz).items()
        }
        for ansatz in ANSAETZE
    }


def network_steps() -> dict[str, dict[str, Work]]:
    """By ansatz: the training step of a whole lcnet_050 with each head, as qlcnet runs it."""
    images = torch.randn(BATCH, CHANNELS, PIXELS, PIXELS).to(memory_format=torch.channels_last)

    def step(head: Head) -> Work:
        model = Model(inputs=("image",), head=head)
        network = build_network(model, "lcnet_050", Backbone(), [InputChannels("image", CHANNELS)], CLASSES)
        network = accelerate(network, (CHANNELS, PIXELS, PIXELS), BATCH)
        return training_step(network.to(memory_format=torch.channels_last), images)

    return {ansatz: {name: step(head) for name, head in heads_of(ansatz).items()} for ansatz in ANSAETZE}


def measure(groups: dict[str, dict[str, Work]], rounds: int, least: float) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of processor time a call, by group and candidate, of each round; calls fill `least` seconds."""
    calls: dict[tuple[str, str], int] = {}
    for group, candidates in groups.items():
        for name, work in candidates.items():
            work()
            start = time.process_time()
            work()
            calls[group, name] = max(1, int(least / max(time.process_time() - start, 1e-6)))
    times = {group: {name: [] for name in candidates} for group, candidates in groups.items()}  # type: ignore[var-annotated]
    for _ in range(rounds):
        for group, candidates in groups.items():
            for name, work in candidates.items():
                if calls[group, name] > 1:
                    work()  # what ran before has emptied the caches
                start = time.process_time()
                for _ in range(calls[group, name]):
                    work()
                times[group][name].append((time.process_time() - start) / calls[group, name] * 1e3)
    return times


def show(title: str, times: dict[str, dict[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Print the table; the medians of the rounds' ratios to the first candidate of each group."""
    ratios: dict[str, dict[str, float]] = {}
    print(f"\n{title}")
    print(f"{'':48}{'ms, median':>12}{'quartiles':>21}{'ratio':>8}{'quartiles':>15}")
    for group, series in times.items():
        first = next(iter(series))
        ratios[group] = {}
        for name, each in series.items():
            low, _, high = quantiles(each, n=4)
            of_rounds = [a / b for a, b in zip(each, series[first], strict=True)]
            least, _, most = quantiles(of_rounds, n=4)
            line = f"{group + ': ' + name:48}{median(each):12,.3f}{low:12,.3f}{high:9,.3f}"
            print(line + (f"{median(of_rounds):8.2f}{least:9.2f}{most:6.2f}" if name != first else ""))
            if name != first:
                ratios[group][name] = round(median(of_rounds), 3)
    return ratios


def main() -> None:
    """Measure, print the tables, and last the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="some of the tables")
    options = parser.parse_args()
    torch.manual_seed(42)
    torch.set_num_threads(1)
    logging.getLogger("qlcnet").setLevel(logging.ERROR)
    found = rebuilt_images()
    shape = (IMAGES, PIXELS, PIXELS, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8) if found is None else found
    print(f"{describe_machine('numpy', 'numba', 'torch')}; {options.rounds} rounds, processor time")
    print(f"{len(images):,} images {images.shape[1:]}: {'random bytes' if found is None else REBUILT.as_posix()}")
    result: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        groups: dict[str, tuple[str, Callable[[], dict[str, dict[str, Work]]], float]] = {
            "making": ("whole making of channels, to disk", lambda: makings(images, Path(name)), 0.0),
            "kernel": ("the kernel alone", lambda: kernels(images), 0.0),
            "head": (f"a head's training step, embedding {EMBEDDING}, batch {BATCH}", head_steps, LEAST),
            "network": (f"lcnet_050's training step, batch {BATCH}", network_steps, LEAST),
        }
        for part in options.parts:
            title, candidates, least = groups[part]
            result[part] = show(title, measure(candidates(), options.rounds, least))
    above = {
        f"{part}, {group}: {name}": ratio
        for part, groups in result.items()
        for group, ratios in groups.items()
        for name, ratio in ratios.items()
        if ratio > LIMIT
    }
    print(f"\nabove {LIMIT}: {', '.join(f'{name} {ratio:.2f}' for name, ratio in above.items()) or 'none'}")
    print(json.dumps({"limit": LIMIT, "above": above, **result}))


if __name__ == "__main__":
    main()
