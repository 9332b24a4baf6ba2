"""How much memory and disk fits need."""

from __future__ import annotations

from qlcnet.study.workload import TaskShape, Work, evaluation_batch

# Bytes, measured by benchmarks/scaling.py (27 fits, 28 to 224 px; within 30 %) as the unique set size of a worker
IMPORTS = 0.45e9  # torch, timm and Lightning: shared by the workers of a forkserver, of a cluster worker its own
WORKER_BASE = 0.12e9  # an idle worker's own
BYTES_A_PARAMETER = 4 * 3.0  # weight, gradient, the moments of Adam
BYTES_AN_ACTIVATION = 4 * 1.5  # kept for the backward pass
BYTES_AN_INPUT = 4 * 3.5  # decoded, normalised and augmented
MOST_ACTIVATIONS = 300  # a pixel of an image: above lcnet_200's, for networks that are not counted yet

FIT_TEXT = 12_000  # bytes of config.json, history.csv and provenance.json


def worker_memory(work: Work, batch_size: int) -> float:
    """Bytes that a worker has to itself while it fits (its images are mapped, and shared)."""
    training = batch_size * (BYTES_AN_ACTIVATION * work.size.activations + BYTES_AN_INPUT * work.input_values)
    batch = work.evaluated_images / max(1, work.evaluation_batches)
    evaluation = batch * (BYTES_AN_INPUT * work.input_values + 4 * work.size.activations / 6)
    return WORKER_BASE + BYTES_A_PARAMETER * work.size.parameters + max(training, evaluation)


def most_memory(height: int, width: int, batch_size: int) -> float:
    """Bytes that a worker needs at most, imports included, before the networks are counted (which needs torch)."""
    positions = height * width
    images = max(
        batch_size * BYTES_AN_ACTIVATION * MOST_ACTIVATIONS, evaluation_batch(height, width) * 4 * MOST_ACTIVATIONS / 6
    )
    return IMPORTS + WORKER_BASE + positions * images


def fit_disk(work: Work, shape: TaskShape, epochs: int) -> float:
    """Bytes of a fit in the store: weights and predictions are most of it."""
    predicted = work.evaluated_images / (epochs + 1)
    return 4 * work.size.parameters + predicted * (17 + 4 * shape.classes) + FIT_TEXT


def data_disk(shape: TaskShape, circuits: dict[str, float]) -> float:
    """Bytes of a task's images and of the channels of its circuits (`circuits`: bytes a pixel position of each)."""
    positions = shape.images * shape.height * shape.width
    return positions * (shape.channels + sum(circuits.values()))
