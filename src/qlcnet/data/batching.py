"""How rows become batches: sizes and counts, for whoever fits and for whoever predicts how long that takes.

Here and not beside the fits, because batches (data/) are cut by it too. Imports nothing.
"""

from __future__ import annotations

PREDICT_BATCH = 256  # images; larger gains nothing on one core
PREDICT_POSITIONS = PREDICT_BATCH * 32 * 32  # fewer of larger images: 256 of 224 px would take gigabytes


def batch_sizes(rows: int, batch_size: int) -> list[int]:
    """Sizes of the batches of an epoch. A last batch of one sample joins the one before: BatchNorm at 1x1 needs two."""
    full, rest = divmod(rows, batch_size)
    sizes = [batch_size] * full + ([rest] if rest else [])
    if rest == 1 and full:
        sizes[-2:] = [batch_size + 1]
    return sizes


def count_batches(rows: int, batch_size: int) -> int:
    """How many batches an epoch has."""
    return len(batch_sizes(rows, batch_size))


def predict_batch(height: int, width: int) -> int:
    """How many images of so many pixels are predicted at a time."""
    return max(16, min(PREDICT_BATCH, PREDICT_POSITIONS // (height * width)))


def count_evaluation_batches(validation: int, test: int, epochs: int, height: int, width: int) -> int:
    """Batches without gradient of a whole fit: validation after each epoch and at the end, the test part once."""
    together = predict_batch(height, width)
    return (epochs + 1) * count_batches(validation, together) + count_batches(test, together)
