"""What is to be reproduced: a commit, given by git's names of it or by a run of the tracking store."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from qlcnet import git

RUN_ID = re.compile(r"[0-9a-f]{32}")


class ReproduceError(RuntimeError):
    """A reproduction cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class Revision:
    """asked: as it was given. only: patterns of fits that a run stands for. run: its id. dirty: its tree was, then."""

    asked: str
    commit: str
    only: tuple[str, ...] = ()
    run: str = ""
    dirty: bool = False


def resolve(root: Path, asked: str) -> Revision:
    """The commit that `asked` names: git's word first, then an MLflow run id. Raises ReproduceError."""
    if git.repository_of(root) is None:
        raise ReproduceError(f"{root} is in no git repository: a commit is reproduced from a clone of it")
    if commit := git.commit_of(root, asked):
        return Revision(asked, commit)
    if not RUN_ID.fullmatch(asked):
        raise ReproduceError(f"{asked!r} is no commit, tag or branch of this repository, and no MLflow run id")
    return _of_run(root, asked)


def _of_run(root: Path, run_id: str) -> Revision:
    from qlcnet.tracking.backend import brief, open_backend

    try:
        tags = open_backend(root).client.get_run(run_id).data.tags
    except Exception as error:
        raise ReproduceError(f"{run_id} is no commit, and no run of the tracking store: {brief(error)}") from None
    kind, recorded = tags.get("kind"), tags.get("commit", "")
    if kind not in ("fold", "model"):
        raise ReproduceError(f"the run {run_id} is of kind {kind}: give the run of a model or of a fit, or a commit")
    commit = git.commit_of(root, recorded)
    if commit is None:
        which = "says no commit" if not recorded else f"is of {recorded}, which this repository lacks"
        raise ReproduceError(f"the run {run_id} {which}: fetch that commit, or give one yourself with --only")
    name = "/".join(tags[key] for key in ("task", "backbone", "model"))
    if kind == "fold":
        name += f"/repeat-{tags['repeat']}/fold-{tags['fold']}"
    return Revision(run_id, commit, (name,), run_id, tags.get("dirty", "").lower() == "true")
