"""What a maker of channels is asked for."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qlcnet.config import Circuit
from qlcnet.data.search_path import Fetcher


class Order(NamedTuple):
    """Channels called `name`, as `section` of params.yaml says, of `images` (N, H, W, 1 or 3).

    circuit: the one whose channels these stand for, where the section is a control of one.
    """

    name: str
    section: Any
    images: NDArray[np.uint8]
    fetcher: Fetcher
    circuit: Circuit | None = None
