"""Which fits of the store some working tree still needs: what `qlcnet store prune` keeps."""

from __future__ import annotations

from pathlib import Path

from qlcnet.config import Params
from qlcnet.fit.fold_folder import CONFIG, read_config
from qlcnet.fit.store import FoldStore, StoreError
from qlcnet.fit.task_data import NotPreparedError
from qlcnet.grid.grid import plan_grid
from qlcnet.paths import Project


def fingerprints_in_use(params: Params, root: Path) -> set[str]:
    """Fits in results/ of any working tree that shares the store, fits that params.yaml asks for, fits of searches.

    The second, because DVC deletes results/folds/<task> when its stage fails or is about to run: fits that only wait to
    be linked again must not be taken for useless. Raises StoreError when nothing at all is in use, and whatever keeps
    a prepared task from being planned: its fits would look useless.
    """
    used = fingerprints_of_searches(root) | {
        str(read_config(path.parent, ["fingerprint"])["fingerprint"])
        for tree in Project(root).in_all_trees()
        for path in tree.fits.rglob(CONFIG)
    }
    store = FoldStore(Project(root).store)
    for task in params.datasets:
        try:
            used |= {spec.fingerprint for spec in plan_grid(params, task, root, store).specs}
        except NotPreparedError:
            continue  # nothing of it can be planned here
    if not used:
        raise StoreError(
            f"no results/ uses a fit, so that all would go: bring them back first (`dvc checkout`, `dvc repro`), "
            f"or, if all may go, remove {store.root}"
        )
    return used


def fingerprints_of_searches(root: Path) -> set[str]:
    """Fits of the searches of `qlcnet tune`: whose lists lie beside their journals, for as long as those are kept."""
    return {line for path in Project(root).searches.glob("*.fits") for line in path.read_text().split()}
