"""`training.numerics: portable`: the same bytes whatever a process was started with, or a refusal that says why."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from qlcnet import machine
from qlcnet.fit import computed_on
from qlcnet.fit.computed_on import NumericsError, check_numerics
from qlcnet.fit.fitting import fit_fold
from qlcnet.fit.spec import DataPaths
from qlcnet.grid import grid as grid_module
from qlcnet.grid.cluster import engine as cluster
from qlcnet.grid.cluster.engine import ClusterError, DaskEngine
from qlcnet.grid.engine import EngineError
from qlcnet.grid.engines import engine_for
from qlcnet.grid.worker import run_fit
from tests.fit.tiny_fits import make_data, make_spec
from tests.grid.projects import TASK, make_project, plan
from tests.grid.test_cluster import Link

PORTABLE = {"epochs": 1, "batch_size": 16, "numerics": "portable"}
HYBRID = {"inputs": ["image", "quanv:ry"], "head": "quantum"}
# what a user may have set, for a faster or another machine
HOSTILE = {
    "ONEDNN_MAX_CPU_ISA": "DEFAULT", "DNNL_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "AVX2,STRICT", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "MKL_DEBUG_CPU_TYPE": "5",
    "ONEDNN_DEFAULT_FPMATH_MODE": "ANY",
}  # fmt: skip
# numpy's part in a fit is sums and square roots, which no instruction set changes
NUMPY = {"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR"}
FIT = """
import json, sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

def answer():
    from tests.grid import test_numerics
    return test_numerics.what_a_process_computes()

if __name__ == "__main__":
    root = Path(sys.argv[1])
    if root.is_dir():  # as the commands do it: a worker of a forkserver fits
        from qlcnet import commands
        from qlcnet.grid.worker_process import worker_context
        from qlcnet.paths import Project
        commands._params(Project(root))
        assert "torch" not in sys.modules
        with ProcessPoolExecutor(1, worker_context()) as pool:
            print(json.dumps(pool.submit(eval, "__import__('tests.grid.test_numerics', fromlist='_')"
                                               ".what_a_process_computes()").result()))
    else:
        print(json.dumps(answer()))
"""


def what_a_process_computes() -> dict[str, Any]:
    """Of a portable fit in this process: its bytes, and what torch and MKL use."""
    fit = fit_fold(make_spec(HYBRID, epochs=1, numerics="portable"), make_data())
    return {
        "bytes": fit.predictions["probabilities"].tobytes().hex(),
        "on": fit.computed_on,
        "mkl_fuses": mkl_fuses(),
        "seen": {name: value for name in (*HOSTILE, *machine.PORTABLE_VARIABLES) if (value := os.environ.get(name))},
    }


def mkl_fuses() -> bool:
    """Whether MKL's product rounds once for a product and its sum: its branch for any CPU (SSE2) rounds twice.

    x^2 - c with x = 1 + 2^-12 and c = 1 + 2^-11 is 2^-24; with x^2 rounded first, to the even neighbour, it is 0.
    """
    x, c = 1 + 2**-12, 1 + 2**-11
    left, right = torch.tensor([[x, 1.0], [1.0, x]]), torch.tensor([[x, -c], [-c, x]])
    return bool((left.repeat(8, 1) @ right.repeat(1, 8)).diagonal()[:2].any())


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """A worker of a command that was started among hostile settings; a process that its user started as is asked."""
    root = tmp_path_factory.mktemp("portable")
    make_project(root, training=PORTABLE)
    clean = {name: value for name, value in os.environ.items() if name not in machine.NUMERIC_VARIABLES}
    here = {**clean, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), clean.get("PYTHONPATH", "")])}
    starts = [(str(root), HOSTILE), ("in this process", machine.PORTABLE_VARIABLES | NUMPY)]
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", FIT, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**here, **variables},
        )
        for how, variables in starts
    ]  # fmt: skip
    answers = [run.communicate() for run in runs]
    assert [run.returncode for run in runs] == [0, 0], answers
    return [json.loads(out) for out, _ in answers]


needs_avx2 = pytest.mark.skipif(machine.instructions() not in ("AVX2", "AVX512"), reason="no AVX2 here")


@needs_avx2
def test_a_worker_computes_so_whatever_its_user_had_set(processes: list[dict[str, Any]]) -> None:
    worker, _ = processes
    assert worker["seen"] == machine.PORTABLE_VARIABLES | {"ONEDNN_DEFAULT_FPMATH_MODE": "STRICT"}
    assert worker["on"]["variables"] == machine.PORTABLE_VARIABLES
    assert (worker["on"]["torch"], worker["on"]["onednn"], worker["on"]["products"]) == ("AVX2", "AVX2", "oneDNN")
    assert not worker["mkl_fuses"]


@needs_avx2
def test_the_bytes_are_the_same_and_those_of_fast_are_others(processes: list[dict[str, Any]]) -> None:
    worker, own = processes
    assert worker["bytes"] == own["bytes"]
    if mkl_fuses():  # else these tests were started portable
        fast = fit_fold(make_spec(HYBRID, epochs=1), make_data())
        assert fast.predictions["probabilities"].tobytes().hex() != own["bytes"]


def test_no_fit_takes_square_roots_by_mkl() -> None:
    """torch.sqrt of a tensor on the CPU is MKL's: off by a bit in one of six, and not by the same on AMD and Intel."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        fit_fold(make_spec(HYBRID, epochs=1, optimizer="adamw", schedule="one-cycle"), make_data())
    names = {event.key for event in recorded.key_averages()}
    assert "aten::_fused_adamw_" in names
    assert not names & {"aten::sqrt", "aten::sqrt_"}


# --- refused --------------------------------------------------------------------------------------------------------


@pytest.fixture
def unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that nobody started as `portable` asks."""
    for name in machine.NUMERIC_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("unasked")
def test_a_process_that_was_started_otherwise_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    start = (
        r"ATEN_CPU_CAPABILITY=avx2 MKL_CBWR=COMPATIBLE ONEDNN_MAX_CPU_ISA=AVX2.*\(it has MKL_CBWR=AVX2\); start it so"
    )
    spec = replace(make_spec(numerics="portable"), code="", words=frozenset())
    with pytest.raises(NumericsError, match=start):
        fit_fold(spec, make_data())
    params = make_project(tmp_path, training=PORTABLE)
    grid, _ = plan(params, tmp_path)
    with pytest.raises(EngineError, match=start):  # the grid ends, as where there is no CUDA
        run_fit(grid.specs[0], DataPaths.of(tmp_path, TASK), ("ry",), "", "here", print)


@pytest.mark.parametrize(
    ("used", "cpu", "message"),
    [("AVX512", "AVX2", "which uses AVX512, was loaded before"), ("AVX2", "SSE4.1", "needs an x86-64 CPU with AVX2")],
)
@pytest.mark.usefixtures("unasked")
def test_variables_that_came_late_or_bind_nothing_are_refused(
    monkeypatch: pytest.MonkeyPatch, used: str, cpu: str, message: str
) -> None:
    for name, value in machine.PORTABLE_VARIABLES.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(computed_on.torch.backends.cpu, "get_cpu_capability", lambda: used)
    monkeypatch.setattr(machine, "instructions", lambda: cpu)
    with pytest.raises(NumericsError, match=message):
        check_numerics("portable")
    check_numerics("fast")


class Elsewhere(Link):
    """A worker on another CPU that does or does not compute as asked."""

    def __init__(self, fault: str | None) -> None:
        super().__init__()
        self.fault, self.asked = fault, ()

    def run(self, function: Any, *arguments: Any, **how: Any) -> dict[str, Any]:
        self.asked = arguments[1:]
        (answer,) = super().run(function, *arguments, **how).values()
        return {"tcp://w": {**answer, "cpu": "GenuineIntel AVX512", "numerics_fault": self.fault}}


def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, link: Link, **training: Any) -> DaskEngine:
    """The engine of a project on that worker."""
    params = make_project(tmp_path, training=PORTABLE | training)
    grid, _ = plan(params, tmp_path)
    nobody: Any = None  # a cluster asks no keeper how many workers to take
    monkeypatch.setattr(cluster, "_connect", lambda scheduler: link)
    engine = engine_for(params, grid, tmp_path, nobody, None, "tcp://s")(print)
    assert isinstance(engine, DaskEngine)
    return engine


def test_workers_of_a_cluster_are_refused_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = Elsewhere("training.numerics is portable, but this process was not started with A=b")
    with pytest.raises(ClusterError, match=r"worker tcp://w: training\.numerics is portable, but .* started with A=b"):
        opened(tmp_path, monkeypatch, link)
    assert link.asked == ("cpu", "portable")


@pytest.mark.parametrize(("numerics", "warned"), [("portable", False), ("fast", True)])
def test_another_cpu_is_worth_a_word_where_its_bytes_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, numerics: str, warned: bool
) -> None:
    with caplog.at_level(logging.WARNING, "qlcnet"):
        opened(tmp_path, monkeypatch, Elsewhere(None), numerics=numerics).close(abort=True)
    assert ("another kind of CPU" in caplog.text) == warned


def test_portable_fits_are_other_fits_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid_module, "accelerators", lambda: ("0",))
    grids = {}
    for numerics in ("fast", "portable"):
        training = {"epochs": 1, "batch_size": 16, "numerics": numerics, "device": "auto"}
        grids[numerics], _ = plan(make_project(tmp_path / numerics, training=training), tmp_path / numerics)
    fast, portable = (grids[numerics].specs[0] for numerics in grids)
    assert (fast.device, portable.device) == ("cuda", "cpu"), "elsewhere `auto` may find no accelerator"
    settings = [
        grids[spec.training.numerics].configs[spec.fingerprint]["settings"]["training"] for spec in (fast, portable)
    ]
    assert [one.get("numerics") for one in settings] == [None, "portable"]
