"""Finite shots: the joint distribution of the qubits, against exact moments and against PennyLane's sampling device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qlcnet import config
from qlcnet.quantum.circuits import all_words, build_circuit, joint_words, make_qnode
from qlcnet.quantum.fresh_shots import WORDS, draw, expectations
from qlcnet.quantum.quanvolution import prepare
from qlcnet.quantum.shots import sample_shots
from qlcnet.quantum.storage import STORAGES

ANGLES = np.array([0.5, 1.3, 2.2, 2.9])
REPEATS = 20_000


def exact_moments(params: config.Circuit) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All 15 words of a circuit at ANGLES, the means of the qubits, and the covariance of one shot."""
    words = dict(zip(all_words(), make_qnode(build_circuit(params), words=all_words())(ANGLES), strict=True))
    mean = np.array([words[(q,)] for q in range(4)])
    second = np.array([[1.0 if a == b else words[tuple(sorted((a, b)))] for a in range(4)] for b in range(4)])
    return np.array(list(words.values())), mean, second - np.outer(mean, mean)


def assert_moments(drawn: np.ndarray, shots: int, mean: np.ndarray, covariance: np.ndarray) -> None:
    """Within 5 standard errors of mean and covariance; outcomes are on the grid of `shots` measurements."""
    assert np.abs((drawn + 1) * shots / 2 % 1).max() < 1e-3 or np.abs((drawn + 1) * shots / 2 % 1 - 1).min() < 1e-3
    np.testing.assert_allclose(drawn.mean(0), mean, atol=5 / np.sqrt(shots * len(drawn)))
    np.testing.assert_allclose(np.cov(drawn.T) * shots, covariance, atol=5 * np.sqrt(2 / len(drawn)))


CIRCUITS = [
    config.Circuit(ansatz="entangled"),  # all four qubits linked
    config.Circuit(),  # 0, 1 and 3 linked
    config.Circuit(ansatz="none"),  # four groups of one
    config.Circuit(ansatz="entangled", noise=config.Noise(depolarizing=0.1, readout_flip=0.05)),
]


@pytest.mark.parametrize("params", CIRCUITS)
@pytest.mark.parametrize("shots", [1, 7, 1000])
def test_stored_shots_have_the_exact_mean_and_covariance(params: config.Circuit, shots: int) -> None:
    """1 and 7 shots go through inversion, 1000 through rejection too."""
    circuit = build_circuit(params)
    words = np.array(make_qnode(circuit, words=joint_words(circuit.groups))(ANGLES), np.float32)
    drawn = sample_shots(np.tile(words, (REPEATS, 1)), shots, seed=3, groups=circuit.groups)
    _, mean, covariance = exact_moments(params)
    assert_moments(drawn.astype(np.float64), shots, mean, covariance)


@pytest.mark.parametrize("params", CIRCUITS[:2])
@pytest.mark.parametrize("shots", [1, 100])
def test_fresh_shots_have_the_exact_mean_and_covariance(params: config.Circuit, shots: int) -> None:
    words, mean, covariance = exact_moments(params)
    tensor = torch.from_numpy(words).float()
    assert np.allclose(expectations(tensor), mean, atol=1e-6)
    drawn = draw(tensor.expand(REPEATS // 10, 2, 5, WORDS), shots, torch.Generator().manual_seed(1))
    assert drawn.shape == (REPEATS // 10, 2, 5, 4)
    assert_moments(drawn.reshape(-1, 4).double().numpy(), shots, mean, covariance)


def test_bitstrings_come_as_often_as_a_sampling_device_says() -> None:
    """One shot a draw: frequencies of the 16 bitstrings against PennyLane's own samples, by chi-squared."""
    params = config.Circuit(ansatz="entangled", layers=2)
    circuit = build_circuit(params)
    words = np.array(make_qnode(circuit, words=joint_words(circuit.groups))(ANGLES), np.float32)
    ours = sample_shots(np.tile(words, (REPEATS, 1)), 1, seed=5, groups=circuit.groups)
    repeated = np.tile(ANGLES[:, None], (1, REPEATS))
    theirs = np.stack(make_qnode(circuit, shots=1, seed=8)(repeated), axis=1)
    counts = [np.bincount(((x < 0) @ [1, 2, 4, 8]).astype(int), minlength=16) for x in (ours, theirs)]
    total = counts[0] + counts[1]
    chi_squared = (((counts[0] - counts[1]) ** 2)[total > 0] / total[total > 0]).sum()
    assert chi_squared < 44.3  # p = 1e-4 at 15 degrees of freedom


@pytest.mark.parametrize("engine", ["exact", "pennylane"])
def test_images_with_shots(engine: str) -> None:
    """Both engines scatter around the exact channels by the binomial standard error, the same for the same seed."""
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8)
    base = {"ansatz": "entangled", "engine": engine, "shots": 400}
    exact = prepare(config.Circuit(ansatz="entangled"))(images, storage=STORAGES["float32"])
    drawn, again, other = (prepare(config.Circuit(**base, shots_seed=s))(images) for s in (1, 1, 2))
    assert np.array_equal(drawn, again)
    assert not np.array_equal(drawn, other)
    z = (drawn - exact) / np.sqrt((1 - exact**2).clip(1e-3) / 400)
    assert abs(z.mean()) < 5 / np.sqrt(z.size)
    assert 0.85 < z.std() < 1.15


def test_patches_draw_independently() -> None:
    images = np.full((2, 30, 30, 1), 100, np.uint8)
    drawn = prepare(config.Circuit(ansatz="none", shots=100))(images).astype(np.float64)
    flat = (drawn - drawn.mean()).reshape(-1, 4)
    for step in (1, 30, 900):  # the next patch, the next row, the next image
        correlation = (flat[:-step] * flat[step:]).mean() / (flat**2).mean()
        assert abs(correlation) < 5 / np.sqrt(flat.size - 4 * step)


def test_fresh_shots_store_all_words() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    fresh = prepare(config.Circuit(ansatz="entangled", shots=10, shots_drawn="fresh", colour="channels"))
    stored = torch.from_numpy(fresh(images).astype(np.float32))
    exact = prepare(config.Circuit(ansatz="entangled", colour="channels"))(images, storage=STORAGES["float32"])
    assert stored.shape == (2, 6, 6, 3 * WORDS)
    np.testing.assert_allclose(expectations(stored), exact, atol=3e-4)
    with pytest.raises(ValueError, match="need colours x 15 words"):
        draw(stored[..., :4], 10)


def test_words_must_fit_the_groups() -> None:
    with pytest.raises(ValueError, match="5 words, but groups"):
        sample_shots(np.zeros((3, 5), np.float32), 10, 0, ((0, 1), (2,)))
