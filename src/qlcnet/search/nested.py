"""The outer estimate: the winner of each outer training part, fitted again, on the outer fold that no search saw.

Beside it the default on the same folds. Those fits are the ones that `train` would make: they are kept whole in the
project's store, and a study that takes the setting over finds them there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qlcnet.evidence.comparison import FoldScores, compare, fold_scores
from qlcnet.evidence.oof import OOFTable
from qlcnet.evidence.verdicts import Silent, Verdict, judge
from qlcnet.fit.fold_folder import TEST, VALIDATION, read_config
from qlcnet.grid.grid import plan_grid
from qlcnet.grid.run import Listener
from qlcnet.search.fits import Bench
from qlcnet.search.inner import outer_view
from qlcnet.search.lanes import Lane, read_predictions
from qlcnet.search.outcome import Outcome
from qlcnet.search.space import Setting


@dataclass(frozen=True)
class OuterFit:
    """A fit to make on an outer fold, of the winner or of the default of a search."""

    bench: Bench
    setting: Setting
    fold: int

    def run(self, lane: Lane, listeners: Sequence[Listener]) -> Path:
        """The folder of the fit, from the store or made now. Raises FitFailedError."""
        params = self.bench.params_of(self.setting)
        root = outer_view(self.bench.inner)
        grid = plan_grid(params, self.bench.inner.task, root, self.bench.trials.whole)
        (spec,) = (one for one in grid.specs if (one.repeat, one.fold) == (0, self.fold))
        self.bench.uses(spec.fingerprint)
        return lane.fit(grid, params, root, self.fold, whole=True, listeners=listeners).folder


@dataclass(frozen=True)
class Nested:
    """A model's outer scores. inner: the winners' values; corrected: those without their bias; both by outer fold.

    overtuned: outer folds on which the winner is worse than the default.
    """

    model: str
    seed: int
    metric: str
    folds: tuple[int, ...]
    default: tuple[float, ...]
    tuned: tuple[float, ...]
    inner: tuple[float, ...]
    corrected: tuple[float, ...]
    verdict: Verdict | Silent

    @property
    def overtuned(self) -> int:
        """Searches that ended worse than their default."""
        return sum(tuned < default for tuned, default in zip(self.tuned, self.default, strict=True))


def nested_of(
    found: Sequence[Outcome], folders: Sequence[tuple[Path, Path]], official: bool, margin: float, alpha: float
) -> Nested:
    """From the searches of one model with one seed, and for each the folders of its (default, winner) on its fold.

    official: the set's own split, of which the test part is scored.
    """
    search = found[0].search
    part = TEST if official else VALIDATION
    sides = []
    for side, name in ((0, "default"), (1, "tuned")):
        sides.append(_scores(found, [pair[side] for pair in folders], part, name))
    default, tuned = sides
    (verdict,) = judge([compare(tuned, default, search.metric)], margin, alpha)
    values = [tuple(map(float, side.values[search.metric].ravel())) for side in (default, tuned)]
    return Nested(
        search.model, search.seed, search.metric, tuple(one.search.fold for one in found), values[0], values[1],
        tuple(one.winner.value for one in found), tuple(one.corrected for one in found), verdict,
    )  # fmt: skip


def _scores(found: Sequence[Outcome], folders: Sequence[Path], part: int, name: str) -> FoldScores:
    search = found[0].search
    each = [read_predictions(folder, part) for folder in folders]
    fold = np.concatenate([np.full(len(one.index), of.search.fold) for one, of in zip(each, found, strict=True)])
    index, target, probabilities = (
        np.concatenate([getattr(one, column) for one in each]) for column in ("index", "target", "probabilities")
    )
    classes = tuple(map(str, range(probabilities.shape[1])))
    table = OOFTable(
        search.task, search.backbone, f"{search.model}, {name}", classes, np.zeros_like(fold), fold, index, target,
        probabilities,
    )  # fmt: skip
    return fold_scores(table, int(read_config(folders[0]).get("parameters", 0)))
