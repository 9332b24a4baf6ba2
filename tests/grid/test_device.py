"""Fits planned for an accelerator that torch cannot use: one error that says what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from qlcnet.grid import grid
from qlcnet.grid.engine import EngineError
from qlcnet.grid.worker import check_device
from tests.fit.tiny_fits import make_spec
from tests.grid.projects import Record, make_project, run_locally

TRAINING = {"epochs": 1, "batch_size": 16, "device": "auto"}


@pytest.mark.parametrize(
    ("setting", "chosen"),
    [("auto", r"cuda \(chosen by `auto`, as there are NVIDIA device nodes\), but"), ("cuda", "cuda, but")],
)
@pytest.mark.parametrize("error", [RuntimeError("the driver is too old"), AssertionError("not compiled with CUDA")])
def test_the_error_says_what_was_chosen_why_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, setting: str, chosen: str, error: Exception
) -> None:
    def init() -> None:
        raise error

    monkeypatch.setattr(torch.cuda, "init", init)
    spec = make_spec(device="cuda")
    with pytest.raises(EngineError, match=rf"training\.device is {chosen} torch .*{error}\nSet training\.device: cpu"):
        check_device(replace(spec, training=spec.training.model_copy(update={"device": setting})))
    check_device(make_spec())


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA can be used here")
def test_a_grid_ends_at_its_first_fit_where_cuda_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid, "accelerators", lambda: ("0",))
    record = Record()
    with pytest.raises(EngineError, match=r"chosen by `auto`(.|\n)*Set training\.device: cpu"):
        run_locally(tmp_path, make_project(tmp_path, training=TRAINING), record)
    assert record.told == []
