"""A published study (docs/results/NAME) as what was recorded: its fits with rounded predictions, its summary.json."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file

from qlcnet.fit.fold_folder import CONFIG, PREDICTIONS, TEST, path_in_task
from qlcnet.paths import Project
from qlcnet.publish import FITS, read_published
from qlcnet.publish.repeats import steps_of
from qlcnet.publish.rounding import EXACT
from qlcnet.report.predictions import SCORED_PART
from qlcnet.reproduce.conclusion import Conclusion, compare_conclusions, numbers_of
from qlcnet.reproduce.partial import Partial
from qlcnet.reproduce.recorded import METRICS, SUMMARY, Recorded
from qlcnet.reproduce.revision import ReproduceError

if TYPE_CHECKING:
    from qlcnet.evidence.oof import OOFTable
    from qlcnet.report.study import Fit, ModelResults, Study


def folder_of(project: Path, name: str) -> Path:
    """Where a commit has a published study. Raises ReproduceError where it has none of that name."""
    published = Project(project).published
    if not (published / name / FITS).is_dir():
        known = ", ".join(sorted(path.parent.name for path in published.glob(f"*/{FITS}"))) or "nothing"
        raise ReproduceError(f"--study {name}: the commit has no docs/results/{name} with fits; published is: {known}")
    return published / name


def same_study_as(project: Path) -> Path | None:
    """The published study whose params.yaml is that of the project itself; None where there is none."""
    wanted = (project / "params.yaml").read_bytes()
    for params in sorted(Project(project).published.glob("*/params.yaml")):
        if params.read_bytes() == wanted and (params.parent / FITS).is_dir():
            return params.parent
    return None


def take_published(recorded: Recorded, folder: Path) -> None:
    """Lay the fits of a published study that are not at hand beside those that are, and its numbers where none are.

    Raises ReproduceError where the folder cannot be read.
    """
    origin, study = f"docs/results/{folder.name}", _read(folder)
    recorded.published = folder
    for model in study:
        output = f"results/folds/{model.task}"
        kind = study.params.datasets[model.task].protocol.kind
        for fit, name in _named(model):
            recorded.lists.setdefault(output, {}).setdefault(f"{name.partition('/')[2]}/{CONFIG}", "")
            if recorded.has_fit(name):
                continue
            steps = steps_of(folder / FITS / model.task, fit.repeat, model.backbone, model.model)
            tables = (
                {SCORED_PART[kind]: model.oof, TEST: model.test} if len(model.test) else {SCORED_PART[kind]: model.oof}
            )
            by_part = dict(zip(tables, (steps[key] for key in ("oof", "test") if key in steps), strict=True))
            partial = Partial(origin, {part: None if n == EXACT else n for part, n in by_part.items()}, single=True)
            partial.write(recorded.project.fits / name, fit.config, _arrays(fit, tables), _rows(fit))
            recorded.partial[name] = partial
            recorded.origins[output] = origin
    for path in (SUMMARY, METRICS):
        stated = folder / Path(path).name
        if path not in recorded.origins and stated.is_file():
            (recorded.root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(stated, recorded.root / path)
            recorded.origins[path] = origin


def conclusion_of(
    folder: Path, rebuilt: Mapping[str, str], recorded: Recorded, made: Mapping[str, Path], basis: str
) -> Conclusion:
    """The study's verdicts, from published predictions with those of `made`, as Partial keeps them, in their place.

    rebuilt: texts of the study's files by their names, as publish.rebuild gives them. Both sides are computed by
    today's code, so that a sentence that is worded otherwise now is no change.
    """
    then, now = (recorded.root / "rebuilt" / name for name in ("then.json", "now.json"))
    then.parent.mkdir(exist_ok=True)
    then.write_text(rebuilt["summary.json"], encoding="utf-8")
    equal = all(_bytes(path) == _bytes(recorded.project.fits / fit) for fit, path in made.items())
    now.write_text(then.read_text(encoding="utf-8") if equal else _summary_with(_read(folder), made), encoding="utf-8")
    return compare_conclusions(then, now, basis)


def contradictions_of(folder: Path, rebuilt: Mapping[str, str]) -> list[str]:
    """Numbers of the published summary.json and metrics.json that the published predictions do not give."""
    found = []
    for name in ("summary.json", "metrics.json"):
        stated = json.loads((folder / name).read_text(encoding="utf-8"))
        then, now = (dict(numbers_of(c.get("tasks", c))) for c in (stated, json.loads(rebuilt[name])))
        found += [
            f"docs/results/{folder.name}/{name}: {leaf} is {value}, its predictions give {now[leaf]}"
            for leaf, value in then.items()
            if leaf in now and now[leaf] != value
        ]
    return found


def _read(folder: Path) -> Study:
    try:
        return read_published(folder)
    except (ValueError, OSError, KeyError) as error:
        raise ReproduceError(f"docs/results/{folder.name} cannot be read: {error}") from None


def _named(model: ModelResults) -> Iterator[tuple[Fit, str]]:
    for fit in model.fits:
        yield fit, f"{model.task}/{path_in_task(model.backbone, model.model, fit.repeat, fit.fold).as_posix()}"


def _arrays(fit: Fit, tables: Mapping[int, OOFTable]) -> dict[str, np.ndarray]:
    """Rows of a fit as in predictions.safetensors, from the tables of each part."""
    rows = {part: table.of_fit(fit.repeat, fit.fold) for part, table in tables.items()}
    return {
        "part": np.concatenate([np.full(len(table), part, np.uint8) for part, table in rows.items()]),
        **{
            name: np.concatenate([getattr(table, name) for table in rows.values()])
            for name in ("index", "target", "probabilities")
        },
    }


def _rows(fit: Fit) -> list[dict[str, float]]:
    columns = zip(*(column.tolist() for column in fit.history.values()), strict=True)
    return [dict(zip(fit.history, values, strict=True)) for values in columns]


def _bytes(folder: Path) -> bytes:
    return (folder / PREDICTIONS).read_bytes()


def _summary_with(study: Study, made: Mapping[str, Path]) -> str:
    """summary.json of a study, which is changed, with other predictions of some fits."""
    from qlcnet.report import context_of, texts_of

    for model in study:
        for fit, name in _named(model):
            if name not in made:
                continue
            arrays = load_file(made[name] / PREDICTIONS)
            parts = np.unique(arrays["part"])
            for part, table in zip(parts, (model.oof, model.test), strict=False):
                rows = np.flatnonzero((table.repeat == fit.repeat) & (table.fold == fit.fold))
                rows = rows[np.argsort(table.index[rows], kind="stable")]
                table.probabilities[rows] = arrays["probabilities"][arrays["part"] == part]
    return texts_of(context_of(study))["summary.json"]
