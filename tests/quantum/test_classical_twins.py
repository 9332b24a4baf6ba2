"""Filters and random polynomials of patches: what each shares with a circuit, and that the kernel computes it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import fft

from qlcnet.config import Circuit
from qlcnet.quantum.classical_twins import (
    Colour,
    LinearFilters,
    PatchChannels,
    cosine_filters,
    norms,
    random_filters,
    random_polynomial,
)
from qlcnet.quantum.images import cut_patches, pixel_angles
from qlcnet.quantum.patches import lay_patches
from qlcnet.quantum.polynomial import TrigPolynomial
from qlcnet.quantum.quanvolution import prepare
from qlcnet.quantum.raw_stream import RawStream

HALF = 2.0**-11  # of a value: the rounding of float16, within its usual range
FILTERS = {"cosine": cosine_filters(), "random": random_filters(7)}
CIRCUITS = {
    "random": Circuit(),
    "none": Circuit(ansatz="none"),
    "entangled": Circuit(ansatz="entangled", layers=2),
    "degree 2": Circuit(encoding="rxy"),
    "degree 2, many": Circuit(uploads=2, ansatz="entangled"),
    "shots": Circuit(shots=20, shots_drawn="fresh"),  # a polynomial of 15 words, of which 4 are channels
}
LAID = list(itertools.product(("grey", "channels"), (1, 2, 3), ("same", "valid", 2)))


@pytest.fixture(scope="module")
def polynomials() -> dict[str, TrigPolynomial]:
    return {name: prepare(circuit).channels_polynomial for name, circuit in CIRCUITS.items()}


def random_images(count: int = 3, height: int = 7, width: int = 9, colours: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, height, width, colours), dtype=np.uint8)


def pixels_of(images: NDArray[np.uint8], channels: PatchChannels) -> NDArray[np.uint8]:
    patches = lay_patches(*images.shape[1:3], channels.stride, channels.padding)
    return cut_patches(images, patches, channels.colour)


# --- linear filters -------------------------------------------------------------------------------------------------


def test_cosine_filters_are_the_dct() -> None:
    """Of every patch, so of the four that have one pixel each; the channels are its coefficients row by row."""
    weights = cosine_filters().weights
    for pixel, patch in enumerate(np.eye(4).reshape(4, 2, 2)):
        np.testing.assert_allclose(weights[:, pixel], fft.dctn(patch, norm="ortho").ravel(), rtol=0, atol=1e-15)
    np.testing.assert_allclose(weights @ weights.T, np.eye(4), atol=1e-15)


def test_random_filters_have_norm_one_and_are_the_same_for_ever() -> None:
    pinned = [0.8132481499743572, -0.32051950873641083, 0.4853355654333517, 0.01854939374059969]
    np.testing.assert_allclose(random_filters(42).weights[0], pinned, rtol=1e-14)
    assert np.array_equal(random_filters(42).weights, random_filters(42).weights)
    assert not np.any(random_filters(42).weights == random_filters(43).weights)
    many = random_filters(1, outputs=4000).weights
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1.0, rtol=1e-14)
    # every direction alike: of 4,000 unit vectors the mean of a coordinate has the error 1/126, of its square 1/253
    np.testing.assert_allclose(many.mean(0), 0.0, atol=4 / 126)
    np.testing.assert_allclose((many**2).mean(0), 0.25, atol=4 / 253)


def test_normal_numbers_are_normal() -> None:
    stream = RawStream(3, 0)
    drawn = np.array([stream.normal() for _ in range(20_000)])
    moments = [drawn.mean(), (drawn**2).mean(), (drawn**3).mean(), (drawn**4).mean()]
    errors = 4 * np.sqrt(np.array([1, 2, 15, 96]) / len(drawn))
    assert (np.abs(np.array(moments) - [0, 1, 0, 3]) < errors).all(), moments


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(("colour", "stride", "padding"), LAID)
def test_filters_of_patches(name: str, colour: Colour, stride: int, padding: str | int) -> None:
    channels = PatchChannels(FILTERS[name], colour, stride, padding)
    for images in (random_images(), random_images(colours=1)):
        got, pixels = channels(images), pixels_of(images, channels)
        expected = (pixels / 255.0 @ FILTERS[name].weights.T).reshape(*pixels.shape[:3], -1)
        assert got.shape == channels.stored_shape(images.shape) == expected.shape
        assert got.dtype == np.float16
        np.testing.assert_allclose(got.astype(float), expected, rtol=HALF, atol=1e-6)


def test_filters_are_linear_in_the_pixels() -> None:
    """A weight of 0 brings no term, and black is 0: no constant."""
    sparse = LinearFilters(np.array([[0.0, 2.0, 0.0, -1.0]] * 4))
    assert list(sparse.terms(0)) == [((0, 1, 0, 0), 2.0), ((0, 0, 0, 1), -1.0)]
    assert not PatchChannels(FILTERS["random"], "grey", 1, "same")(np.zeros((1, 4, 4, 1), np.uint8)).any()


# --- random polynomials ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CIRCUITS)
def test_a_random_polynomial_has(polynomials: dict[str, TrigPolynomial], name: str) -> None:
    """The circuit's number of terms, constant, norm (by Parseval and by Monte Carlo) and degree; no other thing."""
    like, twin = polynomials[name], random_polynomial(polynomials[name], 5)
    assert like.degree == (2 if "degree 2" in name else 1)
    assert (twin.inputs, twin.outputs, twin.degree, twin.trimmed().degree) == (4, 4, like.degree, like.degree)
    constant = (slice(None), 0, 0, 0, 0)
    assert np.array_equal(twin.coefficients[constant], like.coefficients[constant])
    assert [len(list(twin.terms(q))) for q in range(4)] == [len(list(like.terms(q))) for q in range(4)]
    np.testing.assert_allclose(norms(twin), norms(like), rtol=1e-12)
    angles = np.random.default_rng(2).uniform(0, 2 * np.pi, (40_000, 4))
    for polynomial in (like, twin):
        np.testing.assert_allclose(polynomial(angles).std(0), norms(polynomial), rtol=0.04)
    assert [set(dict(twin.terms(q))) for q in range(4)] != [set(dict(like.terms(q))) for q in range(4)]


def test_another_seed_is_another_polynomial(polynomials: dict[str, TrigPolynomial]) -> None:
    one, again, other = (random_polynomial(polynomials["entangled"], seed) for seed in (1, 1, 2))
    assert one.to_data() == again.to_data() != other.to_data()
    first = next(random_polynomial(polynomials["random"], 42).terms(0))
    assert first == ((2, 2, 0, 2), pytest.approx(2.0)), "as on the day when it was written"


def test_a_dead_channel_stays_constant() -> None:
    coefficients = np.zeros((4, 3, 3, 3, 3))
    coefficients[0, 0, 0, 0, 0] = 0.5  # constant, and nothing else
    coefficients[2, 1, 0, 0, 0], coefficients[3, 0, 2, 2, 0] = 1.0, -0.25
    twin = random_polynomial(TrigPolynomial(coefficients), 1)
    assert list(twin.terms(0)) == [((0, 0, 0, 0), 0.5)]
    assert list(twin.terms(1)) == []
    assert twin.depends_on(0) == twin.depends_on(1) == ()
    # one sine or product of sines each, of any number of angles: the norm fixes its size
    for q, norm in ((2, np.sqrt(0.5)), (3, 0.25 / 2)):
        ((index, value),) = twin.terms(q)
        assert abs(value) == pytest.approx(norm * np.sqrt(2.0) ** np.count_nonzero(index))


def test_what_has_no_term_has_no_random_twin_of_a_degree() -> None:
    with pytest.raises(ValueError, match="no random polynomial of degree 1 found"):
        random_polynomial(TrigPolynomial(np.zeros((4, 3, 3, 3, 3))), 1)


@pytest.mark.parametrize("name", ["random", "entangled", "degree 2"])
@pytest.mark.parametrize(("colour", "stride", "padding"), [("grey", 1, "same"), ("channels", 2, 1), ("grey", 3, 0)])
def test_polynomials_of_patches(
    polynomials: dict[str, TrigPolynomial], name: str, colour: Colour, stride: int, padding: str | int
) -> None:
    twin = random_polynomial(polynomials[name], 3)
    channels, images = PatchChannels(twin, colour, stride, padding), random_images()
    pixels = pixels_of(images, channels)
    expected = twin(pixel_angles(pixels)).reshape(*pixels.shape[:3], -1)
    np.testing.assert_allclose(channels(images).astype(float), expected, rtol=HALF, atol=2e-6)


def test_the_channels_of_a_circuits_own_polynomial_are_quanvolution(polynomials: dict[str, TrigPolynomial]) -> None:
    images = random_images()
    assert np.array_equal(PatchChannels(polynomials["random"], "grey", 1, "same")(images), prepare(Circuit())(images))


def test_threads_and_a_given_array_change_nothing(polynomials: dict[str, TrigPolynomial]) -> None:
    images = random_images(count=9)
    for function in (FILTERS["random"], random_polynomial(polynomials["entangled"], 3)):
        channels = PatchChannels(function, "channels", 1, "same")
        one = channels(images, threads=1)
        for threads in (2, 3, 16):
            assert np.array_equal(channels(images, threads=threads), one)
        out = np.full_like(one, 9)
        assert channels(images, out) is out
        assert np.array_equal(out, one)
        assert np.array_equal(np.concatenate([channels(images[:4]), channels(images[4:])]), one), "cut anywhere"


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match="circuits read uint8"):
        PatchChannels(cosine_filters(), "grey", 1, "same")(np.zeros((1, 4, 4, 1)))  # type: ignore[arg-type]
