"""The report: JSON and CSV files, figures and one self-contained page, all a pure function of a study's files."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from qlcnet.config import Params
from qlcnet.paths import Project
from qlcnet.whole import write_whole

if TYPE_CHECKING:
    from qlcnet.report.content import Context
    from qlcnet.report.study import Study

log = logging.getLogger("qlcnet")
TABLES = "tables/"


def build_report(params: Params, root: Path) -> None:
    """Write metrics.json, summary.json, curves.csv, tables/, figures/ and report.html into results/ of `root`.

    Folders of results/folds whose task params.yaml no longer lists are removed first; models and backbones that it no
    longer lists are left out. Raises StudyError, OOFError or DataError naming what is missing and the command that
    makes it; then nothing of an earlier report is changed.
    """
    # matplotlib, numba and jinja2 take a second to import: not for those who only name this function
    from qlcnet.report.study import read_study, remove_unlisted

    project = Project(root)
    for name in remove_unlisted(params, project.fits):
        log.info("removed results/folds/%s: params.yaml no longer lists it", name)
    write_report(read_study(params, root), project.results)


def write_report(study: Study, results: Path) -> None:
    """The same files of a study in memory, into the folder `results`."""
    from qlcnet.report.page import Page
    from qlcnet.report.sections import SECTIONS
    from qlcnet.report.style import figure_style, lacking

    context = context_of(study)
    for name, task in study.tasks.items():
        if letters := lacking(task.images.class_names):
            log.info("%s: the figures' font lacks %s; browsers draw them in a font of theirs", name, letters[:40])
    page = Page()
    with figure_style():
        built = [(section, list(section.build(context))) for section in SECTIONS]
        html = page.render(study.params.report.title, [(section, blocks) for section, blocks in built if blocks])
    files = texts_of(context)
    tables = {name.removeprefix(TABLES): text for name, text in files.items() if name.startswith(TABLES)}
    _write_folder(results / "tables", {name: text.encode() for name, text in tables.items()})
    _write_folder(results / "figures", page.figures)
    for name in files.keys() - {TABLES + name for name in tables}:
        write_whole(results / name, files[name])
    write_whole(results / "report.html", html)
    log.info("report: %s (%.1f MB)", results / "report.html", len(html) / 1e6)


def context_of(study: Study) -> Context:
    """The study with its summaries and comparisons."""
    from qlcnet.report.content import Context
    from qlcnet.report.differences import gather
    from qlcnet.report.summary import summarise

    summaries = summarise(study)
    return Context(study, summaries, gather(study, summaries))


def texts_of(context: Context) -> dict[str, str]:
    """Text of every file of numbers and sentences beside the page, by its path below results/."""
    from qlcnet.report.difference_tables import evidence_json
    from qlcnet.report.latex import tex_tables
    from qlcnet.report.paper_text import methods_text, results_text
    from qlcnet.report.summary import metrics_json, summary_json
    from qlcnet.report.tables import csv_tables, curves_csv

    tables = {
        **csv_tables(context),
        **tex_tables(context),
        "methods.txt": methods_text(context),
        "results.txt": results_text(context),
    }
    return {
        **{TABLES + name: text for name, text in tables.items()},
        "curves.csv": curves_csv(context.study),
        "summary.json": summary_json(context.study, context.summaries, evidence_json(context.differences)),
        "metrics.json": metrics_json(context.summaries),
    }


def _write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Exactly these files: those of an earlier report go."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, content in sorted(files.items()):
        (folder / name).write_bytes(content)
