"""What the report says about circuits: dependence, warnings, and noise that normalisation undoes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from qlcnet import config
from qlcnet.quantum.card import affine_of_noiseless, describe, warnings_for
from qlcnet.quantum.polynomial import TrigPolynomial
from qlcnet.quantum.quanvolution import prepare
from qlcnet.quantum.storage import STORAGES


def test_default_circuit() -> None:
    card = describe(prepare(config.Circuit()))
    assert card.dependence == ((0,), (1, 3), (2,), (0, 1, 3))
    assert card.formulas[0] == "cos(t0)"
    assert card.warnings == (
        "Channel 0 is a function of a single pixel (top left): no patch is combined.",
        "Channel 2 is a function of a single pixel (bottom left): no patch is combined.",
    )
    assert card.qnode_evaluations == 81
    assert card.storage_error == 2**-12
    assert card.affine is None
    json.dumps(card.to_data())


def test_dependence_is_what_changing_a_pixel_does() -> None:
    quanvolution = prepare(config.Circuit(ansatz="random", seed=3, layers=2))
    images = np.random.default_rng(0).integers(0, 256, (50, 2, 2, 1), dtype=np.uint8)
    before = quanvolution(images, storage=STORAGES["float32"])[:, 0, 0]
    for pixel in range(4):
        changed = images.copy()
        changed.reshape(50, 4)[:, pixel] += 60
        moved = np.abs(quanvolution(changed, storage=STORAGES["float32"])[:, 0, 0] - before).max(0) > 1e-5
        stated = [pixel in pixels for pixels in describe(quanvolution).dependence]
        assert moved.tolist() == stated


@pytest.mark.parametrize("ansatz", ["none", "random", "entangled"])
def test_depolarising_noise_is_affine(ansatz: str) -> None:
    card = describe(prepare(config.Circuit(ansatz=ansatz, noise=config.Noise(depolarizing=0.09))))  # type: ignore[arg-type]
    assert card.affine is not None
    for affine in card.affine:
        assert affine is not None
        assert affine.scale == pytest.approx(1 - 4 / 3 * 0.09)
        assert affine.offset == pytest.approx(0, abs=1e-12)
    assert "The noise only scales and shifts every channel: per-channel normalisation undoes it." in card.warnings


def test_damping_before_a_second_ansatz_is_not_affine() -> None:
    noise = config.Noise(amplitude_damping=0.2)
    card = describe(prepare(config.Circuit(ansatz="entangled", uploads=2, noise=noise)))
    assert card.affine == (None,) * 4
    assert not any("noise" in warning for warning in card.warnings)


def test_affine_noise_is_undone_by_normalisation() -> None:
    """The claim behind the warning, on images: normalised channels with and without the noise are equal."""
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), dtype=np.uint8)
    normalised = []
    for noise in (config.Noise(), config.Noise(depolarizing=0.2, amplitude_damping=0.3, readout_flip=0.1)):
        values = prepare(config.Circuit(noise=noise))(images, storage=STORAGES["float32"]).astype(np.float64)
        normalised.append((values - values.mean((0, 1, 2))) / values.std((0, 1, 2)))
    np.testing.assert_allclose(normalised[0], normalised[1], atol=1e-5)


def test_dead_and_repeated_channels_are_named() -> None:
    coefficients = np.zeros((4, 3, 3, 3, 3))
    coefficients[0, 0, 0, 0, 0] = 0.5
    coefficients[1, 1, 0, 1, 0] = 1.0
    coefficients[2, 1, 0, 1, 0], coefficients[2, 0, 0, 0, 0] = -0.5, 0.1
    warnings = warnings_for(TrigPolynomial(coefficients), None)
    assert warnings == [
        "Channel 0 is dead: it is 0.5 for every image.",
        "Channel 3 is dead: it is 0 for every image.",
        "Channel 2 is channel 1 scaled and shifted: after normalisation it adds nothing.",
    ]


def test_noise_that_kills_a_channel() -> None:
    clean = prepare(config.Circuit(ansatz="none")).polynomial
    killed = prepare(config.Circuit(ansatz="none", noise=config.Noise(readout_flip=0.5))).polynomial
    affine = affine_of_noiseless(killed, clean)
    assert [a.scale if a else None for a in affine] == pytest.approx([0] * 4, abs=1e-9)
    assert all("dead" in warning for warning in warnings_for(killed, affine))


def test_with_shots_noise_is_not_said_to_be_undone() -> None:
    noise = config.Noise(depolarizing=0.3)
    exact, sampled = (describe(prepare(config.Circuit(noise=noise, shots=shots))).warnings[-1] for shots in (None, 64))
    assert exact == "The noise only scales and shifts every channel: per-channel normalisation undoes it."
    assert "but for the shots" in sampled
