"""Roots and stores are found from sub folders, worktrees and DVC's temporary experiments."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from qlcnet.git import INHERITED, differs, head
from qlcnet.paths import Project


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def trees(root: Path) -> list[Path]:
    return [project.root for project in Project(root).in_all_trees()]


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
    assert Project.find().root == tmp_path
    (deep / "params.yaml").write_text("seed: 2\n")
    assert Project.find().root == deep


def test_root_without_params_is_the_folder_itself(tmp_path: Path) -> None:
    assert Project.find(tmp_path).root == tmp_path


def test_without_git_the_stores_are_in_the_root(tmp_path: Path) -> None:
    assert Project(tmp_path).shared == tmp_path
    assert Project(tmp_path).store == tmp_path / ".qlcnet" / "folds"
    assert Project(tmp_path).mlruns == tmp_path / "mlruns"


def test_where_git_is_not_installed(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert Project(repository).shared == repository


def test_a_project_in_a_subfolder_keeps_its_stores(repository: Path) -> None:
    assert Project(repository).shared == repository
    assert Project(repository / "inner").shared == repository / "inner"


def test_worktrees_share_the_stores(repository: Path, tmp_path: Path) -> None:
    git(repository, "worktree", "add", "-q", str(tmp_path / "tree"), "HEAD")
    assert Project(tmp_path / "tree").shared == repository
    assert Project(tmp_path / "tree" / "inner").shared == repository / "inner"
    assert trees(repository) == [repository, tmp_path / "tree"]
    assert trees(tmp_path / "tree" / "inner") == [tmp_path / "tree" / "inner", repository / "inner"]
    assert trees(tmp_path) == [tmp_path], "no repository"


@pytest.mark.parametrize("place", ["tmpabc", "standalone/tmpabc"])
def test_experiments_in_a_temporary_folder_share_the_stores(repository: Path, tmp_path: Path, place: str) -> None:
    # what `dvc exp run --temp` and `--queue` make: a repository of its own, not a worktree
    experiment = repository / ".dvc" / "tmp" / "exps" / place
    git(tmp_path, "clone", "-q", str(repository), str(experiment))
    assert Project(experiment).shared == repository
    assert Project(experiment / "inner").shared == repository / "inner"


def test_an_experiment_started_in_a_worktree(repository: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    git(repository, "worktree", "add", "-q", str(tree), "HEAD")
    experiment = tree / ".dvc" / "tmp" / "exps" / "tmpabc"
    git(tmp_path, "clone", "-q", str(repository), str(experiment))
    assert Project(experiment).shared == repository


def test_a_submodule_keeps_its_own(repository: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    git(outer, "init", "-q")
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repository), "part")
    assert Project(outer / "part").shared == outer / "part"


def test_in_a_hook_git_is_asked_about_the_project(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git sets these for hooks and `git rebase -x`; they may be of another repository."""
    for name in INHERITED:
        monkeypatch.setenv(name, str(repository / "elsewhere"))
    assert Project(repository / "inner").shared == repository / "inner"
    assert head(repository) is not None
    assert differs(repository, ("params.yaml",)) is False


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    script = "import os\nos.chdir('gone')\nos.rmdir('../gone')\nfrom qlcnet.paths import Project\nProject.find()"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert "the folder in which this was started is gone" in done.stderr
