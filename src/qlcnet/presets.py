"""The ready-made studies: files of studies/, copied to params.yaml by `qlcnet study use`."""

from __future__ import annotations

from pathlib import Path

from qlcnet.config import load_params
from qlcnet.paths import Project
from qlcnet.whole import write_whole


class PresetError(ValueError):
    """There is no such preset; the message lists those there are."""


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


def use_preset(name: str) -> str:
    """Copy a preset to params.yaml (git keeps the old one); returns what to do next."""
    text = read_preset(name)
    load_params(_folder() / f"{name}.yaml")
    write_whole(Project.find().params, text)
    return f"params.yaml is now {name}; `qlcnet plan` says how long it takes, `dvc repro` runs it"
