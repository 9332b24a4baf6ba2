"""What any worker does, of this machine or of a cluster: check code, device and numerics, open the data once, fit."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from qlcnet.fit.code import is_current
from qlcnet.fit.spec import DataPaths, FitResult, FitSpec
from qlcnet.grid.engine import EngineError, OnEvent, SourcesChangedError

if TYPE_CHECKING:
    from qlcnet.fit.data import FitData

MOST_OPENED = 16  # tasks whose arrays stay mapped: a worker may outlive grids, and serve several

_opened: dict[str, FitData] = {}


def run_fit(
    spec: FitSpec, paths: DataPaths, channels: Collection[str], content: str, worker: str, tell: OnEvent
) -> FitResult:
    """Fit one fold; `tell` gets its start and its epochs. `content`: equal where the files hold the same."""
    from qlcnet.fit.fitting import fit_fold

    check_sources(spec)
    check_device(spec)
    if fault := numerics_fault(spec.training.numerics):
        raise EngineError(fault)
    tell(("start", spec.fingerprint, worker))
    data = opened(paths, channels, content)
    return fit_fold(spec, data, lambda metrics: tell(("epoch", spec.fingerprint, dict(metrics))))


def opened(paths: DataPaths, channels: Collection[str], content: str) -> FitData:
    """The arrays of a task, opened once a process."""
    from qlcnet.fit.data import open_fit_data

    if content not in _opened:
        while len(_opened) >= MOST_OPENED:
            del _opened[next(iter(_opened))]
        _opened[content] = open_fit_data(paths, channels)
    return _opened[content]


def check_sources(spec: FitSpec) -> None:
    """Raises SourcesChangedError unless this worker has loaded the code that `spec` was planned for, and it is there.

    What it loaded decides; what lies on disk, too, because some modules are imported when a fit needs them.
    """
    if not is_current(spec.code, spec.words):
        raise SourcesChangedError("the sources changed while the grid ran; run again (finished fits are kept)")


def cuda_fault() -> str | None:
    """Why torch cannot use CUDA in this process; None where it can. Imports torch.

    Whoever plans sees device nodes; only here shows an old driver, a container without its libraries, a torch for CPU.
    """
    import torch

    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # AssertionError: a torch that was built without CUDA
        return f"torch {torch.__version__} cannot use CUDA: {error}"
    return None


def numerics_fault(numerics: str) -> str | None:
    """Why this process cannot fit with `training.numerics` as given; None where it can. To say so it imports torch."""
    if numerics == "fast":
        return None
    from qlcnet.fit.computed_on import NumericsError, check_numerics

    try:
        check_numerics(numerics)
    except NumericsError as error:
        return str(error)
    return None


def check_device(spec: FitSpec) -> None:
    """Raises EngineError where `spec`, and with it the whole grid, was planned for CUDA and this worker has none."""
    if spec.device == "cuda" and (fault := cuda_fault()):
        auto = " (chosen by `auto`, as there are NVIDIA device nodes)" if spec.training.device == "auto" else ""
        raise EngineError(
            f"training.device is cuda{auto}, but {fault}\n"
            "Set training.device: cpu in params.yaml; or mend the driver, or install a torch that was built for it"
        )
