"""CIFAR-10: official bytes only, whichever way they come, and no pickle but arrays."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qlcnet.config import Data
from qlcnet.data import cifar10
from qlcnet.data.cifar10 import BATCHES, CLASS_NAMES, open_cifar10, read_batch
from qlcnet.data.imageset import DataError
from qlcnet.data.search_path import Fetcher
from tests.data.server import HASTE, Server


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


class Bomb:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Six batches of two images, which the module takes for the official ones."""
    rng = np.random.default_rng(2)
    made = {}
    for i, name in enumerate(BATCHES):
        batch = {b"data": rng.integers(0, 256, (2, 3072), np.uint8), b"labels": [i, 9 - i], b"batch_label": b"x"}
        made[name] = pickle.dumps(batch, protocol=2)
    monkeypatch.setattr(cifar10, "BATCHES", {name: md5(data) for name, data in made.items()})
    monkeypatch.setattr(cifar10, "PER_BATCH", 2)
    return made


def extract(batches: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in batches.items():
        (folder / name).write_bytes(data)
    return folder


def archive(batches: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in {"readme.html": b"<html>", **batches}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def fetcher(tmp_path: Path, *places: Path, mirrors: tuple[str, ...] = ()) -> Fetcher:
    data = Data(search_path=tuple(map(str, places)), mirrors=mirrors)
    return Fetcher(data, tmp_path / "project", HASTE)


def images_of(batches: dict[str, bytes]) -> np.ndarray:
    """Worked out apart from the code: red, green and blue planes of 32 x 32, row by row."""
    flat = np.concatenate([pickle.loads(data)[b"data"] for data in batches.values()])
    return np.stack([flat[:, :1024], flat[:, 1024:2048], flat[:, 2048:]], axis=-1).reshape(-1, 32, 32, 3)


@pytest.mark.parametrize("where", ["cifar-10-batches-py", "cifar10/cifar-10-batches-py", "."])
def test_an_extracted_folder(tmp_path: Path, batches: dict[str, bytes], where: str) -> None:
    place = tmp_path / "cifar-10-batches-py" if where == "." else tmp_path / "place"
    extract(batches, place / where)
    stream = open_cifar10(fetcher(tmp_path, place))
    np.testing.assert_array_equal(np.concatenate(list(stream.chunks)), images_of(batches))
    np.testing.assert_array_equal(stream.labels, [0, 9, 1, 8, 2, 7, 3, 6, 4, 5, 5, 4])
    np.testing.assert_array_equal(stream.parts, ["train"] * 10 + ["test"] * 2)


def test_the_archive_found_or_downloaded(
    tmp_path: Path, batches: dict[str, bytes], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.body = archive(batches)
    file = replace(cifar10.ARCHIVE, md5=md5(server.body), urls=(f"{server.base}/official",))
    monkeypatch.setattr(cifar10, "ARCHIVE", file)
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / file.name).write_bytes(server.body)
    found = open_cifar10(fetcher(tmp_path, tmp_path / "place"))
    assert not server.requests
    downloaded = open_cifar10(fetcher(tmp_path))
    assert server.requests
    for stream in (found, downloaded):
        np.testing.assert_array_equal(np.concatenate(list(stream.chunks)), images_of(batches))
    assert found.about == downloaded.about


def test_a_folder_with_a_wrong_batch_is_passed_over_and_named(tmp_path: Path, batches: dict[str, bytes]) -> None:
    bad = extract({**batches, "data_batch_3": b"spoilt"}, tmp_path / "bad" / "cifar-10-batches-py")
    extract(batches, tmp_path / "good" / "cifar-10-batches-py")
    stream = open_cifar10(fetcher(tmp_path, tmp_path / "bad", tmp_path / "good"))
    assert len(stream.labels) == 12
    (tmp_path / "good").rename(tmp_path / "gone")
    with pytest.raises(DataError) as error:
        open_cifar10(fetcher(tmp_path, tmp_path / "bad", mirrors=("http://127.0.0.1:1",)))
    message = str(error.value)
    assert f"{bad / 'data_batch_3'} has MD5 {md5(b'spoilt')}, expected {cifar10.BATCHES['data_batch_3']}" in message
    assert "put cifar-10-python.tar.gz (MD5 c58f30108f718f92721af3b95e74349a)" in message
    assert "cifar-10-batches-py/ with the official batches" in message


def test_unverified_bytes_are_not_unpickled(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"expected {BATCHES['test_batch']}; it was not read"):
        read_batch(pickle.dumps(Bomb(tmp_path / "ran")), "test_batch")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["bomb", "eval", "numpy"])
def test_even_verified_pickles_hold_arrays_only(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    things = {"bomb": Bomb(tmp_path / "ran"), "eval": eval, "numpy": np.load}
    data = pickle.dumps(things[kind])
    monkeypatch.setattr(cifar10, "BATCHES", {"test_batch": md5(data)})
    with pytest.raises(pickle.UnpicklingError, match="is not allowed in a batch"):
        read_batch(data, "test_batch")
    assert not (tmp_path / "ran").exists()


def test_the_real_set(shared_data: Path, tmp_path: Path) -> None:
    stream = open_cifar10(fetcher(tmp_path, shared_data))
    images = np.concatenate(list(stream.chunks))
    assert images.shape == stream.shape == (60_000, 32, 32, 3)
    assert np.bincount(stream.labels[:50_000]).tolist() == [5000] * 10
    assert np.bincount(stream.labels[50_000:]).tolist() == [1000] * 10
    # the means that everyone normalises CIFAR-10 with: 0.4914, 0.4822, 0.4465
    np.testing.assert_allclose(images[:50_000].mean((0, 1, 2)) / 255, [0.4914, 0.4822, 0.4465], atol=5e-5)
    assert [CLASS_NAMES[i] for i in stream.labels[:4]] == ["frog", "truck", "truck", "deer"]
