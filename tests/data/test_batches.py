"""Batches: normalisation from the training part alone, shared augmentation, streams that depend on nothing else."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from qlcnet.config import Augmentation
from qlcnet.data.batches import Batches, InputArray, PixelSums
from qlcnet.data.batching import batch_sizes
from qlcnet.data.streams import stream

N, H, W = 40, 6, 5
NONE = Augmentation(flip_horizontal=False)


def arrays(seed: int = 0) -> list[InputArray]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (N, H, W, 3), dtype=torch.uint8, generator=generator)
    channels = torch.rand(N, H, W, 4, generator=generator).to(torch.float16)
    return [InputArray("image", image), InputArray("quanv:ry", channels, scale=2.0, offset=-1.0)]


def batches(inputs: list[InputArray], rows: np.ndarray, **changes: object) -> Batches:
    means, sds = zip(*(PixelSums.of(a).normalisation(rows) for a in inputs), strict=True)
    options: dict = {"mean": np.concatenate(means), "sd": np.concatenate(sds), "augmentation": NONE, **changes}
    return Batches(inputs, torch.arange(N), rows, 16, **options)


def test_normalisation_is_that_of_the_training_part_alone() -> None:
    inputs, rows = arrays(), np.arange(0, 30)
    x = torch.cat([x for x, _ in batches(inputs, rows)])
    assert x.shape == (30, 7, H, W)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(7), atol=1e-5, rtol=0)
    # what the other images hold does not matter: this fails as soon as a validation image is looked at
    spoiled = [InputArray(a.name, a.stored.clone(), a.scale, a.offset) for a in inputs]
    for array in spoiled:
        array.stored[30:] = 1
    again = torch.cat([x for x, _ in batches(spoiled, rows)])
    assert torch.equal(x, again)


def test_statistics_equal_numpy_on_the_decoded_values() -> None:
    for array in arrays():
        rows = np.array([3, 7, 11])
        values = array.stored[rows].numpy().astype(np.float64) * array.scale + array.offset
        mean, sd = PixelSums.of(array).normalisation(rows)
        np.testing.assert_allclose(mean, values.mean((0, 1, 2)), atol=1e-5)
        np.testing.assert_allclose(sd, values.std((0, 1, 2)), rtol=1e-5)


def test_a_constant_channel_is_centred_and_not_divided_by_zero() -> None:
    array = InputArray("image", torch.full((N, H, W, 1), 7, dtype=torch.uint8))
    x = torch.cat([x for x, _ in batches([array], np.arange(N))])
    assert torch.equal(x, torch.zeros_like(x))


def test_grey_is_pillows_conversion_to_the_bit() -> None:
    image = arrays()[0]
    grey = InputArray("grey", image.stored, luma=True).decode(torch.arange(N))[..., 0]
    for i in range(N):
        expected = np.asarray(Image.fromarray(image.stored[i].numpy()).convert("L"))
        np.testing.assert_array_equal(grey[i].numpy(), expected)


def test_one_channel_of_an_input() -> None:
    array = arrays()[1]
    one = InputArray("quanv:ry/2", array.stored, array.scale, array.offset, select=2)
    rows = torch.arange(N)
    assert one.channels == 1
    assert torch.equal(one.decode(rows), array.decode(rows)[..., 2:3])


def test_memory_is_channels_last_without_a_copy() -> None:
    x, _ = next(iter(batches(arrays(), np.arange(N))))
    assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("how", [Augmentation(flip_horizontal=True, flip_vertical=True, crop_padding=2)])
def test_augmentation_moves_all_channels_of_a_sample_together_and_only_moves(how: Augmentation) -> None:
    # every channel holds the same picture of distinct values: after augmentation they must still be equal
    picture = torch.arange(1, H * W + 1, dtype=torch.uint8).view(1, H, W, 1).expand(N, -1, -1, 3).contiguous()
    inputs = [InputArray("image", picture), InputArray("quanv:ry", picture.to(torch.float16))]
    made = Batches(inputs, torch.arange(N), np.arange(N), 16, np.zeros(6), np.ones(6), None, how, shuffle_seed=1)
    x = torch.cat([x for x, _ in made])
    assert torch.equal(x, x[:, :1].expand_as(x))
    seen = {tuple(sorted(v for v in sample.flatten().tolist() if v)) for sample in x[:, 0]}
    assert all(len(set(values)) == len(values) for values in seen), "a pixel appears twice"
    assert len({tuple(sample.flatten().tolist()) for sample in x[:, 0]}) > N // 2, "samples are drawn one by one"


def test_inputs_of_another_size_are_brought_to_the_image_whatever_their_order() -> None:
    image = arrays()[0]
    halves = torch.rand(N, H // 2, W // 2 + 1, 4).to(torch.float16)  # as of a circuit of stride 2
    small = InputArray("quanv:ry", halves)
    for inputs in ([image, small], [small, image]):
        x, _ = next(iter(batches(inputs, np.arange(N))))
        assert x.shape == (16, 7, H, W)
    first, _ = next(iter(Batches([small], torch.arange(N), np.arange(N), 16, np.zeros(4), np.ones(4), size=(H, W))))
    assert first.shape == (16, 4, H, W)
    assert torch.equal(first[:, :, ::2, 0], halves[:16, :, 0].permute(0, 2, 1).float())  # nearest: values as they are


def test_flips_and_crops_equal_the_plain_operations() -> None:
    picture = torch.arange(1, H * W + 1, dtype=torch.uint8).view(1, H, W, 1).expand(N, -1, -1, -1).contiguous()
    how = Augmentation(flip_horizontal=True, crop_padding=1)
    made = Batches(
        [InputArray("image", picture)], torch.arange(N), np.arange(N), N, np.zeros(1), np.ones(1), None, how, 5
    )
    x, _ = next(iter(made))
    plain = picture[0, :, :, 0].float()
    allowed = []
    for image in (plain, plain.flip(1)):
        padded = torch.nn.functional.pad(image, (1, 1, 1, 1))
        allowed += [padded[i : i + H, j : j + W] for i in range(3) for j in range(3)]
    used = [next(k for k, candidate in enumerate(allowed) if torch.equal(candidate, sample)) for sample in x[:, 0]]
    assert len(set(used)) > 6


def test_an_epoch_is_decided_by_its_seed_and_number_alone() -> None:
    def run(epochs: int) -> list[torch.Tensor]:
        made = batches(arrays(), np.arange(30), augmentation=Augmentation(crop_padding=1), shuffle_seed=3)
        return [torch.cat([y for _, y in made]) for _ in range(epochs)]

    torch.manual_seed(1)
    first = run(3)
    torch.manual_seed(2)  # the global generator has no part in it
    torch.rand(5)
    for a, b in zip(first, run(3), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[0], first[1])
    assert all(sorted(order.tolist()) == list(range(30)) for order in first)


def test_streams_differ_by_purpose_and_numbers() -> None:
    seeds = {
        stream(42, "order", 0, 1),
        stream(42, "order", 1, 0),
        stream(42, "weights", 0, 1),
        stream(43, "order", 0, 1),
    }
    assert len(seeds) == 4
    assert stream(42, "order", 0, 1) == 1057857856971943460  # written down: a release must not change it


@pytest.mark.parametrize(
    ("rows", "sizes"), [(128, [64, 64]), (129, [64, 65]), (130, [64, 64, 2]), (10, [10]), (1, [1])]
)
def test_a_last_batch_of_one_joins_the_one_before(rows: int, sizes: list[int]) -> None:
    assert batch_sizes(rows, 64) == sizes


def test_channels_of_another_size_are_brought_to_the_images() -> None:
    inputs = arrays()
    small = InputArray("quanv:half", torch.rand(N, 3, 2, 4).to(torch.float16))
    x, _ = next(iter(batches([inputs[0], small], np.arange(N))))
    assert x.shape == (16, 7, H, W)
    x, _ = next(iter(batches(inputs, np.arange(N), input_size=12)))
    assert x.shape == (16, 7, 12, 12)
    assert x.is_contiguous(memory_format=torch.channels_last)


def test_images_that_are_not_square_are_resized_too() -> None:
    for size in (H, W):  # each equals one side
        x, _ = next(iter(batches(arrays(), np.arange(N), input_size=size)))
        assert x.shape == (16, 7, size, size)


def test_drawing_shots_leaves_order_and_augmentation_alone() -> None:
    image = arrays()[0]
    words = InputArray("quanv:noisy", torch.zeros(N, H, W, 15, dtype=torch.float16), shots=8)

    def first_batches(inputs: list[InputArray]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        made = batches(inputs, np.arange(N), augmentation=Augmentation(crop_padding=2), shuffle_seed=3)
        return [(x[:, :3], y) for x, y in made]

    for (x, y), (x_with, y_with) in zip(first_batches([image]), first_batches([image, words]), strict=True):
        assert torch.equal(y, y_with)
        assert torch.equal(x, x_with)
    made = batches([words], np.arange(N), augmentation=NONE, shuffle_seed=3)
    epochs = [torch.cat([x[y.argsort()] for x, y in made]) for _ in range(2)]
    assert not torch.equal(*epochs), "each epoch draws anew"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc; a fit keeps freed memory on glibc alone")
def test_statistics_leave_no_holes_in_the_memory_of_a_fit() -> None:
    measure = """
import torch
from qlcnet.data.batches import InputArray, PixelSums
from qlcnet.fit import fitting

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

fitting.be_quiet_and_exact()
array = InputArray("image", torch.zeros(30_000, 32, 32, 3, dtype=torch.uint8))
PixelSums.of(InputArray("image", array.stored[:2000]))
before = resident()
PixelSums.of(array)
print(resident() - before)
"""
    grown = int(subprocess.run([sys.executable, "-c", measure], capture_output=True, text=True, check=True).stdout)
    assert grown < 50e6  # sums kept in a list: 250 MB
