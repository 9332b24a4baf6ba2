"""A fit on an accelerator, where there is one: it runs, and is the fit of the CPU up to rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from qlcnet.fit import fitting as fit_module
from qlcnet.fit.fitting import fit_fold
from qlcnet.grid.worker import check_device
from qlcnet.models.network import build_network
from tests.fit.tiny_fits import make_data, make_spec

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="no CUDA device: the accelerator's path is not run"
)

MODELS = [
    {"inputs": ["image", "quanv:ry"], "head": "quantum"},
    {"inputs": ["grey", "quanv:ry/0"], "fusion": "separate"},
]


@pytest.mark.parametrize("model", MODELS)
def test_a_fit_on_cuda_is_that_of_the_cpu_up_to_rounding(
    model: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[dict[str, torch.Tensor]] = []

    def build(*arguments: object) -> torch.nn.Module:
        network = build_network(*arguments)  # type: ignore[arg-type]
        starts.append({name: value.detach().clone() for name, value in network.state_dict().items()})
        return network

    monkeypatch.setattr(fit_module, "build_network", build)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    data = make_data(colour=True)
    cpu, cuda = (fit_fold(make_spec(model, device), data) for device in ("cpu", "cuda"))
    assert starts[0].keys() == starts[1].keys()
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])

    assert all(np.isfinite(value) for row in cuda.history for name, value in row.items() if "loss" in name)
    assert [row["epoch"] for row in cuda.history] == [0, 1]
    assert cuda.predictions["index"].tolist() == cpu.predictions["index"].tolist()
    assert cuda.predictions["target"].tolist() == cpu.predictions["target"].tolist()
    assert np.isfinite(cuda.predictions["probabilities"]).all()
    np.testing.assert_allclose(cuda.facts["normalisation"]["mean"], cpu.facts["normalisation"]["mean"], rtol=1e-5)
    assert cuda.history[0]["train_loss"] == pytest.approx(cpu.history[0]["train_loss"], rel=0.02)


def test_a_worker_here_may_have_fits_for_cuda() -> None:
    check_device(make_spec(device="cuda"))


def test_two_fits_on_cuda_are_the_same() -> None:
    one, two = (fit_fold(make_spec(device="cuda"), make_data()) for _ in range(2))
    assert one.history == two.history
    assert one.predictions["probabilities"].tobytes() == two.predictions["probabilities"].tobytes()


def test_a_fit_in_bfloat16_covers_every_row() -> None:
    data = make_data()
    fit = fit_fold(make_spec(device="cuda", precision="bfloat16"), data)
    assert fit.predictions["index"].tolist() == data.folds.split(0, 0).validation.tolist()
    assert np.isfinite(fit.predictions["probabilities"]).all()


def test_images_are_copied_to_the_device_once_for_fits_in_a_row() -> None:
    data = make_data()
    fit_fold(make_spec({"inputs": ["image"]}, "cuda", epochs=1), data)
    copy = fit_module._device_data["cuda"][1]
    fit_fold(make_spec({"inputs": ["image"]}, "cuda", fold=1, epochs=1), data)
    assert fit_module._device_data["cuda"][1] is copy
    assert copy.images.stored.is_cuda
