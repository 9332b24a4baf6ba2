"""Where 2 x 2 patches lie in an image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Patches:
    """2 x 2 patches `stride` apart on images of height x width pixels, borders repeated `before` and `after`."""

    height: int
    width: int
    stride: int
    before: int
    after: tuple[int, int]  # bottom, right

    @property
    def rows(self) -> int:
        return (self.before + self.height + self.after[0] - 2) // self.stride + 1

    @property
    def columns(self) -> int:
        return (self.before + self.width + self.after[1] - 2) // self.stride + 1


def lay_patches(height: int, width: int, stride: int = 1, padding: str | int = "same") -> Patches:
    """Where patches lie. `same`: ceil(side / stride) of them, the last row and column repeated where they are needed;
    `valid`: no padding; a number: so many border pixels repeated on every side.

    Raises ValueError for images below 2 x 2 pixels, a stride or a padding that makes no sense.
    """
    if height < 2 or width < 2:
        raise ValueError(f"images of {height} x {width} pixels hold no 2 x 2 patch; use images of at least 2 x 2")
    if stride < 1:
        raise ValueError(f"stride {stride}: patches must move by at least 1 pixel")
    if padding == "same":
        ends = [max(0, (-(-side // stride) - 1) * stride + 2 - side) for side in (height, width)]
        return Patches(height, width, stride, 0, (ends[0], ends[1]))
    if padding == "valid":
        return Patches(height, width, stride, 0, (0, 0))
    if isinstance(padding, int) and padding >= 0:
        return Patches(height, width, stride, padding, (padding, padding))
    raise ValueError(f"padding {padding!r}: use 'same', 'valid' or a number of pixels from 0")
