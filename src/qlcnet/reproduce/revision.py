"""What is to be reproduced: a commit, given by git's names of it or by a run of the tracking store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qlcnet import git
from qlcnet.paths import Project
from qlcnet.scratch import scratch_folder
from qlcnet.tracking.patch import FILE, KEPT, read_patch

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_ID = re.compile(r"[0-9a-f]{32}")


class ReproduceError(RuntimeError):
    """A reproduction cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class Revision:
    """asked: as it was given. only: patterns of fits that a run stands for. run: its id.

    patch: edits that no commit had, to be applied. unhad: that there were such, which cannot be made again: why.
    """

    asked: str
    commit: str
    only: tuple[str, ...] = ()
    run: str = ""
    patch: bytes = b""
    unhad: str = ""


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
        client = open_backend(root).client
        tags = client.get_run(run_id).data.tags
        patch, unhad = _patch_of(client, tags.get("mlflow.parentRunId", run_id), tags, Project(root).scratch)
    except Exception as error:
        raise ReproduceError(f"{run_id} is no commit, and no run of the tracking store: {brief(error)}") from None
    kind, recorded = tags.get("kind"), tags.get("commit", "")
    if patch:
        recorded, patch = read_patch(patch)
    if kind not in ("fold", "model"):
        raise ReproduceError(f"the run {run_id} is of kind {kind}: give the run of a model or of a fit, or a commit")
    commit = git.commit_of(root, recorded)
    if commit is None:
        which = "says no commit" if not recorded else f"is of {recorded}, which this repository lacks"
        raise ReproduceError(f"the run {run_id} {which}: fetch that commit, or give one yourself with --only")
    name = "/".join(tags[key] for key in ("task", "backbone", "model"))
    if kind == "fold":
        name += f"/repeat-{tags['repeat']}/fold-{tags['fold']}"
    return Revision(run_id, commit, (name,), run_id, patch, unhad)


def _patch_of(client: MlflowClient, model_run: str, tags: Mapping[str, str], scratch: Path) -> tuple[bytes, str]:
    """The patch of a model's run, if it is whole; else why there is none of a tree that had edits."""
    if "true" not in tags.get("dirty", "").lower():
        return b"", ""
    state = client.get_run(model_run).data.tags.get("patch", "no patch was kept then")
    if state != KEPT:
        return b"", f"edits that no commit has ({state}): the commit runs without them"
    with scratch_folder(scratch) as folder:
        return Path(client.download_artifacts(model_run, FILE, str(folder))).read_bytes(), ""
