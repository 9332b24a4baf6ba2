"""Channels that no circuit of `circuits` makes: `channels` of params.yaml, a table by `kind`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from qlcnet.config.section import Section


class FileChannels(Section):
    """Channels made elsewhere: a .npy of shape (N, H, W, C) or (N, H, W), uint8, float16 or float32.

    N is the number of images of the task, in the order of its set (training, validation, then test part).
    """

    kind: Literal["file"]
    path: str  # absolute, or relative to a folder of the search path
    md5: str = Field(pattern=r"^[0-9a-f]{32}$")


Channels = FileChannels  # a union, told apart by `kind`, once there are more
