"""Sentences, checklists, LaTeX, the paper beside us: complete, escaped, from the study's own numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qlcnet.evidence.verdicts import Verdict
from qlcnet.report import build_report
from qlcnet.report.checklists import ANSWERS, FOR_THE_AUTHOR, SOURCES, filled_in, items
from qlcnet.report.content import Context, Table
from qlcnet.report.differences import gather
from qlcnet.report.latex import escaped, tabular
from qlcnet.report.methods import circuit_words, methods
from qlcnet.report.page import as_cell
from qlcnet.report.paper_section import paper
from qlcnet.report.study import Study, read_study
from qlcnet.report.summary import summarise
from tests.report.fold_folders import SMALL, make_params, make_study

SOURCE = SMALL["datasets"]["spots"]["source"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    build_report(make_study(root), root)
    return root


@pytest.fixture(scope="module")
def study(root: Path) -> Study:
    return read_study(make_params(), root)


def test_methods_say_what_was_run(study: Study) -> None:
    said = methods(study)
    assert list(said) == ["Data", "Folds", "Networks", "Circuits", "Training", "Statistics", "Software and machine"]
    counts = study.tasks["spots"].class_counts.tolist()
    assert f"120 colour images of 28x28 pixels in 4 classes (naevus {counts[0]}, melanoma {counts[1]}" in said["Data"]
    assert study.tasks["spots"].images.digest[:16] in said["Data"]
    assert said["Folds"].startswith(
        "Stratified 3-fold cross-validation of all images; parts are disjoint by image, but not"
    )
    assert "the seed 42" in said["Folds"]
    assert "lcnet_050 (609,111 parameters) and lcnet_075 (610,111 parameters)" in said["Networks"]
    assert "quantum head behind a neck of 4" in said["Networks"]
    assert "RY(πx) of each pixel x, then a random ansatz of 1 layer with 4 rotations each (seed 42)" in said["Circuits"]
    assert "adam, learning rate 0.001" in said["Training"]
    assert "corrected resampled t test" in said["Statistics"]
    assert "torch 2.15.0" in said["Software and machine"], "the version that the fits had"


def test_circuits_of_every_kind_have_words() -> None:
    circuits = {
        "a": {"encoding": "rxy", "ansatz": "none", "uploads": 2, "shots": 1000},
        "b": {"ansatz": "entangled", "layers": 3, "colour": "channels", "noise": {"depolarizing": 0.1}},
        "c": {"file": "mine.qasm", "md5": "0" * 32},
    }
    words = {name: circuit_words(one) for name, one in make_params(
        circuits=circuits, models={"m": {"inputs": ["image"]}}).circuits.items()}  # fmt: skip
    assert "rotations RX(πx) and RY(πx) of each pixel x, entered 2 times, then no further gates" in words["a"]
    assert "expectation values of 1,000 shots" in words["a"]
    assert "of each colour channel" in words["b"]
    assert "entangling ansatz of 3 layers" in words["b"]
    assert "with simulated noise" in words["b"]
    assert "the OpenQASM program mine.qasm (MD5 000" in words["c"]


def test_checklists_are_filled_in_or_left_to_the_author(study: Study) -> None:
    filled = filled_in(study)
    assert filled.keys() == SOURCES.keys()
    assert {item.answer for item in items()} - {""} == ANSWERS.keys(), "every answer is asked for"
    for rows in filled.values():
        assert rows
        assert all(answer.strip() for _, answer in rows)
        assert all((answer == FOR_THE_AUTHOR) == (not item.answer) for item, answer in rows)
        numbers = [item.item for item, _ in rows if item.item]
        assert len(numbers) == len(set(numbers))
    disjoint = {item.item: answer for item, answer in filled["CLAIM 2024"]}["20"]
    assert "disjoint by image, but not by group (60 groups)" in disjoint


def test_page_and_files_have_them(root: Path) -> None:
    html = (root / "results/report.html").read_text(encoding="utf-8")
    section = html[html.index('<section id="writing"') :]
    section = section[: section.index("</section>")]
    assert section.count("<details>") == 2 + len(SOURCES), "all folded away"
    for guideline, source in SOURCES.items():
        assert f"Checklist: {guideline}" in section
        assert source.split("doi:")[1] in section
    text = (root / "results/tables/methods.txt").read_text(encoding="utf-8")
    assert text.startswith("Data. Spots (licence: CC0-1.0)")
    assert "Beside the paper" not in html, "spots are not the paper's images"


def test_latex_escapes_everything() -> None:
    assert escaped(r"a_b & 5 % #1 {x} ~ ^ \ $") == (
        r"a\_b \& 5 \% \#1 \{x\} \textasciitilde{} \textasciicircum{} \textbackslash{} \$"
    )
    table = tabular(["A", "B_1"], [["x & y", "1 ± 2"]], 1, "50 % of it", "tab:My_Study")
    assert r"\begin{tabular}{lc}" in table
    assert r"A & B\_1 \\" in table
    assert r"x \& y & 1 $\pm$ 2 \\" in table
    assert r"\caption{50 \% of it}" in table
    assert r"\label{tab:-y--tudy}" in table


def test_latex_has_every_model_and_balanced_rows(root: Path) -> None:
    text = (root / "results/tables/summary.tex").read_text(encoding="utf-8")
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    assert len(body) == 4
    assert all(len(re.findall(r"(?<!\\)&", row)) == 6 and row.endswith(r" \\") for row in body)
    assert body[1].startswith(r"lcnet\_050 & hybrid & ")
    assert not re.search(r"(?<!\\)[_%#]", text.split("\n", 1)[1].replace(r"\label{tab:spots-summary}", ""))
    assert text.count(r"\begin{") == text.count(r"\end{") == 2


def test_the_papers_figures_stand_beside_a_rebuilt_set(tmp_path: Path) -> None:
    task = {"source": {**SOURCE, "classes_of": "dermamnist"}, "protocol": {"folds": 3, "grouped": True}}
    params = make_params(datasets={"spots": task})
    make_study(tmp_path, params)
    study = read_study(params, tmp_path)
    summaries = summarise(study)
    context = Context(study, summaries, gather(study, summaries))
    blocks = paper(context)
    assert "rebuilt from HAM10000: not the same file" in blocks[1].text  # type: ignore[union-attr]
    levels, differences = (block for block in blocks if isinstance(block, Table))
    first = [as_cell(cell).text for cell in levels.rows[0]]
    assert first[:4] == ["lcnet_050", "Accuracy", "classical", "0.5457 ± 0.0231"]
    assert len(levels.rows) == 2 * 2 * 3
    assert len(differences.rows) == 2 * 3
    row = [as_cell(cell).text for cell in differences.rows[0]]
    summary = context.summaries["spots"]
    means = [summary["lcnet_050", model].oof.metrics["accuracy"].fold_mean for model in ("classical", "hybrid")]
    assert row[2:4] == ["+0.0668", f"{means[1] - means[0]:+.4f}"]
    (line,) = [
        line
        for _, line in context.differences.lines()
        if line.contrast.metric == "accuracy" and line.contrast.backbones == ("lcnet_050",)
    ]
    assert isinstance(line.verdict, Verdict)
    assert row[5] == ("yes" if line.verdict.unadjusted.low <= 0.0668 <= line.verdict.unadjusted.high else "no")
