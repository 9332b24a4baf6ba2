"""What was recorded held against what was made again: files, fits, metrics, the report and its verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from qlcnet.fit.fold_folder import read_config
from qlcnet.grid.text import count_text
from qlcnet.paths import Project
from qlcnet.publish import rebuild
from qlcnet.reproduce.compare_fits import compare_fit
from qlcnet.reproduce.conclusion import (
    Conclusion,
    compare_conclusions,
    contradictions_of_metrics,
    differing_numbers,
)
from qlcnet.reproduce.from_published import conclusion_of, contradictions_of
from qlcnet.reproduce.from_summary import compare_models
from qlcnet.reproduce.grades import Grade
from qlcnet.reproduce.lock import contradictions, stale
from qlcnet.reproduce.recorded import METRICS, SUMMARY, Recorded, problems_of_fits
from qlcnet.reproduce.spread import Spreads
from qlcnet.reproduce.together import settle
from qlcnet.reproduce.verdict import Verdict
from qlcnet.reproduce.workplace import Workplace, other_packages

RESULTS = ("files", "epoch_weights")  # of config.json: what a fit came to, not what it was made with


def judge(
    root: Path,
    place: Workplace,
    recorded: Recorded,
    made: dict[str, Path],
    fits: Sequence[str],
    verdict: Verdict,
) -> None:
    """Fill the verdict on recomputed fits `made`, by name; fits: names of all fits of the study."""
    at_hand = {fit: recorded.project.fits / fit for fit in made if recorded.has_fit(fit)}
    verdict.problems[:0] = [
        *contradictions(recorded.stages, recorded.cache),
        *recorded.problems,
        *problems_of_fits(at_hand, "recorded"),
        *problems_of_fits(made, "recomputed"),
        *contradictions_of_metrics(recorded),
    ]
    spreads = _spreads(recorded, place)
    for fit, folder in at_hand.items():
        # channels that were rounded otherwise have another digest: that they were is said of them
        excused = ("inputs",) if fit.split("/")[0] in verdict.rounded else ()
        verdict.fits.append(compare_fit(fit, folder, made[fit], partial(spreads.of, fit), excused=excused))
    in_part = {
        fit: recorded.partial[fit].reduce(folder, place.folder / "reduced" / fit)
        for fit, folder in made.items()
        if fit in recorded.partial
    }
    for fit, reduced in in_part.items():
        spread = partial(spreads.of, fit)
        verdict.fits.append(compare_fit(fit, recorded.project.fits / fit, reduced, spread, recorded.partial[fit]))
    verdict.fingerprints = {fit: recorded.fingerprint_of(fit) for fit in made if recorded.knows_fit(fit)}
    verdict.together = settle(verdict.fits)
    links = place.folder / "models"
    verdict.fits += compare_models(recorded, made, fits, place.clone / "params.yaml", links)
    _say_basis(recorded, made, verdict)
    _compare_report(place, recorded, in_part, verdict)
    for judged in verdict.fits:
        verdict.differs |= {key: pair for key, pair in judged.differs.items() if key.split(".")[0] not in RESULTS}
    verdict.differs |= {f"package {name}": pair for name, pair in other_packages(root, place.clone).items()}
    if lines := stale(recorded.stages, place.clone):
        verdict.differs |= {f"dvc.lock: {line}": ("an earlier state", "the commit's") for line in lines}
    if made:
        verdict.machine = read_config(next(iter(made.values()))).get("computed_on", {})


def _spreads(recorded: Recorded, place: Workplace) -> Spreads:
    """Of the recorded fits, where all are at hand; else of the recomputed ones."""
    whole = all(map(recorded.knows_fit, recorded.fits()))
    return Spreads(recorded.project.fits if whole else Project(place.clone).fits)


def _say_basis(recorded: Recorded, made: dict[str, Path], verdict: Verdict) -> None:
    for path, origin in sorted(recorded.origins.items()):
        if path.startswith("results/folds/") or path == SUMMARY:
            verdict.basis.append(f"recorded {path}: {origin}")
    verdict.basis.append(f"{count_text(verdict.run, 'fit')} run now" + (
        f", {len(made) - verdict.run} by a run before that was interrupted or kept" if verdict.run < len(made) else ""
    ))  # fmt: skip
    at_hand = [fit for fit in made if recorded.knows_fit(fit)]
    if len(at_hand) < verdict.total:
        verdict.unchecked.append(f"{len(at_hand)} of {verdict.total} fits were compared")
    if lacking := sorted(set(made) - set(at_hand)):
        verdict.unchecked.append(f"recorded predictions of {count_text(len(lacking), 'fit')} are not at hand")


def _compare_report(place: Workplace, recorded: Recorded, in_part: dict[str, Path], verdict: Verdict) -> None:
    """Numbers and verdicts of the report: where all fits are the same, so must they be."""
    again, then = Project(place.clone).results, recorded.project.results
    if recorded.published and (verdict.study or any("report not recomputed" in line for line in verdict.unchecked)):
        rebuilt = rebuild(recorded.published)
        verdict.problems += contradictions_of(recorded.published, rebuilt)
        basis = f"from {len(in_part)} recomputed fits of {verdict.total}, the others as published, by today's code"
        verdict.conclusion = conclusion_of(recorded.published, rebuilt, recorded, in_part, basis)
        return
    if any("report not recomputed" in line for line in verdict.unchecked):
        verdict.conclusion = Conclusion(None, "the report was not recomputed")
        return
    basis = f"from {len(verdict.fits)} recomputed fits of {verdict.total}"
    verdict.conclusion = compare_conclusions(then / "summary.json", again / "summary.json", basis)
    found = []
    for path, section in ((METRICS, ""), (SUMMARY, "tasks"), (SUMMARY, "evidence")):
        if (recorded.root / path).is_file() and (place.clone / path).is_file():
            lines = differing_numbers(recorded.root / path, place.clone / path, section)
            found += [f"{path}: {section + '.' if section else ''}{line}" for line in lines]
    same = all(fit.grade == Grade.BYTES for fit in verdict.fits) and not verdict.inputs
    if same:
        verdict.problems += [line for line in found if line not in verdict.problems]
    else:
        verdict.report += found
