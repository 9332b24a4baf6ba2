"""Edits that no commit has: kept, kept in part, left out, and applied again."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from qlcnet import git
from qlcnet.tracking.patch import KEPT, LARGEST, REMOVED, read_patch, uncommitted

PATHS = ("src", "params.yaml")


def run(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project below the top of its repository."""
    root = tmp_path / "repository" / "study"
    (root / "src").mkdir(parents=True)
    (root / "params.yaml").write_text("learning_rate: 0.001\n")
    (root / "src/weights.bin").write_bytes(bytes(range(256)))
    (root / "notes.md").write_text("nothing\n")
    run(tmp_path / "repository", "init", "-q", "-b", "main")
    run(root, "add", "-A")
    run(root, "commit", "-qm", "start")
    return root


def test_without_edits_there_is_no_patch(project: Path) -> None:
    assert uncommitted(project, PATHS) is None
    (project / "notes.md").write_text("an edit of what decides nothing\n")
    (project / "scratch.py").write_text("not tracked, and decides nothing\n")
    assert uncommitted(project, PATHS) is None
    assert uncommitted(project.parents[1], PATHS) is None, "no repository"


def test_a_patch_makes_the_same_files_in_a_clone(project: Path, tmp_path: Path) -> None:
    (project / "params.yaml").write_text("learning_rate: 0.01  # caf\u00e9 \n")
    (project / "src/weights.bin").write_bytes(bytes(range(255, -1, -1)))
    found = uncommitted(project, PATHS)
    assert found
    assert found.state == KEPT
    commit, patch = read_patch(found.text or b"")
    assert commit == git.head(project)
    git.clone_at(project.parent, commit, tmp_path / "clone")
    assert git.apply_changes(tmp_path / "clone/study", patch) == ""
    for name in ("params.yaml", "src/weights.bin"):
        assert (tmp_path / "clone/study" / name).read_bytes() == (project / name).read_bytes()
    assert "patch does not apply" in git.apply_changes(tmp_path / "clone/study", patch), "not twice"


@pytest.mark.parametrize(
    "line",
    [
        "password: hunter2",
        'API_KEY = "abc"',
        "url: https://me:hunter2@host/data",
        "aws AKIAABCDEFGHIJKLMNOP",
        "hf_abcdefghijklmnopqrstuvwx",
        "url: https://sometoken@host/data",
        "Authorization: Bearer abc",
    ],
)
def test_secrets_are_not_kept_and_the_patch_says_so(project: Path, line: str) -> None:
    (project / "params.yaml").write_text(f"learning_rate: 0.01\n{line}\n")
    found = uncommitted(project, PATHS)
    assert found
    assert found.state == "incomplete: without 1 lines that look like secrets"
    assert line.encode() not in (found.text or b"")
    assert REMOVED in (found.text or b"")
    assert b"+learning_rate: 0.01" in (found.text or b"")


def test_of_a_private_key_no_line_is_kept(project: Path) -> None:
    key = ["-----BEGIN RSA PRIVATE KEY-----", "bWF0ZXJpYWw=", "-----END RSA PRIVATE KEY-----"]
    (project / "params.yaml").write_text("\n".join(["before: 1", *key, "after: 1"]) + "\n")
    found = uncommitted(project, PATHS)
    assert found
    assert found.state == "incomplete: without 3 lines that look like secrets"
    assert not [line for line in key if line.encode() in (found.text or b"")]
    assert b"+after: 1" in (found.text or b"")


def test_what_git_repeats_at_the_head_of_a_hunk_is_searched_too(project: Path) -> None:
    lines = ["password: hunter2", *(f"  {i}: 0" for i in range(12))]
    (project / "params.yaml").write_text("\n".join(lines) + "\n")
    run(project, "commit", "-qam", "a secret that somebody committed")
    (project / "params.yaml").write_text("\n".join([*lines[:-1], "  11: 1"]) + "\n")
    found = uncommitted(project, PATHS)
    assert found
    assert b"hunter2" not in (found.text or b"")
    assert found.state.startswith("incomplete")


def test_untracked_files_are_named(project: Path) -> None:
    (project / "src/new.py").write_text("secret\n")
    found = uncommitted(project, PATHS)
    assert found
    assert found.state == "incomplete: without 1 untracked files"
    assert b"src/new.py" in (found.text or b"")
    assert b"secret" not in (found.text or b"")


def test_what_is_too_large_is_left_out(project: Path) -> None:
    (project / "params.yaml").write_text("# more\n" * (LARGEST // 7))
    found = uncommitted(project, PATHS)
    assert found
    assert found.text is None
    assert found.state.startswith("left out: ")
