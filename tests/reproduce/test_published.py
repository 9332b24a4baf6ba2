"""A published study as the record of fits: equal by digests, contradictions named, verdicts computed again."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from qlcnet.fit.fold_folder import CONFIG, FILES, PREDICTIONS, WEIGHTS
from qlcnet.publish import rebuild
from qlcnet.publish.repeats import repeat_file
from qlcnet.reproduce.compare_fits import FitVerdict, compare_fit
from qlcnet.reproduce.from_published import (
    conclusion_of,
    contradictions_of,
    folder_of,
    same_study_as,
    take_published,
)
from qlcnet.reproduce.grades import Grade
from qlcnet.reproduce.recorded import Recorded, nothing_in
from qlcnet.reproduce.revision import ReproduceError
from qlcnet.reproduce.spread import spread_of
from tests.publish.test_publish import make_project, publish, sections

FIT = "spots/lcnet_050/hybrid/repeat-1/fold-0"
PROTOCOLS: dict[str, dict[str, Any]] = {"pooled-cv": {}, "train-cv": {"kind": "train-cv"}}


@pytest.fixture(scope="module", params=PROTOCOLS)
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a published study of two repeats; of train-cv, whose fits score a test part too."""
    root = make_project(tmp_path_factory.mktemp("published"), **sections(**PROTOCOLS[request.param]))
    publish(root)
    return root


@pytest.fixture
def recorded(published: Path, tmp_path: Path) -> Recorded:
    found = nothing_in(tmp_path / "recorded")
    take_published(found, folder_of(published, "spots-study"))
    config = json.loads((found.project.fits / FIT / CONFIG).read_text())
    (found.project.fits / FIT / CONFIG).write_text(json.dumps({**config, "files": digests(published)}))
    return found


def digests(published: Path) -> dict[str, str]:
    """Those that config.json of a real fit has; these fits were drawn, and have none."""
    fold = published / "results/folds" / FIT
    return {file: hashlib.sha256((fold / file).read_bytes()).hexdigest() for file in FILES if file != CONFIG}


def compare(published: Path, recorded: Recorded, tmp_path: Path, made: Path | None = None) -> FitVerdict:
    """FIT as published against a fit that was made again, by default the one that was published."""
    partial = recorded.partial[FIT]
    if made is None:
        made = tmp_path / "made"
        shutil.copytree(published / "results/folds" / FIT, made)
        config = json.loads((made / CONFIG).read_text())
        (made / CONFIG).write_text(json.dumps({**config, "files": digests(published)}))
    reduced = partial.reduce(made, tmp_path / "reduced")
    return compare_fit(FIT, recorded.project.fits / FIT, reduced, lambda: spread_of("repeats", {}, "m"), partial)


def changed(published: Path, folder: Path, amount: float) -> Path:
    """A fit with other predictions, and digests that say so."""
    shutil.copytree(published / "results/folds" / FIT, folder)
    arrays = load_file(folder / PREDICTIONS)
    arrays["probabilities"] = (
        arrays["probabilities"] * (1 - amount) + np.float32(amount) * arrays["probabilities"][::-1]
    )
    save_file(arrays, folder / PREDICTIONS)
    config = json.loads((folder / CONFIG).read_text())
    config["files"] = {**config.get("files", {}), PREDICTIONS: "another"}
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def test_every_published_fit_is_laid_out_without_its_weights(recorded: Recorded) -> None:
    assert len(recorded.fits()) == len(recorded.partial) == 8
    folder = recorded.project.fits / FIT
    assert sorted(path.name for path in folder.iterdir()) == sorted(set(FILES) - {WEIGHTS})
    assert recorded.knows_fit(FIT)
    assert not recorded.has_fit(FIT)


def test_the_same_fit_is_identical_by_its_digests(published: Path, recorded: Recorded, tmp_path: Path) -> None:
    verdict = compare(published, recorded, tmp_path)
    assert (verdict.grade, verdict.agreement) == (Grade.BYTES, 1.0), verdict.notes
    assert verdict.basis == "predictions and history of docs/results/spots-study"


def test_what_rounding_hides_is_no_identity_of_bytes(published: Path, recorded: Recorded, tmp_path: Path) -> None:
    made = changed(published, tmp_path / "made", 1e-7)
    assert compare(published, recorded, tmp_path, made).grade == Grade.METRICS


def test_another_fit_is_not_passed_off(published: Path, recorded: Recorded, tmp_path: Path) -> None:
    verdict = compare(published, recorded, tmp_path, changed(published, tmp_path / "made", 0.4))
    assert verdict.grade == Grade.DIFFERENT
    assert verdict.divergence.startswith(f"{PREDICTIONS}: probabilities")


def test_predictions_that_their_digest_does_not_vouch_for(published: Path, recorded: Recorded, tmp_path: Path) -> None:
    path = recorded.project.fits / FIT / PREDICTIONS
    arrays = load_file(path)
    arrays["probabilities"] = arrays["probabilities"][::-1].copy()
    save_file(arrays, path)
    verdict = compare(published, recorded, tmp_path)
    assert verdict.grade == Grade.DIFFERENT
    assert "are not those that the recorded digests are of" in verdict.notes[0]


def test_verdicts_follow_the_recomputed_predictions(published: Path, recorded: Recorded, tmp_path: Path) -> None:
    folder, partial = folder_of(published, "spots-study"), recorded.partial[FIT]
    same = partial.reduce(published / "results/folds" / FIT, tmp_path / "same")
    conclusion = conclusion_of(folder, rebuild(folder), recorded, {FIT: same}, "basis")
    assert conclusion.same
    assert conclusion.said > 0
    hybrids = [fit for fit in recorded.partial if "/hybrid/" in fit]
    swapped = {}
    for fit in hybrids:  # the hybrid network is wrong about all images
        swapped[fit] = tmp_path / "swapped" / fit
        shutil.copytree(recorded.project.fits / fit, swapped[fit])
        arrays = load_file(swapped[fit] / PREDICTIONS)
        arrays["probabilities"] = np.roll(np.eye(arrays["probabilities"].shape[1], dtype=np.float32), 1, 1)[
            arrays["target"]
        ]
        save_file(arrays, swapped[fit] / PREDICTIONS)
    conclusion = conclusion_of(folder, rebuild(folder), recorded, swapped, "basis")
    assert not conclusion.same
    assert any("hybrid" in line for line in conclusion.changes)


def test_a_published_number_that_its_predictions_do_not_give(published: Path, tmp_path: Path) -> None:
    folder = tmp_path / "spots-study"
    shutil.copytree(folder_of(published, "spots-study"), folder)
    assert contradictions_of(folder, rebuild(folder)) == []
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["spots"]["lcnet_050"]["hybrid"]["accuracy"] += 0.01
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (line,) = contradictions_of(folder, rebuild(folder))
    assert line.startswith("docs/results/spots-study/metrics.json: spots.lcnet_050.hybrid.accuracy is")


def test_a_study_that_is_the_projects_own_is_found(published: Path, tmp_path: Path) -> None:
    folder = folder_of(published, "spots-study")
    assert same_study_as(published) == folder
    shutil.copytree(published, tmp_path / "copy")
    (tmp_path / "copy/params.yaml").write_text("datasets: {}\n")
    assert same_study_as(tmp_path / "copy") is None
    with pytest.raises(ReproduceError, match="published is: spots-study"):
        folder_of(published, "spots")


def test_a_damaged_repeat_is_said(published: Path, tmp_path: Path) -> None:
    folder = tmp_path / "spots-study"
    shutil.copytree(folder_of(published, "spots-study"), folder)
    repeat_file(folder / "fits/spots", 1).write_bytes(b"nothing")
    with pytest.raises(ReproduceError, match=r"docs/results/spots-study cannot be read: .* is damaged"):
        take_published(nothing_in(tmp_path / "recorded"), folder)
