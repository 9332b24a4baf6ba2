"""The image set and its folder: equal sets give equal bytes, a folder is whole or not there, damage is named."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qlcnet.data import imageset
from qlcnet.data.imageset import DataError, ImageSet, ImageStream
from qlcnet.stored import DamagedError, read_array

NAMES = ("benign", "malignant")


def small_set(n: int = 11, channels: int = 3, groups: bool = True) -> ImageSet:
    rng = np.random.default_rng(0)
    return ImageSet(
        images=rng.integers(0, 256, (n, 5, 4, channels), np.uint8),
        labels=rng.integers(0, 2, n),
        parts=np.array(["train"] * (n - 4) + ["val", "val", "test", "test"]),
        class_names=NAMES,
        groups=np.arange(n) // 2 if groups else None,
        about={"title": "Small", "licence": "CC BY 4.0", "checksum": {"small.npz": "0" * 32}},
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("groups", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_saved_is_loaded(tmp_path: Path, channels: int, groups: bool) -> None:
    made = small_set(channels=channels, groups=groups)
    made.save(tmp_path / "raw" / "small")
    loaded = ImageSet.load(tmp_path / "raw" / "small")
    for name in ("images", "labels", "parts", "groups"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(made, name))
    assert (loaded.class_names, loaded.about, loaded.digest) == (made.class_names, made.about, made.digest)
    assert isinstance(loaded.images, np.memmap)
    assert not loaded.images.flags.writeable
    assert loaded.labels.dtype == np.int64


def test_equal_sets_give_equal_bytes_and_saving_again_replaces(tmp_path: Path) -> None:
    small_set().save(tmp_path / "a")
    small_set(n=7, groups=False).save(tmp_path / "b")
    small_set().save(tmp_path / "b")
    ImageSet.load(tmp_path / "a").save(tmp_path / "c")
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b") == bytes_of(tmp_path / "c")
    assert {p.name for p in tmp_path.iterdir() if p.suffix != ".lock"} == {"a", "b", "c"}


def test_the_digest_is_sha256_of_shape_images_and_labels() -> None:
    made = small_set()
    text = b"11x5x4x3" + made.images.tobytes() + made.labels.astype("<i8").tobytes()
    assert made.digest == hashlib.sha256(text).hexdigest()


def test_the_digest_tells_images_and_labels_apart() -> None:
    made = small_set()
    other_label, other_pixel = made.labels.copy(), made.images.copy()
    other_label[0] ^= 1
    other_pixel[0, 0, 0, 0] ^= 1
    sets = [made, replace(made, labels=other_label), replace(made, images=other_pixel)]
    assert len({each.digest for each in sets}) == 3


def test_a_changed_copy_of_a_loaded_set_is_hashed_anew(tmp_path: Path) -> None:
    small_set().save(tmp_path / "a")
    loaded = ImageSet.load(tmp_path / "a")
    assert replace(loaded, images=255 - loaded.images).digest != loaded.digest


def test_pieces_give_the_same_folder_as_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = small_set()
    made.save(tmp_path / "whole")
    pieces = (made.images[i : i + 3] for i in range(0, 11, 3))
    stream = ImageStream(made.images.shape, pieces, made.labels, made.parts, made.class_names, made.groups, made.about)
    stream.save(tmp_path / "pieces")
    monkeypatch.setattr(imageset, "CHUNK", 100)
    made.save(tmp_path / "small-pieces")
    assert bytes_of(tmp_path / "whole") == bytes_of(tmp_path / "pieces") == bytes_of(tmp_path / "small-pieces")
    np.testing.assert_array_equal(np.load(tmp_path / "pieces" / "images.npy"), made.images)


def test_about_json_is_plain_sorted_and_holds_no_folder(tmp_path: Path) -> None:
    small_set().save(tmp_path / "a")
    text = (tmp_path / "a" / "about.json").read_text()
    card = json.loads(text)
    assert list(card) == sorted(card)
    assert card["class_names"] == list(NAMES)
    assert card["shape"] == [11, 5, 4, 3]
    assert str(tmp_path) not in text


def test_a_failed_save_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    made = small_set()
    made.save(tmp_path / "a")
    before = bytes_of(tmp_path / "a")

    def breaks() -> object:
        yield made.images[:3]
        raise OSError(28, "No space left on device")

    for chunks, error in ((breaks(), OSError), ([made.images[:3]], DataError), ([made.images / 2], DataError)):
        with pytest.raises(error):
            replace_stream(made, chunks).save(tmp_path / "a")
    assert bytes_of(tmp_path / "a") == before
    assert {p.name for p in tmp_path.iterdir()} - {".a.lock"} == {"a"}


def replace_stream(made: ImageSet, chunks: object) -> ImageStream:
    return ImageStream(made.images.shape, chunks, made.labels, made.parts, made.class_names)  # type: ignore[arg-type]


def test_what_a_killed_run_left_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".a.partial").mkdir()
    (tmp_path / ".a.partial" / "images.npy").write_bytes(b"half")
    small_set().save(tmp_path / "a")
    assert len(ImageSet.load(tmp_path / "a")) == 11
    assert not (tmp_path / ".a.partial").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"images": np.zeros((11, 5, 4, 3))}, "must be uint8.*float64"),
        ({"images": np.zeros((11, 5, 4), np.uint8)}, "N x H x W x 1"),
        ({"images": np.zeros((11, 5, 4, 2), np.uint8)}, r"\(11, 5, 4, 2\)"),
        ({"labels": np.zeros(10, np.int64)}, r"labels must have the shape \(11,\)"),
        ({"labels": np.full(11, 2)}, "0 to 1 for 2 class names.*these are 2 to 2"),
        ({"labels": np.full(11, -1)}, "these are -1"),
        ({"labels": np.zeros(11)}, "labels must be integers"),
        ({"groups": np.full(11, np.nan)}, "groups must be integers"),
        ({"parts": np.array(["train"] * 10 + ["validation"])}, "train, val, test.*'validation'"),
    ],
)
def test_columns_that_do_not_fit(change: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(DataError, match=words):
        replace(small_set(), **change)  # type: ignore[arg-type]


def test_a_missing_folder_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"about.json is missing: run `qlcnet fetch derma`"):
        ImageSet.load(tmp_path / "derma")


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "parts.npy", "groups.npy", "about.json"])
@pytest.mark.parametrize("keep", [0, 30, -1])
def test_a_cut_file_is_called_damage(tmp_path: Path, name: str, keep: int) -> None:
    small_set().save(tmp_path / "a")
    path = tmp_path / "a" / name
    path.write_bytes(path.read_bytes()[: keep - 1 if keep < 0 else keep])
    with pytest.raises(DataError, match=r"is damaged.*qlcnet fetch a"):
        ImageSet.load(tmp_path / "a")


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    small_set().save(tmp_path / "a")
    np.save(tmp_path / "a" / "labels.npy", np.array([{}] * 11), allow_pickle=True)
    with pytest.raises(DataError, match="damaged"):
        ImageSet.load(tmp_path / "a")


def test_a_pipe_among_the_files_is_called_damage_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "images.npy")
    with pytest.raises(DamagedError, match=r"images\.npy is damaged \(no regular file\); remedy"):
        read_array(tmp_path / "images.npy", "remedy", "r")
