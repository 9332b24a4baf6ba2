"""Is it the quantum? On images where the answer is known: the circuit alone shows the label, or anything does."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from qlcnet.config import Params, parse_params
from qlcnet.data.channels import make_channels
from qlcnet.data.folds import make_folds
from qlcnet.data.imageset import ImageSet
from qlcnet.data.search_path import Fetcher
from qlcnet.evidence.answers import level
from qlcnet.evidence.sentences import standing_sentence
from qlcnet.grid.grid import link_results
from qlcnet.paths import Project
from qlcnet.report.differences import StudyEvidence, gather
from qlcnet.report.study import read_study
from qlcnet.report.summary import summarise
from tests.grid.projects import TASK, Record, run_locally

SIDE, IMAGES = 12, 240
# CNOTs carry the parity of all four pixels to the last qubit: its Pauli-Z is cos(t0) cos(t1) cos(t2) cos(t3)
PARITY = """OPENQASM 3.0;
include "stdgates.inc";
input float t0; input float t1; input float t2; input float t3;
qubit[4] q; bit[4] c;
ry(t0) q[0]; ry(t1) q[1]; ry(t2) q[2]; ry(t3) q[3];
cx q[0], q[1]; cx q[1], q[2]; cx q[2], q[3];
c = measure q;
"""


def parity_images(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Black and white: of class 1 every 2 x 2 patch has an even number of white pixels, of class 0 half of them.

    Any three pixels of a patch are independent fair coins in both classes: nothing of lower order tells them apart.
    """
    rows, columns = (rng.integers(0, 2, (IMAGES, SIDE)) for _ in range(2))
    even = rows[:, :, None] ^ columns[:, None, :]
    noise = rng.integers(0, 2, (IMAGES, SIDE, SIDE))
    return np.where(labels[:, None, None] == 1, even, noise)[..., None].astype(np.uint8) * 255


def contrast_images(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Noise around mid-grey, twice as strong in class 1: any nonlinearity shows it, a mean of pixels does not."""
    strength = np.where(rng.random(IMAGES) < 0.95, labels, 1 - labels)[:, None, None] * 50.0 + 20.0
    return np.clip(128 + strength * rng.standard_normal((IMAGES, SIDE, SIDE)), 0, 255)[..., None].astype(np.uint8)


def run_study(root: Path, pixels: Any, margin: float) -> StudyEvidence:
    """Four models, three folds, fitted for real; what the report would say."""
    rng = np.random.default_rng(7)
    labels = np.arange(IMAGES) % 2
    images = ImageSet(pixels(rng, labels), labels, np.full(IMAGES, "train"), ("odd", "even"), None, {"title": TASK})
    root.mkdir(exist_ok=True)
    (root / "parity.qasm").write_text(PARITY)
    params = study_params(hashlib.md5(PARITY.encode()).hexdigest(), margin)
    project, task = Project(root), params.datasets[TASK]
    images.save(project.raw(TASK))
    make_folds(images, task, params.seed).write(project.folds(TASK))
    sections = {**params.circuits, **params.channels}
    make_channels(project.raw(TASK), sections, project.channels(TASK), Fetcher(params.data, root))
    grid, store = run_locally(root, params, Record())
    link_results(grid, store, project.fits)
    study = read_study(params, root)
    return gather(study, summarise(study))


def study_params(md5: str, margin: float) -> Params:
    return parse_params(
        {
            "seed": 3,
            "datasets": {TASK: {"source": {"kind": "digits"}, "protocol": {"folds": 5}}},
            "circuits": {"parity": {"file": "parity.qasm", "md5": md5}},
            "channels": {
                "conv": {"kind": "conv", "of": "parity", "filters": "cosine"},
                "fourier": {"kind": "fourier-random", "of": "parity"},
            },
            "models": {
                "classical": {"inputs": ["image"]},
                "quanv": {"inputs": ["image", "quanv:parity"]},
                "conv": {"inputs": ["image", "channel:conv"]},
                "fourier": {"inputs": ["image", "channel:fourier"]},
            },
            "backbones": {"lcnet_035": {"activation": "hard_swish", "strides": [2, 1, 2, 1, 2]}},
            "training": {"epochs": 11, "batch_size": 16, "learning_rate": 0.005, "schedule": "one-cycle"},
            "evidence": {
                "primary": {
                    "metric": "accuracy",
                    "compare": [["quanv", "classical"], ["quanv", "conv"], ["quanv", "fourier"]],
                },
                "margin": {"accuracy": margin},
            },
        }
    )


def test_where_only_the_polynomial_shows_the_label_the_circuit_beats_its_twins(tmp_path: Path) -> None:
    found = run_study(tmp_path, parity_images, margin=0.1).tasks[TASK].parts.standings
    (quanv,) = found
    assert quanv.against[0][1].test.mean > 0.25
    assert {twin.kind for twin, _ in quanv.against} == {"conv", "fourier-random"}
    assert quanv.beats_reference
    assert quanv.beats_every_twin
    assert standing_sentence(quanv).endswith("the circuit helps beyond its twins.")


def test_where_any_nonlinearity_shows_it_the_circuit_is_level_with_its_twins(tmp_path: Path) -> None:
    (quanv,) = run_study(tmp_path, contrast_images, margin=0.15).tasks[TASK].parts.standings
    assert {level(verdict) for _, verdict in quanv.against} == {"level with"}
    sentence = standing_sentence(quanv)
    assert "level with its 2 twins, the strongest of them" in sentence
    assert sentence.endswith("no benefit is shown, and no sign that the circuit matters.")
