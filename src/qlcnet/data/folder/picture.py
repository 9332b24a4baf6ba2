"""One picture file (PNG, JPEG, TIFF, WebP) to an image of a set: which of its pixels, in which colours.

The rules, in their order: EXIF orientation is applied; of 16 bits and more the declared window becomes 0 to 255; what
is transparent lies on black; palettes, CMYK and the like become RGB by Pillow, without colour profiles; the central
square is resized to `size` x `size`, bilinearly with antialiasing.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qlcnet.data.imageset import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")
MOST_PIXELS = 89_478_485  # Pillow's own limit against files that unpack to more than the memory; 0.4 GB as RGB
GREY = frozenset({"1", "L"})
DEEP = frozenset({"I;16", "I;16B", "I;16L", "I;16N", "I", "F"})  # grey of more than 8 bits
COLOUR = frozenset({"P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB"})
PHOTOMETRIC, WHITE_IS_ZERO = 262, 0  # a tag of TIFF: Pillow turns such negatives of 8 bits, not those of more


class BrokenPictureError(DataError):
    """A file that cannot be used as one picture; the message says why."""


class WindowMissingError(DataError):
    """A picture of more than 8 bits a pixel, `low` to `high`, and nobody says which values are black and white."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        super().__init__(f"more than 8 bits a pixel, values {low:g} to {high:g}")


@dataclass(frozen=True)
class PictureRules:
    """What is chosen. grey: luma (ITU-R 601), else RGB. window: values of deep pictures that become 0 and 255."""

    size: int
    grey: bool = False
    window: tuple[float, float] | None = None

    @property
    def channels(self) -> int:
        """Of the images; those of a grey picture are equal where there are three."""
        return 1 if self.grey else 3

    def __str__(self) -> str:
        deep = f"; of more than 8 bits, {self.window[0]:g} to {self.window[1]:g} are 0 to 255" if self.window else ""
        return f"the central square, resized to {self.size} x {self.size} bilinearly with antialiasing{deep}"


class Picture(NamedTuple):
    """pixels: uint8 (size, size, channels). side: of the central square in the file. is_deep: more than 8 bits."""

    pixels: np.ndarray
    side: int
    is_deep: bool


def read_picture(content: bytes, rules: PictureRules) -> Picture:
    """The image that a file holds. Raises BrokenPictureError, WindowMissingError."""
    if not content:
        raise BrokenPictureError("empty")
    try:
        return _read(content, rules)
    except DataError:
        raise
    except Exception as error:  # Pillow's readers raise anything on a damaged file, from struct.error to SyntaxError
        raise BrokenPictureError(_why(error)) from None


def _read(content: bytes, rules: PictureRules) -> Picture:
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise BrokenPictureError(f"{picture.width} x {picture.height} pixels; at most {MOST_PIXELS:,} are read")
        frames = getattr(picture, "n_frames", 1)
        if frames > 1 and picture.format != "MPO":  # a camera's JPEG with a preview or a depth map behind the picture
            raise BrokenPictureError(f"holds {frames} pages or frames; expected one picture a file")
        ImageOps.exif_transpose(picture, in_place=True)
        is_deep = picture.mode in DEEP
        plain = _windowed(picture, rules.window) if is_deep else _plain(picture)
    if rules.grey:
        plain = plain.convert("L")
    left, top, side = _central_square(plain)
    square = (left, top, left + side, top + side)
    small = np.asarray(plain.resize((rules.size, rules.size), Image.Resampling.BILINEAR, box=square))
    if small.ndim == 2:
        small = np.repeat(small[..., None], rules.channels, axis=2)  # as three equal channels would be resized
    return Picture(small, side, is_deep)


def _plain(picture: PillowImage) -> PillowImage:
    """8 bits a channel as L or RGB."""
    from PIL import Image

    if picture.has_transparency_data:
        seen = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "black"), seen).convert("RGB")
    if picture.mode in GREY:
        return picture.convert("L")
    if picture.mode in COLOUR:
        return picture.convert("RGB")
    raise BrokenPictureError(f"its colours are stored as {picture.mode}, which is not read; save it as RGB or grey")


def _windowed(picture: PillowImage, window: tuple[float, float] | None) -> PillowImage:
    """Deep grey as L."""
    from PIL import Image

    values = np.asarray(picture)
    if not np.isfinite(values).all():
        raise BrokenPictureError("holds values that are no numbers, or infinite")
    if window is None:
        raise WindowMissingError(float(values.min()), float(values.max()))
    low, high = window
    levels = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / (high - low))
    levels = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    is_negative = getattr(picture, "tag_v2", {}).get(PHOTOMETRIC) == WHITE_IS_ZERO
    return Image.fromarray(255 - levels if is_negative else levels)


def _central_square(picture: PillowImage) -> tuple[float, float, int]:
    """Left, top and side, in pixels; between two pixels where the longer side has an odd pixel more."""
    side = min(picture.size)
    return (picture.width - side) / 2, (picture.height - side) / 2, side


def _why(error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "not a PNG, JPEG, TIFF or WebP, whatever its name says"
    if isinstance(error, Image.DecompressionBombError):
        return f"at most {MOST_PIXELS:,} pixels are read; {error}"
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    return f"damaged ({' '.join(str(error).split())[:100] or type(error).__name__})"
