"""Channels that no circuit of `circuits` makes: `channels` of params.yaml, a table by `kind`.

Three kinds are controls of a circuit, which `of` names: as many channels as it makes, on the same patches, stored
alike, without what makes it a circuit. What each shares and lacks is in config.controls and docs/controls.md.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from qlcnet.config.section import Name, Section, Seed


class FileChannels(Section):
    """Channels made elsewhere: a .npy of shape (N, H, W, C) or (N, H, W), uint8, float16 or float32.

    N is the number of images of the task, in the order of its set (training, validation, then test part).
    """

    kind: Literal["file"]
    path: str  # absolute, or relative to a folder of the search path
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")


class ConvChannels(Section):
    """Fixed linear 2 x 2 filters, one a qubit: `random`, normal weights of norm 1, or `cosine`, the 2 x 2 DCT-II."""

    kind: Literal["conv"]
    of: Name
    filters: Literal["random", "cosine"] = "random"
    seed: Seed = 42  # of random filters

    @model_validator(mode="after")
    def _seed_is_read(self) -> ConvChannels:
        if self.filters == "cosine" and "seed" in self.model_fields_set:
            raise ValueError("cosine filters are not drawn, so that no `seed` is read; remove it")
        return self


class FourierRandomChannels(Section):
    """A random polynomial for each of the circuit's: its degree, number of terms and norm; terms and signs drawn."""

    kind: Literal["fourier-random"]
    of: Name
    seed: Seed = 42


class NoiseChannels(Section):
    """Uniform noise in [-1, 1], drawn once for each image: nothing of the image is in it."""

    kind: Literal["noise"]
    of: Name
    seed: Seed = 42


Controls = ConvChannels | FourierRandomChannels | NoiseChannels  # channels that stand for those of a circuit
Channels = FileChannels | Controls
