"""The ready-made studies: files of studies/, copied to params.yaml by `qlcnet study use`."""

from __future__ import annotations

from pathlib import Path

from qlcnet import git
from qlcnet.config import load_params
from qlcnet.paths import Project
from qlcnet.whole import write_whole


class PresetError(ValueError):
    """A preset cannot be used; the message says why, or lists those there are."""


def _folder() -> Path:
    return Project.find().presets


def list_presets() -> list[tuple[str, str]]:
    """Names with the first comment line of each file."""
    found = []
    for path in sorted(_folder().glob("*.yaml")):
        first = path.read_text(encoding="utf-8").splitlines()[0]
        found.append((path.stem, first.lstrip("# ").strip()))
    return found


def read_preset(name: str) -> str:
    """The text of a preset. Raises PresetError."""
    names = [known for known, _ in list_presets()]
    if name not in names:
        raise PresetError(f"no study {name!r}; there are: {', '.join(names)}")
    return (_folder() / f"{name}.yaml").read_text(encoding="utf-8")


def _has_edits(project: Project) -> bool:
    """Whether params.yaml is neither what git has of it nor a preset. Without git only presets are known."""
    if not project.params.is_file():
        return False
    own = project.params.read_bytes()
    if any(path.read_bytes() == own for path in project.presets.glob("*.yaml")):
        return False
    return git.differs(project.root, (project.params.name,)) is not False


def use_preset(name: str, force: bool = False) -> str:
    """Copy a preset to params.yaml; returns what to do next.

    Raises PresetError where params.yaml holds edits that neither git nor a preset has, unless `force`.
    """
    text = read_preset(name)
    load_params(_folder() / f"{name}.yaml")
    project = Project.find()
    if not force and _has_edits(project):
        raise PresetError(
            f"{project.params} has edits that are not committed, and would be overwritten: commit it, copy it to "
            f"studies/, or add --force"
        )
    write_whole(project.params, text)
    return f"params.yaml is now {name}; `qlcnet plan` says how long it takes, `dvc repro` runs it"
