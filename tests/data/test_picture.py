"""One picture file to an image: orientation, transparency, colours, 16 bits, the central square, damaged files."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qlcnet.data.folder import picture as module
from qlcnet.data.folder.picture import BrokenPictureError, PictureRules, WindowMissingError, read_picture

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (12, 12, 3), np.uint8)
FORMATS = ("PNG", "JPEG", "TIFF", "WEBP")


def encoded(picture: Image.Image | np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(buffer, kind, **options)
    return buffer.getvalue()


def read(content: bytes, size: int = 12, **rules: Any) -> np.ndarray:
    return read_picture(content, PictureRules(size, **rules)).pixels


def differ(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.abs(a.astype(int) - b).max())


def test_the_pixels_of_a_square_are_taken_as_they_are() -> None:
    for kind, options in (
        ("PNG", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True}),
    ):
        np.testing.assert_array_equal(read(encoded(NOISE, kind, **options)), NOISE)
    assert read_picture(encoded(NOISE), PictureRules(24)).side == 12


def test_jpeg_is_decoded_whole_before_it_is_resized() -> None:
    """Decoding at a reduced scale would be three times faster, and differs by up to 3 levels."""
    content = encoded(Image.fromarray(NOISE).resize((512, 512), Image.Resampling.BICUBIC), "JPEG")
    with Image.open(io.BytesIO(content)) as whole:
        expected = np.asarray(whole.resize((16, 16), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(read(content, 16), expected)


@pytest.mark.parametrize(("height", "width", "size"), [(40, 24, 12), (24, 40, 12), (24, 39, 48), (301, 24, 48)])
def test_the_central_square_is_resized(height: int, width: int, size: int) -> None:
    """The same as the short side brought to `size`, and the middle cut out: also where that cuts halves of pixels."""
    pixels = RNG.integers(0, 256, (height, width, 3), np.uint8)
    scaled = [side * size // min(height, width) for side in (width, height)]
    whole = np.asarray(Image.fromarray(pixels).resize(scaled, Image.Resampling.BILINEAR))
    top, left = (whole.shape[0] - size) // 2, (whole.shape[1] - size) // 2
    # a level for the order in which Pillow rounds rows and columns
    assert differ(read(encoded(pixels), size), whole[top : top + size, left : left + size]) <= 1


def test_details_are_averaged_not_skipped() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    assert differ(read(encoded(stripes), 8, grey=True)[:, 1:-1], np.full((8, 6, 1), 128)) == 0


@pytest.mark.parametrize("kind", FORMATS)
def test_orientation_is_applied(kind: str) -> None:
    upright = np.zeros((12, 12, 3), np.uint8)
    upright[:6, :6] = 255  # bright in its upper left corner
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: to be turned clockwise by a quarter
    stored = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    got = read(encoded(stored, kind, exif=exif), 2)
    assert differ(got, read(encoded(upright), 2)) < 12
    assert got[0, 0, 0] > 150 > 100 > got[1, 0, 0]


def test_what_is_transparent_lies_on_black() -> None:
    seen = np.dstack([NOISE, np.full((12, 12), 255, np.uint8)])
    np.testing.assert_array_equal(read(encoded(seen)), NOISE)
    seen[:6, :, 3] = 0
    seen[6:, :, 3] = 128
    expected = np.concatenate([np.zeros((6, 12, 3)), NOISE[6:] * (128 / 255)])
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        assert differ(read(encoded(seen, kind, **options)), np.rint(expected)) <= 1
    pair = Image.fromarray(NOISE[..., 0]).convert("LA")
    pair.putalpha(0)
    assert not read(encoded(pair)).any()
    palette = Image.fromarray(NOISE).quantize(4)
    hidden = np.asarray(palette) == 2
    got = read(encoded(palette, transparency=2))
    assert not got[hidden].any()
    np.testing.assert_array_equal(got[~hidden], np.asarray(palette.convert("RGB"))[~hidden])


def test_other_colours_become_rgb() -> None:
    palette = Image.fromarray(NOISE).quantize(16)
    np.testing.assert_array_equal(read(encoded(palette)), np.asarray(palette.convert("RGB")))
    black = Image.new("CMYK", (12, 12), (0, 0, 0, 255))
    cyan = Image.new("CMYK", (12, 12), (255, 0, 0, 0))
    for kind in ("TIFF", "JPEG"):
        assert differ(read(encoded(black, kind)), np.zeros(3)) <= 2
        assert differ(read(encoded(cyan, kind)), np.array([0, 255, 255])) <= 2
    bits = np.asarray(NOISE[..., 0] > 127)
    np.testing.assert_array_equal(read(encoded(Image.fromarray(bits)), grey=True)[..., 0], bits * 255)


def test_grey_is_luma_and_a_grey_picture_the_same_in_every_mode() -> None:
    grey = NOISE[..., 0]
    wide = np.concatenate([grey, grey[:, ::-1]], axis=1)
    for size in (5, 12):
        np.testing.assert_array_equal(
            read(encoded(wide), size), read(encoded(np.repeat(wide[..., None], 3, axis=2)), size)
        )
    luma = np.asarray(Image.fromarray(NOISE).convert("L"))
    np.testing.assert_array_equal(read(encoded(NOISE), grey=True)[..., 0], luma)
    assert read(encoded(grey)).shape == (12, 12, 3)


# --- more than 8 bits ----------------------------------------------------------------------------------------------

DEEP = (np.arange(144, dtype=np.uint16) * 28).reshape(12, 12)  # 12 bits: 0 to 4004


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_need_a_window(kind: str) -> None:
    with pytest.raises(WindowMissingError) as raised:
        read(encoded(DEEP, kind))
    assert (raised.value.low, raised.value.high) == (0, 4004)
    got = read_picture(encoded(DEEP, kind), PictureRules(12, grey=True, window=(0, 4004)))
    assert got.is_deep
    np.testing.assert_array_equal(got.pixels[..., 0], np.rint(DEEP * (255 / 4004)))
    narrow = read(encoded(DEEP, kind), window=(1000, 3000))
    np.testing.assert_array_equal(narrow[..., 0] == 0, DEEP <= 1003)
    np.testing.assert_array_equal(narrow[..., 0] == 255, DEEP >= 2997)


def test_thirty_two_bits_and_negatives() -> None:
    for dtype in (np.int32, np.float32):
        values = (DEEP.astype(dtype) - 1000).astype(dtype)
        got = read(encoded(values, "TIFF"), window=(-1000, 3004))
        np.testing.assert_array_equal(got[..., 0], np.rint(DEEP * (255 / 4004)))
    turned = read(encoded(DEEP, "TIFF", tiffinfo={262: 0}), window=(0, 4004))
    np.testing.assert_array_equal(turned[..., 0], 255 - np.rint(DEEP * (255 / 4004)))
    broken = np.full((12, 12), np.nan, np.float32)
    with pytest.raises(BrokenPictureError, match="no numbers"):
        read(encoded(broken, "TIFF"), window=(0, 1))


def test_colours_of_sixteen_bits_lose_their_lower_eight() -> None:
    values = RNG.integers(0, 65_536, (12, 12, 3))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 12, 12, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    np.testing.assert_array_equal(read(content), values >> 8)


# --- what cannot be used -------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", FORMATS)
def test_every_cut_and_damaged_file_is_broken_or_read(kind: str) -> None:
    """Nothing but our own error comes out of a damaged file; one that is cut in half is never read."""
    content = encoded(Image.fromarray(NOISE).resize((40, 40)), kind)
    with pytest.raises(BrokenPictureError, match=r"damaged|not a PNG"):
        read(content[: len(content) // 2])
    rng, refused = np.random.default_rng(1), 0
    for _ in range(200):
        spoilt = bytearray(content)
        for place in rng.integers(0, len(spoilt), 4):
            spoilt[place] = int(rng.integers(0, 256))
        try:
            read(bytes(spoilt))
        except (BrokenPictureError, WindowMissingError) as error:
            refused += len(str(error)) < 200
    assert refused


def test_files_that_are_no_picture() -> None:
    with pytest.raises(BrokenPictureError, match="empty"):
        read(b"")
    for content in (b"<html>", encoded(NOISE, "GIF"), encoded(NOISE, "BMP")):
        with pytest.raises(BrokenPictureError, match="not a PNG, JPEG, TIFF or WebP"):
            read(content)
    lab = Image.new("LAB", (12, 12))
    assert read(encoded(lab, "TIFF")).shape == (12, 12, 3)


@pytest.mark.parametrize("kind", ["TIFF", "WEBP", "PNG"])
def test_several_pages_are_refused(kind: str) -> None:
    pages = [Image.fromarray(np.roll(NOISE, i, axis=0)) for i in range(3)]
    content = encoded(pages[0], kind, save_all=True, append_images=pages[1:])
    with pytest.raises(BrokenPictureError, match="holds 3 pages or frames; expected one picture a file"):
        read(content)


def test_a_camera_s_second_picture_is_left() -> None:
    first, preview = Image.fromarray(NOISE), Image.fromarray(NOISE[::-1])
    content = encoded(first, "MPO", save_all=True, append_images=[preview], quality=100)
    np.testing.assert_array_equal(read(content), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 14_000])
def test_pictures_that_unpack_to_more_than_the_memory(side: int) -> None:
    """Both where Pillow warns and where it refuses; the file is 10 KB."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 10_000_000)), (b"IEND", b""))
    )
    with pytest.raises(BrokenPictureError, match=r"89,478,485"):
        read(content)


def test_no_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "_plain", no_room)
    with pytest.raises(BrokenPictureError, match="needs more memory than there is"):
        read(encoded(NOISE))
