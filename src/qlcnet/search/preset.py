"""The winner as a preset: a params.yaml with each model's own settings, for a person to look at and commit."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from qlcnet import git
from qlcnet.config import parse_params
from qlcnet.config.strict_yaml import read_yaml
from qlcnet.paths import Project
from qlcnet.search.errors import TuningError
from qlcnet.search.outcome import Outcome
from qlcnet.search.tune import Found
from qlcnet.whole import write_whole


def check_preset(path: Path, project: Project) -> None:
    """Raise TuningError where a preset may not be written: over params.yaml, or over what git does not have."""
    if path.resolve() == project.params.resolve():
        raise TuningError(
            "--write params.yaml: a search never changes it; write studies/<name>.yaml, look at it, use it"
        )
    if path.suffix != ".yaml":
        raise TuningError(f"--write {path}: a preset's name ends in .yaml, for example studies/tuned.yaml")
    if path.is_file():
        inside = path.resolve().relative_to(project.root.resolve()) if _is_below(path, project.root) else None
        if inside is None or git.differs(project.root, (inside.as_posix(),)) is not False:
            raise TuningError(f"--write {path}: it is there and git does not have it as it is; commit it, or remove it")


def write_preset(found: Found, path: Path, root: Path) -> str:
    """Write params.yaml with what was chosen for each model; returns what to do next. Raises TuningError."""
    project = Project(root)
    check_preset(path, project)
    raw = read_yaml(project.params)
    assert isinstance(raw, dict)
    tuned = preset_of(raw, found)
    parse_params(tuned, str(path))
    models = ", ".join(dict.fromkeys(one.search.model for one in found.outcomes))
    head = f"# {path.stem}: {models} of {found.asked.task} as found by `qlcnet tune` ({found.name})\n"
    lines = [f"# {_said(one)}\n" for one in _one_a_model(found)]
    write_whole(
        path, head + "".join(lines) + yaml.safe_dump(tuned, sort_keys=False, default_flow_style=None, width=100)
    )
    return f"{path} is written; look at it, commit it, then `qlcnet study use {path.stem}`"


def preset_of(raw: Mapping[str, Any], found: Found) -> dict[str, Any]:
    """params.yaml with what was chosen: training under `models.<name>.training`, a circuit under a name of its own."""
    tuned: dict[str, Any] = copy.deepcopy(dict(raw))
    searched = _one_a_model(found)
    for outcome in searched:
        model, backbone = outcome.search.model, outcome.search.backbone
        for key, value in outcome.chosen.setting.items():
            default = outcome.search.default
            if default is not None and default.setting.get(key) == value:
                continue
            section, _, rest = key.partition(".")
            if section == "training":
                _put(tuned, ["models", model, "training", *rest.split(".")], value)
            elif section == "models":
                _put(tuned, ["models", model, *rest.removeprefix(f"{model}.").split(".")], value)
            elif section == "backbones":
                name = backbone if len(searched) == 1 else f"{backbone}-{model}"
                if name != backbone and name not in tuned["backbones"]:
                    own = copy.deepcopy(tuned["backbones"].get(backbone) or {})
                    tuned["backbones"][name] = {"architecture": backbone, **own}
                _put(tuned, ["backbones", name, *rest.removeprefix(f"{backbone}.").split(".")], value)
            else:
                _put_channels(tuned, section, rest, model, value)
    return tuned


def _put_channels(tuned: dict[str, Any], section: str, rest: str, model: str, value: Any) -> None:
    """A circuit that was searched is one of its own, which this model reads: others keep theirs."""
    name = max((one for one in tuned[section] if rest.startswith(f"{one}.")), key=len)
    keys = rest.removeprefix(f"{name}.").split(".")
    own = name if name.endswith(f"-{model}") else f"{name}-{model}"
    if own not in tuned[section]:
        tuned[section][own] = copy.deepcopy(tuned[section][name] or {})
        kind = "quanv" if section == "circuits" else "channel"
        inputs = tuned["models"][model]["inputs"]
        tuned["models"][model]["inputs"] = [
            one.replace(f"{kind}:{name}", f"{kind}:{own}", 1) if one.partition("/")[0] == f"{kind}:{name}" else one
            for one in inputs
        ]
    _put(tuned, [section, own, *keys], value)


def _put(raw: dict[str, Any], parts: list[str], value: Any) -> None:
    *path, last = parts
    for part in path:
        inside = raw.get(part)
        if not isinstance(inside, dict):
            inside = {"kind": inside} if part == "head" and isinstance(inside, str) else {}
            raw[part] = inside
        raw = inside
    raw[last] = value


def _one_a_model(found: Found) -> list[Outcome]:
    """The search whose choice is taken for each model: of several the first, of fold 0 and search seed 0."""
    first: dict[str, Outcome] = {}
    for one in found.outcomes:
        first.setdefault(one.search.model, one)
    return list(first.values())


def _said(outcome: Outcome) -> str:
    search = outcome.search
    which = f"trial {outcome.chosen.number} of {len(search.trials)}"
    if not outcome.is_better:
        which += ", the default: no gain shown"
    return f"{search.model}: {which}; {search.metric} {outcome.chosen.value:.4f} on inner folds (optimistic)"


def _is_below(path: Path, root: Path) -> bool:
    return root.resolve() in path.resolve().parents
