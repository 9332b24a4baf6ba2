"""How much memory and disk fits need."""

from __future__ import annotations

from qlcnet.study.workload import EVALUATION_BATCH, TaskShape, Work

# Bytes, measured by benchmarks/scaling.py as the unique set size of a worker while it fits.
WORKER_BASE = 0.35e9  # an idle worker after its imports; pages shared with the forkserver are not counted again
BYTES_A_PARAMETER = 4 * 6  # weight, gradient, two moments of Adam, and the result on its way
BYTES_AN_ACTIVATION = 4 * 2.2  # kept for the backward pass, and its gradient while that passes
BYTES_AN_INPUT = 4 * 3  # decoded, normalised and augmented

FIT_TEXT = 12_000  # bytes of config.json, history.csv and provenance.json


def worker_memory(work: Work, batch_size: int) -> float:
    """Bytes that a worker has to itself while it fits (its images are mapped, and shared)."""
    training = batch_size * (BYTES_AN_ACTIVATION * work.size.activations + BYTES_AN_INPUT * work.input_values)
    evaluation = EVALUATION_BATCH * (BYTES_AN_INPUT * work.input_values + 4 * work.size.activations / 6)
    return WORKER_BASE + BYTES_A_PARAMETER * work.size.parameters + max(training, evaluation)


def fit_disk(work: Work, shape: TaskShape, epochs: int) -> float:
    """Bytes of a fit in the store: weights and predictions are most of it."""
    predicted = work.evaluated_images / (epochs + 1)
    return 4 * work.size.parameters + predicted * (17 + 4 * shape.classes) + FIT_TEXT


def data_disk(shape: TaskShape, circuits: dict[str, float]) -> float:
    """Bytes of a task's images and of the channels of its circuits (`circuits`: bytes a pixel position of each)."""
    positions = shape.images * shape.height * shape.width
    return positions * (shape.channels + sum(circuits.values()))
