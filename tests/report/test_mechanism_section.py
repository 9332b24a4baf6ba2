"""The report's rows of what `quanvolve` measured."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from qlcnet.data.mechanism import mechanism_of
from qlcnet.quantum.patches import lay_patches
from qlcnet.report.content import Details, Table, Text
from qlcnet.report.mechanism_section import mechanism


def test_one_row_a_set_and_one_row_a_channel_folded_away() -> None:
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 1), dtype=np.uint8)
    grey = images[..., 0] / 255
    channels = np.stack([grey, (grey - 0.5) ** 2, np.ones_like(grey)], axis=-1)
    found = mechanism_of(images, channels, 1e-6, lay_patches(8, 8))
    study: Any = SimpleNamespace(tasks={"moles": SimpleNamespace(name="moles", mechanisms={"ry": found})})
    blocks = mechanism(study)
    (text,) = (one.text for one in blocks if isinstance(one, Text))
    assert "1 of 3 are linear to within 1 %" in text
    (table,) = (one for one in blocks if isinstance(one, Table))
    (folded,) = (one for one in blocks if isinstance(one, Details))
    assert len(table.rows) == 1
    assert len(table.headers) == len(table.rows[0])
    assert not folded.is_open
    assert len(folded.blocks[0].rows) == 3
    study.tasks["moles"].mechanisms = {}
    assert mechanism(study) == []
