"""Two fits held against each other: where they first part."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from qlcnet.fit.fold_folder import CONFIG, HISTORY, PREDICTIONS, WEIGHTS
from qlcnet.reproduce.compare_fits import FitVerdict, compare_fit
from qlcnet.reproduce.grades import Grade
from qlcnet.reproduce.spread import spread_of

LOSSES = (0.7, 0.6, 0.5)
DIGESTS = ("a0", "b0", "c0")


def write_fit(folder: Path, losses: tuple[float, ...], digests: tuple[str, ...] | None, weight: float) -> Path:
    """A fold folder of three epochs; `digests` None: as fits were written before there were any."""
    folder.mkdir()
    rows = [f"{epoch},{loss!r}" for epoch, loss in enumerate(losses)]
    (folder / HISTORY).write_text("\n".join(["epoch,train_loss", *rows]) + "\n")
    index = np.arange(4)
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.4, 0.6]], np.float32)
    save_file(
        {"index": index, "target": index % 2, "part": np.zeros(4, np.uint8), "probabilities": p}, folder / PREDICTIONS
    )
    save_file({"w": np.full(3, weight, np.float32)}, folder / WEIGHTS)
    config = {"computed_on": {}, "settings": {}, **({} if digests is None else {"epoch_weights": list(digests)})}
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize(
    ("losses", "digests", "said"),
    [
        (LOSSES, DIGESTS, ""),
        ((0.7, 0.6, 0.51), ("a0", "b1", "c1"), "epoch 1, the weights after it; then epoch 2, train_loss: 0x1.0"),
        ((0.7, 0.61, 0.51), ("a0", "b1", "c1"), "epoch 1, train_loss: 0x1.3333333333333p-1 recorded"),
        ((0.7, 0.61, 0.51), ("a0", "b0", "c1"), "epoch 1, train_loss"),
        (LOSSES, ("a0", "b0", "c1"), "epoch 2, the weights after it"),
        ((0.7, 0.61, 0.51), None, "epoch 1, train_loss"),
        (LOSSES, None, "weights.safetensors: w, 3 of 3 numbers"),
    ],
)
def test_the_first_divergence_is_named_by_epoch(
    tmp_path: Path, losses: tuple[float, ...], digests: tuple[str, ...] | None, said: str
) -> None:
    then = write_fit(tmp_path / "then", LOSSES, DIGESTS, 1.0)
    now = write_fit(tmp_path / "now", losses, digests, 1.0 if digests == DIGESTS else 2.0)
    verdict: FitVerdict = compare_fit("a/b/c/repeat-0/fold-0", then, now, lambda: spread_of("folds", {}, "m"))
    assert verdict.divergence.startswith(said)
    assert bool(verdict.divergence) == bool(said)
    assert verdict.grade == (Grade.METRICS if said else Grade.BYTES), "predictions are equal"


@pytest.mark.parametrize(
    ("inputs", "excused", "grade"),
    [("channels", (), Grade.METRICS), ("rounded", ("inputs",), Grade.METRICS), ("rounded", (), Grade.DIFFERENT)],
)
def test_channels_that_were_rounded_otherwise_make_no_fit_different(
    tmp_path: Path, inputs: str, excused: tuple[str, ...], grade: Grade
) -> None:
    """`--from folds` on another kind of CPU: the channels' digest is another, which compare_inputs has said."""
    then = write_fit(tmp_path / "then", LOSSES, DIGESTS, 1.0)
    now = write_fit(tmp_path / "now", (0.7, 0.6, 0.51), ("a0", "b1", "c1"), 2.0)
    for folder, read in ((then, "channels"), (now, inputs)):
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**config, "inputs": [{"kind": "quanv", "digest": read}]}))
    spread = spread_of("folds", {}, "m")
    assert compare_fit("a/b/c/repeat-0/fold-0", then, now, lambda: spread, excused=excused).grade == grade
