"""Checks from files: a planted leak, copy, collapsed fit, machine and failure each come out in page and table."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from qlcnet.data.imageset import ImageSet
from qlcnet.evidence.checks import CHECKS, Finding
from qlcnet.report import build_report
from qlcnet.report.checks import facts_of, findings_of
from qlcnet.report.study import read_study
from tests.report.fold_folders import SMALL, make_params, make_study

SOURCE = SMALL["datasets"]["spots"]["source"]


def small(protocol: dict[str, Any] | None = None, **sections: Any) -> dict[str, Any]:
    """Sections of one model on one backbone in two folds."""
    task = {"source": SOURCE, "protocol": protocol or {"folds": 2, "grouped": True}}
    return {
        "datasets": {"spots": task}, "models": {"classical": {"inputs": ["image"]}}, "backbones": {"lcnet_050": {}},
        "circuits": {}, **sections,
    }  # fmt: skip


def findings(root: Path, **sections: Any) -> dict[str, Finding]:
    params = make_params(**small(**sections))
    return {one.check.code: one for one in findings_of(read_study(params, root))}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_study(tmp_path, make_params(**small()), images=200)
    return tmp_path


def folder(root: Path, fold: int) -> Path:
    return root / f"results/folds/spots/lcnet_050/classical/repeat-0/fold-{fold}"


def test_a_clean_study_has_no_leak_and_no_collapse(root: Path) -> None:
    found = findings(root)
    states = {code: found[code].state for code in ("QLC001", "QLC002", "QLC005", "QLC006", "QLC010", "QLC011")}
    assert set(states.values()) == {"passed"}, states
    assert found["QLC007"].state == found["QLC009"].state == found["QLC004"].state == "not applicable"


def test_ungrouped_folds_of_groups_are_a_leak(tmp_path: Path) -> None:
    params = make_params(**small({"folds": 2}))
    make_study(tmp_path, params, images=200)
    task = facts_of(read_study(params, tmp_path)).tasks[0]
    study = read_study(params, tmp_path)
    folds, groups = study.tasks["spots"].folds, study.tasks["spots"].images.groups
    assert groups is not None
    of_image = {int(i): int(f) for i, f in zip(folds.index, folds.fold, strict=True)}
    split_pairs = sum(of_image[2 * g] != of_image[2 * g + 1] for g in range(100))  # groups are pairs of neighbours
    assert task.groups is not None
    assert (task.groups.units, task.groups.images, task.groups.scored) == (split_pairs, 2 * split_pairs, 200)
    assert findings(tmp_path, protocol={"folds": 2})["QLC001"].state == "issue"


def test_a_planted_copy_is_found(root: Path) -> None:
    images = ImageSet.load(root / "data/raw/spots")
    folds = read_study(make_params(**small()), root).tasks["spots"].folds
    split = folds.split(0, 0)
    same_label = [i for i in split.train if images.labels[i] == images.labels[split.validation[0]]]
    pixels = np.array(images.images)
    pixels[split.validation[0]] = pixels[same_label[0]]
    changed = ImageSet(pixels, images.labels, images.parts, images.class_names, images.groups, images.about)
    changed.save(root / "data/raw/spots")
    found = findings(root)["QLC002"]
    assert found.state == "issue"
    assert "2 of 200 scored images" in found.sentence  # each is scored in the fold whose fit knows the other
    assert "label" not in found.sentence


def test_a_planted_collapsed_fit_is_found(root: Path) -> None:
    arrays = load_file(folder(root, 1) / "predictions.safetensors")
    arrays["probabilities"][:] = np.float32([0.7, 0.1, 0.1, 0.1])
    save_file(arrays, folder(root, 1) / "predictions.safetensors")
    found = findings(root)["QLC005"]
    assert found.state == "issue"
    assert "1 of 2 fits" in found.sentence
    assert "spots/lcnet_050/classical/repeat-0/fold-1" in found.sentence


def test_another_machine_is_found(root: Path) -> None:
    path = folder(root, 1) / "config.json"
    config = json.loads(path.read_text())
    config["computed_on"]["vendor"] = "GenuineIntel"
    path.write_text(json.dumps(config))
    found = findings(root)["QLC006"]
    assert found.state == "issue"
    assert "1 fit on AuthenticAMD AVX512" in found.sentence
    assert "1 fit on GenuineIntel AVX512" in found.sentence


def test_page_and_table_show_states_and_reasons(root: Path) -> None:
    params = make_params(**small(report={"mute": {"QLC008": "spots are drawn, <not> found"}}))
    build_report(params, root)
    html = (root / "results/report.html").read_text(encoding="utf-8")
    section = html[html.index('<section id="checks"') :]
    section = section[: section.index("</section>")]
    assert "How this study could be wrong" in section
    assert "muted: spots are drawn, &lt;not&gt; found" in section
    assert "<details>" in section, "what each looks for is folded away"
    with (root / "results/tables/checks.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["code"]: row for row in csv.DictReader(file)}
    assert (rows["QLC008"]["state"], rows["QLC008"]["muted_because"]) == ("muted", "spots are drawn, <not> found")
    assert list(rows) == [check.code for check in CHECKS]
