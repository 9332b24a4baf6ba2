"""Roots and stores are found from sub folders, worktrees and DVC's temporary experiments."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from qlcnet.paths import fold_store, mlruns, project_root, store_root, working_trees


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with the project at its top and another one in `inner`."""
    root = tmp_path / "project"
    (root / "inner").mkdir(parents=True)
    for folder in (root, root / "inner"):
        (folder / "params.yaml").write_text("seed: 1\n")
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")
    return root


def test_root_is_the_nearest_folder_with_params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    deep = tmp_path / "results" / "folds"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert project_root() == tmp_path
    (deep / "params.yaml").write_text("seed: 2\n")
    assert project_root() == deep


def test_root_without_params_is_the_folder_itself(tmp_path: Path) -> None:
    assert project_root(tmp_path) == tmp_path


def test_without_git_the_stores_are_in_the_root(tmp_path: Path) -> None:
    assert store_root(tmp_path) == tmp_path
    assert fold_store(tmp_path) == tmp_path / ".qlcnet" / "folds"
    assert mlruns(tmp_path) == tmp_path / "mlruns"


def test_where_git_is_not_installed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert store_root(repository) == repository


def test_a_project_in_a_subfolder_keeps_its_stores(repository: Path) -> None:
    assert store_root(repository) == repository
    assert store_root(repository / "inner") == repository / "inner"


def test_worktrees_share_the_stores(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "-q", str(tmp_path / "tree"), "HEAD")
    assert store_root(tmp_path / "tree") == repository
    assert store_root(tmp_path / "tree" / "inner") == repository / "inner"
    assert working_trees(repository) == [repository, tmp_path / "tree"]
    assert working_trees(tmp_path / "tree" / "inner") == [tmp_path / "tree" / "inner", repository / "inner"]
    assert working_trees(tmp_path) == [tmp_path], "no repository"


@pytest.mark.parametrize("place", ["tmpabc", "standalone/tmpabc"])
def test_experiments_in_a_temporary_folder_share_the_stores(repository: Path, tmp_path: Path, place: str) -> None:
    # what `dvc exp run --temp` and `--queue` make: a repository of its own, not a worktree
    experiment = repository / ".dvc" / "tmp" / "exps" / place
    git(tmp_path, "clone", "-q", str(repository), str(experiment))
    assert store_root(experiment) == repository
    assert store_root(experiment / "inner") == repository / "inner"


def test_an_experiment_started_in_a_worktree(repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    git(repository, "worktree", "add", "-q", str(tree), "HEAD")
    experiment = tree / ".dvc" / "tmp" / "exps" / "tmpabc"
    git(tmp_path, "clone", "-q", str(repository), str(experiment))
    assert store_root(experiment) == repository


def test_a_submodule_keeps_its_own(repository: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repository), "part")
    assert store_root(outer / "part") == outer / "part"
