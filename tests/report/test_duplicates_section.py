"""Near-duplicates in the report: planted pairs in section, table and check; folds by them; none of known groups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qlcnet.config import Params
from qlcnet.data.folds import make_folds
from qlcnet.data.imageset import ImageSet
from qlcnet.data.near_duplicates import with_near_duplicates_as_groups
from qlcnet.evidence.intervals import TooFew
from qlcnet.report.checks import findings_of
from qlcnet.report.content import Context, Plot
from qlcnet.report.differences import StudyEvidence
from qlcnet.report.duplicates_section import near_duplicate_records, near_duplicates
from qlcnet.report.page import Page
from qlcnet.report.sections import SECTIONS
from qlcnet.report.setup_sections import _groups
from qlcnet.report.study import read_study
from tests.report import fold_folders
from tests.report.fold_folders import SMALL, make_images, make_params, make_study

NOTHING = StudyEvidence({}, (), TooFew(""), ())


def params_of(grouped: bool | str) -> Params:
    task = {"source": SMALL["datasets"]["spots"]["source"], "protocol": {"folds": 3, "grouped": grouped}}
    one: dict[str, Any] = {"models": {"classical": {"inputs": ["image"]}}, "backbones": {"lcnet_050": {}}}
    return make_params(datasets={"spots": task}, circuits={}, **one)


@pytest.fixture
def with_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images without groups; 100 to 105 are darker ones of 0 to 5, with the same labels but for the last."""

    def planted(rng: np.random.Generator, images: int) -> ImageSet:
        found = make_images(rng, images)
        pixels, labels = np.array(found.images), np.array(found.labels)
        pixels[:6] = rng.integers(0, 200, (6, 28, 28, 3))
        pixels[100:106] = pixels[:6] // 2
        labels[100:106] = labels[:6]
        labels[105] = (labels[5] + 1) % 4
        return replace(found, images=pixels, labels=labels, groups=None)

    monkeypatch.setattr(fold_folders, "make_images", planted)


def test_pairs_are_counted_drawn_and_listed(with_pairs: None, tmp_path: Path) -> None:
    params = params_of(False)
    make_study(tmp_path, params)
    study = read_study(params, tmp_path)
    task = study.tasks["spots"]
    fold = {int(i): int(f) for i, f in zip(task.folds.index, task.folds.fold, strict=True)}
    apart = sum(fold[i] != fold[100 + i] for i in range(6))
    assert apart
    context = Context(study, {}, NOTHING)
    section, page = next(one for one in SECTIONS if one.build is near_duplicates), Page()
    html = page.render("", [(section, section.build(context))])
    hidden = params.model_copy(update={"report": params.report.model_copy(update={"pictures": False})})
    without = near_duplicates(Context(replace(study, params=hidden), {}, NOTHING))
    assert not [block for block in without if isinstance(block, Plot)]
    rows = list(near_duplicate_records(context))
    assert sorted((row["image"], row["other"]) for row in rows) == [(i, 100 + i) for i in range(6)]
    assert [row["class"] != row["other_class"] for row in rows].count(True) == 1
    assert list(page.figures) == ["spots-near-duplicates.svg"]
    assert f"{2 * apart} ({2 * apart / 120:.2%})" in html
    found = {one.check.code: one for one in findings_of(study)}["QLC013"]
    assert found.state == "issue"
    assert f"{2 * apart} of 120 scored images" in found.sentence


def test_folds_by_near_duplicates_pass(with_pairs: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        fold_folders,
        "make_folds",
        lambda images, task, seed: make_folds(with_near_duplicates_as_groups(images, task.protocol), task, seed),
    )
    params = params_of("near-duplicates")
    make_study(tmp_path, params)
    study = read_study(params, tmp_path)
    task = study.tasks["spots"]
    assert task.is_grouped
    assert task.groups is not None
    assert np.array_equal(task.groups[:6], task.groups[100:106])
    assert len(np.unique(task.groups)) == 114
    states = {one.check.code: one.state for one in findings_of(study)}
    assert (states["QLC001"], states["QLC013"]) == ("passed", "passed")
    assert _groups(task) == "114 found as near-duplicates, kept together"


def test_known_groups_need_no_section(tmp_path: Path) -> None:
    params = params_of(True)
    make_study(tmp_path, params)
    study = read_study(params, tmp_path)
    assert study.tasks["spots"].near_duplicates is None
    assert {one.check.code: one.state for one in findings_of(study)}["QLC013"] == "not applicable"
    context = Context(study, {}, NOTHING)
    assert near_duplicates(context) == list(near_duplicate_records(context)) == []
