"""Commits reproduced in real repositories: what is found, named and left alone. Their program is program.py."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save

from qlcnet.cli import main
from qlcnet.reproduce.again import Request, plan, reproduce
from qlcnet.reproduce.grades import Grade
from qlcnet.reproduce.revision import ReproduceError, Revision
from qlcnet.reproduce.workplace import place_of
from tests.reproduce.studies import TASK, commit, git, make_repository, params, record, write_lock

FIT = f"{TASK}/lcnet_035/hybrid/repeat-0/fold-1"


@dataclass(frozen=True)
class Repository:
    """Study `first`, then another learning rate: study `last`, which is checked out."""

    root: Path
    first: str
    last: str


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Both studies; that of `last` reproduced and kept, so that tests compare without running it again."""
    root = make_repository(tmp_path_factory.mktemp("studied"))
    first, last = record(root, params()), record(root, params(3.0))
    verdict = reproduce(root, Request("HEAD", keep=True))
    assert verdict.run == 8
    return Repository(root, first, last)


@pytest.fixture
def repository(studied: Repository, tmp_path: Path) -> Repository:
    """A copy that a test may change."""
    shutil.copytree(studied.root, tmp_path / "copy", symlinks=True)
    return Repository(tmp_path / "copy", studied.first, studied.last)


def digests(root: Path) -> dict[str, str]:
    """Of every file of a project but those of the reproduction, git's own among them."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".qlcnet/reproduce" not in path.as_posix()
    }


def test_an_earlier_commit_is_identical_and_the_project_untouched(studied: Repository) -> None:
    before = digests(studied.root)
    verdict = reproduce(studied.root, Request(studied.first))
    assert verdict.grade == Grade.BYTES
    assert verdict.conclusion.same
    assert (verdict.run, verdict.total, len(verdict.fits)) == (8, 8, 8), "each fit was run, and compared"
    assert not place_of(studied.root, Revision("HEAD", studied.first)).exists(), "clone and environment are removed"
    assert digests(studied.root) == before


def edit_array(path: Path, name: str, change: Callable[[np.ndarray], None]) -> None:
    arrays = load_file(path)
    change(arrays[name])
    path.write_bytes(save(arrays))


def swap(array: np.ndarray) -> None:
    array[[0, 1]] = array[[1, 0]]


def metric(root: Path) -> None:
    path = root / "results/metrics.json"
    content = json.loads(path.read_text())
    content[TASK]["lcnet_035"]["hybrid"]["accuracy"] += 0.01
    path.write_text(json.dumps(content))


def prediction(root: Path) -> None:
    edit_array(root / "results/folds" / FIT / "predictions.safetensors", "probabilities", swap)


def weight(root: Path) -> None:
    edit_array(root / "results/folds" / FIT / "weights.safetensors", "w", swap)


def fold_row(root: Path) -> None:
    path = root / f"data/folds/{TASK}.csv"
    path.write_text(path.read_text().replace("\n5,2,1\n", "\n5,2,0\n"))


def channel(root: Path) -> None:
    path = root / f"data/quanvolved/{TASK}/ry/channels.npy"
    channels = np.load(path)
    channels[3, 2, 1] = 0.5
    np.save(path, channels)


TAMPERED = {  # what has to be said of it
    metric: ("results/metrics.json",),
    prediction: (FIT, "predictions.safetensors"),
    weight: (FIT, "weights.safetensors"),
    fold_row: (f"data/folds/{TASK}.csv",),
    channel: (f"data/quanvolved/{TASK}/ry/channels.npy",),
}


@pytest.mark.parametrize("tamper", TAMPERED, ids=lambda one: one.__name__)
@pytest.mark.parametrize("witness", [False, True], ids=["in the checkout", "and in dvc.lock, cache and commit"])
def test_what_was_tampered_with_is_named(repository: Repository, tamper: Callable[[Path], None], witness: bool) -> None:
    tamper(repository.root)
    if witness:  # whoever did it made lock, cache and commit agree
        write_lock(repository.root)
        shutil.rmtree(place_of(repository.root, Revision("HEAD", repository.last)))
        commit(repository.root, "nothing to see")
    verdict = reproduce(repository.root, Request("HEAD", keep=not witness))
    assert verdict.grade == Grade.DIFFERENT
    assert verdict.code("consistent") == verdict.code("conclusion") == 1
    assert any(all(words in line for words in TAMPERED[tamper]) for line in verdict.problems), verdict.problems


def test_a_result_that_all_witnesses_vouch_for_is_found_by_running_it(repository: Repository) -> None:
    folder = repository.root / "results/folds" / FIT
    edit_array(folder / "predictions.safetensors", "probabilities", swap)
    config = json.loads((folder / "config.json").read_text())
    config["files"]["predictions.safetensors"] = hashlib.sha256(
        (folder / "predictions.safetensors").read_bytes()
    ).hexdigest()
    (folder / "config.json").write_text(json.dumps(config, sort_keys=True))
    write_lock(repository.root)
    commit(repository.root, "nothing to see")
    verdict = reproduce(repository.root, Request("HEAD", only=(FIT,)))
    assert [(fit.fit, fit.grade) for fit in verdict.fits] == [(FIT, Grade.DIFFERENT)]
    assert verdict.fits[0].divergence.startswith("predictions.safetensors: probabilities")
    assert verdict.run == 1
    assert "1 of 8 fits were compared" in verdict.unchecked


def test_the_recomputed_side_is_checked_too(repository: Repository) -> None:
    clone = place_of(repository.root, Revision("HEAD", repository.last)) / "clone"
    (store,) = (
        p.parent for p in clone.glob(".qlcnet/folds/*/provenance.json") if json.loads(p.read_text())["name"] == FIT
    )
    edit_array(store / "weights.safetensors", "w", swap)
    verdict = reproduce(repository.root, Request("HEAD", keep=True))
    assert f"{FIT}, recomputed: weights.safetensors is not what was written" in verdict.problems


def test_a_lock_whose_outputs_cannot_come_from_its_inputs(repository: Repository) -> None:
    lock = repository.root / "dvc.lock"
    made = hashlib.md5((repository.root / f"data/folds/{TASK}.csv").read_bytes()).hexdigest()
    text = lock.read_text()
    assert text.count(made) == 2, "as an output of split, and as an input of train"
    before, _, after = text.rpartition(made)
    lock.write_text(f"{before}{'0' * 32}{after}")
    commit(repository.root, "a lock of nothing")
    verdict = reproduce(repository.root, Request("HEAD", only=(FIT,)))
    assert any("cannot come from its inputs" in line and f"data/folds/{TASK}.csv" in line for line in verdict.problems)
    assert verdict.code("consistent") == 1


@pytest.fixture
def other_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")


@pytest.mark.usefixtures("other_cpu")
def test_another_kind_of_cpu_is_consistent_where_the_study_shows_a_spread(repository: Repository) -> None:
    verdict = reproduce(repository.root, Request(repository.first))
    assert verdict.grade == Grade.CONSISTENT
    assert verdict.code("consistent") == 0
    assert verdict.code("rounding") == 1
    assert "the 92 % range of 12 pairs of folds of 2 models of the task" in verdict.fits[0].notes[-1]
    assert "false alarms" in verdict.fits[0].notes[-1]
    assert verdict.differs["computed_on.variables.ONEDNN_MAX_CPU_ISA"] == (None, "AVX2")
    assert "epoch 0, train_loss: 0x1." in verdict.divergence


@pytest.mark.usefixtures("other_cpu")
def test_and_cannot_be_told_where_it_shows_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA")
    root = make_repository(tmp_path)
    record(root, params(folds=2))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    verdict = reproduce(root, Request("HEAD"))
    assert verdict.grade == Grade.UNKNOWN
    assert verdict.code("consistent") == 2
    assert "2 pairs of folds of 2 models of the task: too few for a range" in verdict.fits[0].notes[-1]


def test_a_sample_is_chosen_by_seed_and_the_report_takes_the_others_as_recorded(repository: Repository) -> None:
    shutil.rmtree(place_of(repository.root, Revision("HEAD", repository.last)))
    samples = [reproduce(repository.root, Request("HEAD", sample=3, seed=seed)) for seed in (1, 1, 2)]
    names = [{fit.fit for fit in verdict.fits} for verdict in samples]
    assert names[0] == names[1] != names[2]
    assert [verdict.run for verdict in samples] == [3, 3, 3]
    assert all(verdict.conclusion.same for verdict in samples)
    assert samples[0].conclusion.basis == "from 3 recomputed fits of 8"


def test_the_report_alone(repository: Repository) -> None:
    verdict = reproduce(repository.root, Request(repository.first, start="report"))
    assert (verdict.grade, verdict.run, verdict.conclusion.same) == (Grade.BYTES, 0, True)
    assert "no fit was run again (--from report)" in verdict.unchecked


def test_a_plan_makes_nothing(repository: Repository) -> None:
    before = digests(repository.root)
    text = plan(repository.root, Request(repository.first, sample=3))
    assert "3 of 8 fits of spots" in text
    assert not place_of(repository.root, Revision("HEAD", repository.first)).exists()
    assert digests(repository.root) == before


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (lambda: Request("HEAD~9"), "no commit, tag or branch"),
        (lambda: Request("HEAD", only=("spots/lcnet_035/hybird",)), "the nearest is spots/lcnet_035/hybrid"),
    ],
)
def test_what_cannot_be_run_says_why(studied: Repository, request_: Callable[[], Request], message: str) -> None:
    with pytest.raises(ReproduceError, match=message):
        reproduce(studied.root, request_())


@pytest.fixture
def in_folder(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(repository.root)
    return repository.root


def test_the_command_writes_what_is_asked_for(
    repository: Repository, in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [word for name in ("json", "junit", "markdown") for word in (f"--{name}", f"verdict.{name}")]
    assert main(["reproduce", "HEAD", "--keep", "--record", "--require", "bytes", *files]) == 0
    assert "again: identical bytes" in capsys.readouterr().out
    assert json.loads((in_folder / "verdict.json").read_text())["verdict"] == "identical bytes"
    assert 'tests="10"' in (in_folder / "verdict.junit").read_text()
    assert "| fit | verdict |" in (in_folder / "verdict.markdown").read_text()
    recorded = json.loads((in_folder / f"reproductions/{repository.last}.json").read_text())
    assert recorded["compared"][FIT] == "identical bytes"
    assert str(in_folder) not in json.dumps(recorded), "a place of this machine is nobody's business"
    assert main(["reproduce", "no-such-commit"]) == 2


@pytest.fixture
def without_lock(repository: Repository) -> Path:
    """Only results/summary.json, which is in git, says what the results were."""
    git(repository.root, "rm", "-q", "dvc.lock")
    commit(repository.root, "no lock")
    return repository.root


def test_of_summary_json_alone_whole_models_are_compared(without_lock: Path) -> None:
    verdict = reproduce(without_lock, Request("HEAD", only=(f"{TASK}/lcnet_035/hybrid",)))
    (model,) = verdict.fits
    assert (model.fit, model.grade) == (f"{TASK}/lcnet_035/hybrid, out of fold", Grade.METRICS)
    assert "recorded predictions of 4 fits are not at hand" in verdict.unchecked
    assert verdict.code("metrics") == 0
    assert verdict.code("bytes") == 1


def test_and_a_part_of_a_model_cannot_be_told(without_lock: Path) -> None:
    verdict = reproduce(without_lock, Request("HEAD", only=(FIT,)))
    assert verdict.grade == Grade.UNKNOWN
    assert verdict.code("consistent") == 2


def test_nor_where_summary_json_says_otherwise(without_lock: Path) -> None:
    path = without_lock / "results/summary.json"
    summary = json.loads(path.read_text())
    summary["tasks"][TASK]["lcnet_035"]["hybrid"]["accuracy"]["oof"] -= 0.01
    path.write_text(json.dumps(summary))
    commit(without_lock, "another number")
    verdict = reproduce(without_lock, Request("HEAD"))
    assert [fit.grade for fit in verdict.worst_first] == [Grade.UNKNOWN, Grade.METRICS]
    assert "shows no spread" in verdict.worst_first[0].notes[0]
