"""The fold store: whole or not at all, safe against other writers, archives that travel."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from qlcnet.fit.fold_folder import CONFIG, FILES, PROVENANCE
from qlcnet.fit.store import FoldStore, StoreError
from qlcnet.grid.in_use import fingerprints_in_use
from tests.grid.projects import make_project, plan

A, B = "a" * 32, "b" * 32


def files(fingerprint: str, fold: int = 0) -> dict[str, bytes]:
    config = {"task": "t", "backbone": "b", "model": "m", "repeat": 0, "fold": fold, "fingerprint": fingerprint}
    return {name: json.dumps(config).encode() if name == CONFIG else name.encode() for name in FILES}


@pytest.fixture
def store(tmp_path: Path) -> FoldStore:
    return FoldStore(tmp_path / "folds")


def test_a_fit_is_there_after_put_and_its_files_are_read_only(store: FoldStore) -> None:
    assert A not in store
    folder = store.put(A, files(A), {"seconds": 1.5, "name": "t/b/m/repeat-0/fold-0"})
    assert A in store
    assert {p.name for p in folder.iterdir()} == {*FILES, PROVENANCE}
    assert all(p.stat().st_mode & 0o222 == 0 for p in folder.iterdir())
    (entry,) = store.entries()
    assert (entry.fingerprint, entry.name, entry.seconds) == (A, "t/b/m/repeat-0/fold-0", 1.5)


def test_the_first_of_two_writers_wins(store: FoldStore) -> None:
    store.put(A, files(A), {"seconds": 1})
    store.put(A, files(A), {"seconds": 2})
    assert [e.seconds for e in store.entries()] == [1]
    assert not list(store.root.glob(".partial-*"))


def test_a_killed_writer_leaves_nothing_that_looks_whole(tmp_path: Path) -> None:
    # the child dies between the last file and the rename
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from qlcnet.fit import store as module\n"
        "from tests.fit.test_store import A, files\n"
        "s = module.FoldStore(Path(sys.argv[1]))\n"
        "s._commit = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\n"
        "s.put(A, files(A), {})\n"
    )
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "folds")], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert run.returncode == -9
    assert list((tmp_path / "folds").glob(".partial-*"))
    store = FoldStore(tmp_path / "folds")
    assert A not in store
    assert not list(store.root.iterdir()), "what a dead process left is swept"


def test_what_another_machine_is_writing_stays(tmp_path: Path) -> None:
    elsewhere = tmp_path / f".partial-{A}-another-machine-{2**22 + 1}"  # no process here has that number
    elsewhere.mkdir()
    FoldStore(tmp_path)
    assert elsewhere.is_dir()


def test_link_leaves_provenance_out_and_shares_the_bytes(store: FoldStore, tmp_path: Path) -> None:
    store.put(A, files(A), {"host": "here"})
    store.link(A, tmp_path / "results" / "fold-0")
    assert sorted(p.name for p in (tmp_path / "results" / "fold-0").iterdir()) == sorted(FILES)
    assert os.path.samefile(store.path(A) / CONFIG, tmp_path / "results" / "fold-0" / CONFIG)
    store.link(A, tmp_path / "results" / "fold-0")  # again: no error


def test_prune_keeps_what_is_in_use_and_can_be_tried_first(store: FoldStore) -> None:
    store.put(A, files(A), {})
    store.put(B, files(B, 1), {})
    assert [e.fingerprint for e in store.prune({A}, dry_run=True)] == [B]
    assert B in store
    assert not store.prune({A}, older_than_days=1)
    assert [e.fingerprint for e in store.prune({A})] == [B]
    assert (A in store, B in store) == (True, False)


def test_export_and_import_carry_fits_to_another_store(store: FoldStore, tmp_path: Path) -> None:
    store.put(A, files(A), {"seconds": 3})
    store.put(B, files(B, 1), {})
    assert store.export(tmp_path / "fits.tar") == 2
    other = FoldStore(tmp_path / "other")
    other.put(B, files(B, 1), {"seconds": 9})
    assert other.import_(tmp_path / "fits.tar") == 1
    assert sorted((e.fingerprint, e.seconds) for e in other.entries()) == [(A, 3), (B, 9)]
    for name in FILES:
        assert (other.path(A) / name).read_bytes() == (store.path(A) / name).read_bytes()


@pytest.mark.parametrize(
    ("member", "content"),
    [
        ("../escape", b""),
        (f"{A}/other.pkl", b""),
        (f"{A}/../../x", b""),
        ("/etc/x", b""),
        (f"{A}/{CONFIG}", json.dumps({"fingerprint": B}).encode()),
    ],
)
def test_an_archive_with_anything_else_is_refused(
    store: FoldStore, tmp_path: Path, member: str, content: bytes
) -> None:
    archive = tmp_path / "bad.tar"
    with tarfile.open(archive, "w") as tar:
        contents = {f"{A}/{name}": data for name, data in files(A).items()} | {member: content}
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with pytest.raises(StoreError):
        store.import_(archive)
    assert not list(store.entries())


def test_a_torn_archive_is_refused(store: FoldStore, tmp_path: Path) -> None:
    store.put(A, files(A), {})
    store.export(tmp_path / "fits.tar")
    torn = tmp_path / "torn.tar"
    torn.write_bytes((tmp_path / "fits.tar").read_bytes()[:700])
    with pytest.raises(StoreError, match="not a whole archive"):
        FoldStore(tmp_path / "other").import_(torn)


def test_fits_that_wait_to_be_linked_are_in_use(tmp_path: Path) -> None:
    # DVC deletes the outputs of a failed stage: results/ is empty then, and pruning must not finish the job
    params = make_project(tmp_path)
    grid, _ = plan(params, tmp_path)
    assert fingerprints_in_use(params, tmp_path) == {spec.fingerprint for spec in grid.specs}
    fold = tmp_path / "results" / "folds" / "t" / "b" / "m" / "repeat-0" / "fold-0"
    fold.mkdir(parents=True)
    (fold / CONFIG).write_bytes(files(A)[CONFIG])
    assert A in fingerprints_in_use(params, tmp_path)


def test_a_task_that_cannot_be_planned_stops_the_pruning(tmp_path: Path) -> None:
    params = make_project(tmp_path, backbones={"lcnet_035": {}, "lcnet_050": {"pretrained": "typo.safetensors"}})
    with pytest.raises(FileNotFoundError, match=r"backbones\.lcnet_050\.pretrained: .*typo\.safetensors"):
        fingerprints_in_use(params, tmp_path)


def test_a_tree_that_uses_nothing_prunes_nothing(tmp_path: Path) -> None:
    params = make_project(tmp_path)
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(StoreError, match="dvc checkout"):
        fingerprints_in_use(params, tmp_path)


def test_a_compressed_archive_is_refused_it_has_no_bound(tmp_path: Path) -> None:
    store = FoldStore(tmp_path / "store")
    (tmp_path / "fits.tar").write_bytes(gzip.compress(bytes(10**6)))
    with pytest.raises(StoreError, match="it is compressed; unpack it first"):
        store.import_(tmp_path / "fits.tar")


def test_a_pipe_or_a_folder_is_no_archive(tmp_path: Path) -> None:
    store = FoldStore(tmp_path / "store")
    os.mkfifo(tmp_path / "fits.tar")
    for path in (tmp_path / "fits.tar", tmp_path, Path("/dev/zero")):
        with pytest.raises(StoreError, match="is no regular file; nothing was imported"):
            store.import_(path)
