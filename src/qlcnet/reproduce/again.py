"""`qlcnet reproduce`: what is asked for, what will be done, and the verdict on what was."""

from __future__ import annotations

import difflib
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import yaml

from qlcnet import git, machine
from qlcnet.fit.fold_folder import read_provenance
from qlcnet.grid.text import count_text, duration
from qlcnet.paths import Project
from qlcnet.reproduce.compare_fits import FitVerdict
from qlcnet.reproduce.conclusion import Conclusion
from qlcnet.reproduce.from_published import folder_of, same_study_as, take_published
from qlcnet.reproduce.from_remote import fetch_outputs, remote_of
from qlcnet.reproduce.from_tracking import take_tracked
from qlcnet.reproduce.grades import Grade
from qlcnet.reproduce.judge import judge
from qlcnet.reproduce.recompute import (
    STARTS,
    compare_inputs,
    link_fits,
    make_fits,
    make_inputs,
    make_report,
    takes_only,
)
from qlcnet.reproduce.recorded import METRICS, SUMMARY, Recorded, gather, nothing_in
from qlcnet.reproduce.revision import ReproduceError, Revision, resolve
from qlcnet.reproduce.verdict import Verdict
from qlcnet.reproduce.workplace import Workplace, place_of, workplace
from qlcnet.scratch import scratch_folder

log = logging.getLogger("qlcnet")
FETCHED = ("data/raw/", "data/folds/", "results/folds/")  # from DVC's remote; channels are made again


@dataclass(frozen=True)
class Request:
    """start: the first stage that is made again. only: patterns of fits. sample: so many of them, chosen by seed.

    study: a published one of the commit (docs/results), instead of that of its params.yaml.
    """

    asked: str
    start: str = "train"
    only: tuple[str, ...] = ()
    sample: int | None = None
    seed: int = 0
    keep: bool = False
    study: str = ""

    def __post_init__(self) -> None:
        if self.start not in STARTS:
            raise ReproduceError(f"--from {self.start}: expected one of {', '.join(STARTS)}")
        if self.sample is not None and self.sample < 1:
            raise ReproduceError(f"--sample {self.sample}: give 1 or more fits")
        if self.study and self.start == "report":
            raise ReproduceError("--study: the report alone of a published study is `qlcnet report --from`")


def reproduce(root: Path, request: Request) -> Verdict:
    """Run a commit's study again, all or in part, and grade it. Raises ReproduceError where it cannot be run."""
    revision = resolve(root, request.asked)
    with workplace(root, revision, request.keep, request.study) as place:
        recorded, unhad = _find_recorded(root, place, revision, request)
        fits = fits_of(recorded, place.clone / "params.yaml")
        chosen = choose(fits, (*revision.only, *request.only), request.sample, request.seed)
        log.info("%s", what_to_do(root, revision, request, recorded, chosen, len(fits)))
        verdict = Verdict(revision.asked, revision.commit, [], len(fits), Conclusion(None, "nothing was compared"))
        verdict.study, verdict.unchecked = request.study, [*filter(None, [revision.unhad]), *unhad]
        if revision.patch:
            verdict.basis.append(f"edits that no commit had, kept with run {revision.run}: applied")
        made = _recompute(place, recorded, request, chosen, fits, verdict)
        verdict.unchecked += filter(None, [take_tracked(recorded, root, revision, made)])
        judge(root, place, recorded, made, fits, verdict)
        if request.keep:
            verdict.basis.append(f"kept: {place.folder}")
        return verdict


def _find_recorded(root: Path, place: Workplace, revision: Revision, request: Request) -> tuple[Recorded, list[str]]:
    """What the commit recorded, from wherever the user has it; and what could not be had, a line each."""
    folder = place.folder / "recorded"
    unhad: list[str] = []
    if revision.patch:  # what the commit recorded is not of these sources
        return nothing_in(folder), unhad
    if request.study:
        recorded = nothing_in(folder)
        take_published(recorded, folder_of(place.clone, request.study))
        return recorded, unhad
    recorded = gather(root, revision.commit, folder, lambda path: True, place.clone)
    lacking = [path for path in recorded.lock if path.startswith(FETCHED) and not recorded.is_whole(path)]
    if lacking and remote_of(root):
        unhad += filter(None, [fetch_outputs(root, place, lacking)])
        recorded = gather(root, revision.commit, folder, lambda path: True, place.clone)
    published = same_study_as(place.clone)
    if published and not all(recorded.is_whole(path) for path in recorded.lock if path.startswith("results/folds/")):
        take_published(recorded, published)
    return recorded, unhad


def plan(root: Path, request: Request) -> str:
    """What `reproduce` would do, and how long that takes; nothing is made."""
    revision = resolve(root, request.asked)
    with scratch_folder(Project(root).scratch) as scratch:
        recorded = gather(root, revision.commit, scratch / "recorded", lambda path: False)
        params, path = scratch / "params.yaml", "params.yaml"
        if request.study:
            recorded, path = nothing_in(scratch / "recorded"), f"docs/results/{request.study}/params.yaml"
        params.write_text(git.text_at(root, revision.commit, path) or "", encoding="utf-8")
        fits = fits_of(recorded, params)
        chosen = choose(fits, (*revision.only, *request.only), request.sample, request.seed)
        return what_to_do(root, revision, request, recorded, chosen, len(fits))


# --- which fits -----------------------------------------------------------------------------------------------------


def fits_of(recorded: Recorded, params: Path) -> list[str]:
    """Names of all fits of a study: those that were recorded, else those that its params.yaml asks for.

    What the schema takes for `folds` and `repeats` where they are not given has never been another (5 and 1).
    """
    if found := recorded.fits():
        return found
    content = yaml.safe_load(params.read_text(encoding="utf-8"))  # of any age: today's schema may not know its keys
    return [
        f"{task}/{backbone}/{model}/repeat-{repeat}/fold-{fold}"
        for task, settings in content["datasets"].items()
        for backbone in content["backbones"]
        for model in content["models"]
        for repeat in range(settings["protocol"].get("repeats", 1))
        for fold in range(1 if settings["protocol"].get("kind") == "official" else settings["protocol"].get("folds", 5))
    ]


def choose(fits: Sequence[str], patterns: Sequence[str], sample: int | None, seed: int) -> list[str]:
    """The fits that some pattern names (task/backbone/model[/repeat/fold], with * and ?), and of those a sample."""
    chosen = list(fits)
    if patterns:
        chosen = []
        for pattern in patterns:
            wanted = pattern.strip("/")
            found = [fit for fit in fits if fnmatchcase(fit, wanted) or fnmatchcase(fit, f"{wanted}/*")]
            if not found:
                near = difflib.get_close_matches(wanted, fits, n=1, cutoff=0.0)
                raise ReproduceError(f"--only {pattern}: none of the {len(fits)} fits; the nearest is {near[0]}")
            chosen += [fit for fit in found if fit not in chosen]
    if sample is not None and sample < len(chosen):
        chosen = random.Random(seed).sample(sorted(chosen), sample)
    return sorted(chosen)


def what_to_do(
    root: Path, revision: Revision, request: Request, recorded: Recorded, chosen: Sequence[str], total: int
) -> str:
    """The plan in words: commit, fits, stages, where records are from, how long it takes."""
    tasks = sorted({fit.split("/")[0] for fit in chosen})
    first = "images fetched again" if request.start == "raw" else "images verified by checksum"
    stages = f"{first}, folds and channels made again, fits, report"
    if request.start == "report":
        stages = "the report alone"
    elif request.study:
        stages = "images fetched, folds and channels made, fits; verdicts from the published predictions"
    lines = [
        f"reproduce {revision.asked}: commit {revision.commit[:12]}, {len(chosen)} of {count_text(total, 'fit')} "
        f"of {', '.join(tasks)}" + (f", as published in docs/results/{request.study}" if request.study else ""),
        f"  {stages}",
        f"  in {place_of(root, revision, request.study)}",
    ]
    origins = sorted({origin for path, origin in recorded.origins.items() if path.startswith("results/")})
    further = [f"DVC's remote {name}" for name in [remote_of(root)] if name and not request.study]
    further += [f"docs/results/{request.study}" if request.study else "MLflow"]
    lines.append(f"  recorded results: from {', '.join(origins) or 'nothing at hand'}; else {', '.join(further)}")
    if request.start != "report":
        lines.append(f"  time: {_expected(root, recorded, chosen)}")
    return "\n".join(lines)


def _expected(root: Path, recorded: Recorded, chosen: Sequence[str]) -> str:
    """What the fits took when this project's store got them; those that it lacks are counted as the others' mean."""
    store, seconds = Project(root).store, []
    for fit in chosen:
        if fingerprint := recorded.fingerprint_of(fit):
            known = read_provenance(store / fingerprint).get("seconds")
            seconds += [float(known)] if known else []
    if not seconds:
        return "not known, as none of these fits is in this project's store; the progress bar will say"
    total = sum(seconds) / len(seconds) * len(chosen) / min(machine.cores(), len(chosen))
    return (
        f"about {duration(total)} of fits on {count_text(machine.cores(), 'core')}, as they took before, and a minute"
    )


# --- recompute and judge --------------------------------------------------------------------------------------------


def _recompute(
    place: Workplace, recorded: Recorded, request: Request, chosen: Sequence[str], fits: Sequence[str], verdict: Verdict
) -> dict[str, Path]:
    """Run what is asked for; returns the folders of recomputed fits."""
    if request.start == "report":
        verdict.unchecked.append("no fit was run again (--from report)")
        why = make_report(place, recorded, {}, fits, request.start)
        verdict.unchecked += [why] if why else []
        if not why:
            verdict.fits.append(_report_alone(place, recorded))
        return {}
    wanted: list[str] = []
    for task in sorted({fit.split("/")[0] for fit in chosen}):
        make_inputs(place, recorded, task, request.start)
        different, rounded = compare_inputs(place, recorded, task)
        verdict.problems += different
        verdict.inputs += rounded
        if rounded and not different:
            verdict.rounded.add(task)
        whole, of_task = ([fit for fit in some if fit.startswith(f"{task}/")] for some in (fits, chosen))
        if len(of_task) < len(whole) and not takes_only(place):
            log.info("the commit's own code knows no --only: all %d fits of %s are made", len(whole), task)
            of_task = whole
        verdict.run += make_fits(place, task, of_task, is_whole=len(of_task) == len(whole))
        wanted += of_task
    made = link_fits(place, recorded, wanted)
    if lacking := sorted(set(wanted) - made.keys()):
        raise ReproduceError(f"the commit's own code made no fit {lacking[0]} ({len(lacking)} are missing)")
    if not request.study:
        why = make_report(place, recorded, made, fits, request.start)
        verdict.unchecked += [why] if why else []
    return made


def _report_alone(place: Workplace, recorded: Recorded) -> FitVerdict:
    """The grade of a report that was made again from recorded fits."""
    equal = all(
        (recorded.root / path).is_file() and (recorded.root / path).read_bytes() == (place.clone / path).read_bytes()
        for path in (METRICS, SUMMARY)
    )
    return FitVerdict("report", Grade.BYTES if equal else Grade.DIFFERENT, "summary.json and metrics.json")
