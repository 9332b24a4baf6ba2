"""The preset `ablation`, whole: 44 models through the pipeline, with few images of each class."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.test_end_to_end import ROOT, fits, project, run

PRESET = ROOT / "studies" / "ablation.yaml"


@pytest.mark.soak
def test_the_ablation_runs_whole(tmp_path: Path, shared_data: Path) -> None:
    project(tmp_path, yaml.safe_load(PRESET.read_text()))
    environment = {"QLCNET_DATA": str(shared_data)}
    run("qlcnet", "study", "use", "ablation", cwd=tmp_path)
    params = yaml.safe_load((tmp_path / "params.yaml").read_text())
    (task,) = params["datasets"].values()
    task["images_per_class"], task["protocol"]["folds"], params["training"]["epochs"] = 14, 2, 1
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    run("dvc", "repro", cwd=tmp_path, **environment)
    summary = json.loads((tmp_path / "results/summary.json").read_text())
    models = summary["tasks"]["dermamnist-rebuilt"]["lcnet_050"]
    assert set(models) == set(params["models"])
    assert len(fits(tmp_path)) == 2 * len(models)
    answers = summary["evidence"]["dermamnist-rebuilt"]["answers"]
    assert {answer.partition(":")[0] for answer in answers} >= {"quanv", "quantum", "hybrid", "quanv-entangled"}
    assert "up to date" in run("dvc", "repro", cwd=tmp_path, **environment)
    folder = tmp_path / "results/folds/dermamnist-rebuilt/lcnet_050"
    quantum, sine = (
        (folder / model / "repeat-0/fold-0/predictions.safetensors").read_bytes() for model in ("quantum", "sine")
    )
    assert quantum == sine
