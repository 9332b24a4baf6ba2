"""What a machine offers, read from fake kernel files, and how many fits at a time that makes."""

from __future__ import annotations

import os
import pickle
import random
import select
import signal
import subprocess
import sys
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from qlcnet import machine
from qlcnet.config import load_params
from qlcnet.cost import room
from qlcnet.cost.room import FITS_PER_GPU, GPU_CONTEXT, IMPORTS, MARGIN, auto_workers, deal
from qlcnet.fit.spec import DataPaths, FitResult
from qlcnet.grid import counting, local
from qlcnet.grid.engine import EngineError
from qlcnet.grid.local import LocalEngine
from tests.fit.tiny_fits import make_spec
from tests.grid.projects import TASK, make_project, plan

GB = 10**9


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 cores and 100 GB, before limits of control groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(available=100 * GB))


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V2 = {"proc/self/cgroup": "0::/user/job\n"}
V1 = {"proc/self/cgroup": "9:memory:/job\n4:cpu,cpuacct:/job\n0::/\n"}
HOST_PATH = {"proc/self/cgroup": "0::/system.slice/docker-1234.scope\n"}  # not there inside the container


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 16),
        ({**V2, "sys/fs/cgroup/user/job/cpu.max": "max 100000\n"}, 16),
        ({**V2, "sys/fs/cgroup/user/job/cpu.max": "350000 100000\n"}, 3),
        ({**V2, "sys/fs/cgroup/user/job/cpu.max": "50000 100000\n"}, 1),
        ({**V2, "sys/fs/cgroup/user/cpu.max": "200000 100000\n", "sys/fs/cgroup/user/job/cpu.max": "max 100000\n"}, 2),
        ({**HOST_PATH, "sys/fs/cgroup/cpu.max": "400000 100000\n"}, 4),
        (
            {
                **V1,
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us": "600000\n",
                "sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us": "100000\n",
            },
            6,
        ),
        (
            {**V1, "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"},
            16,
        ),
    ],
)
def test_cores_are_those_of_the_container(tmp_path: Path, files: dict[str, str], cores: int) -> None:
    assert machine.cores(write(tmp_path, files)) == cores


@pytest.mark.parametrize(
    ("files", "gigabytes"),
    [
        ({}, 100),
        ({**V2, "sys/fs/cgroup/user/job/memory.max": "max\n", "sys/fs/cgroup/user/job/memory.current": "1\n"}, 100),
        (
            {
                **V2,
                "sys/fs/cgroup/user/job/memory.max": f"{8 * GB}\n",
                "sys/fs/cgroup/user/job/memory.current": f"{5 * GB}\n",
                "sys/fs/cgroup/user/job/memory.stat": f"anon 7\nactive_file 9\ninactive_file {2 * GB}\n",
            },
            5,
        ),
        (
            {
                **HOST_PATH,
                "sys/fs/cgroup/memory.max": f"{4 * GB}\n",
                "sys/fs/cgroup/memory.current": f"{4 * GB + 4096}\n",
            },
            0,
        ),
        (
            {
                **V1,
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/job/memory.usage_in_bytes": f"{GB}\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{16 * GB}\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{6 * GB}\n",
                "sys/fs/cgroup/memory/memory.stat": f"inactive_file 0\ntotal_inactive_file {GB}\n",
            },
            11,
        ),
    ],
)
def test_free_memory_is_what_the_container_leaves(tmp_path: Path, files: dict[str, str], gigabytes: int) -> None:
    assert machine.free_memory(write(tmp_path, files)) == gigabytes * GB


@pytest.mark.parametrize(
    ("nodes", "visible", "devices"),
    [
        ("", None, ()),
        ("", "0", ()),
        ("0 1 ctl uvm", None, ("0", "1")),
        ("3", None, ("0",)),  # CUDA numbers what a container sees from 0
        ("0 1 2 3", "2, 3", ("2", "3")),
        ("0 1", "GPU-8f,MIG-4a", ("GPU-8f", "MIG-4a")),
        ("0 1", "", ()),
        ("0 1", "1,-1,0", ("1",)),
    ],
)
def test_accelerators(tmp_path: Path, nodes: str, visible: str | None, devices: tuple[str, ...]) -> None:
    write(tmp_path, {f"dev/nvidia{name}": "" for name in nodes.split()})
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert machine.accelerators(tmp_path, environment) == devices


@pytest.mark.parametrize(
    ("script", "free"), [("echo 139000", 139000 << 20), ("echo '[N/A]'", None), ("exit 6", None), (None, None)]
)
def test_free_memory_of_an_accelerator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, free: int | None
) -> None:
    if script:
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.free_accelerator_memory("0") == free


FIT = 0.8 * GB
NEEDS = GPU_CONTEXT + FIT


@pytest.mark.parametrize(
    ("free", "data", "fits", "workers"),
    [
        ({}, 0, 80, 1),  # none seen: the fit itself says so
        ({"0": None}, 0, 80, FITS_PER_GPU),
        ({"0": 2.5 * NEEDS}, 0, 80, 2),
        ({"0": 2.5 * NEEDS}, NEEDS, 80, 1),
        ({"0": 1e12, "1": 1e12}, 0, 80, 2 * FITS_PER_GPU),
        ({"0": 1e12, "1": 1.5 * NEEDS}, 0, 80, FITS_PER_GPU + 1),
        ({"0": 1e12}, 0, 3, 3),
        (dict.fromkeys("01234567", None), 0, 80, 16),  # a core each
    ],
)
def test_auto_counts_what_accelerators_hold(
    monkeypatch: pytest.MonkeyPatch, free: dict[str, float | None], data: float, fits: int, workers: int
) -> None:
    monkeypatch.setattr(machine, "accelerators", lambda: tuple(free))
    monkeypatch.setattr(machine, "free_accelerator_memory", lambda gpu: free[gpu])
    monkeypatch.setattr(machine, "cores", lambda: 16)
    monkeypatch.setattr(machine, "free_memory", lambda: 100 * GB)
    assert auto_workers(fits, "cuda", FIT, data) == workers
    assert auto_workers(fits, "cpu", FIT, data) == min(fits, 16)


@pytest.mark.parametrize(
    ("free", "workers", "dealt"),
    [
        ({"0": 1e12, "1": 1.5 * NEEDS}, FITS_PER_GPU + 1, "00001"),
        ({"0": 0.01 * NEEDS, "1": 1e12}, FITS_PER_GPU, "1111"),  # somebody else fills GPU 0
        ({"0": 0.01 * NEEDS, "1": 1e12}, FITS_PER_GPU + 2, "111111"),  # more than there is room for
        ({"0": 1.2 * NEEDS, "1": 1.5 * NEEDS}, 5, "10101"),
        ({"0": 0, "1": 0}, 3, "010"),
        ({"0": None, "1": None}, 3, "010"),
        ({"0": 1e12, "1": 1e12}, 3, "010"),
        ({"0": 1.5 * NEEDS}, 3, "000"),
        ({}, 3, ""),  # the first fit says that there is none
    ],
)
def test_workers_go_to_the_gpu_that_has_most_room(
    monkeypatch: pytest.MonkeyPatch, free: dict[str, float | None], workers: int, dealt: str
) -> None:
    monkeypatch.setattr(machine, "free_accelerator_memory", lambda gpu: free[gpu])
    assert "".join(deal(tuple(free), workers, FIT)) == dealt


def test_no_gpu_gets_more_than_it_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 99)
    monkeypatch.setattr(machine, "free_memory", lambda: 10**15)
    draw = random.Random(0)
    for _ in range(300):
        free = {gpu: draw.choice((None, draw.uniform(0, 12) * NEEDS)) for gpu in "0123"[: draw.randint(1, 4)]}
        monkeypatch.setattr(machine, "accelerators", lambda free=free: tuple(free))
        monkeypatch.setattr(machine, "free_accelerator_memory", free.__getitem__)
        needs, data = draw.uniform(0.1, 4) * FIT, draw.uniform(0, 2) * GB
        dealt = deal(tuple(free), auto_workers(draw.randint(1, 99), "cuda", needs, data), needs + data)
        bound = {gpu: room._fits_on(gpu, needs + data) for gpu in free}
        assert not any(bound.values()) or all(dealt.count(gpu) <= bound[gpu] for gpu in free)


@pytest.mark.parametrize(
    ("cores", "memory", "workers"),
    [(3, 100 * GB, 3), (16, IMPORTS + 5.1 * MARGIN * FIT, 5), (16, IMPORTS + 4.9 * MARGIN * FIT, 4), (16, 0, 1)],
)
def test_auto_stays_within_cores_and_memory(
    monkeypatch: pytest.MonkeyPatch, cores: int, memory: float, workers: int
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.setattr(machine, "free_memory", lambda: memory)
    assert auto_workers(80, "cpu", FIT) == workers


def test_each_worker_sees_its_accelerator_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_events", None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8f,GPU-4a")
    engine = LocalEngine(DataPaths.of(tmp_path, "x"), (), 3, print, tmp_path / "tmp", ("GPU-8f", "GPU-4a", "GPU-4a"))
    seen = []
    for _ in range(3):  # what each worker process runs first
        local._start_worker(*engine._pool._initargs)  # type: ignore[attr-defined]
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    engine.close()
    assert seen == ["GPU-8f", "GPU-4a", "GPU-4a"]


def test_without_accelerators_workers_keep_their_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_events", None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    engine = LocalEngine(DataPaths.of(tmp_path, "x"), (), 1, print, tmp_path / "tmp")
    local._start_worker(*engine._pool._initargs)  # type: ignore[attr-defined]
    engine.close()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


def test_what_workers_share_is_imported_without_a_look_at_cuda() -> None:
    """CUDA that was started, or asked for devices, before the fork would be of no use to workers."""
    script = (
        "import torch\n"
        "def fail(*_): raise SystemExit('CUDA was asked')\n"
        "for name in ('is_available', 'device_count', 'init', '_lazy_init'): setattr(torch.cuda, name, fail)\n"
        "import qlcnet.grid.preload\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


# --- what workers answer --------------------------------------------------------------------------------------------


def test_a_killed_worker_cannot_stop_halfway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the pipe goes less than it takes as a whole, however large a fit's result is."""
    make_project(tmp_path)
    spec = plan(load_params(tmp_path / "params.yaml"), tmp_path)[0].specs[0]
    weights = {"w": np.arange(1 << 20, dtype=np.float32)}
    fitted = FitResult({}, [], weights, {"parameters": 1 << 20}, seconds=1.0)
    monkeypatch.setattr("qlcnet.fit.fitting.fit_fold", lambda *_: fitted)
    monkeypatch.setattr(local, "_events", SimpleNamespace(put=lambda event: None))
    answer = local._run_local(spec, DataPaths.of(tmp_path, TASK), ("ry",), str(tmp_path))
    assert len(pickle.dumps(answer)) < select.PIPE_BUF / 8
    named: Future[str] = Future()
    named.set_result(answer)
    taken: Future[FitResult] = Future()
    local._take(named, taken)
    np.testing.assert_array_equal(taken.result().weights["w"], weights["w"])
    assert not Path(answer).exists()


def test_what_a_worker_raises_reaches_who_waits(tmp_path: Path) -> None:
    for error in (ValueError("no such channel"), BrokenProcessPool("killed")):
        named: Future[str] = Future()
        named.set_exception(error)
        taken: Future[FitResult] = Future()
        local._take(named, taken)
        assert taken.exception() is error
    lost: Future[str] = Future()
    lost.set_result(str(tmp_path / "gone"))
    local._take(lost, taken := Future())
    assert isinstance(taken.exception(), FileNotFoundError)


def test_a_result_is_the_same_to_the_last_bit_after_its_file(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    predictions = {"index": np.arange(5), "probabilities": draw.random((5, 3)), "of/slash": draw.random(2)}
    weights = {"head.weight": draw.standard_normal((3, 4)).astype(np.float32), "head.count": np.array(7)}
    history = [{"epoch": 0, "train_loss": 0.1 + 0.2, "val_auc": float("nan")}]
    facts = {"normalisation": {"mean": [1 / 3]}, "parameters": 12, "name": "é"}
    made = FitResult(predictions, history, weights, facts, 1.0 / 7, "host")
    made.save(tmp_path / "fit.npz")
    kept = FitResult.load(tmp_path / "fit.npz")
    for own, other in ((made.predictions, kept.predictions), (made.weights, kept.weights)):
        assert {k: (v.dtype, v.shape, v.tobytes()) for k, v in own.items()} == {
            k: (v.dtype, v.shape, v.tobytes()) for k, v in other.items()
        }
    assert repr((kept.history, kept.facts, kept.seconds, kept.host)) == repr((history, facts, 1.0 / 7, "host"))


def test_a_result_that_cannot_be_written_ends_the_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(tmp_path)
    spec = plan(load_params(tmp_path / "params.yaml"), tmp_path)[0].specs[0]
    monkeypatch.setattr("qlcnet.fit.fitting.fit_fold", lambda *_: FitResult({}, [], {}, {}, seconds=1.0))
    monkeypatch.setattr(local, "_events", SimpleNamespace(put=lambda event: None))
    with pytest.raises(EngineError, match=r"cannot write a fit's result: .*gone.*make room there"):
        local._run_local(spec, DataPaths.of(tmp_path, TASK), ("ry",), str(tmp_path / "gone"))


def test_a_fit_handed_to_dead_workers_ends_as_theirs_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = LocalEngine(DataPaths.of(tmp_path, "x"), (), 1, print, tmp_path / "tmp")

    def broken(*_: object) -> None:
        raise BrokenProcessPool("a worker died")

    monkeypatch.setattr(engine._pool, "submit", broken)
    assert isinstance(engine.submit(make_spec()).exception(), BrokenProcessPool)
    engine.close()


def test_a_death_while_networks_are_counted_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "_count_networks", os._exit)
    with pytest.raises(EngineError, match="counted the networks died"):
        counting.count_in_a_worker(1)  # type: ignore[arg-type]
