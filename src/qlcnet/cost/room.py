"""How much memory and disk fits need, and how many fit into this machine at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from qlcnet import machine
from qlcnet.cost.workload import TaskShape, Work

# Bytes, measured by benchmarks/scaling.py (27 fits, 28 to 224 px; within 30 %) as the unique set size of a worker
IMPORTS = 0.45e9  # torch, timm and Lightning: shared by the workers of a forkserver, of a cluster worker its own
WORKER_BASE = 0.12e9  # an idle worker's own
BYTES_A_PARAMETER = 4 * 3.0  # weight, gradient, the moments of Adam
BYTES_AN_ACTIVATION = 4 * 1.5  # kept for the backward pass
BYTES_AN_INPUT = 4 * 3.5  # decoded, normalised and augmented
MARGIN = 1.4  # test_memory_is_predicted_within_40_per_cent_of_what_was_measured

FITS_PER_GPU = 4  # at most: small networks leave most of a large GPU idle. Not measured, see docs/accelerator.md
GPU_CONTEXT = 1.0e9  # bytes of a process on a GPU before its first array: libraries and workspaces. Not measured

FIT_TEXT = 12_000  # bytes of config.json, history.csv and provenance.json


def worker_memory(work: Work, batch_size: int) -> float:
    """Bytes that a worker has to itself while it fits (its images are mapped, and shared)."""
    training = batch_size * (BYTES_AN_ACTIVATION * work.size.activations + BYTES_AN_INPUT * work.input_values)
    batch = work.evaluated_images / max(1, work.evaluation_batches)
    evaluation = batch * (BYTES_AN_INPUT * work.input_values + 4 * work.size.activations / 6)
    return WORKER_BASE + BYTES_A_PARAMETER * work.size.parameters + max(training, evaluation)


def most_memory(fits: Iterable[tuple[Work, int]]) -> float:
    """Bytes that a worker has to itself at the most demanding of these fits: work, and images a batch."""
    return max((worker_memory(work, batch_size) for work, batch_size in fits), default=0.0)


def fit_disk(work: Work, shape: TaskShape, epochs: int) -> float:
    """Bytes of a fit in the store: weights and predictions are most of it."""
    predicted = work.evaluated_images / (epochs + 1)
    return 4 * work.size.parameters + predicted * (17 + 4 * shape.classes) + FIT_TEXT


def data_disk(shape: TaskShape, circuits: dict[str, float]) -> float:
    """Bytes of a task's images and of the channels of its circuits (`circuits`: bytes a pixel position of each)."""
    positions = shape.images * shape.height * shape.width
    return positions * (shape.channels + sum(circuits.values()))


# --- fits at a time -------------------------------------------------------------------------------------------------


def auto_workers(fits: int, device: str, needs: float, copied: float = 0.0) -> int:
    """How many fits to run at a time here: bounded by cores, free memory, what accelerators hold, and fits.

    `needs`: bytes of the most demanding fit (most_memory). `copied`: bytes of the arrays that each worker copies to
    its accelerator. Cores and memory are those of the container, if this is one.
    """
    bound = min(machine.cores(), int((machine.free_memory() - IMPORTS) / (MARGIN * needs)))
    if device == "cuda":
        bound = min(bound, sum(_fits_on(gpu, needs + copied) for gpu in machine.accelerators()))
    return max(1, min(bound, fits))


def deal(gpus: Sequence[str], workers: int, needs: float) -> list[str]:
    """The GPU of each worker, of which each takes `needs` bytes (data included): where its share of memory is largest.

    No GPU gets more than `auto_workers` counted for it while another has room; more workers than there is room for go
    on by share (test_no_gpu_gets_more_than_it_has_room_for). Nothing is dealt where no GPU is seen: the fit says so.
    """
    if not gpus:
        return []
    free = {gpu: _free(gpu) for gpu in gpus}
    dealt: list[str] = []

    def merit(gpu: str) -> tuple[bool, float, int]:
        others = dealt.count(gpu)
        share = free[gpu] / (others + 1)
        return others < FITS_PER_GPU and share >= GPU_CONTEXT + needs, share, -others

    for _ in range(workers):
        dealt.append(max(gpus, key=merit))
    return dealt


def _fits_on(gpu: str, needs: float) -> int:
    return int(min(FITS_PER_GPU, _free(gpu) / (GPU_CONTEXT + needs)))


def _free(gpu: str) -> float:
    """Free bytes of a GPU; without bound where nobody says."""
    free = machine.free_accelerator_memory(gpu)
    return math.inf if free is None else free
