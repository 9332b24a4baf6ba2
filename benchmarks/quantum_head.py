"""Claim: the trainable circuit costs next to nothing: ours against qml.qnn.TorchLayer, and as share of a training step.

Run: python benchmarks/quantum_head.py [--rounds 15] (about a minute). Every time is forward + backward on a batch of
64, on one thread, in processor time, which other work on the machine disturbs less than the clock on the wall. Each
round runs every candidate, one after the other, and ratios are taken within a round. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from statistics import median, quantiles

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

import pennylane as qml
import timm
import torch
from torch import nn

from machine import describe_machine
from qlcnet.config import Backbone, Head, Model
from qlcnet.models.heads import Sine
from qlcnet.models.network import InputChannels, build_network
from qlcnet.quantum.head import QuantumLayer

try:
    from qlcnet.models.fast.accelerate import accelerate
except ImportError:  # the share is then of timm's own step
    accelerate = None

BATCH, CHANNELS, PIXELS, CLASSES = 64, 7, 28, 7  # DermaMNIST with four quantum channels
LEAST = 0.05  # seconds a candidate and round
CIRCUITS = {  # name: qubits, ansatz, layers
    "paper": (4, "ry", 1),
    "random-1": (4, "random", 1),
    "entangled-1": (4, "entangled", 1),
    "entangled-2": (4, "entangled", 2),
    "entangled-4": (4, "entangled", 4),
    "entangled-2-8q": (8, "entangled", 2),
}
LIGHTNING = ("paper", "entangled-2")  # lightning.qubit runs one sample at a time: on two circuits


def layer_step(layer: nn.Module, qubits: int) -> Callable[[], None]:
    """Forward and backward of a layer, to its angles and its weight."""
    angles = ((torch.rand(BATCH, qubits) - 0.5) * 2 * torch.pi).requires_grad_()
    upstream = torch.randn(BATCH, qubits)
    leaves = (angles, *layer.parameters())

    def step() -> None:
        values = layer(angles)
        torch.autograd.grad(values, leaves, upstream.to(values.dtype))

    return step


def torch_layer(ours: QuantumLayer, device: str, diff_method: str) -> nn.Module:
    """PennyLane's module of the same circuit and angles; raises AssertionError where the values differ."""
    node = qml.QNode(
        ours.qnode().func, qml.device(device, wires=ours.qubits), interface="torch", diff_method=diff_method
    )
    theirs = qml.qnn.TorchLayer(node, {"weight": ours.weight.shape})
    theirs.load_state_dict({"weight": ours.weight.detach()})
    angles = torch.randn(3, ours.qubits)
    torch.testing.assert_close(theirs(angles).float(), ours(angles), rtol=0, atol=1e-5)
    return theirs


def training_step(network: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """One step of training: forward, cross-entropy, backward, Adam, in channels_last."""
    network.to(memory_format=torch.channels_last).train()
    images = torch.randn(BATCH, CHANNELS, PIXELS, PIXELS).to(memory_format=torch.channels_last)
    targets = torch.randint(CLASSES, (BATCH,))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(network(images), targets).backward()
        optimizer.step()

    return step


def project_network(kind: str) -> nn.Module:
    """lcnet_050 of the paper's hybrid with the given head, accelerated where the project can."""
    model = Model(inputs=("image",), head=Head(kind=kind))
    network = build_network(model, "lcnet_050", Backbone(), [InputChannels("image", CHANNELS)], CLASSES)
    return network if accelerate is None else accelerate(network, (CHANNELS, PIXELS, PIXELS), BATCH)


def candidates() -> dict[str, Callable[[], None]]:
    """Everything that is timed, by name."""
    found: dict[str, Callable[[], None]] = {}
    for name, (qubits, ansatz, layers) in CIRCUITS.items():
        ours = QuantumLayer(qubits, ansatz, layers)
        found[f"{name}: ours"] = layer_step(ours, qubits)
        found[f"{name}: TorchLayer"] = layer_step(torch_layer(ours, "default.qubit", "backprop"), qubits)
        if name in LIGHTNING:
            found[f"{name}: lightning"] = layer_step(torch_layer(ours, "lightning.qubit", "adjoint"), qubits)
    found["sine twin"] = layer_step(Sine(4, 1), 4)
    plain = timm.create_model("lcnet_050", in_chans=CHANNELS, num_classes=CLASSES)
    found["step: timm"] = training_step(plain, torch.optim.Adam(plain.parameters()))
    for kind in ("bottleneck", "quantum"):
        network = project_network(kind)
        found[f"step: qlcnet, {kind}"] = training_step(network, torch.optim.Adam(network.parameters(), fused=True))
    return found


def measure(found: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds a call of each candidate in each round."""
    calls: dict[str, int] = {}
    for name, step in found.items():
        step()
        start, done = time.process_time(), 0
        while time.process_time() - start < LEAST:
            step()
            done += 1
        calls[name] = done
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, step in found.items():
            step()  # what ran before has emptied the caches
            start = time.process_time()
            for _ in range(calls[name]):
                step()
            times[name].append((time.process_time() - start) / calls[name] * 1e3)
    return times


def ratio(over: list[float], under: list[float]) -> float:
    """Median of the rounds' ratios."""
    return median(a / b for a, b in zip(over, under, strict=True))


def main() -> None:
    """Measure, print the table, and last the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.manual_seed(42)
    torch.set_num_threads(1)
    times = measure(candidates(), rounds)

    print(f"{describe_machine('torch', 'pennylane')}; 1 thread")
    print(f"batch {BATCH}, float32; ms of processor time, forward + backward; {rounds} rounds\n")
    print(f"{'':28}{'median':>9}{'quartiles':>19}{'ours is faster by':>20}")
    for name, series in times.items():
        low, _, high = quantiles(series, n=4)
        circuit, _, rival = name.partition(": ")
        faster = f"{ratio(series, times[f'{circuit}: ours']):.1f}" if rival in ("TorchLayer", "lightning") else ""
        print(f"{name:28}{median(series):9.3f}{low:10.3f}{high:9.3f}{faster:>20}")

    step = "step: qlcnet, quantum"
    how = "lcnet_050 as qlcnet runs it" + (", not accelerated" if accelerate is None else ", accelerated")
    result = {
        "speedup_vs_torchlayer": {c: round(ratio(times[f"{c}: TorchLayer"], times[f"{c}: ours"]), 1) for c in CIRCUITS},
        "speedup_vs_lightning": {c: round(ratio(times[f"{c}: lightning"], times[f"{c}: ours"]), 1) for c in LIGHTNING},
        "share_of_training_step": round(ratio(times["paper: ours"], times[step]), 5),
        "share_of_training_step_timm": round(ratio(times["paper: ours"], times["step: timm"]), 5),
        "share_of_training_step_entangled_2": round(ratio(times["entangled-2: ours"], times[step]), 5),
        "training_step": how,
        "milliseconds": {name: round(median(series), 4) for name, series in times.items()},
    }
    print(f"\nthe paper's circuit takes {result['share_of_training_step']:.2%} of a training step ({how})")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
