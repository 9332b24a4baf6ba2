"""The matrix product: equal to float64's for every layout and size, on either side of its thresholds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from qlcnet.models.fast import product as module
from qlcnet.models.fast.borders import ONEDNN_PRODUCT
from qlcnet.models.fast.product import product


def matrix(rows: int, columns: int, transposed: bool) -> Tensor:
    generator = torch.Generator().manual_seed(rows + columns)
    if transposed:
        return torch.randn(columns, rows, generator=generator).t()
    return torch.randn(rows, columns, generator=generator)


@pytest.mark.parametrize("a_transposed", [False, True])
@pytest.mark.parametrize("b_transposed", [False, True])
@pytest.mark.parametrize(
    ("m", "k", "n"),
    [(1, 1, 1), (3, 5, 2), (512, 512, 256), (1024, 1280, 64), (96, 64, 1000), (64, 12544, 32), (1 << 20, 1, 1)],
)
def test_products_of_all_layouts(m: int, k: int, n: int, a_transposed: bool, b_transposed: bool) -> None:
    a, b = matrix(m, k, a_transposed), matrix(k, n, b_transposed)
    result, exact = product(a, b), a.double() @ b.double()
    assert result.is_contiguous()
    assert result.shape == (m, n)
    assert (result - exact).norm() <= 3 * (torch.mm(a, b) - exact).norm() + 1e-7 * exact.norm()
    assert torch.equal(product(a, b), result)


@pytest.mark.skipif(module._onednn is None, reason="MKL multiplies here")
def test_onednn_takes_large_float32_products_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr(module, "_times_transposed", lambda a, b: (taken.append(a.numel()), a @ b.t())[1])
    large, small = (torch.randn(side, 1024) for side in (32, 31))
    assert ONEDNN_PRODUCT == 32 * 32 * 1024
    product(large, large.t())
    assert taken == [large.numel()]
    product(small, small.t())
    product(large.double(), large.double().t())
    monkeypatch.setattr(module, "_onednn", None)
    product(large, large.t())
    assert taken == [large.numel()]


def test_an_odd_view_is_taken_for_what_it_is() -> None:
    stored = torch.randn(300, 2, 200)
    a, b = stored[:, 1, :], torch.randn(200, 600)[:, ::2]
    torch.testing.assert_close(product(a, b), a.contiguous() @ b.contiguous(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("vendor", "library"), [("GenuineIntel", "MKL"), ("AuthenticAMD", "oneDNN"), ("0x41", "oneDNN")]
)
def test_the_library_follows_from_the_vendor(vendor: str, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._library_on(vendor) == library
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert module._library_on(vendor) == "MKL"
