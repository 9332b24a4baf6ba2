"""MLflow as a projection of the fold folders: one parent run a task x backbone x model, one child run a fold.

The files are the truth. A run is found by its fingerprint, so whatever MLflow lacks can be added at any time and
nothing is added twice: `GridTracker` follows a grid while it runs, `sync` adds what results/folds holds. Only the
process of `train` or of `track sync` writes; the processes that fit never import MLflow.
"""

from qlcnet.tracking.live import GridTracker
from qlcnet.tracking.look import look
from qlcnet.tracking.place import TrackingError
from qlcnet.tracking.projection import Projection
from qlcnet.tracking.sync import sync
from qlcnet.tracking.ui import local_ui
from qlcnet.tracking.verdicts import publish

__all__ = ["GridTracker", "Projection", "TrackingError", "local_ui", "look", "publish", "sync"]
