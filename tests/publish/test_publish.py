"""A published study: rebuilt from its own files, its repeats kept, no pixels in it, and a page that says the same."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from qlcnet.cli import main
from qlcnet.evidence.metrics import metrics_of
from qlcnet.fit.store import FoldStore
from qlcnet.grid.grid import plan_grid
from qlcnet.paths import Project
from qlcnet.publish import PublishError, link_stored_repeats, publish_study, read_published, rebuild, whole_repeats
from qlcnet.publish.markdown import write_index
from qlcnet.publish.repeats import read_task, repeat_file, write_task
from qlcnet.publish.rounding import (
    EXACT,
    LARGEST_GAP,
    STEPS,
    TOLERANCE,
    least_steps,
    pack,
    probabilities_of,
    steps_below,
    unpack,
)
from qlcnet.report.study import read_study
from tests.grid.projects import TASK
from tests.grid.projects import make_project as make_grid_project
from tests.report.fold_folders import SMALL, make_params, make_study
from tests.tracking.studies import put

REPOSITORY = Path(__file__).resolve().parents[2]
STUDIES = sorted(path.parent for path in (REPOSITORY / "docs/results").glob("*/params.yaml"))
NUMBER = re.compile(r"(?<![\w.])[-+−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
SOURCE = SMALL["datasets"]["spots"]["source"]


def sections(repeats: int = 2, **protocol: Any) -> dict[str, Any]:
    described = {"kind": "pooled-cv", "folds": 2, "repeats": repeats, **protocol}
    if described["kind"] == "official":
        del described["folds"]  # it is one split
    task = {"source": SOURCE, "protocol": described}
    return {
        "datasets": {"spots": task},
        "backbones": {"lcnet_050": {}},
        "evidence": {"primary": {"metric": "accuracy", "compare": [["hybrid", "classical"]]}},
    }


def make_project(root: Path, **changed: Any) -> Path:
    """A finished study with its params.yaml."""
    changed = {**sections(), **changed}
    make_study(root, make_params(**changed), images=60)
    (root / "params.yaml").write_text(yaml.safe_dump({**SMALL, **changed}), encoding="utf-8")
    (root / "declarations.csv").write_text("task,digest,commit,time,fits\nother,none,c,t,0\nspots,none,c,t,0\n")
    return root


def publish(root: Path, name: str = "spots-study") -> Path:
    params = make_params(**yaml.safe_load((root / "params.yaml").read_text()))
    return publish_study(params, root, name)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_project(tmp_path_factory.mktemp("project"))
    publish(root)
    return root


@pytest.fixture
def folder(project: Path) -> Path:
    return project / "docs/results/spots-study"


def differing(folder: Path) -> list[str]:
    """Files that are not what the stored fits give: texts equal, numbers to one unit of their last digit.

    Another machine's sums may differ in their last bit, so a number may round to the other side.
    """
    wrong = []
    for name, text in rebuild(folder).items():
        there = (folder / name).read_text(encoding="utf-8")
        if name == "summary.json":  # versions are those of the machine that makes it
            there, text = (json.dumps(json.loads(one) | {"versions": {}}) for one in (there, text))
        if not same(there, text):
            wrong.append(name)
    return wrong


def same(a: str, b: str) -> bool:
    if a == b:
        return True
    if NUMBER.sub("#", a) != NUMBER.sub("#", b):
        return False
    for one, other in zip(NUMBER.findall(a), NUMBER.findall(b), strict=True):
        if one != other:
            unit = 10.0 ** -len(one.partition(".")[2].partition("e")[0])
            x, y = (float(text.replace("−", "-")) for text in (one, other))
            if abs(x - y) > max(1.01 * unit if "." in one else 0.0, 1e-5 * abs(x) if "e" in one else 0.0):
                return False
    return True


@pytest.mark.parametrize("study", STUDIES, ids=lambda path: path.name)
def test_every_published_table_is_what_its_folder_stores(study: Path) -> None:
    assert differing(study) == []


def test_tables_are_computed_from_what_is_stored(folder: Path) -> None:
    assert differing(folder) == []


def test_a_changed_number_is_found(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    path = tmp_path / "copy/tables/summary.csv"
    text = path.read_text()
    number = re.search(r"0\.\d{6}", text)
    assert number
    changed = f"{float(number[0]) + 0.001:.6f}"
    path.write_text(text.replace(number[0], changed, 1))
    assert differing(tmp_path / "copy") == ["tables/summary.csv"]
    assert same("0.123456 a", "0.123457 a")
    assert not same("0.1234 a", "0.1236 a")
    assert not same("7 a", "8 a")


def test_holds_what_a_stranger_needs_and_no_pixels(project: Path, folder: Path) -> None:
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {
        "README.md", "results.md", "report.html", "params.yaml", "declarations.csv", "summary.json", "metrics.json",
        "curves.csv", "machine.json", "tables/summary.csv", "figures/forest-accuracy.svg", "fits/spots/task.json",
        "fits/spots/images.safetensors.xz", "fits/spots/repeat-0.safetensors.xz", "fits/spots/repeat-1.safetensors.xz",
    } <= names  # fmt: skip
    assert (folder / "README.md").read_bytes() == b""
    assert not [name for name in names if name.endswith((".png", ".npy")) or "examples" in name]
    page = (folder / "report.html").read_text()
    images = re.findall(r"<im(?:age|g)\b[^>]*>", page)
    assert page.count("data:image/") == len(images)
    widths = [int(re.search(r'\bwidth="(\d+)"', image).group(1)) for image in images]  # type: ignore[union-attr]
    assert max(widths) <= 4, "heat maps of models and classes alone; a photograph has 28 pixels"
    for name in names:
        assert str(project).encode() not in (folder / name).read_bytes(), name
    assert (folder / "declarations.csv").read_text() == "task,digest,commit,time,fits\nspots,none,c,t,0\n"


def test_is_the_study_but_for_rounding(project: Path, folder: Path) -> None:
    params = make_params(**yaml.safe_load((project / "params.yaml").read_text()))
    exact, published = read_study(params, project), read_published(folder)
    for one, other in zip(exact, published, strict=True):
        for column in ("repeat", "fold", "index", "target"):
            assert np.array_equal(getattr(one.oof, column), getattr(other.oof, column)), column
        assert np.array_equal(one.oof.probabilities.argmax(1), other.oof.probabilities.argmax(1))
        assert 0 < np.abs(one.oof.probabilities - other.oof.probabilities).max() < LARGEST_GAP
        assert [fit.config for fit in one.fits] == [fit.config for fit in other.fits]
        for mine, theirs in zip(one.fits, other.fits, strict=True):
            assert list(mine.history) == list(theirs.history)
            for name, values in mine.history.items():
                assert theirs.history[name] == pytest.approx(values, rel=1e-6)
    task, other_task = exact.tasks["spots"], published.tasks["spots"]
    assert np.array_equal(task.copies, other_task.copies)
    assert task.cards == other_task.cards
    assert task.images.digest == other_task.images.digest
    assert task.circuits == other_task.circuits


@pytest.mark.parametrize("kind", ["train-cv", "official"])
def test_other_protocols_come_back_row_by_row(tmp_path: Path, kind: str) -> None:
    changed = sections(repeats=1, kind=kind)
    root = make_project(tmp_path, **changed)
    params = make_params(**changed)
    exact = read_study(params, root).tasks["spots"]
    write_task(exact, tmp_path / "out")
    back = read_task("spots", params, tmp_path / "out")
    for key, one in exact.results.items():
        for kind_of in ("oof", "test"):
            mine, theirs = getattr(one, kind_of), getattr(back.results[key], kind_of)
            order = np.lexsort((mine.index, mine.fold))
            for column in ("fold", "index", "target"):
                assert np.array_equal(getattr(mine, column)[order], getattr(theirs, column))
            assert theirs.probabilities == pytest.approx(mine.probabilities[order], abs=LARGEST_GAP)
    assert (len(next(iter(exact.results.values())).test) > 0) == (kind == "train-cv")


def test_repeats_arrive_one_at_a_time(tmp_path: Path) -> None:
    """Repeat 0 is published, then its fits are gone (a new machine), and repeat 1 comes."""
    root = make_project(tmp_path)
    later = tmp_path / "later"
    fits = [path for path in (root / "results/folds").rglob("repeat-1") if path.is_dir()]
    for path in fits:
        path.rename(path.with_name("away"))
    folder = publish(root)
    assert json.loads((folder / "summary.json").read_text())["tasks"]["spots"]["lcnet_050"]["hybrid"]["fits"] == 2
    (folder / "README.md").write_text("half a page")
    first = repeat_file(folder / "fits/spots", 0).read_bytes()
    for path in fits:
        path.with_name("away").rename(path)
        path.with_name("repeat-0").rename(later.with_name(f"later-{path.parent.name}"))
    publish(root)
    assert repeat_file(folder / "fits/spots", 0).read_bytes() == first
    assert json.loads((folder / "summary.json").read_text())["tasks"]["spots"]["lcnet_050"]["hybrid"]["fits"] == 4
    assert (folder / "README.md").read_text() == "half a page"


def test_what_is_not_whole_is_not_published(tmp_path: Path, folder: Path) -> None:
    root = make_project(tmp_path)
    for path in (root / "results/folds/spots").rglob("fold-1"):
        shutil.rmtree(path)
    with pytest.raises(PublishError, match="no repeat with all of its fits: run `qlcnet train spots`"):
        publish(root)
    assert not (root / "docs/results/spots-study").exists()
    shutil.copytree(folder, root / "docs/results/spots-study")  # published with other settings than now
    text = (root / "params.yaml").read_text().replace("epochs: 4", "epochs: 5")
    (root / "docs/results/spots-study/params.yaml").write_text(text)
    with pytest.raises(PublishError, match=r"repeat 0 of spots was published with other settings .*training"):
        read_published(root / "docs/results/spots-study")


def test_markdown_quotes_what_the_summary_says(project: Path, folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    page = (folder / "results.md").read_text()
    accuracy = summary["tasks"]["spots"]["lcnet_050"]["hybrid"]["accuracy"]
    assert f"| {accuracy['oof']:.3f}" in page
    for one in summary["evidence"]["spots"]["comparisons"]:
        if one["role"] == "primary":
            assert one["sentence"][1:] in page
    for figure in re.findall(r"\]\((figures/[^)]+)\)", page):
        assert (folder / figure).is_file()
    index = project / "docs/results/README.md"
    text = index.read_text()
    assert "| [spots-study](spots-study/README.md) | A study of spots | spots: 60 | 2 | 8 |" in text
    index.write_text(text.replace("# Results", "# What was found"))
    write_index(Project(project).published)
    assert index.read_text() == text.replace("# Results", "# What was found")


def test_report_from_a_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    assert main(["report", "--from", "elsewhere", "--out", "again"]) == 0
    assert (tmp_path / "again/report.html").read_bytes() == (folder / "report.html").read_bytes()
    assert main(["report", "--from", "again", "--out", "more"]) == 1
    assert "is no published study" in capsys.readouterr().err
    assert main(["report", "--out", "more"]) == 1


def test_damage_is_named(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = repeat_file(copy / "fits/spots", 1)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"repeat-1.*is damaged"):
        read_published(copy)


# --- rounding -----------------------------------------------------------------------------------------------------


def softmaxes(rows: int, classes: int, scale: float = 4.0) -> np.ndarray:
    logits = np.random.default_rng(5).normal(scale=scale, size=(rows, classes))
    return (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("classes", [2, 7, 100])
def test_the_predicted_class_is_kept(classes: int) -> None:
    p = softmaxes(3000, classes, 0.05)  # nearly level: ties after rounding, if they were not kept apart
    p[:9] = 1 / classes
    assert np.array_equal(probabilities_of(steps_below(p)).argmax(1), p.argmax(1))


def test_a_ratio_is_off_by_half_a_step() -> None:
    p = softmaxes(3000, 7)
    back = probabilities_of(steps_below(p))
    assert back.sum(1) == pytest.approx(np.ones(3000), abs=1e-6)
    ratio = (back / back.max(1, keepdims=True)) / (p / p.max(1, keepdims=True))
    near = p > 0.978 * p.max(1, keepdims=True)  # less than half a step: held apart by a whole one
    assert np.abs(np.log2(ratio[~near])).max() <= 0.5 / STEPS[0] + 1e-5
    assert np.abs(np.log2(ratio[near])).max() <= 1 / STEPS[0] + 1e-5
    assert np.abs(back - p).max() < LARGEST_GAP


def test_what_is_nearly_level_gets_finer_steps() -> None:
    rng = np.random.default_rng(6)
    target = rng.integers(0, 3, 600)
    logits = rng.normal(scale=0.02, size=(600, 3))
    logits[np.arange(600), target] += 0.02
    level, spread = (np.exp(scale * logits) for scale in (1, 70))
    level, spread = (one / one.sum(1, keepdims=True) for one in (level, spread))
    assert least_steps([(target, spread)]) == STEPS[0]
    steps = least_steps([(target, level)])
    assert steps > STEPS[1]
    exact = metrics_of(target, level)
    moved = [
        abs(metrics_of(target, probabilities_of(steps_below(level, n), n))["auc_macro"] - exact["auc_macro"])
        for n in (STEPS[0], steps)
    ]
    assert moved[0] > 0.01
    assert moved[1] <= TOLERANCE
    assert least_steps([(target, spread), (target, level)]) == steps, "the least that does for every fold"
    flat = 1 / 3 + 1e-3 * (level - level.mean())
    assert least_steps([(target, flat / flat.sum(1, keepdims=True))]) == EXACT


def test_worked_by_hand_packed_and_back() -> None:
    p = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0], [2 / 3, 1 / 3, 0.0]], np.float32)
    steps = steps_below(p)
    assert steps.tolist() == [[0, 16, 16], [640, 0, 640], [0, 16, 640]]
    assert np.array_equal(unpack(pack(p, 16), 16), probabilities_of(steps))
    assert np.array_equal(unpack(pack(p, EXACT), EXACT), p)
    assert probabilities_of(steps) == pytest.approx(p, abs=2e-12)
    assert np.array_equal(steps_below(probabilities_of(steps)), steps), "rounding twice is rounding once"


def test_repeats_that_are_whole_in_the_store_are_linked(tmp_path: Path) -> None:
    """As `qlcnet train --only '*/*/repeat-1/*'` leaves them; a part of a repeat is not."""
    task = {"source": {"kind": "digits"}, "protocol": {"kind": "pooled-cv", "folds": 2, "repeats": 3}}
    params = make_grid_project(tmp_path, datasets={TASK: task}, models={"classical": {"inputs": ["image"]}})
    project = Project(tmp_path)
    store = FoldStore(project.store)
    grid = plan_grid(params, TASK, tmp_path, store)

    def keep(repeat: int, folds: tuple[int, ...]) -> list[int]:
        for spec in grid.specs:
            if spec.repeat == repeat and spec.fold in folds:
                put(store, grid, spec)
        link_stored_repeats(params, project, TASK)
        return whole_repeats(params, project, TASK)

    assert keep(1, (0,)) == []
    assert keep(1, (0, 1)) == [1]
    assert keep(2, (1,)) == [1]
    assert keep(0, (0, 1)) == [0, 1]
    shutil.rmtree(store.path(grid.specs[0].fingerprint))
    assert keep(2, (0, 1)) == [0, 1], "what is there is not taken out"


def test_every_number_of_the_readmes_results_is_one_of_a_published_study() -> None:
    """Differences, limits and metrics as they stand in docs/results: none is of an older state."""
    section = (REPOSITORY / "README.md").read_text(encoding="utf-8").split("## What was found")[1].split("\n## ")[0]
    pages = "".join(folder.joinpath("results.md").read_text(encoding="utf-8") for folder in STUDIES)
    said = re.findall(r"[-+]?\d+\.\d{2,}", section)
    assert len(said) > 10
    assert [number for number in said if number not in pages] == []
    linked = re.findall(r"\]\((docs/results/[^)]+)\)", section)
    assert {folder.name for folder in STUDIES} <= {Path(link).parts[2] for link in linked if len(Path(link).parts) > 2}
    assert [link for link in linked if not (REPOSITORY / link).exists()] == []
