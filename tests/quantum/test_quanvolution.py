"""Quanvolution of images against the QNode patch by patch, for every circuit, geometry, colour and storage."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qlcnet import config
from qlcnet.quantum import kernel
from qlcnet.quantum.images import cut_patches, to_grey
from qlcnet.quantum.patches import lay_patches
from qlcnet.quantum.polynomial import TrigPolynomial
from qlcnet.quantum.quanvolution import Quanvolution, prepare
from qlcnet.quantum.storage import STORAGES

FLOAT = STORAGES["float32"]
NOISE = config.Noise(depolarizing=0.05, amplitude_damping=0.1, phase_damping=0.15, readout_flip=0.02)


def random_images(count: int = 3, height: int = 7, width: int = 9, colours: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, colours), dtype=np.uint8)


def both_engines(images: np.ndarray, **params: Any) -> tuple[np.ndarray, np.ndarray]:
    exact = prepare(config.Circuit(**params))
    return exact(images, storage=FLOAT), prepare(config.Circuit(**params, engine="pennylane"))(images, storage=FLOAT)


@pytest.mark.parametrize(
    ("encoding", "ansatz"), list(itertools.product(("ry", "rx", "rxy", "ryx"), ("none", "random", "entangled")))
)
def test_exact_engine_equals_the_qnode(encoding: str, ansatz: str) -> None:
    exact, reference = both_engines(random_images(), encoding=encoding, ansatz=ansatz, layers=2)
    assert exact.shape == (3, 7, 9, 4)
    np.testing.assert_allclose(exact, reference, atol=1e-6)


@pytest.mark.parametrize(
    "params",
    [
        {"encoding": "rxy", "uploads": 2, "ansatz": "entangled"},  # 6,561 terms, summed in float64
        {"uploads": 3, "ansatz": "entangled"},
        {"noise": NOISE, "ansatz": "entangled"},
        {"device": "lightning.qubit"},
    ],
)
def test_re_uploading_noise_and_devices(params: dict[str, Any]) -> None:
    exact, reference = both_engines(random_images(1, 5, 4, 1), **params)
    np.testing.assert_allclose(exact, reference, atol=1e-6)


@pytest.mark.parametrize(
    ("stride", "padding", "colour"),
    list(itertools.product((1, 2, 3), ("same", "valid", 0, 2), ("grey", "channels"))),
)
def test_every_stride_padding_and_colour(stride: int, padding: str | int, colour: str) -> None:
    images = random_images(2, 6, 9)
    exact, reference = both_engines(images, ansatz="entangled", stride=stride, padding=padding, colour=colour)
    assert exact.shape[3] == (4 if colour == "grey" else 12)
    if padding == "same":
        assert exact.shape[1:3] == (-(-6 // stride), -(-9 // stride))
    if padding == 2:
        assert exact.shape[1:3] == ((6 + 4 - 2) // stride + 1, (9 + 4 - 2) // stride + 1)
    np.testing.assert_allclose(exact, reference, atol=1e-6)


def test_a_patch_by_hand() -> None:
    """Without an ansatz the four channels of a patch are the cosines of its four pixels, borders repeated."""
    images = np.array([[0, 51], [102, 255]], np.uint8)[None, :, :, None]
    values = prepare(config.Circuit(ansatz="none"))(images, storage=FLOAT)
    a, b, c, d = np.cos(np.pi * np.array([0, 0.2, 0.4, 1]))
    np.testing.assert_allclose(values[0], [[[a, b, c, d], [b, b, d, d]], [[c, d, c, d], [d, d, d, d]]], atol=1e-6)


def test_images_taller_than_a_band_of_the_kernel() -> None:
    images = random_images(1, 150, 301, 1)
    quanvolution = prepare(config.Circuit(ansatz="entangled", layers=2))
    pixels = cut_patches(images, quanvolution.patches(150, 301))
    expected = quanvolution.polynomial(pixels[:, :, :, 0] / 255 * np.pi)
    np.testing.assert_allclose(quanvolution(images, storage=FLOAT), expected, atol=1e-6)


def test_threads_pieces_and_memory_order_change_no_byte() -> None:
    images = random_images(23)
    for params in (config.Circuit(ansatz="entangled"), config.Circuit(shots=20), config.Circuit(storage="uint8")):
        quanvolution = prepare(params)
        whole = quanvolution(images, threads=1)
        assert np.array_equal(whole, quanvolution(np.asfortranarray(images), threads=3))
        pieces = [quanvolution(images[i : i + 5], first_image=i) for i in range(0, 23, 5)]
        assert np.array_equal(whole, np.concatenate(pieces))
        assert images.flags.writeable
        frozen = images.view()
        frozen.flags.writeable = False
        out = np.empty_like(whole)
        assert quanvolution(frozen, out) is out
        assert np.array_equal(out, whole)


@pytest.mark.parametrize("storage", ["float16", "uint8"])
def test_storage_error_is_within_what_is_stated(storage: str) -> None:
    images = random_images(20, 28, 28)
    quanvolution = prepare(config.Circuit(ansatz="entangled", storage=storage))  # type: ignore[arg-type]
    stored, exact = quanvolution(images), quanvolution(images, storage=FLOAT)
    error = np.abs(quanvolution.storage.decode(stored) - exact).max()
    assert 0.3 * quanvolution.storage.error < error <= quanvolution.storage.error + 1e-6
    assert np.array_equal(stored, quanvolution.storage.encode(exact))  # the kernel rounds as numpy does


def test_float16_bits_of_both_ways() -> None:
    """Every exponent, ties, subnormals and signs, against numpy; the portable way serves CPUs without instructions."""
    bits = np.random.default_rng(0).integers(0, 2**31, 20_000, dtype=np.int64)
    values = np.concatenate([bits.astype(np.uint32).view(np.float32), np.arange(0, 4097, dtype=np.float32) * 2.0**-25])
    values = values[np.isfinite(values) & (np.abs(values) < 65_000)]
    near_ties = (2.0 ** -np.arange(0, 30) * 1.00048828125).astype(np.float32)
    values = np.concatenate([values, -values, near_ties])
    expected = values.astype(np.float16).view(np.uint16)
    assert [int(kernel._half_portable(v)) for v in values] == expected.tolist()
    sums = np.zeros((4, len(values)), np.float32)
    sums[1], packed = values, np.zeros(2 * len(values), np.uint32)
    kernel._pack_half(sums, packed, len(values))
    assert np.array_equal(packed[::2] >> 16, expected)


def test_kernels_compile_where_nothing_can_be_cached() -> None:
    """A function without a source file has no place for numba's cache, as one in a read-only installation."""
    namespace: dict[str, Any] = {}
    exec("def double(x):\n    return 2 * x", namespace)
    assert kernel.compiled(namespace["double"])(4) == 8


def test_grey_is_pillows() -> None:
    images = random_images(1, 64, 64)
    assert np.array_equal(to_grey(images)[0, :, :, 0], np.asarray(Image.fromarray(images[0]).convert("L")))


def test_constant_and_single_pixel_polynomials() -> None:
    """Outputs with no basis function at all, and with only one of the four pixels."""
    coefficients = np.zeros((4, 3, 3, 3, 3))
    coefficients[0, 0, 0, 0, 0], coefficients[2, 0, 0, 0, 1] = 0.25, 1.0
    ready = prepare(config.Circuit())
    images = random_images(2, 4, 4, 1)
    for chosen in (coefficients, coefficients * np.array([1, 1, 0, 1]).reshape(4, 1, 1, 1, 1)):
        polynomial = TrigPolynomial(chosen).trimmed()
        values = Quanvolution(ready.params, ready.circuit, ready.words, polynomial, 81)(images, storage=FLOAT)
        pixels = cut_patches(images, lay_patches(4, 4))[:, :, :, 0]
        np.testing.assert_allclose(values, polynomial(pixels / 255 * np.pi), atol=1e-6)


def with_nan(images: np.ndarray) -> np.ndarray:
    broken = images.astype(np.float32) / 255
    broken[0, 0, 0, 0] = np.nan
    return broken


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x / 255, r"float64; circuits read uint8.*images \* 255"),
        (with_nan, "holds NaN too"),
        (lambda x: x.astype(np.int64), "int64; circuits read uint8"),
        (lambda x: x[0], r"\(7, 9, 3\); expected \(images, height, width, 1 or 3\).*transpose"),
        (lambda x: x.transpose(0, 3, 1, 2), "expected"),
        (lambda x: x[:, :1, :1], "1 x 1 pixels hold no 2 x 2 patch; use images of at least 2 x 2"),
        (lambda x: x.tolist(), "not list; use numpy.asarray"),
    ],
)
def test_images_that_cannot_be(spoil: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare(config.Circuit())(spoil(random_images()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((8, 8, 0), "stride 0: patches must move"), ((8, 8, 1, "wide"), "padding 'wide': use"), ((1, 8), "1 x 8 pixels")],
)
def test_geometry_that_cannot_be(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lay_patches(*arguments)


def test_circuits_of_other_sizes_are_refused() -> None:
    ready = prepare(config.Circuit())
    wrong = Quanvolution(ready.params, ready.circuit, ready.words, TrigPolynomial(np.ones((4, 3, 3))), 9)
    with pytest.raises(ValueError, match="4 pixels, but the circuit has 2 inputs"):
        wrong(random_images())
    with pytest.raises(ValueError, match="needed is a C-contiguous float16"):
        ready(random_images(), np.empty((3, 7, 9, 4), np.float32))
