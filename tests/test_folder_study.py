"""A study of images in folders, from `plan` to the report; and that images which change are noticed."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from qlcnet.check import OK, WARNING, look_at
from qlcnet.cli import main
from tests.test_end_to_end import project, run, small


def write_pictures(folder: Path, count: int = 12) -> None:
    """Bright pictures of one class and dark ones of another, one of them broken."""
    rng = np.random.default_rng(0)
    for name, level in (("benign", 60), ("malignant", 160)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = level + rng.integers(0, 40, (30, 40, 3), np.uint8)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.jpg")
    (folder / "benign" / "broken.png").write_bytes(b"\x89PNG")


def study(**source: Any) -> dict[str, Any]:
    """One model of one small width on `lesions`."""
    lesions = {
        "source": {"kind": "folder", "path": "lesions", "size": 16, "skip_broken": True, "licence": "CC0", **source},
        "protocol": {"folds": 2},
    }
    return small("lesions", lesions, circuits={}, models={"classical": {"inputs": ["image"], "head": "linear"}})


def test_from_folders_to_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(study()))
    write_pictures(tmp_path / "lesions")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'runs.db'}")
    assert main(["plan"]) == 0
    assert "run `qlcnet fetch lesions` first" in capsys.readouterr().out
    for command in (["fetch", "lesions"], ["split", "lesions"], ["quanvolve", "lesions"]):
        assert main(command) == 0
    assert main(["train", "lesions", "--workers", "1"]) == 0
    assert main(["report"]) == 0
    summary = json.loads((tmp_path / "results" / "summary.json").read_text())
    assert summary["tasks"]["lesions"]["lcnet_035"]["classical"]["n"] == 24
    report = (tmp_path / "results" / "report.html").read_text()
    about = json.loads((tmp_path / "data" / "raw" / "lesions" / "about.json").read_text())
    assert about["skipped"] == 1
    for words in (
        "the folder lesions, declared in params.yaml",
        "the central square, resized to 16 x 16 bilinearly with antialiasing; 1 image broken and left out",
        f"lesions: {about['checksum']['lesions']}",
        "SHA-256 of the names and bytes of all files",
        "16 x 16 pixels, colour, 8 bits",
        "malignant",
    ):
        assert words in report


def images(root: Path) -> tuple[str, str]:
    return next((finding.state, finding.text) for finding in look_at(root) if finding.what == "images")


def test_changed_images_are_noticed_by_check_and_by_a_pinned_digest(tmp_path: Path) -> None:
    """DVC looks at params.yaml alone, and would bring the old images back from its cache."""
    folder = project(tmp_path, study())
    write_pictures(folder / "lesions")
    fetch = ("dvc", "repro", "--single-item", "fetch@lesions")
    run(*fetch, cwd=folder)
    about = folder / "data" / "raw" / "lesions" / "about.json"
    first = json.loads(about.read_text())
    assert images(folder)[0] == OK

    (folder / "lesions" / "malignant" / "0.jpg").unlink()
    assert "didn't change, skipping" in run(*fetch, cwd=folder)
    state, text = images(folder)
    assert state == WARNING
    remedy = "dvc repro --force --single-item fetch@lesions"
    assert text == f"lesions: other files than when they were fetched; `{remedy}` takes them"
    run(*remedy.split(), cwd=folder)
    second = json.loads(about.read_text())
    assert (first["shape"][0], second["shape"][0]) == (24, 23)
    assert images(folder)[0] == OK

    # a digest is a key of the source: DVC fetches again, and the same images are the same set
    pinned = study(digest=second["checksum"]["lesions"])
    (folder / "params.yaml").write_text(yaml.safe_dump(pinned))
    assert "Running stage 'fetch@lesions'" in run(*fetch, cwd=folder)
    assert json.loads(about.read_text()) == second
