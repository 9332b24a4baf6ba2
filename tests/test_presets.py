"""`study use` takes the place of params.yaml only where nothing is lost by it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from qlcnet.presets import PresetError, use_preset

STUDIES = Path(__file__).resolve().parents[1] / "studies"


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with presets, whose params.yaml is nobody's preset."""
    shutil.copytree(STUDIES, tmp_path / "studies")
    text = (STUDIES / "demo.yaml").read_text()
    (tmp_path / "params.yaml").write_text(f"{text}# my own\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_breastmnist(project: Path) -> bool:
    return (project / "params.yaml").read_bytes() == (STUDIES / "breastmnist.yaml").read_bytes()


def test_edits_that_git_does_not_have_are_not_overwritten(project: Path) -> None:
    git(project, "init", "-q")
    for state in ("untracked", "added", "edited after a commit"):
        if state != "untracked":
            git(project, "add", "params.yaml")
        if state == "edited after a commit":
            git(project, "commit", "-qm", "mine")
            (project / "params.yaml").write_text((project / "params.yaml").read_text() + "# more\n")
        before = (project / "params.yaml").read_bytes()
        with pytest.raises(PresetError, match="edits that are not committed"):
            use_preset("breastmnist")
        assert (project / "params.yaml").read_bytes() == before
    use_preset("breastmnist", force=True)
    assert is_breastmnist(project)


def test_what_git_has_or_a_preset_is_replaced(project: Path) -> None:
    git(project, "init", "-q")
    git(project, "add", ".")
    git(project, "commit", "-qm", "mine")
    use_preset("paper-dermamnist")
    use_preset("breastmnist")  # a preset, though not committed
    assert is_breastmnist(project)


def test_without_git_only_presets_are_replaced(project: Path) -> None:
    with pytest.raises(PresetError, match="--force"):
        use_preset("breastmnist")
    (project / "params.yaml").unlink()
    use_preset("demo")
    use_preset("breastmnist")
    assert is_breastmnist(project)
