"""Records of reproductions, in the report of the fits that they are of and in the index of published studies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qlcnet.publish.markdown import write_index
from qlcnet.report import write_report
from qlcnet.report.study import read_study
from tests.publish.test_publish import make_project, publish
from tests.report.fold_folders import make_params, make_study

FITS = {"spots/lcnet_050/classical/repeat-0/fold-0": "f1", "spots/lcnet_050/hybrid/repeat-0/fold-1": "f2"}


def record(root: Path, name: str, fingerprints: dict[str, str], study: str = "") -> None:
    content = {
        "commit": name * 40,
        "study": study,
        "verdict": "identical bytes",
        "conclusion": {"same": True},
        "compared": dict.fromkeys(fingerprints, "identical bytes"),
        "fingerprints": fingerprints,
        "fits_of_study": 12,
        "machine": {"vendor": "AuthenticAMD", "onednn": "AVX512"},
    }
    (root / "reproductions").mkdir(exist_ok=True)
    (root / f"reproductions/{name}.json").write_text(json.dumps(content))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A study whose fits have fingerprints f0, f1, …"""
    make_study(tmp_path, make_params(), images=60)
    for i, path in enumerate(sorted(tmp_path.glob("results/folds/*/*/*/*/*/config.json"))):
        path.write_text(json.dumps({**json.loads(path.read_text()), "fingerprint": f"f{i}"}))
    return tmp_path


def test_the_report_names_records_of_its_own_fits(root: Path) -> None:
    record(root, "a", FITS)
    record(root, "b", {**FITS, "spots/lcnet_050/hybrid/repeat-0/fold-0": "of another study"})
    record(root, "c", {})
    (root / "reproductions/d.json").write_text("{ damaged")
    study = read_study(make_params(), root)
    assert [(one.commit[0], one.fits, one.total, one.same) for one in study.reproductions] == [("a", 2, 12, True)]
    write_report(study, root / "results")
    page = (root / "results/report.html").read_text()
    assert "aaaaaaaaaaaa" in page
    assert "bbbbbbbbbbbb" not in page
    assert "AuthenticAMD, AVX512" in page
    assert "qlcnet reproduce COMMIT" in page


def test_without_records_it_says_how_to_make_one(root: Path) -> None:
    write_report(read_study(make_params(), root), root / "results")
    assert "No record of that is at hand" in (root / "results/report.html").read_text()


def test_the_index_of_published_studies_names_those_of_each(tmp_path: Path) -> None:
    make_project(tmp_path)
    publish(tmp_path)
    record(tmp_path, "a", FITS, "spots-study")
    record(tmp_path, "b", FITS, "another-study")
    write_index(tmp_path / "docs/results")
    (row,) = [line for line in (tmp_path / "docs/results/README.md").read_text().splitlines() if "spots-study" in line]
    assert "| 2 of 12 fits: identical bytes |" in row
