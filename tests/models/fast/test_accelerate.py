"""accelerate() changes how a network is computed, never what: checked against the plain timm network."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from qlcnet.models.fast.accelerate import accelerate, decelerate
from qlcnet.models.fast.blocks import Chained
from qlcnet.models.fast.layers import BatchLast, ChannelsLast, Forward, Linear, OutOfPlace, Sampled, Turned
from qlcnet.models.lcnet import build_lcnet

CLASSES, BATCH = 7, 8


def lcnet(
    width: float = 0.5, activation: str = "relu", strides: tuple[int, ...] = (2, 2, 2, 2, 2), classes: int = CLASSES
) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(build_lcnet(width, 7, activation, strides), nn.Linear(1280, classes))


def timm_model(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        torch.manual_seed(3)
        return timm.create_model(name, in_chans=7, num_classes=CLASSES, drop_rate=0.0)

    return build


def faster(network: nn.Module, size: int | tuple[int, int] = 28, batch: int = BATCH) -> nn.Module:
    """`network` accelerated for images of 7 channels."""
    height, width = size if isinstance(size, tuple) else (size, size)
    return accelerate(network, (7, height, width), batch)


def images(batch: int, size: int | tuple[int, int], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(11)
    height, width = size if isinstance(size, tuple) else (size, size)
    x = torch.randn(batch, 7, height, width, generator=generator, dtype=dtype)
    return x.contiguous(memory_format=torch.channels_last), torch.randint(0, CLASSES, (batch,), generator=generator)


def train(network: nn.Module, x: Tensor, y: Tensor, steps: int, adam: bool = False) -> list[Tensor]:
    """Losses of `steps` steps on one batch; the gradients of the last step stay on the parameters."""
    parameters = network.parameters()  # Adam turns the sign of a gradient that is nothing but rounding into a step
    optimizer = torch.optim.Adam(parameters) if adam else torch.optim.SGD(parameters, 1e-3, momentum=0.9)
    network.train()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = cross_entropy(network(x), y)
        loss.backward()
        losses.append(loss.detach())
        optimizer.step()
    return losses


def assert_same(plain: nn.Module, fast: nn.Module, tolerance: float = 1e-9) -> None:
    """Equal parameters, buffers and gradients, name by name, in relation to each tensor's size.

    Ten such steps in float64 end 1e-12 apart, as those of the plain network in two memory layouts do.
    """
    of_fast = fast.state_dict() | {f"{name}.grad": p.grad for name, p in fast.named_parameters()}
    of_plain = plain.state_dict() | {f"{name}.grad": p.grad for name, p in plain.named_parameters()}
    assert list(of_fast) == list(of_plain)
    for name, expected in of_plain.items():
        if expected is None:
            assert of_fast[name] is None, name
        else:
            error = (of_fast[name] - expected).double().norm()
            assert error <= tolerance * (1 + expected.double().norm()), (name, float(error))


def assert_trains_alike(build: Callable[[], nn.Module], batch: int, size: int | tuple[int, int], steps: int) -> None:
    plain, (x, y) = build().double(), images(batch, size)
    fast = faster(copy.deepcopy(plain), size, batch)
    torch.testing.assert_close(train(fast, x, y, steps), train(plain, x, y, steps), rtol=1e-9, atol=1e-9)
    assert_same(plain, fast)
    plain.eval()
    fast.eval()
    torch.testing.assert_close(fast(x), plain(x), rtol=1e-7, atol=1e-9)
    with torch.inference_mode():
        torch.testing.assert_close(fast(x), plain(x), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("size", [28, 32, 64])
@pytest.mark.parametrize("width", [0.5, 0.75, 1.0, 1.5, 2.0])
def test_every_width_and_size_trains_alike(width: float, size: int) -> None:
    assert_trains_alike(lambda: lcnet(width), 8, size, steps=2)


@pytest.mark.parametrize("size", [28, 32])
def test_twenty_steps_have_the_same_losses(size: int) -> None:
    plain, (x, y) = lcnet().double(), images(16, size)
    fast = faster(copy.deepcopy(plain), size, 16)
    losses = [torch.stack(train(network, x, y, 20, adam=True)) for network in (fast, plain)]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=1e-9)
    assert losses[0][-1] < 0.5 * losses[0][0]


@pytest.mark.parametrize("size", [(29, 29), (31, 27), (17, 40), (8, 8), (45, 20)])
def test_odd_sizes_train_alike(size: tuple[int, int]) -> None:
    assert_trains_alike(lcnet, 8, size, steps=2)


@pytest.mark.parametrize("strides", [(1, 1, 2, 2, 2), (1, 2, 2, 2, 2), (2, 1, 1, 2, 1)])
def test_strides_train_alike(strides: tuple[int, ...]) -> None:
    assert_trains_alike(lambda: lcnet(strides=strides), 8, 28, steps=2)


def test_hard_swish_trains_alike() -> None:
    assert_trains_alike(lambda: lcnet(activation="hard_swish"), 8, 28, steps=3)


def test_weights_in_channels_last_and_deterministic_mode_train_alike() -> None:
    torch.use_deterministic_algorithms(True)
    try:
        assert_trains_alike(lambda: lcnet().to(memory_format=torch.channels_last), 8, 28, steps=2)
        assert_trains_alike(lambda: timm_model("resnet18")().to(memory_format=torch.channels_last), 8, 28, steps=1)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("batch", [2, 3, 5])
def test_small_batches_train_alike(batch: int) -> None:
    assert_trains_alike(lcnet, batch, 28, steps=1)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mobilenetv3_small_050", 28),
        ("mobilenetv3_small_100", 32),  # inverted residuals, squeeze-excite, shortcuts
        ("mobilenetv2_100", 28),  # ReLU6
        ("efficientnet_lite0", 32),
        ("efficientnet_b0", 33),  # SiLU and sigmoid
        ("mnasnet_small", 28),
        ("resnet18", 28),  # dense convolutions down to 1 x 1, BatchNorm2d and ReLU apart
        ("resnet50", 28),
        ("densenet121", 32),
        ("tf_mobilenetv3_small_100", 33),  # convolutions that pad as their input asks
        ("regnetx_002", 32),  # grouped convolutions
        ("convnext_atto", 32),  # layer norm
        ("ghostnet_100", 28),
    ],
)
def test_other_backbones_train_alike(name: str, size: int) -> None:
    """Those of benchmarks/networks.py, and two more."""
    assert_trains_alike(timm_model(name), 4, size, steps=1)


@pytest.mark.parametrize(("width", "batch", "classes"), [(0.5, 16, CLASSES), (2.0, 16, CLASSES), (1.0, 64, 300)])
def test_float32_is_as_exact_as_plain_float32(width: float, batch: int, classes: int) -> None:
    """With hard-swish: rounding that turns the sign before a ReLU changes a gradient by 1 in 100, in either network."""
    exact, (x, y) = lcnet(width, "hard_swish", classes=classes).double(), images(batch, 28)
    plain, fast = copy.deepcopy(exact).float(), faster(copy.deepcopy(exact).float(), batch=batch)
    train(exact, x, y, 1)
    for network in (plain, fast):
        train(network, x.float(), y, 1)

    def errors(network: nn.Module) -> Tensor:
        pairs = zip(network.parameters(), exact.parameters(), strict=True)
        return torch.stack([(p.grad - q.grad).norm() / (q.grad.norm() + 1e-6) for p, q in pairs])

    assert errors(fast).max() < 2 * errors(plain).max()
    assert errors(fast).mean() < 2 * errors(plain).mean()
    for (name, a), b in zip(fast.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6, msg=name)


def test_state_dicts_are_exchanged_both_ways() -> None:
    plain, fast = lcnet().double(), faster(lcnet(0.5).double())
    x, y = images(8, 28)
    assert list(plain.state_dict()) == list(fast.state_dict())
    train(fast, x, y, 2)
    plain.load_state_dict(fast.state_dict())
    torch.testing.assert_close(plain.eval()(x), fast.eval()(x))
    train(plain, x, y, 1)
    fast.load_state_dict(plain.state_dict())
    torch.testing.assert_close(fast.eval()(x), plain.eval()(x))


def forwards(network: nn.Module) -> dict[str, Forward]:
    """What stands at each module's `forward`, by the module's name."""
    return {name: vars(module)["forward"] for name, module in network.named_modules() if "forward" in vars(module)}


def test_copies_are_independent_and_as_fast() -> None:
    fast, (x, y) = faster(lcnet().double()), images(8, 28)
    train(fast, x, y, 1)
    for twin in (copy.deepcopy(fast), pickle.loads(pickle.dumps(fast))):
        before = copy.deepcopy(fast.state_dict())
        train(twin, x, y, 1)
        torch.testing.assert_close(fast.state_dict(), before, rtol=0, atol=0)
        of_twin = forwards(twin)
        assert {name: type(forward) for name, forward in of_twin.items()} == {
            name: type(forward) for name, forward in forwards(fast).items()
        }
        assert all(forward.module is twin.get_submodule(name) for name, forward in of_twin.items())


def test_decelerate_undoes_everything() -> None:
    plain = lcnet()
    kinds, (x, y) = [type(module) for module in plain.modules()], images(8, 28, torch.float32)
    fast = faster(plain)
    assert fast is plain
    assert len(forwards(fast)) > 50
    train(fast, x, y, 1)
    assert [type(module) for module in fast.modules()] == kinds
    assert decelerate(fast) is plain
    assert not forwards(fast)


@pytest.mark.parametrize("name", ["lcnet", "resnet18"])
def test_other_numbers_of_images_run_as_fast_and_as_exactly(name: str) -> None:
    plain = (lcnet() if name == "lcnet" else timm_model(name)()).double()
    fast = faster(copy.deepcopy(plain))
    for batch in (2, 3, 8):
        x, y = images(batch, 28)
        fast.load_state_dict(plain.state_dict())  # steps on two images drift apart by rounding
        torch.testing.assert_close(train(fast, x, y, 1), train(plain, x, y, 1), rtol=1e-9, atol=1e-9)
        assert_same(plain, fast)
    fast.load_state_dict(plain.state_dict())
    plain.eval()
    fast.eval()
    for batch in (1, 2, 40):
        x, _ = images(batch, 28)
        torch.testing.assert_close(fast(x), plain(x), rtol=1e-9, atol=1e-9)


def test_maps_of_other_sizes_run_as_if_nothing_were_fixed() -> None:
    plain = lcnet().double()
    fast = faster(copy.deepcopy(plain), 28)
    for size in (27, 32, 64):  # the stem makes of 27 and of 28 the same 14 x 14
        x, y = images(8, size)
        torch.testing.assert_close(train(fast, x, y, 1), train(plain, x, y, 1), rtol=1e-9, atol=1e-9)
    assert_same(plain, fast)


def test_walking_changes_nothing() -> None:
    network = lcnet()
    network[0].blocks[1].eval()
    modes = [module.training for module in network.modules()]
    state, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    faster(nn.Sequential(network, nn.Dropout(0.5)))
    torch.testing.assert_close(network.state_dict(), state, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in network.modules()] == modes


def test_what_cannot_be_walked_is_left_as_it_was() -> None:
    network = lcnet()
    with pytest.raises(RuntimeError, match="7 channels"):
        accelerate(network, (3, 28, 28), BATCH)
    assert not forwards(network)


def test_layers_that_are_not_reached_or_have_a_forward_of_their_own_are_left_alone() -> None:
    class Skips(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            return self[1](self[0](x))

    network = Skips(nn.Conv2d(7, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1))
    network[1].forward = lambda x: -x
    for _ in range(2):  # also when it is fixed anew
        faster(network, 8)
        assert list(forwards(network)) == ["0", "1"]
        assert not isinstance(forwards(network)["1"], Forward)
    decelerate(network)
    assert list(forwards(network)) == ["1"]


def test_two_runs_are_bit_identical() -> None:
    x, y = images(16, 28, torch.float32)
    runs = [faster(lcnet()) for _ in range(2)]
    losses = [train(network, x, y, 3) for network in runs]
    assert torch.equal(torch.stack(losses[0]), torch.stack(losses[1]))
    assert all(torch.equal(a, b) for a, b in zip(*(n.state_dict().values() for n in runs), strict=True))


@pytest.mark.parametrize("name", ["lcnet", "resnet18"])
def test_export_gives_the_plain_function(name: str) -> None:
    fast = faster(lcnet() if name == "lcnet" else timm_model(name)()).eval()
    x, _ = images(2, 28, torch.float32)
    program = torch.export.export(fast, (x,))
    assert "convolution" in str(program.graph) or "conv2d" in str(program.graph)
    torch.testing.assert_close(program.module()(x), fast(x), rtol=1e-4, atol=1e-5)


def test_a_hook_sees_its_part_and_changes_no_number() -> None:
    plain, fast = lcnet().double(), faster(lcnet().double())
    (x, y), seen = images(8, 28), []
    train(fast, x, y, 1)  # so that there is a chain that the hook has to break
    fast.load_state_dict(plain.state_dict())
    part = fast[0].blocks[3][1].conv_pw
    part.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    torch.testing.assert_close(train(fast, x, y, 2), train(plain, x, y, 2), rtol=1e-9, atol=1e-9)
    assert seen == [(8, 128, 2, 2)] * 2


def test_a_replaced_part_is_used() -> None:
    plain, fast = lcnet().double(), faster(lcnet().double())
    (x, y), new = images(8, 28), nn.Conv2d(128, 128, 1, bias=False).double()
    train(fast, x, y, 1)
    fast.load_state_dict(plain.state_dict())
    for network in (plain, fast):
        network[0].blocks[3][1].conv_pw = copy.deepcopy(new)
    torch.testing.assert_close(train(fast, x, y, 2), train(plain, x, y, 2), rtol=1e-9, atol=1e-9)


def test_frozen_norms_and_parameters_stay_as_they_are() -> None:
    networks = [lcnet().double(), faster(lcnet().double())]
    x, y = images(8, 28)
    for network in networks:
        for name, parameter in network.named_parameters():
            parameter.requires_grad = "blocks.3" in name or "blocks.4.1.bn1" in name or name.startswith("1.")
        network.train()
        network[0].blocks[2].eval()
        cross_entropy(network(x), y).backward()
    assert_same(*networks)


def test_the_gradient_of_the_image_is_right() -> None:
    x, y = images(8, 28)
    gradients = []
    for network in (lcnet().double(), faster(lcnet().double())):
        image = x.clone().requires_grad_()
        cross_entropy(network(image), y).backward()
        gradients.append(image.grad)
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.parametrize("momentum", [None, 0.3])
def test_running_statistics_follow_the_momentum(momentum: float | None) -> None:
    networks = [lcnet().double(), lcnet().double()]
    for network in networks:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = momentum
    faster(networks[1])
    x, y = images(8, 28)
    for network in networks:
        train(network, x, y, 3)
    assert_same(*networks)


def test_one_value_a_channel_raises_as_before() -> None:
    x, _ = images(1, 28, torch.float32)
    for network in (lcnet(), faster(lcnet())):
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            network.train()(x)


def test_any_layout_of_the_input_gives_the_same() -> None:
    fast, (x, _) = faster(lcnet().double()).eval(), images(8, 28)
    reference = fast(x)
    last = x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    part = torch.cat([x, x])[8:]  # does not begin where its storage does
    for same in (x.contiguous(), last, part, x.flip(3).flip(3)):
        torch.testing.assert_close(fast(same), reference)


def test_lcnet_runs_as_one_chain() -> None:
    """The fast path is really taken: all blocks in one chain at 28 px, the later ones at 64 px."""
    fast = forwards(faster(lcnet()))
    assert isinstance(fast["0.blocks"], Chained)
    assert isinstance(fast["0.conv_stem"], Turned)
    assert isinstance(fast["1"], Linear)
    fast = forwards(faster(lcnet(), 64))
    assert "0.blocks" not in fast
    assert not isinstance(fast.get("0.blocks.2"), Chained)  # its maps of 8 px are oneDNN's
    assert isinstance(fast["0.blocks.3"], Chained)
    assert isinstance(fast["0.conv_stem"], ChannelsLast)
    assert set(map(type, forwards(faster(lcnet(), 128)).values())) <= {OutOfPlace}  # left to torch
    assert isinstance(
        forwards(faster(nn.Sequential(nn.Conv2d(7, 16, 1, stride=2)), 128))["0"], Sampled
    )  # see test_avx2


@pytest.mark.parametrize(("name", "chained"), [("mobilenetv2_100", True), ("resnet18", False)])
def test_layers_between_torchs_own_take_a_single_pixel_alone(name: str, chained: bool) -> None:
    """ResNet's layers stand alone: the border is another than for rows of blocks, here those with ReLU6."""
    ways = [forward for forward in forwards(faster(timm_model(name)())).values() if isinstance(forward, BatchLast)]
    assert any(isinstance(f, Chained) for f in forwards(faster(timm_model(name)())).values()) == chained
    assert (max(max(forward.way.geometry.out) for forward in ways) > 1) == chained
