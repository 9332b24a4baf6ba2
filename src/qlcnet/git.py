"""Every call to git. Where git is missing, or a folder is in no repository, the answer is None or empty."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

# a hook or `git rebase -x` sets these for the repository that it runs in, which need not be the one asked about
INHERITED = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")


class Repository(NamedTuple):
    """The working tree that a folder is in, and git's common directory, which all working trees share."""

    top: Path
    common: Path


def repository_of(folder: Path) -> Repository | None:
    """The repository that holds `folder`."""
    answer = _git(folder, "rev-parse", "--show-toplevel", "--git-common-dir")
    if answer is None:
        return None
    top, common = ((folder / line).resolve() for line in answer.splitlines())
    return Repository(top, common)


def working_trees(folder: Path) -> list[Path]:
    """The top folders of all working trees of the repository that holds `folder`."""
    lines = (_git(folder, "worktree", "list", "--porcelain") or "").splitlines()
    return [Path(line.removeprefix("worktree ")).resolve() for line in lines if line.startswith("worktree ")]


def head(folder: Path) -> str | None:
    """The commit that is checked out."""
    answer = _git(folder, "rev-parse", "HEAD")
    return answer.strip() if answer else None


def differs(folder: Path, paths: tuple[str, ...]) -> bool | None:
    """Whether any of `paths`, relative to `folder`, differs from the commit."""
    answer = _git(folder, "status", "--porcelain", "--", *paths)
    return None if answer is None else bool(answer.strip())


def changes(folder: Path, paths: tuple[str, ...]) -> tuple[bytes, list[str]] | None:
    """The patch, relative to `folder`, from the commit to the files as they are, and the names of untracked files."""
    command = ["git", "diff", "HEAD", "--binary", "--relative", "--no-ext-diff", "--no-textconv", "--", *paths]
    untracked = _git(folder, "ls-files", "--others", "--exclude-standard", "--", *paths)
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=True, env=_environment())
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout, (untracked or "").splitlines()


def apply_changes(folder: Path, patch: bytes) -> str:
    """Apply what `changes` gave to another checkout, as a whole or not at all; what git says then, else nothing."""
    prefix = (_git(folder, "rev-parse", "--show-prefix") or "").strip()
    command = ["git", "apply", "--whitespace=nowarn", *([f"--directory={prefix}"] if prefix else []), "-"]
    done = subprocess.run(command, cwd=folder, input=patch, capture_output=True, env=_environment())
    return done.stderr.decode(errors="replace").strip() or "git apply failed" if done.returncode else ""


def commit_of(folder: Path, revision: str) -> str | None:
    """The commit that a revision (branch, tag, HEAD~3 …) names; None where it names none."""
    answer = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    return answer.strip() if answer else None


def text_at(folder: Path, commit: str, path: str) -> str | None:
    """A file as `commit` has it, `path` relative to `folder`; None where it has none."""
    return _git(folder, "show", f"{commit}:./{path}")


def clone_at(repository: Path, commit: str, folder: Path) -> None:
    """A clone of a local repository with `commit` checked out, at no branch. Raises OSError with what git says."""
    for where, arguments in (
        (folder.parent, ("clone", "--quiet", "--no-checkout", "--local", str(repository), str(folder))),
        (folder, ("checkout", "--quiet", "--detach", commit)),
    ):
        try:
            subprocess.run(
                ["git", *arguments], cwd=where, env=_environment(), capture_output=True, text=True, check=True
            )
        except subprocess.CalledProcessError as error:
            raise OSError(f"git {arguments[0]} of {commit[:12]} failed: {error.stderr.strip()}") from None


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in INHERITED}


def _git(folder: Path, *arguments: str) -> str | None:
    environment = _environment()
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, env=environment
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return answer.stdout
