"""Where a project keeps things: its root, and the stores that all its working trees share."""

from __future__ import annotations

import subprocess
from pathlib import Path


def project_root(start: Path | None = None) -> Path:
    """The nearest folder, from `start` (default: the current one) upwards, that holds params.yaml; else `start`."""
    start = (start or Path.cwd()).resolve()
    return next((folder for folder in (start, *start.parents) if (folder / "params.yaml").is_file()), start)


def fold_store(root: Path) -> Path:
    """The folder of finished fits, one a fingerprint."""
    return store_root(root) / ".qlcnet" / "folds"


def mlruns(root: Path) -> Path:
    """The folder of the local tracking store."""
    return store_root(root) / "mlruns"


def store_root(root: Path) -> Path:
    """The folder that holds `.qlcnet` and `mlruns`: `root` itself, as seen from git's main working tree.

    So worktrees share the stores of their repository, and `dvc exp run --temp` or `--queue`, which run in a
    repository of their own below `.dvc/tmp/exps`, share those of the project that started them.
    """
    root = root.resolve()
    top, common = _git(root)
    if top is None or common is None:
        return root
    inside = root.relative_to(top)
    if owner := _owner_of_experiment(top):
        return store_root((_git(owner)[0] or owner) / inside)
    # a submodule's or a bare repository's common directory is not called .git: its parent is no working tree
    return common.parent / inside if common.name == ".git" else root


def working_trees(root: Path) -> list[Path]:
    """`root` in each working tree of its repository, `root` itself first: they share its stores."""
    root = root.resolve()
    top, _ = _git(root)
    if top is None:
        return [root]
    command = ["git", "worktree", "list", "--porcelain"]
    lines = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    trees = [Path(line.removeprefix("worktree ")).resolve() for line in lines if line.startswith("worktree ")]
    return list(dict.fromkeys([root, *(tree / root.relative_to(top) for tree in trees)]))


def _owner_of_experiment(folder: Path) -> Path | None:
    """The DVC project that made `folder` for an experiment, if one did."""
    for path in folder.parents:
        if path.parts[-3:] == (".dvc", "tmp", "exps"):
            return path.parents[2]
    return None


def _git(folder: Path) -> tuple[Path | None, Path | None]:
    """The working tree that `folder` is in and git's common directory; (None, None) without git."""
    command = ["git", "rev-parse", "--show-toplevel", "--git-common-dir"]
    try:
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None, None
    top, common = ((folder / line).resolve() for line in answer)
    return top, common
