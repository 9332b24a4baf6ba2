"""Small picture files in folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 8


def draw(path: Path, seed: int = 0, level: int | None = None, side: int = SIDE) -> Path:
    """A picture of grey noise (PNG, or by the ending), or of one level, whose folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (side, side), np.uint8)
    Image.fromarray(noise if level is None else np.full_like(noise, level)).save(path)
    return path


def draw_all(folder: Path, counts: Mapping[str, int]) -> Path:
    """For each subfolder so many pictures, all different."""
    for number, (name, count) in enumerate(counts.items()):
        for i in range(count):
            draw(folder / name / f"{i}.png", seed=1000 * number + i)
    return folder
