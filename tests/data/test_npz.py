"""Files in MedMNIST layout: every layout that is allowed, and errors that say what is wrong and what is expected."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from qlcnet.data import imageset
from qlcnet.data.imageset import DataError, ImageStream
from qlcnet.data.npz import open_npz


def arrays(shape: tuple[int, ...] = (6, 6, 3), sizes: tuple[int, ...] = (9, 4, 5)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    made = {}
    for part, n in zip(("train", "val", "test"), sizes, strict=False):
        made[f"{part}_images"] = rng.integers(0, 256, (n, *shape), np.uint8)
        made[f"{part}_labels"] = rng.integers(0, 3, (n, 1), np.uint8)
    return made


def save(path: Path, made: dict[str, np.ndarray], how: Callable[..., None] = np.savez) -> Path:
    how(path, **made)
    return path


@pytest.mark.parametrize("how", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 1), (6, 5, 3)])
@pytest.mark.parametrize("sizes", [(9, 4, 5), (9,), (9, 0, 5)])
@pytest.mark.parametrize("chunk", [1, 16 << 20])
def test_all_layouts_give_the_images_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: Callable[..., None], shape: tuple[int, ...],
    sizes: tuple[int, ...], chunk: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(imageset, "CHUNK", chunk)
    made = arrays(shape, sizes)
    found = open_npz(save(tmp_path / "a.npz", made, how))
    images = np.concatenate([made[name] for name in made if name.endswith("images")])
    pieces = list(found.chunks())
    np.testing.assert_array_equal(np.concatenate(pieces), images.reshape(*images.shape[:3], -1))
    assert found.shape == np.concatenate(pieces).shape
    assert len(pieces) == (sum(sizes) if chunk == 1 else np.count_nonzero(sizes))
    np.testing.assert_array_equal(found.labels, np.concatenate([made[n] for n in made if n.endswith("labels")])[:, 0])
    np.testing.assert_array_equal(found.parts, np.repeat(["train", "val", "test"][: len(sizes)], sizes))


def test_flat_signed_and_column_major_arrays(tmp_path: Path) -> None:
    made = arrays()
    other = {name: np.asfortranarray(array) for name, array in made.items()}
    other["train_labels"] = made["train_labels"][:, 0].astype(">i4")
    a, b = open_npz(save(tmp_path / "a.npz", made)), open_npz(save(tmp_path / "b.npz", other))
    np.testing.assert_array_equal(np.concatenate(list(a.chunks())), np.concatenate(list(b.chunks())))
    np.testing.assert_array_equal(a.labels, b.labels)
    assert b.labels.dtype == np.int64


def with_nan() -> np.ndarray:
    images = np.linspace(0, 1, 9 * 108, dtype=np.float32).reshape(9, 6, 6, 3)
    images[0, 0, 0, :2] = np.nan
    return images


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_images": with_nan()}, "train_images: float32.*values .* to 1, 2 of them not a number.*expected uint8"),
        ({"val_images": np.zeros((4, 6, 6, 3), np.int64)}, "val_images: int64.*values 0 to 0; expected uint8"),
        ({"train_images": np.zeros((9, 3, 6, 6), np.uint8)}, "channels seem to come first"),
        ({"train_images": np.zeros((9, 6, 6, 4), np.uint8)}, "drop the transparency"),
        ({"train_images": np.zeros((9, 108), np.uint8)}, r"shape \(9, 108\); expected uint8, N x H x W"),
        ({"test_images": np.zeros((5, 8, 8, 3), np.uint8)}, r"test_images.*train_images has the shape \(9, 6, 6, 3\)"),
        ({"train_images": np.zeros((0, 6, 6, 3), np.uint8)}, "train_images holds no image"),
        ({"train_images": np.array([{}] * 9)}, "Python objects, which are never loaded"),
        ({"train_images": np.array(["x"] * 9)}, r"<U1 of shape \(9,\)"),
        (
            {"train_labels": np.zeros(8, np.uint8)},
            r"train_labels: uint8 of shape \(8,\); expected one integer an image",
        ),
        ({"train_labels": np.zeros((9, 14), np.uint8)}, "multi-label"),
        ({"train_labels": np.full(9, np.nan)}, "train_labels: float64.*9 of them not a number.*expected one integer"),
        ({"train_labels": np.full(9, -1)}, "holds -1; labels count from 0"),
        ({"train_labels": np.array(["nv"] * 9)}, "train_labels: <U2"),
        ({"train_labels": None}, "train_labels missing.*the file holds test_images"),
        ({"val_labels": None}, "val_labels missing"),
        ({"train_images": None, "train_labels": None}, "train_images and train_labels missing"),
    ],
)
def test_what_cannot_be_used_is_explained(tmp_path: Path, change: dict[str, np.ndarray | None], words: str) -> None:
    made = {name: array for name, array in {**arrays(), **change}.items() if array is not None}
    with pytest.raises(DataError, match=words):
        open_npz(save(tmp_path / "a.npz", made))


class Bomb:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_a_pickle_inside_is_never_run(tmp_path: Path) -> None:
    made = {**arrays(), "train_labels": np.array([Bomb(tmp_path / "ran")] * 9)}
    with pytest.raises(DataError, match="never loaded"):
        open_npz(save(tmp_path / "a.npz", made))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("train_images.npy", pickle.dumps(Bomb(tmp_path / "ran")))
        archive.writestr("train_labels.npy", pickle.dumps(Bomb(tmp_path / "ran")))
    with pytest.raises(DataError, match=r"not a \.npy array"):
        open_npz(tmp_path / "b.npz")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("keep", [0, 100, -200])
def test_a_cut_file_is_not_whole(tmp_path: Path, keep: int) -> None:
    path = save(tmp_path / "a.npz", arrays())
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"not a whole \.npz file"):
        open_npz(path)


def test_a_flipped_bit_is_found_while_reading(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", arrays())
    data = bytearray(path.read_bytes())
    data[data.index(arrays()["train_images"].tobytes()) + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="not a whole"):
        list(open_npz(path).chunks())


def test_a_wrong_crc_is_found_in_compressed_files_too(tmp_path: Path) -> None:
    path = save(tmp_path / "a.npz", arrays(), np.savez_compressed)
    with zipfile.ZipFile(path) as archive:
        crc = archive.getinfo("train_images.npy").CRC.to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(crc, b"\1\2\3\4"))
    with pytest.raises(DataError, match="not a whole"):
        list(open_npz(path).chunks())


def test_an_array_shorter_than_its_header_says(tmp_path: Path) -> None:
    made = arrays()
    save(tmp_path / "a.npz", made)
    with zipfile.ZipFile(tmp_path / "a.npz") as old, zipfile.ZipFile(tmp_path / "b.npz", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name)[:-10] if name == "val_images.npy" else old.read(name))
    with pytest.raises(DataError, match="val_images: ends 4 rows early"):
        list(open_npz(tmp_path / "b.npz").chunks())


def test_more_in_an_array_than_its_header_says_is_refused(tmp_path: Path) -> None:
    images = io.BytesIO()
    np.save(images, np.zeros((4, 8, 8), np.uint8))
    labels = io.BytesIO()
    np.save(labels, np.arange(4) % 2)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train_images.npy", images.getvalue() + bytes(10**7))
        archive.writestr("train_labels.npy", labels.getvalue())
    with pytest.raises(DataError, match="train_images: holds more than its header says"):
        list(open_npz(tmp_path / "x.npz").chunks())


def test_images_that_the_disk_cannot_hold_are_refused_before_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = ImageStream((10**6, 1000, 1000, 3), [], np.arange(10**6) % 2, np.full(10**6, "train"), ("a", "b"))
    monkeypatch.setattr("qlcnet.data.imageset.shutil.disk_usage", lambda _: SimpleNamespace(free=10**10))
    with pytest.raises(DataError, match=r"3,000.0 GB of images are to be stored, and 10.0 GB are free"):
        stream.save(tmp_path / "x")
    assert not (tmp_path / "x").exists()
