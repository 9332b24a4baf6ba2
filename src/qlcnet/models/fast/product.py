"""The matrix product of the small-map layers."""

from __future__ import annotations

import torch
from torch import Tensor

from qlcnet import machine
from qlcnet.models.fast.borders import library_of, onednn_multiplies


def _library_on(vendor: str) -> str:
    """What multiplies large float32 matrices on a CPU of this vendor; where numbers are to travel, the same on all."""
    if not torch.backends.mkldnn.is_available():
        return "MKL"
    # MKL's is held to SSE2 then
    return "oneDNN" if machine.is_portable() else library_of(vendor)


# oneDNN's product of float32 matrices, a @ b.T with b in any layout; None where MKL's is taken for all of them.
_onednn = torch.ops.mkldnn._linear_pointwise.default if _library_on(machine.cpu_vendor()) == "oneDNN" else None


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b for (M, K) and (K, N), each dense or the transpose of a dense one: with gaps between rows oneDNN is slow.

    Not differentiable: for forward and backward passes by hand.
    """
    (m, k), n = a.shape, b.shape[1]
    if _onednn is None or a.dtype != torch.float32 or not onednn_multiplies(m, k, n):
        return torch.mm(a, b)
    if a.is_contiguous():
        return _times_transposed(a, b.t())
    if m * k <= n * (m + k):
        return _times_transposed(a.contiguous(), b.t())
    # (b^T a^T)^T: to copy b and the result is less than to copy a
    return _times_transposed(b.t().contiguous(), a).t().contiguous()


def _times_transposed(a: Tensor, b: Tensor) -> Tensor:
    return _onednn(a, b, None, "none", [], "")  # type: ignore[misc]


def product_library() -> str:
    """Which library multiplies large float32 matrices here."""
    return "MKL" if _onednn is None else "oneDNN"
