"""Where a project keeps things: its folders, and the stores that all its working trees share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from qlcnet.git import repository_of, working_trees


@dataclass(frozen=True)
class Project:
    """The places of a project, whose params.yaml is in `root`."""

    root: Path

    @classmethod
    def find(cls, start: Path | None = None) -> Project:
        """The project that `start` (default: the current folder) is in; without params.yaml above, `start` itself."""
        try:
            start = (start or Path.cwd()).resolve()
        except FileNotFoundError:
            raise FileNotFoundError("the folder in which this was started is gone: change to another one") from None
        return cls(next((folder for folder in (start, *start.parents) if (folder / "params.yaml").is_file()), start))

    # --- outputs of the stages of dvc.yaml ----------------------------------------------------------------------

    @property
    def params(self) -> Path:
        return self.root / "params.yaml"

    @property
    def declarations(self) -> Path:
        return self.root / "declarations.csv"

    @property
    def presets(self) -> Path:
        return self.root / "studies"

    def raw(self, task: str) -> Path:
        """The image set of a task."""
        return self.root / "data" / "raw" / task

    def folds(self, task: str) -> Path:
        """The fold table of a task."""
        return self.root / "data" / "folds" / f"{task}.csv"

    def channels(self, task: str) -> Path:
        """The stored channels of a task, a subfolder each."""
        return self.root / "data" / "quanvolved" / task

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def fits(self) -> Path:
        """The fold folders of finished fits, linked from the store: task/backbone/model/repeat-r/fold-k below it."""
        return self.results / "folds"

    @property
    def published(self) -> Path:
        """Published studies, in git, a folder each."""
        return self.root / "docs" / "results"

    @property
    def reproductions(self) -> Path:
        """Records of commits that were run again, in git."""
        return self.root / "reproductions"

    # --- shared by all working trees ----------------------------------------------------------------------------

    @cached_property
    def shared(self) -> Path:
        """The folder that holds `.qlcnet` and `mlruns`: `root` itself, as seen from git's main working tree.

        So worktrees share the stores of their repository, and `dvc exp run --temp` or `--queue`, which run in a
        repository of their own below `.dvc/tmp/exps`, share those of the project that started them.
        """
        return _shared(self.root.resolve())

    @property
    def state(self) -> Path:
        """What qlcnet keeps between runs and outside of DVC."""
        return self.shared / ".qlcnet"

    @property
    def store(self) -> Path:
        """The folder of finished fits, one a fingerprint."""
        return self.state / "folds"

    @property
    def searches(self) -> Path:
        """What searches of settings keep between runs: their journals, folds, and which fits they use."""
        return self.state / "tuning"

    @property
    def trial_fits(self) -> Path:
        """The folder of the fits of trials, without weights, one a fingerprint."""
        return self.state / "trials"

    @property
    def scratch(self) -> Path:
        """Temporary folders of processes that run."""
        return self.state / "tmp"

    @property
    def mlruns(self) -> Path:
        """The folder of the local tracking store."""
        return self.shared / "mlruns"

    def in_all_trees(self) -> list[Project]:
        """This project in each working tree of its repository, itself first."""
        root = self.root.resolve()
        repository = repository_of(root)
        if repository is None:
            return [Project(root)]
        inside = root.relative_to(repository.top)
        return [Project(path) for path in dict.fromkeys([root, *(tree / inside for tree in working_trees(root))])]


def _shared(root: Path) -> Path:
    repository = repository_of(root)
    if repository is None:
        return root
    inside = root.relative_to(repository.top)
    if owner := _owner_of_experiment(repository.top):
        above = repository_of(owner)
        return _shared((above.top if above else owner) / inside)
    # a submodule's or a bare repository's common directory is not called .git: its parent is no working tree
    return repository.common.parent / inside if repository.common.name == ".git" else root


def _owner_of_experiment(folder: Path) -> Path | None:
    """The DVC project that made `folder` for an experiment, if one did."""
    for path in folder.parents:
        if path.parts[-3:] == (".dvc", "tmp", "exps"):
            return path.parents[2]
    return None
