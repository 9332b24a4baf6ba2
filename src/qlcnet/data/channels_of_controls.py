"""Channels of the section `channels` that stand for a circuit's: filters, random polynomials, noise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlcnet.config import Circuit, ConvChannels, FourierRandomChannels, NoiseChannels
from qlcnet.data.channel_card import ARRAY, FUNCTION, Decode, Evaluations, Made
from qlcnet.data.channel_order import Order
from qlcnet.data.channels_of_circuits import SAMPLE, prepare_section
from qlcnet.quantum.classical_twins import (
    LinearFilters,
    PatchChannels,
    cosine_filters,
    random_filters,
    random_polynomial,
)
from qlcnet.quantum.images import check_images
from qlcnet.quantum.polynomial import TrigPolynomial
from qlcnet.quantum.storage import let_go, storage_named, write_array
from qlcnet.whole import write_synced

NOTHING = Evaluations(0, 0)  # of circuits
NOISE_STORAGE = storage_named("uint8")


def make_filters(order: Order, folder: Path) -> Made:
    """channels.npy of `kind: conv`, and function.json with its weights."""
    filters = _filters_of(order)
    _write_function(folder, {"weights": filters.weights.tolist()})
    return _make_of_patches(order, _laid(order, filters), folder)


def make_random_polynomials(order: Order, folder: Path) -> Made:
    """channels.npy of `kind: fourier-random`, and function.json with its terms. DataError where its circuit is none."""
    polynomial = _polynomial_of(order)
    formulas = [polynomial.formula(q) for q in range(polynomial.outputs)]
    _write_function(folder, {"polynomial": polynomial.to_data(), "formulas": formulas})
    return _make_of_patches(order, _laid(order, polynomial), folder)


def make_noise(order: Order, folder: Path) -> Made:
    """channels.npy of `kind: noise`."""
    check_images(order.images)
    shape = _laid(order, cosine_filters()).stored_shape(order.images.shape)
    section: NoiseChannels = order.section

    def fill(first: int, out: NDArray[Any]) -> None:
        out[...] = noise_of(section.seed, first, len(out), shape[1:])

    digest = write_array(folder / ARRAY, shape, NOISE_STORAGE.dtype, fill, f"channel {order.name}")
    return Made(shape, Decode(NOISE_STORAGE.scale, NOISE_STORAGE.offset), None, digest, NOTHING)


def noise_of(seed: int, first: int, count: int, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Bytes (count, *shape), uniform in 0 to 255, of images from number `first`: the same however a set is cut.

    Philox counts (Salmon et al. 2011): each image has a block of its counter of its own, four words of 64 bits a step.
    """
    each = int(np.prod(shape))
    steps = -(-each // 32)
    bits = np.random.Philox(key=seed)
    bits.advance(first * steps)
    rows = bits.random_raw(count * steps * 4).astype("<u8").view(np.uint8).reshape(count, -1)
    return rows[:, :each].reshape(count, *shape)


def still_made(order: Order, folder: Path, channels: Callable[[Order], PatchChannels]) -> bool:
    """Whether the channels of some images are those of today."""
    stored = np.load(folder / ARRAY, mmap_mode="r", allow_pickle=False)
    rows = np.unique(np.linspace(0, len(order.images) - 1, SAMPLE).astype(int))
    images = np.stack([order.images[row] for row in rows])
    return (folder / FUNCTION).is_file() and np.array_equal(channels(order)(images), stored[rows])


def filters_still_made(order: Order, folder: Path) -> bool:
    """`still_made` of `kind: conv`."""
    return still_made(order, folder, lambda one: _laid(one, _filters_of(one)))


def polynomials_still_made(order: Order, folder: Path) -> bool:
    """`still_made` of `kind: fourier-random`."""
    return still_made(order, folder, lambda one: _laid(one, _polynomial_of(one)))


def _circuit_of(order: Order) -> Circuit:
    assert order.circuit is not None  # params are refused without it
    return order.circuit


def _filters_of(order: Order) -> LinearFilters:
    section: ConvChannels = order.section
    return cosine_filters() if section.filters == "cosine" else random_filters(section.seed)


def _polynomial_of(order: Order) -> TrigPolynomial:
    section: FourierRandomChannels = order.section
    quanvolution = prepare_section(section.of, _circuit_of(order), order.fetcher)
    return random_polynomial(quanvolution.channels_polynomial, section.seed)


def _laid(order: Order, function: LinearFilters | TrigPolynomial) -> PatchChannels:
    circuit = _circuit_of(order)
    return PatchChannels(function, circuit.colour, circuit.stride, circuit.padding)


def _make_of_patches(order: Order, channels: PatchChannels, folder: Path) -> Made:
    check_images(order.images)
    shape = channels.stored_shape(order.images.shape)

    def fill(first: int, out: NDArray[Any]) -> None:
        channels(order.images[first : first + len(out)], out)
        let_go(order.images)

    digest = write_array(folder / ARRAY, shape, np.dtype(np.float16), fill, f"channel {order.name}")
    return Made(shape, Decode(1.0, 0.0), None, digest, NOTHING)


def _write_function(folder: Path, data: dict[str, Any]) -> None:
    write_synced(folder / FUNCTION, json.dumps(data, sort_keys=True, indent=1, allow_nan=False) + "\n")
