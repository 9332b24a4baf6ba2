"""Each way to compute a convolution, and each step of a chain, against torch and against numerical derivatives."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from qlcnet.models.fast import kernels
from qlcnet.models.fast.accelerate import accelerate
from qlcnet.models.fast.geometry import Geometry
from qlcnet.models.fast.kernels import Banded, Columns, Product, Scale, Taps
from qlcnet.models.fast.layers import Walk, from_matrix, is_batch_last, to_matrix, way_in_chain
from qlcnet.models.fast.steps import ACTIVATIONS, Close, Layer, Open, SqueezeExcite, Step, run

NOTHING = ACTIVATIONS[nn.Identity]

# size, kernel, stride, padding, depthwise, the way that is chosen
CONVOLUTIONS = [
    ((14, 14), (3, 3), (1, 1), (1, 1), True, Taps),
    ((14, 13), (3, 3), (2, 2), (1, 1), True, Taps),
    ((9, 7), (5, 3), (2, 1), (2, 1), True, Taps),
    ((7, 7), (3, 3), (2, 2), (1, 1), True, Banded),
    ((7, 7), (5, 5), (1, 1), (2, 2), True, Banded),
    ((2, 2), (5, 5), (1, 1), (2, 2), True, Banded),
    ((2, 2), (5, 5), (2, 2), (2, 2), True, Banded),
    ((3, 1), (3, 3), (1, 2), (1, 1), True, Banded),
    ((1, 1), (5, 5), (1, 1), (2, 2), True, Scale),
    ((1, 1), (3, 3), (2, 2), (1, 1), True, Scale),
    ((5, 4), (1, 1), (1, 1), (0, 0), False, Product),
    ((1, 1), (3, 3), (1, 1), (1, 1), False, Product),
    ((5, 4), (1, 1), (2, 2), (0, 0), False, Columns),
    ((3, 3), (1, 1), (2, 2), (1, 1), False, Columns),  # as many outputs as inputs, and one pixel alone is read
    ((5, 4), (3, 3), (1, 1), (1, 1), False, Columns),
    ((2, 2), (3, 3), (2, 2), (1, 1), False, Columns),
    ((4, 4), (7, 7), (2, 2), (3, 3), False, Columns),
    ((2, 3), (2, 2), (1, 1), (2, 2), False, Columns),  # outputs that no tap reaches
]


def convolution(case: tuple, maps: int = 3) -> tuple[nn.Conv2d, Layer, tuple[int, int]]:
    size, kernel, stride, padding, depthwise, kind = case
    torch.manual_seed(1)
    groups = maps if depthwise else 1
    conv = nn.Conv2d(maps, maps if depthwise else 2, kernel, stride, padding, groups=groups, bias=False).double()
    way = way_in_chain(conv, size, Walk(2, chained=True, first_map=16))
    assert type(way) is kind
    return conv, Layer(conv, way, None, NOTHING), way.geometry.out


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_way_computes_torchs_convolution(case: tuple) -> None:
    conv, layer, out = convolution(case)
    x = torch.randn(2, 3, *case[0], dtype=torch.float64, requires_grad=True)
    expected = conv(x)
    actual = from_matrix(run(to_matrix(x), (layer,)), *out)
    torch.testing.assert_close(actual, expected)
    weights = torch.randn_like(expected)
    inputs = (x, conv.weight)
    torch.testing.assert_close(
        torch.autograd.grad((actual * weights).sum(), inputs), torch.autograd.grad((expected * weights).sum(), inputs)
    )


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_derivatives_of_a_way_are_numerically_right(case: tuple) -> None:
    _, layer, _ = convolution(case, maps=2)
    x = torch.randn(2, 2, *case[0], dtype=torch.float64, requires_grad=True)
    assert gradcheck(x, (layer,))


def gradcheck(x: Tensor, steps: tuple[Step, ...]) -> bool:
    parameters = [p for step in steps for p in step.parameters() if p is not None]
    return torch.autograd.gradcheck(lambda x, *_: run(to_matrix(x), steps), (x, *parameters), fast_mode=True)


def test_a_convolution_that_reads_padding_alone_is_left_to_torch() -> None:
    conv = nn.Conv2d(2, 3, 1, stride=2, padding=1)
    fast = accelerate(nn.Sequential(copy.deepcopy(conv)), (2, 1, 1), 4)
    x = torch.randn(4, 2, 1, 1)
    torch.testing.assert_close(fast(x), conv(x))


@pytest.mark.parametrize("activation", [nn.Identity, nn.ReLU, nn.Sigmoid, nn.Hardsigmoid, nn.Hardswish, nn.SiLU])
def test_derivatives_of_norm_and_activation_are_right(activation: type[nn.Module]) -> None:
    torch.manual_seed(2)
    conv, norm = nn.Conv2d(3, 4, 1, bias=False).double(), nn.BatchNorm2d(4).double()
    last = nn.BatchNorm2d(4, affine=False).double()
    nn.init.uniform_(norm.weight, 0.5, 2)
    nn.init.normal_(norm.bias)
    x = torch.randn(3, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    act = ACTIVATIONS[activation]
    way = Product(Geometry((2, 2), (1, 1), (1, 1), (0, 0)))
    assert gradcheck(x, (Layer(conv, way, norm, act), Layer(None, None, last, act)))


@pytest.mark.parametrize("size", [(1, 1), (2, 3)])
def test_squeeze_excite_and_shortcuts_are_right(size: tuple[int, int]) -> None:
    torch.manual_seed(2)
    reduce, expand = nn.Conv2d(4, 2, 1).double(), nn.Conv2d(2, 4, 1).double()
    x = torch.randn(3, 4, *size, dtype=torch.float64, requires_grad=True)
    step = SqueezeExcite(reduce, ACTIVATIONS[nn.SiLU], expand, ACTIVATIONS[nn.Hardsigmoid], size[0] * size[1])
    expected = x * nn.functional.hardsigmoid(expand(nn.functional.silu(reduce(x.mean((2, 3), keepdim=True))))) + x
    steps = (Open(), step, Close())
    torch.testing.assert_close(from_matrix(run(to_matrix(x), steps), *size), expected)
    assert gradcheck(x, steps)


def test_group_norm_of_rows_is_batch_norm() -> None:
    """What Layer relies on: also where the mean is large against the spread, and where there is no spread at all."""
    torch.manual_seed(2)
    x = torch.randn(6, 5, 3, 4)
    x[:, 1] = x[:, 1] * 1e-2 + 30
    x[:, 2] = 7.0
    norms = [nn.BatchNorm2d(5), nn.BatchNorm2d(5)]
    expected = norms[0](x)
    actual = from_matrix(run(to_matrix(x), (Layer(None, None, norms[1], NOTHING),)), 3, 4)
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)  # 30 / 1e-2 leaves three digits to both
    torch.testing.assert_close(actual[:, [0, 3, 4]], expected[:, [0, 3, 4]])
    torch.testing.assert_close(norms[1].state_dict(), norms[0].state_dict(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_way_multiplies_dense_matrices_alone(
    case: tuple, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `product` asks for: one tap of a kernel as a view made resnet18 many times slower than plain torch."""
    seen = []

    def product(a: Tensor, b: Tensor) -> Tensor:
        seen.extend(matrix.is_contiguous() or matrix.t().is_contiguous() for matrix in (a, b))
        return torch.mm(a, b)

    monkeypatch.setattr(kernels, "product", product)
    conv, layer, _ = convolution(case)
    conv.to(memory_format=layout)
    x = torch.randn(2, 3, *case[0], dtype=torch.float64, requires_grad=True)
    run(to_matrix(x), (layer,)).sum().backward()
    assert all(seen)


def test_taps_that_cannot_reach_get_no_gradient() -> None:
    geometry = Geometry((2, 2), (5, 5), (1, 1), (2, 2))
    assert [tap.index for tap in geometry.taps] == [6, 7, 8, 11, 12, 13, 16, 17, 18]


@pytest.mark.parametrize("channels", [3, 16])
def test_matrices_hold_every_layout(channels: int) -> None:
    x = torch.randn(2, channels, 3, 4)
    expected = x.permute(1, 2, 3, 0).reshape(channels, -1)
    last = expected.view(channels, 3, 4, 2).permute(3, 0, 1, 2)
    assert is_batch_last(last)
    assert not is_batch_last(x)
    assert to_matrix(last).data_ptr() == last.data_ptr()
    for same in (x, x.contiguous(memory_format=torch.channels_last), last, x.flip(0).flip(0), x.expand(2, -1, -1, -1)):
        assert torch.equal(to_matrix(same), expected)
        assert torch.equal(from_matrix(to_matrix(same), 3, 4), x)
