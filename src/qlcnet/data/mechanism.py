"""What added channels hold that the image does not: correlations, linear share, effective rank, spatial spectrum."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlcnet.quantum.images import cut_patches, to_grey
from qlcnet.quantum.patches import Patches, lay_patches
from qlcnet.stored import read_object
from qlcnet.whole import write_synced

MECHANISM = "mechanism.json"
MOST_IMAGES, FEWEST_IMAGES, POSITIONS = 256, 8, 200_000  # of the sample: so many images, or positions on them
SAME = 1 - 1e-6  # channels whose |r| is above are one channel, scaled and shifted
LINEAR = 0.99  # R^2 from which a channel is called linear: a convention, above what storage in 255 steps leaves
BANDS = (1 / 8, 1 / 4)  # cycles a pixel: low is below the first, high from the second

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mechanism:
    """Of one set of C channels on a fixed sample of images. None: not defined (a dead channel, an unknown geometry).

    sd: standard deviation over images and positions. dead: channels with an sd below half a step of the storage.
    with_image: largest |Pearson r| with a colour or the grey of any pixel of the patch. linear: R^2 of least squares on
    all pixels of the 2 x 2 patch, with a constant: what a convolution could make of it; 1 - R^2 is nonlinear or not of
    the image. duplicates: pairs with |r| > SAME. of_image: channels that are a pixel so. eigenvalues: of the channels'
    correlation matrix, largest first. effective_rank: exp of the entropy of its normalised singular values (Roy and
    Vetterli 2007, EUSIPCO), here its eigenvalues. added: effective rank of image and channels, less that of the image.
    bands: shares of the power below 1/8, up to 1/4 and from 1/4 cycle a pixel of the channels' grid, by channel, and
    of the grey image on the same grid.
    """

    images: int
    sd: tuple[float, ...]
    dead: tuple[int, ...]
    with_image: tuple[float | None, ...]
    linear: tuple[float | None, ...]
    duplicates: tuple[tuple[int, int], ...]
    of_image: tuple[int, ...]
    eigenvalues: tuple[float, ...]
    effective_rank: float
    added: float | None
    bands: tuple[tuple[float, float, float] | None, ...]
    grey_bands: tuple[float, float, float] | None

    @property
    def linear_channels(self) -> int:
        """Channels that a convolution could have made."""
        return sum(share is not None and share >= LINEAR for share in self.linear)

    def write_mechanism(self, folder: Path) -> None:
        """Into a folder that is not yet in its place."""
        write_synced(folder / MECHANISM, json.dumps(asdict(self), indent=1, sort_keys=True, allow_nan=False) + "\n")

    @classmethod
    def from_json(cls, known: Mapping[str, Any]) -> Mechanism:
        """What `asdict` gave, through JSON."""
        return cls(**{key: _tuples(value) for key, value in known.items()})

    @classmethod
    def read_mechanism(cls, folder: Path) -> Mechanism:
        """What `write_mechanism` wrote. Raises FileNotFoundError, DamagedError."""
        remedy = f"run `qlcnet quanvolve {folder.parent.name}`"
        return cls.from_json(read_object(folder / MECHANISM, remedy, list(cls.__dataclass_fields__)))


def sample_of(shape: tuple[int, ...]) -> list[int]:
    """Evenly spaced images of a set (N, H, W, C): the work does not grow with N, nor with the size of an image."""
    most = min(MOST_IMAGES, max(FEWEST_IMAGES, POSITIONS // (shape[1] * shape[2])))
    return np.unique(np.linspace(0, shape[0] - 1, min(most, shape[0])).astype(int)).tolist()


def patches_behind(image: tuple[int, ...], grid: tuple[int, ...], stride: int = 0, padding: Any = "same") -> Any:
    """Patches whose grid a set of channels (rows, columns) is; stride 0: the first that fits, None where none does."""
    if stride:
        return lay_patches(image[0], image[1], stride, padding)
    found = (lay_patches(image[0], image[1], step, pad) for step in range(1, 5) for pad in ("same", "valid"))
    return next((one for one in found if (one.rows, one.columns) == tuple(grid)), None)


def mechanism_of(images: NDArray[np.uint8], channels: NDArray[Any], step: float, patches: Patches | None) -> Mechanism:
    """images: uint8 (n, H, W, 1 or 3). channels: decoded (n, rows, columns, C). step: of their storage, in values."""
    values = channels.astype(np.float64)
    columns = values.reshape(-1, values.shape[3])
    sd = columns.std(axis=0)
    alive = np.flatnonzero(sd > step / 2)
    mine = _standardised(columns[:, alive])
    own = correlations = _symmetric(mine.T @ mine)
    count = values.shape[3]
    linear: list[float | None] = [None] * count
    nearest: list[float | None] = [None] * count
    added = grey_bands = None
    if patches is not None:
        colours = cut_patches(images, patches, "channels").astype(np.float64)
        grey = cut_patches(to_grey(images), patches).astype(np.float64)
        pixels = _standardised(colours.reshape(len(columns), -1))
        both = np.hstack([pixels, _standardised(grey.reshape(len(columns), -1))])
        for channel, share, r in zip(alive, _shares(mine, pixels), np.abs(both.T @ mine).T, strict=True):
            linear[channel] = float(share)
            nearest[channel] = float(min(1.0, r.max(initial=0.0)))
        image = _standardised(colours[..., 0].reshape(len(columns), -1))
        together = np.hstack([image, mine])
        added = effective_rank(_eigenvalues(together.T @ together)) - effective_rank(_eigenvalues(image.T @ image))
        grey_bands = band_shares(grey[..., 0, 0])
    same = [(int(alive[i]), int(alive[j])) for i, j in np.argwhere(np.triu(np.abs(correlations), 1) > SAME)]
    eigenvalues = _eigenvalues(own)
    living = set(alive.tolist())
    return Mechanism(
        len(images),
        tuple(sd.tolist()),
        tuple(c for c in range(count) if c not in living),
        tuple(nearest),
        tuple(linear),
        tuple(same),
        tuple(c for c, r in enumerate(nearest) if r is not None and r > SAME),
        tuple(eigenvalues.tolist()),
        effective_rank(eigenvalues),
        added,
        tuple(band_shares(values[..., c]) if c in living else None for c in range(count)),
        grey_bands,
    )


def effective_rank(singular: Floats) -> float:
    """exp(-sum p ln p) with p the normalised singular values (Roy and Vetterli 2007, definition 1); 0 of nothing."""
    kept = singular[singular > 0]
    if not len(kept):
        return 0.0
    p = kept / kept.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def band_shares(maps: NDArray[Any]) -> tuple[float, float, float] | None:
    """Shares of low, middle and high radial frequencies in the power of maps (n, H, W), None where there is none.

    Each map without its mean, under a Hann window, which keeps its borders from counting as edges.
    """
    height, width = maps.shape[1:]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    power = np.abs(np.fft.fft2((maps - maps.mean(axis=(1, 2), keepdims=True)) * window)) ** 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    total = power.mean(axis=0)
    if total.sum() == 0:
        return None
    band = np.digitize(radius, BANDS)
    low, middle, high = (float(total[band == b].sum() / total.sum()) for b in range(3))
    return low, middle, high


def _standardised(columns: Floats) -> Floats:
    """Columns without their mean and with norm 1, so that their products are Pearson's r; constant ones become 0."""
    centred = columns - columns.mean(axis=0)
    norm = np.linalg.norm(centred, axis=0)
    return np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 1e-12)


def _shares(targets: Floats, pixels: Floats) -> Floats:
    """R^2 of each target on the pixels. Both are standardised: R^2 = 1 - |residual|^2."""
    values, vectors = np.linalg.eigh(_symmetric(pixels.T @ pixels))
    kept = values > 1e-10 * values.max(initial=0.0)
    basis = pixels @ (vectors[:, kept] / np.sqrt(values[kept]))
    residual = targets - basis @ (basis.T @ targets)
    return np.clip(1 - (residual**2).sum(axis=0), 0.0, 1.0)


def _eigenvalues(gram: Floats) -> Floats:
    """Largest first; what is below rounding is 0."""
    values = np.linalg.eigvalsh(_symmetric(gram))[::-1]
    return np.where(values > 1e-10 * max(1, len(values)), values, 0.0)


def _symmetric(gram: Floats) -> Floats:
    return np.asarray((gram + gram.T) / 2)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
