"""The torch module against the numpy engine, and its gradient against finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from qlcnet import config
from qlcnet.quantum import torch_quanvolution
from qlcnet.quantum.quanvolution import prepare
from qlcnet.quantum.storage import STORAGES
from qlcnet.quantum.torch_quanvolution import TorchQuanvolution


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"ansatz": "entangled", "encoding": "rxy", "stride": 2},
        {"ansatz": "entangled", "colour": "channels", "padding": 2, "stride": 3},
        {"uploads": 2, "padding": "valid", "colour": "channels"},
    ],
)
def test_equal_to_the_kernel(params: dict[str, Any]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 8, 3), dtype=np.uint8)
    circuit = config.Circuit(**params)
    exact = prepare(circuit)
    module = TorchQuanvolution(exact.polynomial.coefficients, circuit.colour, circuit.stride, circuit.padding)
    values = module(torch.from_numpy(images).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(values, exact(images, storage=STORAGES["float32"]), atol=1e-5)


@pytest.mark.parametrize(
    "params", [{}, {"colour": "channels", "storage": "uint8"}, {"uploads": 2, "shots": 50, "shots_drawn": "fresh"}]
)
def test_the_engine_stores_what_the_exact_one_stores(params: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 9, 8, 3), dtype=np.uint8)
    exact, in_torch = (prepare(config.Circuit(**params, engine=engine)) for engine in ("exact", "torch"))
    stored, expected = in_torch(images), exact(images)
    assert (stored.shape, stored.dtype) == (expected.shape, expected.dtype)
    values, wanted = (exact.storage.decode(x) for x in (stored, expected))
    np.testing.assert_allclose(values, wanted, atol=2 * exact.storage.error + 1e-5)  # neighbours where rounding ties
    monkeypatch.setattr(torch_quanvolution, "PIECE_BYTES", 1)  # one image at a time
    np.testing.assert_allclose(exact.storage.decode(in_torch(images)), values, atol=2 * exact.storage.error + 1e-5)


def test_the_engine_draws_stored_shots() -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 9, 8, 1), dtype=np.uint8)
    exact, in_torch = (prepare(config.Circuit(shots=50, engine=engine)) for engine in ("exact", "torch"))
    # the same random streams: they differ only where rounding tips a draw
    assert np.mean(exact(images) == in_torch(images)) > 0.99


def test_gradient_of_pixels() -> None:
    exact = prepare(config.Circuit(ansatz="entangled"))
    module = TorchQuanvolution(exact.polynomial.coefficients).double()
    images = (torch.rand(1, 1, 3, 4, dtype=torch.float64) * 255).requires_grad_()
    values = module(images).sum()
    (gradient,) = torch.autograd.grad(values, images)
    step = torch.zeros_like(images)
    step[0, 0, 1, 2] = 0.5
    with torch.no_grad():
        slope = (module(images + step).sum() - module(images - step).sum()).item()
    assert gradient[0, 0, 1, 2].item() == pytest.approx(slope, abs=1e-4)
