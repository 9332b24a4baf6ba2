"""Images as circuits see them: checks, grey conversion and patches, in plain numpy (the kernel's reference)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlcnet.quantum.patches import Patches

ANGLES = np.arange(256) / 255.0 * np.pi  # radians of the 256 pixel values


def check_images(images: NDArray[Any]) -> None:
    """Raise ValueError unless `images` is uint8 (N, H, W, C) with C 1 or 3, saying what it is and how to mend it."""
    if not isinstance(images, np.ndarray):
        raise ValueError(f"images must be a numpy array, not {type(images).__name__}; use numpy.asarray(images)")
    if images.dtype != np.uint8:
        hint = "values 0 to 255: images.astype(numpy.uint8); values 0 to 1: (images * 255).round().astype(numpy.uint8)"
        if np.issubdtype(images.dtype, np.floating) and np.isnan(images[:1000]).any():
            hint = "It holds NaN too: find out where these come from, or numpy.nan_to_num(images), then convert " + hint
        raise ValueError(f"images have dtype {images.dtype}; circuits read uint8. {hint}")
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise ValueError(
            f"images have shape {images.shape}; expected (images, height, width, 1 or 3). "
            "Grey images: images[..., None]; channels first: images.transpose(0, 2, 3, 1)"
        )
    if min(images.shape[1:3]) < 2:
        raise ValueError(
            f"images of {images.shape[1]} x {images.shape[2]} pixels hold no 2 x 2 patch; use images of at least 2 x 2"
        )


def to_grey(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma (…, 1) of colour images (…, 3): ITU-R 601 in 16-bit fixed point, as Pillow's convert("L"), bit by bit.

    (19595 R + 38470 G + 7471 B + 32768) >> 16. Grey images (…, 1) are returned as they are.
    """
    if images.shape[-1] == 1:
        return images
    red, green, blue = (images[..., c].astype(np.uint32) for c in range(3))
    luma = (red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16
    return luma.astype(np.uint8)[..., None]


def cut_patches(images: NDArray[np.uint8], patches: Patches, colour: str = "grey") -> NDArray[np.uint8]:
    """The four pixels of each patch: (N, rows, columns, 1 or colours, 4), in the order of the qubits."""
    source = to_grey(images) if colour == "grey" else images
    bottom, right = patches.after
    padded = np.pad(source, ((0, 0), (patches.before, bottom), (patches.before, right), (0, 0)), mode="edge")
    down = [slice(dy, dy + (patches.rows - 1) * patches.stride + 1, patches.stride) for dy in (0, 1)]
    across = [slice(dx, dx + (patches.columns - 1) * patches.stride + 1, patches.stride) for dx in (0, 1)]
    return np.stack([padded[:, y, x] for y in down for x in across], axis=-1)


def pixel_angles(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Rotation angles in radians: pixel / 255 x pi."""
    return ANGLES[pixels]
