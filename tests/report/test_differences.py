"""Differences of a study from its files: a planted one gets verdict, sentence and place; leaks are numbers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from qlcnet.data.folds import make_folds
from qlcnet.data.imageset import ImageSet
from qlcnet.declarations import declare
from qlcnet.evidence.image_difference import ImageDifference
from qlcnet.evidence.limits import TooFew
from qlcnet.evidence.several_sets import Ranks
from qlcnet.evidence.verdicts import Verdict
from qlcnet.paths import Project
from qlcnet.report import build_report
from qlcnet.report.checks import declared_in
from qlcnet.report.difference_tables import leak_records
from qlcnet.report.differences import StudyEvidence, gather
from qlcnet.report.forest import forest, rank_diagram
from qlcnet.report.study import read_study
from qlcnet.report.style import figure_style
from qlcnet.report.summary import summarise
from tests.report.fold_folders import SMALL, make_params, make_study

SOURCE = SMALL["datasets"]["spots"]["source"]
EVIDENCE = {"primary": {"metric": "accuracy", "compare": [["hybrid", "classical"]]}}


def favour(root: Path, model: str, share: float) -> None:
    """Predictions of `model` become right for the first `share` of every fold's images and stay as they are else."""
    for path in root.glob(f"results/folds/*/*/{model}/*/*/predictions.safetensors"):
        arrays = load_file(path)
        first = np.arange(round(share * len(arrays["target"])))
        arrays["probabilities"][first] = 0.01
        arrays["probabilities"][first, arrays["target"][first]] = 0.97
        save_file(arrays, path)


def evidence_of(root: Path, params: Any) -> StudyEvidence:
    study = read_study(params, root)
    return gather(study, summarise(study))


def test_a_planted_difference_gets_its_verdict_sentence_and_place(tmp_path: Path) -> None:
    params = make_params(
        evidence=EVIDENCE, datasets={"spots": {"source": SOURCE, "protocol": {"folds": 5, "repeats": 2}}}
    )
    make_study(tmp_path, params, images=200)
    favour(tmp_path, "hybrid", 0.9)
    build_report(params, tmp_path)
    summary = json.loads((tmp_path / "results/summary.json").read_text())
    lines = summary["evidence"]["spots"]["comparisons"]
    (mean,) = [one for one in lines if one["role"] == "primary" and one["over"] == "mean over widths"]
    assert mean["verdict"] == "better by more than the margin"
    assert mean["sentence"].startswith(
        "spots, mean over widths (2 widths), accuracy: hybrid is better than classical by"
    )
    assert mean["low"] > 0.01
    html = (tmp_path / "results/report.html").read_text()
    assert "Hybrid is better than classical by more than the margin" in html
    with (tmp_path / "results/tables/comparisons.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert next(row["verdict"] for row in rows if row["role"] == "primary") == "better by more than the margin"
    with (tmp_path / "results/tables/claims.csv").open(newline="") as file:
        assert {row["verdict"] for row in csv.DictReader(file)} <= {
            "supported", "contradicted", "undecided", "not testable",
        }  # fmt: skip

    found = evidence_of(tmp_path, params).tasks["spots"]
    shown = [line for _, line in found.headline]
    with figure_style():
        axes = forest(shown, "accuracy", several_tasks=False).axes[0]
    first = shown[0].verdict
    assert isinstance(first, Verdict)
    at = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "D"]
    assert at == [(pytest.approx(first.test.mean), 0)]
    assert axes.texts[0].get_text() == "better by more than the margin"
    assert found.spread is not None
    assert found.spread.share_with("model") > 0.5


def test_no_difference_is_not_called_one(tmp_path: Path) -> None:
    """The same predictions under two names: every difference is 0, and nothing says how it would vary."""
    models = {"classical": SMALL["models"]["classical"], "again": SMALL["models"]["classical"]}
    params = make_params(models=models, backbones={"lcnet_050": {}})
    make_study(tmp_path, params)
    for path in tmp_path.glob("results/folds/*/*/again/*/*/predictions.safetensors"):
        path.write_bytes(Path(str(path).replace("/again/", "/classical/")).read_bytes())
    found = evidence_of(tmp_path, params)
    assert {line.verdict.word for _, line in found.lines()} == {"undecided"}


def test_leakage_is_a_number_where_two_tasks_differ_in_their_folds_alone(tmp_path: Path) -> None:
    datasets = {
        "leaky": {"source": SOURCE, "protocol": {"folds": 3}},
        "clean": {"source": SOURCE, "protocol": {"folds": 3, "grouped": True}},
        "other": {"source": SOURCE, "protocol": {"folds": 2, "grouped": True}},
    }
    params = make_params(datasets=datasets, backbones={"lcnet_050": {}})
    make_study(tmp_path, params)
    images = tmp_path / "data/raw/leaky"  # one set under three names, as images_of makes it
    for task in ("clean", "other"):
        for path in images.iterdir():
            (tmp_path / "data/raw" / task / path.name).write_bytes(path.read_bytes())
    image_set = ImageSet.load(images)
    labels = image_set.labels
    for task, section in params.datasets.items():
        table = make_folds(image_set, section, params.seed)
        table.write(tmp_path / f"data/folds/{task}.csv")
        for path in tmp_path.glob(f"results/folds/{task}/*/*/repeat-0/fold-*"):
            rows = table.split(0, int(path.name[-1])).validation
            good = rows % (2 if task == "leaky" else 3) == 0
            p = np.full((len(rows), 4), 0.1, np.float32)
            p[np.arange(len(rows)), np.where(good, labels[rows], (labels[rows] + 1) % 4)] = 0.7
            save_file(
                {"index": rows, "target": labels[rows], "part": np.zeros(len(rows), np.uint8), "probabilities": p},
                path / "predictions.safetensors",
            )
    found = evidence_of(tmp_path, params).leaks
    assert {(one.ungrouped, one.grouped) for one in found} == {("leaky", "clean")}
    assert [one.model for one in found[:: len(found) // 2]] == list(params.models), "in the order of params.yaml"
    records = list(leak_records(evidence_of(tmp_path, params)))
    accuracy = next(one.found for one in found if one.metric == "accuracy" and one.model == "hybrid")
    assert isinstance(accuracy, ImageDifference)
    (stated,) = [one for one in records if one["metric"] == "accuracy" and one["model"] == "hybrid"]
    assert stated["difference"] == pytest.approx(accuracy.difference, abs=1e-6)
    index = np.arange(len(labels))
    assert accuracy.difference == pytest.approx((index % 2 == 0).mean() - (index % 3 == 0).mean())
    assert accuracy.interval.low > 0


def test_the_official_split_has_seen_and_unseen_groups_apart(tmp_path: Path) -> None:
    params = make_params(
        datasets={"own": {"source": SOURCE, "protocol": {"kind": "official"}}}, backbones={"lcnet_050": {}}
    )
    make_study(tmp_path, params)
    index = np.arange(120)  # train, train, val, test, …: of the first half every test image has relatives in training
    np.save(tmp_path / "data/raw/own/groups.npy", np.where(index < 60, index // 4, index))
    unseen = evidence_of(tmp_path, params).tasks["own"].unseen
    assert set(unseen) == {("lcnet_050", "classical"), ("lcnet_050", "hybrid")}
    first = unseen["lcnet_050", "hybrid"][0]
    assert (first.metric, first.seen.images, first.unseen.images) == ("accuracy", 15, 15)
    table = read_study(params, tmp_path).tasks["own"].results["lcnet_050", "hybrid"].oof
    right = table.probabilities.argmax(1) == table.target
    assert first.seen.value == pytest.approx(right[table.index < 60].mean())
    assert first.unseen.value == pytest.approx(right[table.index >= 60].mean())


def test_what_was_declared_before_any_fit_is_said_so(tmp_path: Path) -> None:
    params = make_params(evidence=EVIDENCE, backbones={"lcnet_050": {}})
    make_study(tmp_path, params)
    before = declared_in(read_study(params, tmp_path))
    assert before is not None
    assert before.fits_before is None
    path = Project(tmp_path).declarations
    assert declare(path, "spots", params.evidence, "c" * 40, 0)
    assert not declare(path, "spots", params.evidence, "d" * 40, 7), "it says so already"
    found = declared_in(read_study(params, tmp_path))
    assert found is not None
    assert (found.comparisons, found.fits_before) == (1, 0)
    changed = make_params(evidence={**EVIDENCE, "alpha": 0.01}, backbones={"lcnet_050": {}})
    assert declare(path, "spots", changed.evidence, "e" * 40, 6)
    again = declared_in(read_study(changed, tmp_path))
    assert again is not None
    assert again.fits_before == 6
    assert len(path.read_text().splitlines()) == 3, "nothing is rewritten"


def test_a_cell_of_every_pair_stays_when_a_model_is_added(tmp_path: Path) -> None:
    three = {**SMALL["models"], "third": {"inputs": ["grey"]}}
    make_study(tmp_path, make_params(models=three, backbones={"lcnet_050": {}}))
    pairs = evidence_of(tmp_path, make_params(models=three, backbones={"lcnet_050": {}})).tasks["spots"].pairs
    two = evidence_of(tmp_path, make_params(backbones={"lcnet_050": {}})).tasks["spots"].pairs
    assert pairs.shape == (3, 3)
    assert pairs[1, 0] == two[1, 0]
    assert pairs[0, 1].test.mean == -pairs[1, 0].test.mean


def test_ranks_come_with_five_data_sets_and_not_before(tmp_path: Path) -> None:
    datasets = {f"set{i}": {"source": SOURCE, "protocol": {"folds": 2}} for i in range(5)}
    params = make_params(datasets=datasets, backbones={"lcnet_050": {}})
    make_study(tmp_path, params)
    found = evidence_of(tmp_path, params).ranks
    assert isinstance(found, Ranks)
    assert (found.sets, found.models) == (5, ("classical", "hybrid"))
    with figure_style():
        axes = rank_diagram(found).axes[0]
    assert axes.get_yticklabels()[0].get_text() == min(
        found.models, key=lambda model: found.mean_ranks[found.models.index(model)]
    )
    fewer = make_params(datasets=dict(list(datasets.items())[:4]), backbones={"lcnet_050": {}})
    assert isinstance(evidence_of(tmp_path, fewer).ranks, TooFew)
