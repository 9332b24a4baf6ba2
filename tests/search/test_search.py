"""A whole search on a tiny project: nested, two models, tracked, written, taken over; each part looked at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from mlflow import MlflowClient

from qlcnet.config import load_params
from qlcnet.evidence.verdicts import Verdict
from qlcnet.fit.fold_folder import read_config
from qlcnet.fit.store import FoldStore
from qlcnet.grid.grid import plan_grid
from qlcnet.grid.in_use import fingerprints_in_use
from qlcnet.paths import Project
from qlcnet.search.errors import TuningError
from qlcnet.search.outcome import SearchRecord, outcome_of
from qlcnet.search.preset import preset_of, write_preset
from qlcnet.search.results import write_results
from qlcnet.search.tracked import still_running, tracked
from qlcnet.search.trial_store import TrialStore
from qlcnet.search.tune import Asked, Found, tune
from qlcnet.search.words import found_text
from qlcnet.tracking import live_searches
from qlcnet.tracking.live_searches import LiveSearches
from qlcnet.tracking.searches import TrackedSearch, track_searches
from tests.grid.projects import TASK, make_project
from tests.tracking.conftest import copy_store

TRIALS, FOLDS = 2, 2
SPACE = {
    "training.learning_rate": {"low": 1e-4, "high": 3e-2, "log": True},
    "models.hybrid.head.normalise": [True, False],
}
ASKED = Asked(TASK, ("classical", "hybrid"), trials=TRIALS, workers=2, nested=True)


@dataclass
class Searched:
    root: Path
    found: Found
    folder: Path
    followed: list[SearchRecord]  # as it stood after each settled trial


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    root = tmp_path_factory.mktemp("searched") / "project"
    params = make_project(root, epochs=1, tuning={"folds": FOLDS, "metric": "accuracy", "space": SPACE})
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    followed: list[SearchRecord] = []
    found = tune(params, root, ASKED, lambda search, now: followed.append(now()))
    return Searched(root, found, write_results(found, root), followed)


def test_each_model_has_the_same_budget_in_each_outer_training_part(searched: Searched) -> None:
    records = [one.search for one in searched.found.outcomes]
    assert [(one.model, one.fold) for one in records] == [(m, f) for f in range(3) for m in ("classical", "hybrid")]
    for one in records:
        assert [trial.number for trial in one.trials] == list(range(TRIALS))
        assert one.trials[0].setting["training.learning_rate"] == 0.001
        assert set(one.bounds) == set(SPACE if one.model == "hybrid" else ["training.learning_rate"])
    # one seed: what both models search is drawn alike
    rates = {one.model: [trial.setting["training.learning_rate"] for trial in one.trials] for one in records}
    assert rates["classical"][0] == rates["hybrid"][0]


def test_trials_are_kept_with_predictions_and_without_weights(searched: Searched) -> None:
    trials = TrialStore(Project(searched.root))
    fits = {fit for one in searched.found.outcomes for trial in one.search.trials for fit in trial.fits}
    assert fits <= {entry.fingerprint for entry in trials.entries()}
    for fingerprint in fits:
        names = {path.name for path in trials.path(fingerprint).iterdir()}
        assert names == {"config.json", "history.csv", "predictions.safetensors", "provenance.json"}
        assert trials.problem(fingerprint) is None
        assert fingerprint not in trials.whole


def test_run_again_it_does_nothing_and_says_the_same(searched: Searched) -> None:
    def stored() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in Project(searched.root).trial_fits.rglob("*.safetensors")}

    before = stored()
    again = tune(load_params(searched.root / "params.yaml"), searched.root, ASKED)
    assert found_text(again) == found_text(searched.found)
    assert [(one.default, one.tuned) for one in again.nested] == [
        (one.default, one.tuned) for one in searched.found.nested
    ]
    assert stored() == before


def test_more_trials_go_on_with_those_that_are_there(searched: Searched) -> None:
    more = tune(load_params(searched.root / "params.yaml"), searched.root, replace(ASKED, trials=TRIALS, nested=False))
    for one in more.outcomes:
        before = next(o for o in searched.found.outcomes if o.search.name == one.search.name)
        assert one.search.trials == before.search.trials


def test_outer_folds_are_scored_by_whole_fits_that_a_study_finds(searched: Searched) -> None:
    """The winner, refitted on the outer training part, is the fit that `train` plans for its settings."""
    root, found = searched.root, searched.found
    store = FoldStore(Project(root).store)
    grid = plan_grid(load_params(root / "params.yaml"), TASK, root, store)
    # of the hybrid the fixture's channels are noise, which a search makes anew as their circuit says
    assert {spec.model_name for spec in grid.todo} <= {"hybrid"}
    assert [one.model for one in found.nested] == ["classical", "hybrid"]
    for one in found.nested:
        assert one.folds == (0, 1, 2)
        assert len(one.default) == len(one.tuned) == 3
        assert 0 <= one.overtuned <= 3
        assert one.overtuned == sum(np.array(one.tuned) < np.array(one.default))
    text = found_text(found)
    assert "on 3 outer folds that no search saw" in text
    assert "ended worse than their default (overtuning)" in text


def test_a_winner_fitted_again_has_the_bytes_of_its_trial(searched: Searched, tmp_path: Path) -> None:
    """Its trial kept no weights but their digest: fitted again in another place, whole, all files are the same."""
    winner = next(one.winner for one in searched.found.outcomes if one.search.model == "hybrid")
    before = read_config(TrialStore(Project(searched.root)).path(winner.fits[0]))
    root = tmp_path / "again"
    make_project(root, epochs=1, tuning={"folds": FOLDS, "metric": "accuracy", "space": SPACE})
    again = tune(load_params(root / "params.yaml"), root, Asked(TASK, ("hybrid",), trials=TRIALS, workers=1))
    (outcome,) = again.outcomes
    assert outcome.search.trials[winner.number].fits[0] == winner.fits[0]
    after = read_config(TrialStore(Project(root)).path(winner.fits[0]))
    assert after["files"] == before["files"]
    assert "weights.safetensors" in before["files"]


def test_prune_keeps_what_a_search_uses(searched: Searched) -> None:
    root = searched.root
    used = fingerprints_in_use(load_params(root / "params.yaml"), root)
    every = {fit for one in searched.found.outcomes for trial in one.search.trials for fit in trial.fits}
    assert every <= used
    whole = {entry.fingerprint for entry in FoldStore(Project(root).store).entries()}
    assert whole <= used  # the refitted winners too


def test_the_page_and_its_files(searched: Searched) -> None:
    html = (searched.folder / "search.html").read_text()
    for words in ("optimistic", "On folds that no search saw", "Overtuning", "seed", "pruned", "best − bias"):
        assert words in html, words
    assert "http://" not in html.replace("http://www.w3.org", "")
    found = json.loads((searched.folder / "search.json").read_text())
    assert len(found["searches"]) == 6
    assert len(found["nested"]) == 2
    rows = (searched.folder / "trials.csv").read_text().splitlines()
    assert len(rows) == 1 + 6 * TRIALS
    assert "</svg>" in (searched.folder / "figures" / "history.svg").read_text()


@pytest.fixture
def tracked_root(searched: Searched, empty_store: Path) -> Path:
    if not (searched.root / "mlruns" / "mlflow.db").is_file():
        copy_store(empty_store, searched.root)
    return searched.root


def test_one_run_a_search_with_its_trials_below_and_nothing_twice(searched: Searched, tracked_root: Path) -> None:
    made = track_searches(tracked_root, tracked(searched.found, searched.folder))
    assert made in (0, 6 * (1 + TRIALS))
    assert track_searches(tracked_root, tracked(searched.found, searched.folder)) == 0
    client = MlflowClient(f"sqlite:///{tracked_root}/mlruns/mlflow.db")
    ids = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(ids, max_results=1000)
    parents = [run for run in runs if run.data.tags.get("kind") == "search"]
    assert len(parents) == 6
    for parent in parents:
        assert "mlflow.parentRunId" not in parent.data.tags
        children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        outcome = next(o for o in searched.found.outcomes if o.search.name == parent.data.tags["study"])
        assert sorted(run.data.tags["trial"] for run in children) == ["0", "1"]
        for run in children:
            trial = outcome.search.trials[int(run.data.tags["trial"])]
            assert run.data.metrics["accuracy"] == pytest.approx(trial.value)
            steps = client.get_metric_history(run.info.run_id, "fold_accuracy")
            assert {point.step: point.value for point in steps} == dict(enumerate(trial.values))
            assert run.data.params["training.learning_rate"] == str(trial.setting["training.learning_rate"])
        assert parent.data.metrics["value_optimistic"] == pytest.approx(outcome.winner.value)
        assert "outer_tuned_accuracy" in parent.data.metrics


def test_a_search_is_followed_trial_by_trial(searched: Searched) -> None:
    for one in searched.found.outcomes:
        counts = [len(record.trials) for record in searched.followed if record.name == one.search.name]
        assert len(counts) == TRIALS
        assert counts[-1] == TRIALS
        assert counts == sorted(counts)


def test_trials_are_in_mlflow_while_the_search_runs(
    searched: Searched, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_searches, "PAUSE", 0.01)
    root = copy_store(empty_store, tmp_path / "live")
    outcome = searched.found.outcomes[0]
    whole = outcome.search
    client = MlflowClient(f"sqlite:///{root}/mlruns/mlflow.db")

    def seen(status: str, children: int) -> bool:
        ids = [one.experiment_id for one in client.search_experiments()]
        runs = client.search_runs(ids)
        parents = [run.info.status for run in runs if run.data.tags.get("kind") == "search"]
        return parents == [status] and len(runs) == 1 + children

    def wait_for(status: str, children: int) -> None:
        end = time.monotonic() + 30
        while not seen(status, children):
            assert time.monotonic() < end, f"not {status} with {children}"
            time.sleep(0.02)

    def stand(trials: int) -> TrackedSearch:
        return still_running(replace(whole, trials=whole.trials[:trials]))

    def stopped_after_one() -> None:
        with LiveSearches(root) as live:
            live.settled(whole.name, lambda: stand(1))
            wait_for("RUNNING", 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_after_one()
    assert seen("KILLED", 1)
    with LiveSearches(root) as live:  # and again: it goes on
        live.settled(whole.name, lambda: stand(2))
        wait_for("RUNNING", 2)
    found = tracked(replace(searched.found, outcomes=(outcome,)), None)
    assert track_searches(root, found) == 0
    assert seen("FINISHED", 2)
    with LiveSearches(root) as live:  # run a third time: nothing was settled, nothing changes
        live.settled(whole.name, lambda: stand(2))
    assert seen("FINISHED", 2)


# --- the preset -------------------------------------------------------------------------------------------------------


def taken(searched: Searched, setting: dict[str, object]) -> Found:
    """The same search with this setting found for the hybrid, and with nothing gained for the other."""
    outcomes = []
    for one in searched.found.outcomes[:2]:
        default, (_, other) = one.search.trials[0], one.search.trials
        if one.search.model == "hybrid":
            other = replace(other, setting=setting, values=(0.93, 0.95))
            search = replace(one.search, trials=(replace(default, values=(0.31, 0.33)), other))
            found = outcome_of(search, 0.01, 0.05)
            assert found
            outcomes.append(replace(found, verdict=_better(found.verdict)))
        else:
            outcomes.append(replace(one, winner=default, verdict=None))
    return replace(searched.found, outcomes=tuple(outcomes), nested=())


def _better(verdict: object) -> object:
    assert isinstance(verdict, Verdict)
    return replace(verdict, word="better")


def test_the_winner_is_a_preset_that_a_person_commits(searched: Searched) -> None:
    root = searched.root
    found = taken(searched, {"training.learning_rate": 0.02, "models.hybrid.head.normalise": False})
    path = root / "studies" / "tuned.yaml"
    before = (root / "params.yaml").read_bytes()
    said = write_preset(found, path, root)
    assert "commit it, then `qlcnet study use tuned`" in said
    assert (root / "params.yaml").read_bytes() == before
    params = load_params(path)
    assert params.models["hybrid"].training == {"learning_rate": 0.02}
    assert params.models["hybrid"].head.normalise is False
    assert params.models["hybrid"].head.kind == "quantum"
    assert params.models["classical"].training == {}
    assert path.read_text().startswith("# tuned: classical, hybrid of squares as found by `qlcnet tune`")
    with pytest.raises(TuningError, match="git does not have it as it is"):
        write_preset(found, path, root)
    with pytest.raises(TuningError, match="a search never changes it"):
        write_preset(found, root / "params.yaml", root)


def test_a_searched_circuit_is_one_of_its_own_in_the_preset(searched: Searched) -> None:
    raw = yaml.safe_load((searched.root / "params.yaml").read_text())
    tuned = preset_of(raw, taken(searched, {"circuits.ry.seed": 7, "backbones.lcnet_035.strides": [1, 2, 2, 2, 2]}))
    assert tuned["circuits"]["ry"] == {"ansatz": "none"}
    assert tuned["circuits"]["ry-hybrid"] == {"ansatz": "none", "seed": 7}
    assert tuned["models"]["hybrid"]["inputs"] == ["image", "quanv:ry-hybrid"]
    assert tuned["backbones"]["lcnet_035-hybrid"]["architecture"] == "lcnet_035"


# --- for who wants a search in DVC ------------------------------------------------------------------------------------


def test_the_stage_of_the_docs_runs_and_is_up_to_date_then(searched: Searched) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "search.md").read_text(encoding="utf-8")
    block = page.split("## In DVC", 1)[1].split("```yaml\n", 1)[1].split("```", 1)[0]
    block = block.replace("digits", TASK).replace("--model classical", "--models classical,hybrid")
    stage = yaml.safe_load(block)
    root = searched.root
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stage}))
    dvc = [sys.executable, "-m", "dvc"]
    # the stage calls `qlcnet`: of the environment that runs the tests
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def run(*arguments: str) -> str:
        return subprocess.run([*dvc, *arguments], cwd=root, env=env, check=True, capture_output=True, text=True).stdout

    run("init", "--quiet")
    run("repro", "--quiet", "search")
    assert (root / "results" / "search" / TASK / "search.html").is_file()
    assert "up to date" in run("status")
