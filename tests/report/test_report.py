"""The report from files to files: whole, deterministic, honest about limits, and an error where a fit is missing."""

import csv
import json
import logging
import re
import shutil
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from qlcnet.evidence.oof import OOFError
from qlcnet.fit.task_facts import TaskFacts
from qlcnet.report import build_report
from qlcnet.report.study import StudyError
from qlcnet.report.style import drawable
from tests.report.fold_folders import CLASS_NAMES, SMALL, make_params, make_study

FIT = "spots/lcnet_050/hybrid/repeat-0/fold-1"
SOURCE = SMALL["datasets"]["spots"]["source"]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The root of a study with its report."""
    root = tmp_path_factory.mktemp("study")
    build_report(make_study(root), root)
    return root


@pytest.fixture
def study(tmp_path):
    """The smallest study, without a report: one model, one backbone, two folds."""
    small = {
        "datasets": {"spots": {"source": SOURCE, "protocol": {"folds": 2}}},
        "models": {"classical": {"inputs": ["image"]}},
        "backbones": {"lcnet_050": {}},
        "circuits": {},
    }
    return tmp_path, make_study(tmp_path, make_params(**small), images=60)


def page(root: Path) -> str:
    return (root / "results/report.html").read_text(encoding="utf-8")


def outputs(root: Path) -> dict[str, bytes]:
    results = root / "results"
    files = [path for path in sorted(results.rglob("*")) if path.is_file() and "folds" not in path.parts]
    return {path.relative_to(results).as_posix(): path.read_bytes() for path in files}


def test_writes_everything(report):
    names = set(outputs(report))
    assert {"report.html", "metrics.json", "summary.json", "curves.csv"} <= names
    assert {f"tables/{n}.csv" for n in ("summary", "per-class", "confusion", "folds", "history")} <= names
    figures = {name for name in names if name.startswith("figures/")}
    assert {"figures/workflow.svg", "figures/networks.svg", "figures/spots-examples.svg"} <= figures
    assert {f"figures/spots-lcnet_075-{kind}.svg" for kind in ("confusion", "roc", "training")} <= figures
    assert {"figures/spots-accuracy-by-backbone.svg", "figures/spots-auc_macro-by-backbone.svg"} <= figures
    assert "figures/spots-quanvolution.png" in figures


def test_every_figure_is_in_the_page(report):
    html = page(report)
    figures = [name for name in outputs(report) if name.startswith("figures/")]
    assert html.count('role="img"') == sum(name.endswith(".svg") for name in figures)
    assert html.count('<img src="data:image/png;base64,') == sum(name.endswith(".png") for name in figures)


def test_equal_input_equal_bytes(report, tmp_path):
    before = outputs(report)
    other = tmp_path / "elsewhere"
    shutil.copytree(report / "data", other / "data")
    shutil.copytree(report / "results/folds", other / "results/folds")
    build_report(make_params(), other)
    after = outputs(other)
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []


def test_ids_are_unique_and_references_resolve(report):
    html = page(report)
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    references = set(re.findall(r'href="#([^"]+)"', html)) | set(re.findall(r"url\(#([^)]+)\)", html))
    assert references <= set(ids)


def test_page_asks_no_network_and_knows_no_time_or_place(report):
    html = page(report)
    attributes = re.findall(r'(?:src|href|xlink:href)="([^"]*)"', html)
    assert all(value.startswith(("#", "data:")) for value in attributes)
    assert "@import" not in html
    assert not re.search(r"\b20\d\d-\d\d-\d\d", html)
    for text in (str(report), "matplotlib.org", "seconds"):
        assert text not in html


def test_says_what_was_run_on_what(report):
    html = page(report)
    for text in (
        "A study of spots", "classical", "hybrid", "lcnet_050", "lcnet_075", "12 fits", "CC0-1.0", "drawn by a test",
        "stratified 3-fold cross-validation of all images", "channels_last", "2.15.0", "majority class",
        "Channel 0 is a function of a single pixel (top left)", "−sin(πx + w)", "28 x 28 pixels", *CLASS_NAMES,
    ):  # fmt: skip
        assert text in html, text
    assert "random subset" not in html


def test_tables_hold_what_the_summary_holds(report):
    summary = json.loads((report / "results/summary.json").read_text())["tasks"]["spots"]
    tables = {}
    for path in (report / "results/tables").glob("*.csv"):
        with path.open(newline="") as file:
            tables[path.stem] = list(csv.DictReader(file))
    row = tables["summary"][1]
    assert (row["backbone"], row["model"]) == ("lcnet_050", "hybrid")
    assert float(row["accuracy_oof"]) == summary["lcnet_050"]["hybrid"]["accuracy"]["oof"]
    assert len(tables["folds"]) == 12
    of_model = [fold for fold in tables["folds"] if (fold["backbone"], fold["model"]) == ("lcnet_050", "hybrid")]
    mean = sum(float(fold["accuracy"]) for fold in of_model) / 3
    assert mean == pytest.approx(summary["lcnet_050"]["hybrid"]["accuracy"]["fold_mean"], abs=2e-6)
    assert len(tables["history"]) == 12 * 4
    assert sum(int(tables["confusion"][k][f"predicted_{c}"]) for k in range(4) for c in range(4)) == 120
    melanoma = [r for r in tables["per-class"] if r["class"] == "melanoma" and r["model"] == "classical"]
    assert float(melanoma[1]["recall"]) == summary["lcnet_075"]["classical"]["recall_per_class"]["melanoma"]


def test_curves_have_a_row_an_epoch(report):
    with (report / "results/curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows[:4]] == ["0", "1", "2", "3"]
    assert {"task", "backbone", "model", "epoch", "loss"} <= set(rows[0])
    assert len(rows) == 4 * 4


def test_own_settings_of_a_model_are_said_and_compared(tmp_path):
    models = {
        "usual": {"inputs": ["image"]},
        "own": {"inputs": ["image"], "training": {"batch_size": 99, "input_size": 32}},
    }
    params = make_params(models=models, backbones={"lcnet_050": {}})
    build_report(make_study(tmp_path, params), tmp_path)
    html = page(tmp_path)
    for text in ("What single models have otherwise", "own: own settings", "28 x 28 pixels or 32 x 32", ">99<"):
        assert text in html, text
    models["own"]["training"] = {"batch_size": 98}
    with pytest.raises(StudyError, match=r"fit spots/lcnet_050/own/.* was made with other settings \(training\)"):
        build_report(make_params(models=models, backbones={"lcnet_050": {}}), tmp_path)


def test_channels_that_no_circuit_made_are_said(tmp_path):
    mine = {"kind": "file", "path": "here-alone/mine.npy", "md5": "0123456789abcdef" * 2}
    models = {"own": {"inputs": ["channel:mine", "channel:mine/1", "grey"]}, "both": {"inputs": ["quanv:ry"]}}
    params = make_params(channels={"mine": mine}, models=models, backbones={"lcnet_050": {}})
    build_report(make_study(tmp_path, params), tmp_path)
    html = page(tmp_path)
    for text in (
        "Channels mine", "mine.npy", mine["md5"], "28 x 28 x 2", "channel:mine (2 channels)",
        "channel:mine/1 (1 channel)", "Other channels", "Circuit ry",
    ):  # fmt: skip
        assert text in html, text
    assert "here-alone" not in html
    (tmp_path / "data/quanvolved/spots/mine/card.json").unlink()
    with pytest.raises(StudyError, match="channel mine of task spots is missing: run `qlcnet quanvolve spots`"):
        build_report(params, tmp_path)


def test_all_protocols_and_a_subset_are_said(tmp_path):
    datasets = {
        "grouped": {"source": SOURCE, "protocol": {"folds": 2, "repeats": 2, "grouped": True}},
        "beside": {"source": SOURCE, "protocol": {"kind": "train-cv", "folds": 2}, "images_per_class": 20},
        "own": {"source": SOURCE, "protocol": {"kind": "official"}},
    }
    separate = {"inputs": ["image", "quanv:ry", "quanv:ry/2"], "fusion": "separate"}
    params = make_params(
        datasets=datasets,
        models={"wide": {**separate, "head": {"kind": "quantum", "ansatz": "random"}}},
        backbones={"tiny": {"architecture": "mobilenetv3_small_050"}},
        report={"title": "<b>& a title"},
    )
    build_report(make_study(tmp_path, params, images=200), tmp_path)
    html = page(tmp_path)
    assert "<h1>&lt;b&gt;&amp; a title</h1>" in html
    assert "at most 20 images of each class" in html
    assert "the official test part" in html
    assert "2 repeats together" in html
    assert "networks on other groups like these" in html
    assert "bars: 95 % interval" in html  # one fit has no sd
    assert "equals a sine" not in html  # not this head's ansatz


def test_missing_fit_is_named_with_its_command_and_the_old_report_stays(study):
    root, params = study
    build_report(params, root)
    before = outputs(root)
    shutil.rmtree(root / "results/folds/spots/lcnet_050/classical/repeat-0/fold-1")
    with pytest.raises(
        StudyError, match=r"fit spots/lcnet_050/classical/repeat-0/fold-1 is missing: run `qlcnet train spots`"
    ):
        build_report(params, root)
    assert outputs(root) == before


def test_folds_of_another_table_are_refused(study):
    root, params = study
    table = root / "data/folds/spots.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(OOFError, match="images that are not of this task: 1"):
        build_report(params, root)


def test_unlisted_tasks_and_old_figures_go_and_unlisted_models_are_left_out(study):
    root, params = study
    (root / "results/figures").mkdir(parents=True)
    (root / "results/figures/old.svg").write_text("<svg/>")
    for name in ("gone", "spots/lcnet_200", "spots/lcnet_050/dropped"):
        shutil.copytree(root / "results/folds/spots/lcnet_050/classical", root / "results/folds" / name / "x")
    build_report(params, root)
    assert not (root / "results/folds/gone").exists()
    assert not (root / "results/figures/old.svg").exists()
    assert (root / "results/folds/spots/lcnet_200").exists()
    assert "dropped" not in page(root)
    assert list(json.loads((root / "results/summary.json").read_text())["tasks"]) == ["spots"]


def test_imports_neither_torch_nor_pennylane():
    code = (
        "import sys; import qlcnet.report.sections, qlcnet.report.tables; "
        "print([m for m in ('torch', 'pennylane', 'mlflow', 'sklearn', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def rewrite(root: Path, fit: str, **values: object) -> None:
    file = root / "results/folds" / fit / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def test_fits_from_several_kinds_of_cpu_are_said(tmp_path: Path) -> None:
    params = make_study(tmp_path)
    build_report(params, tmp_path)
    page = (tmp_path / "results/report.html").read_text()
    assert "AuthenticAMD" in page
    assert "kinds of machine" not in page
    rewrite(tmp_path, FIT, computed_on={"vendor": "GenuineIntel", "torch": "AVX2", "variables": {"MKL_CBWR": "AVX2"}})
    build_report(params, tmp_path)
    page = (tmp_path / "results/report.html").read_text()
    assert "These fits were computed on 2 kinds of machine" in page
    assert "MKL_CBWR=AVX2" in page


def test_a_model_whose_fit_failed_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    params = make_study(tmp_path)
    shutil.rmtree(tmp_path / "results/folds" / FIT)
    facts = TaskFacts.read(tmp_path / "results/folds/spots")
    why = "DivergedError: diverged in epoch 2, batch 3"
    replace(facts, failed={FIT: why}).write(tmp_path / "results/folds/spots")
    build_report(params, tmp_path)
    page = (tmp_path / "results/report.html").read_text()
    assert "lcnet_050 hybrid is left out" in page
    assert "repeat-0/fold-1: DivergedError: diverged in epoch 2, batch 3" in page
    models = json.loads((tmp_path / "results/metrics.json").read_text())["spots"]
    assert {backbone: sorted(found) for backbone, found in models.items()} == {
        "lcnet_050": ["classical"],
        "lcnet_075": ["classical", "hybrid"],
    }


def test_targets_that_are_not_the_labels_are_named(tmp_path: Path) -> None:
    params = make_study(tmp_path)
    file = tmp_path / "results/folds" / FIT / "predictions.safetensors"
    arrays = load_file(file)
    arrays["target"] = (arrays["target"] + 1) % 4
    save_file(arrays, file)
    with pytest.raises(StudyError, match=r"spots/lcnet_050/hybrid: 40 targets are not the labels of their images"):
        build_report(params, tmp_path)


def test_files_of_a_fit_that_are_not_what_was_written_are_named(tmp_path: Path) -> None:
    params = make_study(tmp_path)
    folder = tmp_path / "results/folds" / FIT
    rewrite(tmp_path, FIT, files={"history.csv": "0" * 64})
    with pytest.raises(StudyError, match=r"is damaged \(history\.csv is not what was written\): run `qlcnet train"):
        build_report(params, tmp_path)
    rewrite(tmp_path, FIT, files={})
    text = (folder / "history.csv").read_text().splitlines()
    column = text[0].split(",").index("val_accuracy")
    last = text[-1].split(",")
    last[column] = "0.99"
    (folder / "history.csv").write_text("\n".join([*text[:-1], ",".join(last)]) + "\n")
    with pytest.raises(StudyError, match=r"its history ends with 0\.9900"):
        build_report(params, tmp_path)


def test_class_names_in_any_script_are_text_of_the_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("黑色素瘤", "母斑", "الشامة", "vascular lesion")
    monkeypatch.setattr("tests.report.fold_folders.CLASS_NAMES", names)
    params = make_study(tmp_path)
    caplog.set_level(logging.INFO, "qlcnet")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        build_report(params, tmp_path)
    figures = "".join(path.read_text() for path in (tmp_path / "results/figures").glob("*.svg"))
    assert all(name in figures for name in names)
    assert [record.message for record in caplog.records if "font lacks" in record.message] == [
        "spots: the figures' font lacks 黑色素瘤母斑; browsers draw them in a font of theirs"
    ]
    assert drawable(names) == ("class 0", "class 1", "الشامة", "vascular lesion")
