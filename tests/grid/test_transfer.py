"""The files of a task on their way to a worker that does not see them, pretrained weights among them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qlcnet import machine
from qlcnet.fit.spec import DataPaths
from qlcnet.grid.cluster import transfer
from qlcnet.grid.cluster import worker as cluster_worker
from qlcnet.grid.cluster.engine import DaskEngine
from qlcnet.grid.cluster.transfer import TaskFiles
from qlcnet.grid.cluster.worker import describe_worker
from tests.grid.projects import TASK, make_project, plan

WEIGHTS = "weights/own.safetensors"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / WEIGHTS).write_bytes(b"weights" * 100)
    make_project(tmp_path, backbones={"lcnet_035": {"pretrained": WEIGHTS}, "lcnet_050": {}})
    return tmp_path


def worker_at(folder: Path) -> Any:
    return SimpleNamespace(local_directory=str(folder / "worker-1"), state=SimpleNamespace(nthreads=1))


def send(files: TaskFiles, worker: Any) -> DataPaths:
    """What transfer.send makes a worker do, without the network; small chunks."""
    send_pieces(files, worker)
    transfer.commit_spool(files.spool, files.names, dask_worker=worker)
    return transfer.spooled(transfer.spool_of(worker, files.spool))


def send_pieces(files: TaskFiles, worker: Any) -> None:
    for name, path in files.each():
        data = path.read_bytes()
        for offset in range(0, len(data), 300):
            transfer.write_chunk(files.spool, name, offset, data[offset : offset + 300], dask_worker=worker)


def test_pretrained_weights_are_sent_and_specs_name_the_copy(root: Path, tmp_path: Path) -> None:
    own = str(root / WEIGHTS)
    files = TaskFiles.of(DataPaths.of(root, TASK), ("ry",), (own,))
    pretrained, scratch = (
        next(spec for spec in plan_specs(root) if spec.backbone_name == name) for name in ("lcnet_035", "lcnet_050")
    )
    assert pretrained.backbone.pretrained == own
    assert files.seen_by(pretrained, files.paths) is pretrained, "where the files are seen, nothing changes"

    elsewhere = replace(files, paths=DataPaths.of(tmp_path / "not-on-this-host", TASK))
    worker = worker_at(tmp_path / "scratch")
    assert transfer.paths_seen(elsewhere, worker) is None
    paths = send(files, worker)
    assert transfer.paths_seen(elsewhere, worker) == paths
    there = files.seen_by(pretrained, paths)
    copy = Path(str(there.backbone.pretrained))
    assert copy.is_relative_to(tmp_path / "scratch")
    assert copy.suffix == ".safetensors"
    assert copy.read_bytes() == (root / WEIGHTS).read_bytes()
    assert there == replace(pretrained, backbone=there.backbone)
    assert files.seen_by(scratch, paths) is scratch

    transfer.remove_spool(files.spool, dask_worker=worker)
    assert not copy.exists()


def test_a_grid_that_ends_leaves_the_files_of_another_grid_of_its_task(root: Path, tmp_path: Path) -> None:
    one, other = (TaskFiles.of(DataPaths.of(root, TASK), ("ry",)) for _ in range(2))
    assert one.digest == other.digest
    worker = worker_at(tmp_path / "scratch")
    send(one, worker)
    paths = send(other, worker)
    send_pieces(one, worker)
    transfer.remove_spool(one.spool, dask_worker=worker)
    assert paths.folds.read_bytes() == other.paths.folds.read_bytes()
    left = [path.name for path in transfer.spool_of(worker, "x").parent.iterdir()]
    assert left == [other.spool], "half-sent files go, too"


def test_two_workers_may_commit_one_folder(root: Path, tmp_path: Path) -> None:
    """Containers that share the scratch space under host names of their own are taken for two hosts."""
    files = TaskFiles.of(DataPaths.of(root, TASK), ("ry",))
    one, other = (SimpleNamespace(local_directory=str(tmp_path / "scratch" / name)) for name in ("w-1", "w-2"))
    send_pieces(files, one)
    send_pieces(files, other)
    for worker in (one, other):
        transfer.commit_spool(files.spool, files.names, dask_worker=worker)
    spool = transfer.spool_of(one, files.spool)
    assert {name: (spool / name).read_bytes() for name, _ in files.each()} == {
        name: path.read_bytes() for name, path in files.each()
    }
    with pytest.raises(FileNotFoundError):  # nothing was sent there
        transfer.commit_spool(files.spool, files.names, dask_worker=worker_at(tmp_path / "elsewhere"))


def plan_specs(root: Path) -> Any:
    from qlcnet.config import load_params

    return plan(load_params(root / "params.yaml"), root)[0].specs


def test_a_worker_with_other_weights_at_the_same_path_does_not_see_the_files(root: Path, tmp_path: Path) -> None:
    own = str(root / WEIGHTS)
    files = TaskFiles.of(DataPaths.of(root, TASK), ("ry",), (own,))
    worker = worker_at(tmp_path / "scratch")
    assert transfer.paths_seen(files, worker) == files.paths
    (root / WEIGHTS).write_bytes(b"others")
    assert transfer.paths_seen(files, worker) is None
    (root / WEIGHTS).unlink()
    assert transfer.paths_seen(files, worker) is None


OLD = "torch 2.0 cannot use CUDA: the driver is too old"


@pytest.mark.parametrize(
    ("device", "there", "fault", "says"),
    [
        ("cpu", (), OLD, ""),
        ("cpu", ("0",), OLD, ""),
        ("cuda", ("0",), None, ""),
        ("cuda", ("0",), OLD, OLD),
        ("cuda", (), None, "no CUDA device"),
    ],
)
def test_a_worker_that_cannot_use_cuda_gets_no_fits_for_cuda(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    device: str, there: tuple[str, ...], fault: str | None, says: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(machine, "accelerators", lambda: there)
    monkeypatch.setattr(cluster_worker, "cuda_fault", lambda: fault)
    answer = describe_worker(
        TaskFiles.of(DataPaths.of(root, TASK), ()), device, "fast", dask_worker=worker_at(tmp_path)
    )
    engine = object.__new__(DaskEngine)
    engine.device, engine._own = device, {"versions": answer["versions"]}
    why = engine._why_not(answer)
    assert bool(why) is bool(says)
    assert not why or (says in why and "training.device" in why)
