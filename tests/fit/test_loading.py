"""A fold folder gives the network back that made its predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from qlcnet.fit.fitting import fit_fold, predict
from qlcnet.fit.fold_folder import PREDICTIONS, VALIDATION, files_of
from qlcnet.fit.identity import settings_of
from qlcnet.fit.loading import load_fit
from tests.fit.tiny_fits import CLASSES, make_data, make_spec


@pytest.mark.parametrize(
    "model",
    [
        {"inputs": ["image"]},
        {"inputs": ["image", "quanv:ry"], "head": {"kind": "quantum", "ansatz": "random", "seed": 3}},
        {"inputs": ["grey", "quanv:ry/2"], "fusion": "separate", "head": "sine"},
    ],
)
def test_the_loaded_network_reproduces_the_stored_predictions(model: dict[str, Any], tmp_path: Path) -> None:
    spec, data = make_spec(model, epochs=1, input_size=14), make_data(colour=True)
    settings = settings_of(spec.backbone_name, spec.backbone, spec.model, spec.training, None)
    for name, content in files_of({"settings": settings, "classes": CLASSES}, fit_fold(spec, data)).items():
        (tmp_path / name).write_bytes(content)
    before = torch.random.get_rng_state()
    loaded = load_fit(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)

    stored = load_file(tmp_path / PREDICTIONS)
    batches = loaded.batches(make_data(colour=True), spec.model.inputs, stored["index"])
    again = predict(loaded.network, {VALIDATION: batches})
    assert {name: values.tobytes() for name, values in again.items()} == {n: v.tobytes() for n, v in stored.items()}
    with torch.inference_mode():
        logits = torch.cat([loaded.network(x) for x, _ in batches])
    np.testing.assert_array_equal(logits.softmax(1).numpy(), stored["probabilities"])
