"""From stored arrays to normalised, augmented batches: vectorised, in memory, no loader processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from qlcnet.config import QUBITS, WORDS, Augmentation
from qlcnet.data.batching import batch_sizes, count_batches
from qlcnet.data.streams import stream

STATISTICS_VALUES = 1 << 20  # decoded at a time: 4 MB, which stay in the cache; 1,024 images of 224 px took 3 GB


@dataclass(frozen=True)
class InputArray:
    """One input of a model as it is stored: (N, H, W, C) uint8, float16 or float32; value = scale * stored + offset.

    `select` keeps one channel. `luma` turns three colour channels into one grey channel
    (ITU-R 601, the integer formula of Pillow's convert("L")). `shots` marks stored Pauli-Z words from which
    expectation values are drawn again in every epoch (see quantum.fresh_shots).
    """

    name: str
    stored: Tensor
    scale: float = 1.0
    offset: float = 0.0
    select: int | None = None
    luma: bool = False
    shots: int | None = None

    @property
    def channels(self) -> int:
        """Channels of the decoded input."""
        if self.select is not None or self.luma:
            return 1
        return self._drawn_channels if self.shots else int(self.stored.shape[3])

    @property
    def _drawn_channels(self) -> int:
        return int(self.stored.shape[3]) // WORDS * QUBITS

    def decode(self, rows: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Images `rows` as float32 (B, H, W, C). With `generator`, finite shots are drawn, else exact values."""
        values = self.stored[rows]
        if self.luma:
            red, green, blue = values.to(torch.int32).unbind(3)
            values = ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).unsqueeze(3)
        decoded = values.to(torch.float32)
        if self.scale != 1.0 or self.offset != 0.0:
            decoded = decoded * self.scale + self.offset
        if self.shots:
            from qlcnet.quantum.fresh_shots import draw, expectations

            decoded = draw(decoded, self.shots, generator) if generator is not None else expectations(decoded)
        return decoded if self.select is None else decoded[..., self.select : self.select + 1]

    def to(self, device: torch.device | str) -> InputArray:
        """The same input with its stored array on `device`."""
        return InputArray(
            self.name, self.stored.to(device), self.scale, self.offset, self.select, self.luma, self.shots
        )


@dataclass
class PixelSums:
    """Per-image sums of every channel, so that the mean and sd of any training part cost nothing more."""

    sums: np.ndarray  # (N, C) float64
    squares: np.ndarray  # (N, C) float64
    pixels: int

    @classmethod
    def of(cls, array: InputArray) -> PixelSums:
        """Sums over the pixels of each image of `array`."""
        count, height, width, channels = array.stored.shape
        # whole before the loop: small arrays that stay, between large ones that go, cost a gigabyte of holes
        sums, squares = np.empty((2, count, array.channels))
        chunk = max(1, STATISTICS_VALUES // (height * width * channels))
        for start in range(0, count, chunk):
            rows = torch.arange(start, min(start + chunk, count), device=array.stored.device)
            values = array.decode(rows).flatten(1, 2)
            here = slice(start, start + len(rows))
            sums[here] = values.sum(1, dtype=torch.float64).cpu().numpy()
            squares[here] = values.square().sum(1, dtype=torch.float64).cpu().numpy()
        return cls(sums, squares, height * width)

    def normalisation(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sd (ddof 0) of each channel over the images `rows` alone; a constant channel gets sd 1."""
        n = len(rows) * self.pixels
        mean = self.sums[rows].sum(0) / n
        variance = np.maximum(self.squares[rows].sum(0) / n - mean**2, 0.0)
        sd = np.sqrt(variance)
        return mean, np.where(sd < 1e-6, 1.0, sd)


@dataclass
class Batches:
    """An iterable of (x, y): x float32 (B, C, H, W) in channels_last memory, normalised; y int64 (B,).

    With `shuffle_seed`, each pass is an epoch with its own order and augmentation, drawn from (seed, epoch) alone, so
    that a fit is the same wherever and after whatever it runs. All inputs of a sample share its flips and crop.
    `size`: height and width to which inputs of another size are brought, that of the image; by default the largest.
    """

    inputs: Sequence[InputArray]
    labels: Tensor
    rows: np.ndarray
    batch_size: int
    mean: np.ndarray
    sd: np.ndarray
    input_size: int | None = None
    augmentation: Augmentation | None = None
    shuffle_seed: int | None = None
    size: tuple[int, int] | None = None
    epoch: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        device = self.labels.device
        self._rows = torch.from_numpy(np.ascontiguousarray(self.rows)).to(device)
        heights, widths = zip(*(array.stored.shape[1:3] for array in self.inputs), strict=True)
        self._size = self.size or (max(heights), max(widths))
        # whole-image maps: with the channel alone as the inner dimension broadcasting would be several times slower
        height, width = self._size
        scale = torch.from_numpy(1.0 / self.sd).to(torch.float32)
        shift = torch.from_numpy(-self.mean / self.sd).to(torch.float32)
        self._scale = scale.expand(height, width, -1).contiguous().to(device)
        self._shift = shift.expand(height, width, -1).contiguous().to(device)
        self._grow = torch.arange(height, device=device), torch.arange(width, device=device)

    def __len__(self) -> int:
        return count_batches(len(self.rows), self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rows, generator, shots = self._rows, None, None
        if self.shuffle_seed is not None:
            generator = torch.Generator().manual_seed(stream(self.shuffle_seed, "epoch", self.epoch))
            # of its own: models with and without drawn shots get the same augmentation, and it lives on the device
            shots = torch.Generator(rows.device).manual_seed(stream(self.shuffle_seed, "shots", self.epoch))
            rows = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
            self.epoch += 1
        for chunk in rows.split(batch_sizes(len(rows), self.batch_size)):
            yield self._inputs(chunk, generator, shots), self.labels[chunk]

    def _inputs(self, rows: Tensor, generator: torch.Generator | None, shots: torch.Generator | None) -> Tensor:
        decoded = [self._fit_size(array.decode(rows, shots)) for array in self.inputs]
        x = decoded[0] if len(decoded) == 1 else torch.cat(decoded, 3)
        x = torch.addcmul(self._shift, x, self._scale)
        if generator is not None and self.augmentation is not None:
            x = self._augment(x, self.augmentation, generator)
        x = x.permute(0, 3, 1, 2)  # NHWC memory seen as NCHW is channels_last: no copy
        side = self.input_size
        if side and tuple(x.shape[2:]) != (side, side):
            x = functional.interpolate(x, size=(side, side), mode="bilinear", align_corners=False)
            x = x.contiguous(memory_format=torch.channels_last)
        return x

    def _fit_size(self, x: Tensor) -> Tensor:
        """Channels of another height and width than the image's are brought to it, nearest neighbour."""
        if tuple(x.shape[1:3]) == self._size:
            return x
        resized = functional.interpolate(x.permute(0, 3, 1, 2), size=self._size, mode="nearest")
        return resized.permute(0, 2, 3, 1)

    def _augment(self, x: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
        batch, height, width, channels = x.shape
        padding = how.crop_padding
        if not (how.flip_horizontal or how.flip_vertical or padding):
            return x

        def draw(high: int) -> Tensor:
            return torch.randint(high, (batch, 1), generator=generator).to(x.device)

        i, j = (grow.expand(batch, -1) for grow in self._grow)
        if how.flip_horizontal:
            j = torch.where(draw(2).bool(), width - 1 - j, j)
        if how.flip_vertical:
            i = torch.where(draw(2).bool(), height - 1 - i, i)
        if padding:  # zeros after normalisation: the border is each channel's mean
            i, j = i + draw(2 * padding + 1), j + draw(2 * padding + 1)
            x = functional.pad(x, (0, 0, padding, padding, padding, padding))
        padded_height, padded_width = height + 2 * padding, width + 2 * padding
        first = torch.arange(batch, device=x.device).view(batch, 1, 1) * (padded_height * padded_width)
        source = first + (i * padded_width).unsqueeze(2) + j.unsqueeze(1)
        return x.reshape(-1, channels).index_select(0, source.flatten()).view(batch, height, width, channels)
