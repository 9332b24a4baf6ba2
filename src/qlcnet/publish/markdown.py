"""Numbers for README files that nobody types: results.md of a study, and the table of all studies.

Both are written from summary.json and the CSV tables beside it, so that they say what the report says.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from qlcnet.config import load_params
from qlcnet.evidence.sentences import WORDS
from qlcnet.paths import Project
from qlcnet.report.reproductions import Reproduced, read_reproductions
from qlcnet.whole import write_whole

BEGIN = "<!-- studies: `qlcnet publish` writes from here -->"
END = "<!-- studies: to here -->"
INTRODUCTION = (
    "# Results\n\nThe published studies, in one table. How they came here: [publishing.md](../publishing.md).\n"
)
METRICS = ("accuracy", "balanced_accuracy", "auc_macro", "loss")
DIGITS = 3


def result_page(folder: Path, title: str) -> str:
    """The text of results.md: answers, declared comparisons, claims, metrics of models, issues, one forest plot."""
    found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    lines = [
        f"# {title}",
        "",
        "Written by `qlcnet publish` from the files beside it; the whole report is `report.html`. Intervals: 95 %.",
        "",
    ]
    for task, of_task in found["tasks"].items():
        data, evidence = found["data"][task], found["evidence"][task]
        fits = sum(model["fits"] for models in of_task.values() for model in models.values())
        lines += [f"## {task}", "", f"{data['scored']:,} images scored, {fits:,} fits.", ""]
        lines += [*(f"- {_whole(one)}" for one in evidence["answers"]), ""] if evidence["answers"] else []
        primary = [one for one in evidence["comparisons"] if one["role"] == "primary"]
        if primary:
            lines += ["Declared comparisons:", "", *(f"- {_whole(one['sentence'])}" for one in primary), ""]
        if evidence["claims"]:
            lines += ["The paper's claims:", "", *(f"- {_whole(one['sentence'])}" for one in evidence["claims"]), ""]
        header = ["Backbone", "Model", "Fits", *(WORDS.get(name, name) for name in METRICS)]
        lines += [*table(header, [*_models(of_task)]), ""]
    lines += _leaks(folder / "tables/leaks.csv")
    plots = sorted((folder / "figures").glob("forest-*.svg"))
    if plots:
        lines += [f"![Differences of each pair, with intervals](figures/{plots[0].name})", ""]
    with (folder / "tables/checks.csv").open(encoding="utf-8", newline="") as file:
        issues = [row for row in csv.DictReader(file) if row["state"] == "issue"]
    if issues:
        lines += ["How it could be wrong:", "", *(f"- {row['code']}, {row['title']}: {row['found']}" for row in issues)]
    return "\n".join(lines).rstrip("\n") + "\n"


def _leaks(path: Path) -> list[str]:
    """What folds that tear groups apart add, where a study has both kinds."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        found = [row for row in csv.DictReader(file) if row["difference"]]
    header = ["Folds", "Backbone", "Model", "Metric", "Difference"]
    rows = [
        [
            f"{row['ungrouped']} − {row['grouped']}",
            row["backbone"],
            row["model"],
            WORDS.get(row["metric"], row["metric"]),
            f"{float(row['difference']):+.4f} ({float(row['low']):+.4f} to {float(row['high']):+.4f})",
        ]
        for row in found
    ]
    title = "What folds that tear groups apart add (the same networks, paired by image):"
    return [title, "", *table(header, rows), ""]


def write_index(published: Path) -> None:
    """docs/results/README.md: what stands outside of the marks is left alone."""
    path = published / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else f"{INTRODUCTION}\n{BEGIN}\n{END}\n"
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"{path} lacks the lines {BEGIN} and {END}, between which the studies stand: put them back")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    studies = sorted(folder for folder in published.iterdir() if (folder / "summary.json").is_file())
    header = ["Study", "Asked", "Images", "Models", "Fits", "Declared comparisons", "Run again", "Report"]
    records = read_reproductions(Project(published.parents[1]).reproductions)
    rows = [_study(folder, records) for folder in studies if not folder.name.startswith(".")]
    write_whole(path, before + "\n".join([BEGIN, "", *table(header, rows), "", END]) + after)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    cells = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return ["| " + " | ".join(row) + " |" for row in cells]


def _study(folder: Path, records: Sequence[Reproduced]) -> list[str]:
    found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    models = [model for of_task in found["tasks"].values() for of_b in of_task.values() for model in of_b.items()]
    primary = Counter(
        one["verdict"]
        for evidence in found["evidence"].values()
        for one in evidence["comparisons"]
        if one["role"] == "primary"
    )
    words = ", ".join(f"{number} {word}" for word, number in primary.most_common()) or "none"
    return [
        f"[{folder.name}]({folder.name}/README.md)",
        load_params(folder / "params.yaml").report.title,
        ", ".join(f"{task}: {data['scored']:,}" for task, data in found["data"].items()),
        str(len({name for name, _ in models})),
        f"{sum(model['fits'] for _, model in models):,}",
        words,
        "; ".join(one.words for one in records if one.study == folder.name) or "–",
        f"[numbers]({folder.name}/results.md), [page]({folder.name}/report.html)",
    ]


def _models(of_task: dict[str, Any]) -> Iterator[list[str]]:
    for backbone, models in of_task.items():
        for model, found in models.items():
            cells = [_value(name, found[name]) for name in METRICS]
            yield [backbone, model, str(found["fits"]), *cells]


def _value(metric: str, found: dict[str, Any]) -> str:
    """What its interval is of (Estimate.shown): out-of-fold, but of the macro AUC the mean over fits."""
    low, high = found["ci_low"], found["ci_high"]
    value = found["fold_mean" if metric == "auc_macro" and low is not None else "oof"]
    if value is None:
        return "–"
    text = f"{value:.{DIGITS}f}"
    return text if low is None else f"{text} ({low:.{DIGITS}f} to {high:.{DIGITS}f})"


def _whole(sentence: str) -> str:
    """A sentence with its capital and its full stop."""
    return sentence[0].upper() + sentence[1:] + ("" if sentence.endswith(".") else ".")
