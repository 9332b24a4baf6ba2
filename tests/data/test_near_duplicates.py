"""Near-duplicates: hashes against scipy, the search against brute force, planted copies found, groups that hold."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dctn

from qlcnet.config import Task
from qlcnet.data import near_duplicates
from qlcnet.data.folds import make_folds
from qlcnet.data.imageset import DataError, ImageSet
from qlcnet.data.near_duplicates import (
    BITS,
    close_hashes,
    connected,
    copy_codes,
    find_near_duplicates,
    perceptual_hashes,
    thumbnails,
    with_near_duplicates_as_groups,
)
from qlcnet.evidence.both_sides import on_both_sides

RNG = np.random.default_rng(3)


def pictures(n: int, side: int = 28, colours: int = 3, seed: int = 0) -> np.ndarray:
    """Smooth random pictures with some noise, uint8 (n, side, side, colours): no two are alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (n, 7, 7, colours), dtype=np.uint8)
    large = [
        np.asarray(Image.fromarray(one.squeeze()).resize((side, side), Image.Resampling.BICUBIC)) for one in coarse
    ]
    smooth = np.stack(large).reshape(n, side, side, colours) + rng.normal(0, 3, (n, side, side, colours))
    return np.clip(smooth, 0, 255).astype(np.uint8)


def resized(image: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR))


def compressed(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=75)
    return np.asarray(Image.open(file))


def distance(one: np.ndarray, other: np.ndarray) -> int:
    hashes = [perceptual_hashes(thumbnails(image[None]))[0] for image in (one, other)]
    return int(np.bitwise_count(hashes[0] ^ hashes[1]))


# --- exact --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(28, 28), (16, 32)])
def test_hash_is_scipys_dct(shape: tuple[int, int]) -> None:
    small = RNG.integers(0, 256, (5, *shape), dtype=np.uint8)
    for image, found in zip(small, perceptual_hashes(small), strict=True):
        low = dctn(image.astype(float), type=2)[1:9, 1:9].ravel()
        assert int(found) == int("".join("01"[int(bit)] for bit in low > np.median(low)), 2)


def test_hash_by_hand() -> None:
    """A picture that is one wave: its coefficient is the largest, so its bit is set, and half of all bits are."""
    x = np.arange(16)
    wave = np.cos(np.pi * (2 * x + 1) * 3 / 32)[:, None] * np.cos(np.pi * (2 * x + 1) * 2 / 32)
    small = np.rint(128 + 100 * wave).astype(np.uint8)[None]
    found = int(perceptual_hashes(small)[0])
    assert found >> (63 - (2 * 8 + 1)) & 1  # row 3, column 2 of those that count from 1
    assert int(perceptual_hashes(255 - small)[0]) >> (63 - (2 * 8 + 1)) & 1 == 0


def test_averaging_is_the_mean_of_areas() -> None:
    large = RNG.integers(0, 256, (3, 64, 96, 1), dtype=np.uint8)
    expected = np.rint(large[..., 0].reshape(3, 32, 2, 32, 3).mean(axis=(2, 4)))
    assert np.abs(thumbnails(large) - expected).max() <= 1  # halves round to either side in float32
    odd = near_duplicates._averaging(45)
    np.testing.assert_allclose(odd.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(odd.sum(axis=0), 32 / 45, rtol=1e-6)


def test_search_is_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "CANDIDATES", 1 << 12)  # many blocks
    hashes = RNG.integers(0, 2**64, 300, dtype=np.uint64)
    flips = RNG.integers(0, 64, (300, 12))
    for i in range(1, 300, 2):  # neighbours that differ in 1 to 12 bits
        hashes[i] = hashes[i - 1]
        for bit in flips[i, : 1 + i % 12]:
            hashes[i] ^= np.uint64(1) << np.uint64(bit)
    found = np.concatenate(list(close_hashes(hashes, BITS)))
    i, j = np.nonzero(np.triu(np.bitwise_count(hashes[:, None] ^ hashes) <= BITS, 1))
    np.testing.assert_array_equal(found, np.stack([i, j], axis=1))
    assert 50 < len(found) < 150


def test_correlation_is_numpys() -> None:
    flat = RNG.integers(0, 256, (4, 300), dtype=np.uint8)
    flat[3] = 7  # without a picture: like nothing
    pairs = np.array([[0, 1], [1, 2], [0, 0], [0, 3]])
    expected = [np.corrcoef(flat[0], flat[1])[0, 1], np.corrcoef(flat[1], flat[2])[0, 1], 1, 0]
    np.testing.assert_allclose(near_duplicates._correlation(flat, pairs), expected, atol=1e-6)


def test_chains_of_pairs_are_connected() -> None:
    np.testing.assert_array_equal(connected(6, np.array([[0, 2], [2, 5], [3, 4]])), [0, 1, 0, 2, 2, 0])
    np.testing.assert_array_equal(connected(3, np.empty((0, 2), np.int64)), [0, 1, 2])


# --- behaviour ----------------------------------------------------------------------------------------------------


def test_changed_copies_keep_their_hash_nearly() -> None:
    for image in pictures(20, 64):
        brighter = np.clip(image.astype(int) + 20, 0, 255).astype(np.uint8)
        for other in (brighter, compressed(image), resized(image, 28)):
            assert distance(image, other) <= BITS
    others = [distance(*pair) for pair in zip(pictures(20), pictures(20, seed=1), strict=True)]
    assert min(others) > BITS


def planted(seed: int = 0) -> ImageSet:
    """100 pictures, of which 90 to 99 are those of 0 to 9: exact, compressed anew, or darker."""
    images = pictures(100, seed=seed)
    for i in range(10):
        images[90 + i] = (images[i], compressed(images[i]), images[i] // 2)[i % 3]
    labels = np.arange(100) % 2
    labels[90:] = labels[:10]
    return ImageSet(images, labels, np.array(["train"] * 100), ("a", "b"))


def test_planted_pairs_are_found_and_no_others() -> None:
    found = find_near_duplicates(planted().images)
    assert sorted(found.pairs.tolist()) == [[i, 90 + i] for i in range(10)]
    assert found.copies.tolist() == [True] * 4 + [False] * 6
    assert np.all(np.diff(found.correlation) <= 0), "the closest first"
    assert found.sizes.tolist() == [2] * 10


def test_pixels_confirm_what_hashes_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "perceptual_hashes", lambda small: np.zeros(len(small), np.uint64))
    assert sorted(find_near_duplicates(planted().images).pairs.tolist()) == [[i, 90 + i] for i in range(10)]


def test_three_copies_and_one_like_them_are_a_chain() -> None:
    images = pictures(5)
    images[[2, 4]] = images[0]
    images[3] = compressed(images[0])
    found = find_near_duplicates(images)
    assert sorted(found.pairs.tolist()) == [[0, 2], [0, 3], [0, 4]]
    np.testing.assert_array_equal(found.groups, [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(copy_codes(images), [0, 1, 0, 3, 0])


def test_flat_pictures_are_like_no_other() -> None:
    flat = RNG.integers(100, 102, (6, 28, 28, 1)).astype(np.uint8)
    assert len(find_near_duplicates(flat).pairs) == 0


def test_too_many_pairs_are_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(near_duplicates, "MOST_PAIRS", 20)
    alike = np.clip(pictures(1) + RNG.integers(0, 3, (30, 28, 28, 3)), 0, 255).astype(np.uint8)
    found = find_near_duplicates(alike)
    assert len(found.pairs) > 20
    assert "alike as a whole" in caplog.text


def task(grouped: bool | str) -> Task:
    return Task.model_validate({"source": {"kind": "digits"}, "protocol": {"folds": 4, "grouped": grouped}})


def test_grouped_folds_keep_near_duplicates_together() -> None:
    images = planted()
    groups = find_near_duplicates(images.images).groups

    def shared(grouped: bool | str) -> int:
        one = task(grouped)
        folds = make_folds(with_near_duplicates_as_groups(images, one.protocol), one, 0)
        splits = [folds.split(0, fold) for fold in folds.folds]
        return on_both_sides(groups, [(split.train, split.validation) for split in splits]).units

    assert shared("near-duplicates") == 0
    assert shared(False) >= 5


def test_other_protocols_leave_a_set_as_it_is() -> None:
    images = planted()
    assert with_near_duplicates_as_groups(images, task(False).protocol) is images
    assert with_near_duplicates_as_groups(images, task(True).protocol) is images


def test_a_long_chain_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    images = pictures(40)
    images[:12] = images[0]
    one = ImageSet(images, np.arange(40) % 2, np.array(["train"] * 40), ("a", "b"))
    with caplog.at_level(logging.WARNING):
        with_near_duplicates_as_groups(one, task("near-duplicates").protocol)
    assert "connects 12 of 40 images" in caplog.text


def test_what_cannot_be_told_is_refused() -> None:
    with pytest.raises(DataError, match="16 pixels a side on; these images have 8 x 8"):
        find_near_duplicates(np.zeros((3, 8, 8, 1), np.uint8))
    images = planted()
    known = ImageSet(images.images, images.labels, images.parts, images.class_names, np.arange(100) // 2)
    with pytest.raises(DataError, match="write `grouped: true`"):
        with_near_duplicates_as_groups(known, task("near-duplicates").protocol)
    with pytest.raises(ValueError, match="grouped"):
        task("duplicates")
