"""Mechanism of added channels: planted truths, numpy by hand, a real quanvolution, the stage's file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qlcnet.config import Circuit, ConvChannels, Data, NoiseChannels
from qlcnet.data.channels import make_channels
from qlcnet.data.mechanism import Mechanism, band_shares, effective_rank, mechanism_of, patches_behind, sample_of
from qlcnet.data.search_path import Fetcher
from qlcnet.quantum.images import cut_patches
from qlcnet.quantum.patches import lay_patches
from tests.data.test_channels import save_images

RNG = np.random.default_rng(3)
IMAGES = RNG.integers(0, 256, (20, 16, 14, 3), dtype=np.uint8)
PATCHES = lay_patches(16, 14)
PIXELS = cut_patches(IMAGES, PATCHES, "channels") / 255.0  # (n, H, W, colours, 4)


def look(*channels: np.ndarray) -> Mechanism:
    return mechanism_of(IMAGES, np.stack(channels, axis=-1), 1e-6, PATCHES)


def test_planted_channels_are_found() -> None:
    linear = 3 * PIXELS[..., 0, 1] - PIXELS[..., 2, 3] + 1
    square = (PIXELS[..., 1, 0] - 0.5) ** 2
    found = look(linear, np.full_like(linear, 0.3), square, 5 - 2 * square, PIXELS[..., 1, 2])
    assert found.dead == (1,)
    assert found.linear[1] is None
    assert found.bands[1] is None
    assert found.duplicates == ((2, 3),)
    assert found.of_image == (4,)
    assert found.linear[0] == pytest.approx(1, abs=1e-9)
    assert found.linear[4] == pytest.approx(1, abs=1e-9)
    assert (found.linear[2] or 0) < 0.02, "an even function has no linear part"
    assert found.linear_channels == 2


def test_shares_and_correlations_are_those_of_numpy() -> None:
    target = np.cos(np.pi * PIXELS[..., 0, 0]) * PIXELS[..., 1, 1]
    found = look(target, RNG.normal(size=target.shape))
    x = np.column_stack([np.ones(target.size), PIXELS.reshape(target.size, -1)])
    left = target.ravel() - x @ np.linalg.lstsq(x, target.ravel(), rcond=None)[0]
    assert found.linear[0] == pytest.approx(1 - left.var() / target.var(), abs=1e-9)
    r = [abs(np.corrcoef(target.ravel(), column)[0, 1]) for column in x[:, 1:].T]
    assert found.with_image[0] == pytest.approx(max(r), abs=1e-9)


def test_effective_rank() -> None:
    noise = [RNG.normal(size=PIXELS.shape[:3]) for _ in range(4)]
    found = look(*noise)
    assert found.effective_rank == pytest.approx(4, abs=0.02)
    assert found.added == pytest.approx(4, abs=0.05)
    once = look(*(k * noise[0] for k in (1, -2, 3)))
    assert once.effective_rank == pytest.approx(1)
    assert once.eigenvalues == pytest.approx((3, 0, 0))
    assert effective_rank(np.array([1.0, 1.0])) == pytest.approx(2)
    p = np.array([0.75, 0.25])
    assert effective_rank(8 * p) == pytest.approx(float(np.exp(-(p * np.log(p)).sum())))
    nothing = look(np.ones(PIXELS.shape[:3]))
    assert (nothing.effective_rank, nothing.dead, nothing.added) == (0.0, (0,), 0.0)


def test_bands_tell_a_blur_from_an_edge_filter() -> None:
    line = np.arange(32)
    for frequency, band in ((1 / 16, 0), (3 / 16, 1), (3 / 8, 2)):
        wave = np.broadcast_to(np.sin(2 * np.pi * frequency * line), (2, 32, 32))
        shares = band_shares(wave)
        assert shares is not None
        assert shares[band] > 0.95
        assert sum(shares) == pytest.approx(1)
    assert band_shares(np.ones((2, 8, 8))) is None


def test_the_sample_does_not_grow() -> None:
    assert sample_of((10**6, 28, 28, 4))[-1] == 10**6 - 1
    assert len(sample_of((10**6, 28, 28, 4))) == len(sample_of((10**4, 28, 28, 4))) <= 256
    assert len(sample_of((10**6, 512, 512, 4))) == 8
    assert sample_of((3, 9, 9, 1)) == [0, 1, 2]


def test_a_grid_of_unknown_origin() -> None:
    halved = patches_behind((16, 14), (8, 7))
    assert (halved.stride, halved.rows) == (2, 8)
    assert patches_behind((16, 14), (3, 50)) is None
    found = mechanism_of(IMAGES, RNG.normal(size=(20, 3, 50, 2)), 1e-6, None)
    assert found.linear == (None, None)
    assert found.added is None
    assert found.effective_rank > 1.9


def test_what_the_stage_writes(tmp_path: Path) -> None:
    raw = save_images(tmp_path / "raw" / "spots", IMAGES)
    out = tmp_path / "quanvolved" / "spots"
    sections = {
        "ry": Circuit(),
        "strided": Circuit(stride=2, colour="channels", storage="uint8"),
        "fresh": Circuit(shots=30, shots_drawn="fresh"),
        "conv": ConvChannels(kind="conv", of="ry"),
        "noise": NoiseChannels(kind="noise", of="ry"),
    }
    make_channels(raw, sections, out, Fetcher(Data(), Path()))
    found = {name: Mechanism.read_mechanism(out / name) for name in sections}
    assert {name: len(one.sd) for name, one in found.items()} == {
        "ry": 4,
        "strided": 12,
        "fresh": 4,
        "conv": 4,
        "noise": 4,
    }
    assert found["conv"].linear_channels == 4, "a convolution made them"
    assert found["ry"].linear_channels == 3
    assert all(share is not None and share < 0.02 for share in found["noise"].linear)
    assert found["ry"].linear == pytest.approx(found["fresh"].linear, abs=1e-3)
