"""A rehearsal and single fits: every model on two batches of real images, and fits that the whole run then finds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from qlcnet.cli import main
from qlcnet.config import load_params
from qlcnet.rehearse import _some
from tests.grid.projects import TASK, make_project, plan
from tests.params import REQUIRED

TINY: dict[str, Any] = {
    **REQUIRED,
    "datasets": {
        "digits": {"source": {"kind": "digits", "size": 8}, "protocol": {"folds": 2}, "images_per_class": 4},
    },
    "circuits": {"ry": {"engine": "pennylane"}},
    "models": {
        "classical": {"inputs": ["image"]},
        "hybrid": {"inputs": ["channel:own", "quanv:ry"], "head": "quantum"},
    },
    "backbones": {"lcnet_035": {}, "broken": {"architecture": "lcnet_035", "pretrained": "broken.safetensors"}},
    "training": {"batch_size": 8, "schedule": "one-cycle"},
}


def test_every_model_is_tried_on_real_images_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own = np.random.default_rng(0).standard_normal((1797, 8, 8)).astype(np.float32)
    np.save("own.npy", own)
    md5 = hashlib.md5(Path("own.npy").read_bytes()).hexdigest()
    channels = {"own": {"kind": "file", "path": str(tmp_path / "own.npy"), "md5": md5}}
    Path("params.yaml").write_text(yaml.safe_dump({**TINY, "channels": channels}))
    Path("broken.safetensors").write_text("no weights")

    assert main(["rehearse"]) == 1  # images are fetched by it
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {line[0]: line[1] for line in lines[1:5]} == {
        "lcnet_035/classical": "trained",
        "lcnet_035/hybrid": "trained",
        "broken/classical": "FAILED",
        "broken/hybrid": "FAILED",
    }
    assert " ".join(lines[5]).startswith("2 of 4 models failed")
    assert {path.name for path in Path().iterdir()} >= {"data", ".qlcnet"}
    assert {path.name for path in Path("data").iterdir()} == {"raw"}
    assert {path.name for path in Path(".qlcnet").iterdir()} == {"folds", "network_sizes.json", "tmp"}
    assert list(Path(".qlcnet/folds").iterdir()) == list(Path(".qlcnet/tmp").iterdir()) == []
    assert not Path("results").exists()
    assert not Path("mlruns").exists()


def test_images_of_another_source_are_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    raw = {**TINY, "circuits": {}, "models": {"classical": TINY["models"]["classical"]}, "backbones": {"lcnet_035": {}}}
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    assert main(["fetch", "digits"]) == 0
    raw["datasets"] = {"digits": {**TINY["datasets"]["digits"], "source": {"kind": "digits", "size": 9}}}
    Path("params.yaml").write_text(yaml.safe_dump(raw))
    assert main(["rehearse", "digits"]) == 0
    assert json.loads(Path("data/raw/digits/about.json").read_text())["shape"] == [1797, 9, 9, 1]


def test_a_part_has_every_class_if_it_can() -> None:
    labels = np.array([0] * 50 + [1] * 3 + [2])
    rows = np.arange(1, 54)
    some = _some(rows, labels, 5, np.random.default_rng(0))
    assert len(some) == len(set(some.tolist())) == 5
    assert set(labels[some].tolist()) == {0, 1, 2}
    assert np.array_equal(_some(rows, labels, 99, np.random.default_rng(0)), rows)
    assert len(_some(rows, labels, 2, np.random.default_rng(0))) == 2


@pytest.fixture
def squares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_project(tmp_path, epochs=1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_only_some_fits_are_fitted_and_the_whole_run_finds_them(
    squares: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = "lcnet_035/classical/repeat-0/fold-0"
    assert main(["train", TASK, "--only", one, "--only", f"{TASK}/*/hybrid/*/fold-2"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()][1:]
    assert [row[0] for row in rows] == [f"{TASK}/{one}", f"{TASK}/lcnet_035/hybrid/repeat-0/fold-2"]
    assert all(0 <= float(row[1]) <= 1 and (Path(row[3]) / "weights.safetensors").is_file() for row in rows)
    assert not (squares / "results").exists()
    grid, _ = plan(load_params(squares / "params.yaml"), squares)
    assert [spec.name for spec in grid.specs if spec not in grid.todo] == [row[0] for row in rows]


def test_a_name_that_no_fit_has_is_said_with_the_nearest(squares: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", TASK, "--only", "lcnet_035/clasical/repeat-0/fold-1"]) == 1
    said = "none of the 6 fits of squares; the nearest is lcnet_035/classical/repeat-0/fold-1"
    assert said in capfd.readouterr().err
    assert list((squares / ".qlcnet/folds").iterdir()) == []
