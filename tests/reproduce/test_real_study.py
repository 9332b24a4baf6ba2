"""A study of this project's own code in a real repository with a DVC remote and an MLflow store, reproduced."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from qlcnet.reproduce.again import Request, reproduce
from qlcnet.reproduce.grades import Grade
from qlcnet.reproduce.revision import Revision
from qlcnet.reproduce.verdict import Verdict
from qlcnet.reproduce.workplace import place_of
from qlcnet.tracking.backend import open_backend
from tests.test_end_to_end import DIGITS, project, run, small

FOLDS, FITS = 4, 8
AS_SOMEBODY = ("-c", "user.name=t", "-c", "user.email=t@t")


@dataclass(frozen=True)
class Studied:
    """A study at `first`, then one with another learning rate at HEAD. kept: the reproduction of `first`, in place."""

    root: Path
    first: str
    kept: Verdict
    changed: list[str]


def of_folds(folds: int) -> dict[str, Any]:
    """The section of the task."""
    return {**DIGITS, "protocol": {"kind": "pooled-cv", "folds": folds}}


def record(root: Path, message: str) -> str:
    """Run the study as it stands and commit what it leaves; the commit."""
    run("dvc", "repro", cwd=root)
    run("dvc", "push", "-q", cwd=root)
    run("git", "add", "-A", cwd=root)
    run("git", *AS_SOMEBODY, "commit", "-qm", message, cwd=root)
    return run("git", "rev-parse", "HEAD", cwd=root).strip()


def digests(root: Path) -> dict[str, str]:
    """Of every file of a project but those of reproductions and the lock files of open stores."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and ".qlcnet/reproduce" not in path.as_posix() and path.suffix != ".lock"
        and ".qlcnet/tmp" not in path.as_posix()
    }  # fmt: skip


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Studied:
    """Recorded, changed, recorded again; then the first is reproduced, killed on the way and started again."""
    folder = tmp_path_factory.mktemp("real")
    root = project(folder / "project", small("digits", of_folds(FOLDS)))
    run("dvc", "remote", "add", "-d", "store", str(folder / "remote"), cwd=root)
    first = record(root, "a study")
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["training"]["learning_rate"] = 0.01
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    record(root, "another learning rate")
    before = digests(root)
    kill_on_the_way(root, first)
    kept = reproduce(root, Request(first, keep=True))
    after = digests(root)
    return Studied(root, first, kept, sorted(name for name in before | after if before.get(name) != after.get(name)))


def kill_on_the_way(root: Path, commit: str) -> None:
    """Start a reproduction, and kill -9 its first process when a fit is done; wait until all of it is gone."""
    command = [sys.executable, "-m", "qlcnet.cli", "reproduce", commit]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    store = place_of(root, Revision("HEAD", commit)) / "clone" / ".qlcnet" / "folds"
    deadline = time.monotonic() + 120
    while not list(store.glob("[!.]*/config.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline, "no fit was made"
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not alive, "what it had started ends with it"


def test_a_killed_run_goes_on_and_the_bytes_are_identical(studied: Studied) -> None:
    verdict = studied.kept
    assert verdict.grade == Grade.BYTES, (verdict.problems, verdict.worst_first)
    assert verdict.conclusion.same
    assert verdict.conclusion.said > 0
    assert len(verdict.fits) == verdict.total == FITS
    assert 0 < verdict.run < FITS, "what was fitted before the kill is not fitted again"
    assert verdict.code("bytes") == 0


def test_nothing_of_the_project_is_touched(studied: Studied) -> None:
    assert studied.changed == []


@pytest.fixture
def repository(studied: Studied, tmp_path: Path) -> Path:
    """A copy that a test may change, with the reproduction in it."""
    shutil.copytree(studied.root, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


def forget(root: Path) -> None:
    """Remove results and cache, as in a fresh clone; the reproduction's own cache too."""
    for name in ("results/folds", "data", ".dvc/cache"):
        shutil.rmtree(root / name, ignore_errors=True)
    for cache in (root / ".qlcnet/reproduce").glob("*/clone/.dvc/cache"):
        shutil.rmtree(cache)


def test_the_record_is_fetched_from_the_remote(studied: Studied, repository: Path) -> None:
    forget(repository)
    verdict = reproduce(repository, Request(studied.first, keep=True))
    assert verdict.grade == Grade.BYTES, verdict.unchecked
    assert (verdict.run, len(verdict.fits)) == (0, FITS)
    assert not (repository / ".dvc/cache").exists()


def test_else_read_from_the_tracking_store(studied: Studied, repository: Path) -> None:
    forget(repository)
    run("dvc", "remote", "remove", "store", cwd=repository)
    verdict = reproduce(repository, Request(studied.first, keep=True))
    assert [fit.grade for fit in verdict.fits] == [Grade.METRICS] * FITS, verdict.worst_first
    assert "no weights" in verdict.fits[0].notes[0]
    assert {fit.agreement for fit in verdict.fits} == {1.0}
    assert verdict.conclusion.same


def test_a_run_of_a_tree_with_edits_is_made_again_with_them(studied: Studied, repository: Path) -> None:
    """The second study ran before its learning rate was committed: on the first's commit, with a patch."""
    runs = open_backend(repository).client.search_runs(
        [open_backend(repository).experiment_id], "tags.dirty = 'true' AND tags.kind = 'fold' AND tags.model = 'hybrid'"
    )
    run_id = min(runs, key=lambda one: one.info.run_name).info.run_id
    verdict = reproduce(repository, Request(run_id))
    (fit,) = verdict.fits
    assert (verdict.run, fit.grade) == (1, Grade.METRICS), (fit, verdict.unchecked)
    assert fit.fit == "digits/lcnet_035/hybrid/repeat-0/fold-0"
    assert any("edits that no commit had" in line for line in verdict.basis)
    assert not list((repository / ".qlcnet/reproduce").glob(f"{verdict.commit}-*")), "apart from that of the commit"


def test_else_metrics_are_compared(studied: Studied, repository: Path) -> None:
    forget(repository)
    run("dvc", "remote", "remove", "store", cwd=repository)
    (repository / "mlruns/mlflow.db").unlink()
    verdict = reproduce(repository, Request(studied.first, keep=True))
    assert [(fit.fit.split("/")[2], fit.grade) for fit in verdict.fits] == [
        ("classical, out of fold", Grade.METRICS),
        ("hybrid, out of fold", Grade.METRICS),
    ]


@pytest.fixture
def other_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits are computed with another set of instructions."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")


@pytest.mark.soak
def test_another_kind_of_cpu_is_consistent(studied: Studied, repository: Path, other_cpu: None) -> None:
    shutil.rmtree(place_of(repository, Revision("HEAD", studied.first)))
    verdict = reproduce(repository, Request(studied.first))
    assert verdict.run == FITS
    assert verdict.grade == Grade.CONSISTENT, verdict.worst_first
    assert "12 pairs of folds of 2 models" in verdict.worst_first[0].notes[-1]
    assert verdict.differs["computed_on.onednn"] == ("AVX512", "AVX2")
    assert verdict.code("consistent") == 0


@pytest.mark.soak
def test_and_cannot_be_told_where_the_study_shows_no_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(tmp_path / "project", small("digits", of_folds(2)))
    run("dvc", "remote", "add", "-d", "store", str(tmp_path / "remote"), cwd=root)
    record(root, "a study")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    verdict = reproduce(root, Request("HEAD"))
    assert verdict.grade == Grade.UNKNOWN
    assert verdict.code("consistent") == 2
