"""Groups and copies on both sides of a split, counted by hand."""

from __future__ import annotations

import numpy as np

from qlcnet.data.near_duplicates import copy_codes
from qlcnet.evidence.both_sides import BothSides, contradictions, on_both_sides


def test_counts_by_hand() -> None:
    codes = np.array([0, 0, 1, 1, 2, 3])
    first = np.array([0, 2, 3]), np.array([1, 4, 5])  # of group 0, image 1 is scored
    second = np.array([1, 4, 5]), np.array([0, 2, 3])  # of group 0, image 0
    assert on_both_sides(codes, [first, second]) == BothSides(units=1, images=2, scored=6)
    assert on_both_sides(codes, [first, first]) == BothSides(1, 1, 3), "an image is counted once"
    assert on_both_sides(codes, [first]).share == 1 / 3
    apart = np.array([0, 1, 2, 3]), np.array([4, 5])
    assert on_both_sides(codes, [apart]) == BothSides(0, 0, 2)
    assert on_both_sides(codes, []).share == 0.0


def test_copies_are_equal_in_every_pixel() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(6, 4, 5, 3), dtype=np.uint8)
    images[3] = images[1]
    images[4] = images[1]
    images[5] = images[0]
    images[5, 3, 4, 2] ^= 1
    codes = copy_codes(images)
    assert codes.tolist() == [0, 1, 2, 1, 1, 5]
    assert contradictions(codes, np.array([0, 1, 1, 1, 1, 1])) == 0
    assert contradictions(codes, np.array([0, 1, 1, 0, 1, 1])) == 3
    assert contradictions(np.arange(6), np.zeros(6, int)) == 0
