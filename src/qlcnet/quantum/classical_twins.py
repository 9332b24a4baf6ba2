"""Functions of a 2 x 2 patch that are no circuit's, and run as circuits do: the twins of quanvolved channels.

A quanvolved channel is a trigonometric polynomial of its patch's four angles (quantum.surrogate). `random_polynomial`
draws another with the same degree, number of terms and norm: a random Fourier model, the classical surrogate of a
circuit (Schreiber et al. 2023, arXiv:2206.11740; Landman et al. 2022, arXiv:2210.13200; Sahebi et al. 2025,
arXiv:2505.15902). LinearFilters are what a convolution could compute.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from qlcnet.quantum.images import check_images
from qlcnet.quantum.patches import Patches, lay_patches
from qlcnet.quantum.polynomial import TrigPolynomial
from qlcnet.quantum.quanvolution import in_threads, run_four
from qlcnet.quantum.raw_stream import RawStream

if TYPE_CHECKING:
    from qlcnet.quantum.kernel_tables import PatchFunction

PIXELS = 4  # of a patch, in the order of a circuit's qubits
Colour = Literal["grey", "channels"]


@dataclass(frozen=True, eq=False)
class LinearFilters:
    """`weights` float64 (outputs, 4): each output a weighted sum of the patch's pixels, from 0 to 1."""

    weights: NDArray[np.float64]

    @property
    def outputs(self) -> int:
        return int(self.weights.shape[0])

    @property
    def inputs(self) -> int:
        return int(self.weights.shape[1])

    def basis(self, angles: NDArray[Any]) -> NDArray[np.float64]:
        """1 and the pixel, of its angle in radians (pixel times pi)."""
        return np.stack([np.ones_like(angles), angles / np.pi], axis=-1)

    def terms(self, output: int) -> Iterator[tuple[tuple[int, ...], float]]:
        """Of each pixel with a weight: its number in the basis at its place, the weight."""
        for pixel in np.flatnonzero(self.weights[output]):
            yield tuple(int(i == pixel) for i in range(self.inputs)), float(self.weights[output, pixel])


def cosine_filters() -> LinearFilters:
    """The orthonormal 2 x 2 DCT-II: mean, left minus right, top minus bottom, and the two diagonals' difference.

    cos(pi (2x + 1) u / 4) is 1, 1 for u = 0 and +-1/sqrt(2) for u = 1 (Ahmed, Natarajan and Rao 1974). Proved against
    scipy.fft in tests/quantum/test_classical_twins.py::test_cosine_filters_are_the_dct.
    """
    return LinearFilters(np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2.0)


def random_filters(seed: int, outputs: int = PIXELS) -> LinearFilters:
    """Independent normal weights, each filter scaled to norm 1."""
    stream = RawStream(seed, 0)
    weights = np.array([[stream.normal() for _ in range(PIXELS)] for _ in range(outputs)])
    return LinearFilters(weights / np.linalg.norm(weights, axis=1, keepdims=True))


def random_polynomial(like: TrigPolynomial, seed: int) -> TrigPolynomial:
    """For each output as many non-constant terms as `like` has, drawn from its degree's, with normal coefficients.

    Each output keeps its constant and its norm (see `norms`); all together keep the degree, for which they are drawn
    again where none of them reaches it. Proved in tests/quantum/test_classical_twins.py::test_a_random_polynomial_has.
    """
    size, inputs = 2 * like.degree + 1, like.inputs
    for attempt in range(1000):
        stream = RawStream(seed, attempt)
        coefficients = np.zeros_like(like.coefficients).reshape(like.outputs, -1)
        for q in range(like.outputs):
            constant, *others = like.coefficients[q].ravel()
            chosen: list[int] = []
            while len(chosen) < np.count_nonzero(others):
                term = 1 + stream.below(size**inputs - 1)
                if term not in chosen:
                    chosen.append(term)
            coefficients[q, chosen] = [stream.normal() for _ in chosen]
            coefficients[q, 0] = constant
        found = TrigPolynomial(coefficients.reshape(like.coefficients.shape))
        if found.trimmed().degree == like.degree:
            return _with_norms(found, norms(like))
    raise ValueError(f"no random polynomial of degree {like.degree} found; its circuit has too few terms")


def norms(polynomial: TrigPolynomial) -> NDArray[np.float64]:
    """Standard deviation (outputs,) over angles that are uniform on the circle: Parseval without the constant.

    The square of a product of k sines and cosines has the mean 2^-k, and different products are orthogonal.
    """
    squares = polynomial.coefficients**2
    for axis in range(1, squares.ndim):
        squares = squares * np.array([1.0] + [0.5] * (squares.shape[axis] - 1)).reshape(
            [-1 if i == axis else 1 for i in range(squares.ndim)]
        )
    flat = squares.reshape(polynomial.outputs, -1)
    return np.sqrt(flat[:, 1:].sum(1))


def _with_norms(polynomial: TrigPolynomial, wanted: NDArray[np.float64]) -> TrigPolynomial:
    """Every output's terms but the constant scaled to the norm."""
    have = norms(polynomial)
    flat = polynomial.coefficients.reshape(polynomial.outputs, -1).copy()
    flat[:, 1:] *= (wanted / np.where(have == 0.0, 1.0, have))[:, None]
    return TrigPolynomial(flat.reshape(polynomial.coefficients.shape))


@dataclass(frozen=True, eq=False)
class PatchChannels:
    """Four functions of every 2 x 2 patch of an image, laid as a circuit's; values float16."""

    function: PatchFunction
    colour: Colour
    stride: int
    padding: str | int

    def patches(self, height: int, width: int) -> Patches:
        """Where patches lie on images of that size."""
        return lay_patches(height, width, self.stride, self.padding)

    def stored_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """(N, H', W', channels) for images (N, H, W, C)."""
        patches = self.patches(shape[1], shape[2])
        return shape[0], patches.rows, patches.columns, PIXELS * (shape[3] if self.colour == "channels" else 1)

    def __call__(
        self, images: NDArray[np.uint8], out: NDArray[np.float16] | None = None, threads: int | None = None
    ) -> NDArray[np.float16]:
        """Channels float16 (N, H', W', channels) of uint8 images (N, H, W, 1 or 3), in `out` if it is given."""
        check_images(images)
        out = np.empty(self.stored_shape(images.shape), np.float16) if out is None else out
        tables = _tables(self, *images.shape[1:3])

        def run(part: NDArray[np.uint8], into: NDArray[Any], at: int) -> None:
            run_four(part, into, self.colour == "grey", *tables)

        in_threads(run, images, out, threads)
        return out


@lru_cache(maxsize=16)
def _tables(channels: PatchChannels, height: int, width: int) -> Any:
    from qlcnet.quantum import kernel_tables  # numba takes a while to import

    return kernel_tables.make_tables(channels.function, channels.patches(height, width))
