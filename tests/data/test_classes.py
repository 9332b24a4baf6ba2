"""Labels that cannot be classes are refused in short words, whatever their size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qlcnet.config import ParamsError, parse_params
from qlcnet.data.classes import check_classes, names_for
from qlcnet.data.folds import make_folds
from qlcnet.data.imageset import DataError, ImageSet
from qlcnet.data.shown import shown
from tests.data.test_sources import bring, own_file
from tests.test_end_to_end import small


@pytest.mark.parametrize(("labels", "says"), [
    (np.array([10**9, 0])[np.arange(24) % 2], "999,999,999 of the numbers from 0 to 1000000000 never occur (first 1)"),
    (np.arange(24) + 24306, "24,306 of the numbers from 0 to 24329 never occur (first 0)"),
    (np.array([0, 1, 3]), "1 of the numbers from 0 to 3 never occur (first 2)"),
    (np.array([1, 2, 3, 1]), "labels count from 0, these are 1 to 3"),
])  # fmt: skip
def test_labels_with_gaps_are_refused(labels: np.ndarray, says: str) -> None:
    with pytest.raises(DataError) as raised:
        names_for(labels)
    assert says in str(raised.value)
    assert len(str(raised.value)) < 300


def test_labels_without_gaps_get_names() -> None:
    assert names_for(np.array([2, 0, 1, 1])) == ("class 0", "class 1", "class 2")


def test_one_class_is_no_task(tmp_path: Path) -> None:
    source = own_file(tmp_path / "project", train_labels=np.zeros(12, np.int64))
    with pytest.raises(DataError, match=r"datasets\.task: one class only: all 12 images have the label 0"):
        bring(tmp_path, source)
    far = own_file(tmp_path / "project", train_labels=np.array([10**9, 0])[np.arange(12) % 2])
    with pytest.raises(DataError, match="never occur"):
        bring(tmp_path, far)


def test_declared_classes_without_images_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    check_classes(np.array([0, 2, 0]), ("a", "b", "c", "d"))
    assert "2 of 4 classes have no image: b, d" in caplog.text


def test_ids_of_a_npz_name_the_images_of_groups(tmp_path: Path) -> None:
    source = own_file(tmp_path / "project", train_ids=np.array([f"ISIC_{i:03}" for i in range(12)]))
    rows = [f"ISIC_{i:03},{i // 3}" for i in reversed(range(12))]
    (tmp_path / "project" / "groups.csv").write_text("\n".join(["image,patient", *rows]))
    groups = {"path": "groups.csv", "column": "patient", "id": "image"}
    assert bring(tmp_path, {**source, "groups": groups}).groups is not None
    np.testing.assert_array_equal(bring(tmp_path, {**source, "groups": groups}).groups, np.arange(12) // 3)
    wrong = own_file(tmp_path / "project", "wrong.npz", train_ids=np.arange(24).reshape(12, 2))
    with pytest.raises(DataError, match=r"train_ids: int64 of shape \(12, 2\); expected an integer or text an image"):
        bring(tmp_path, {**wrong, "groups": groups})


def test_ids_that_several_images_share_are_refused(tmp_path: Path) -> None:
    source = own_file(tmp_path / "project", train_ids=np.array([0, 0, *range(2, 12)]))
    (tmp_path / "project" / "groups.csv").write_text(
        "\n".join(["image,patient", *(f"{i},{i // 3}" for i in range(12))])
    )
    groups = {"path": "groups.csv", "column": "patient", "id": "image"}
    with pytest.raises(DataError, match=r"groups\.id: several images have the same id: 0;"):
        bring(tmp_path, {**source, "groups": groups})


def test_many_small_classes_and_long_names_make_short_messages() -> None:
    count = 24306  # each image a class of its own, as where labels are ids
    names = tuple(f"class {i}" for i in range(count))
    images = ImageSet(np.zeros((count, 8, 8, 1), np.uint8), np.arange(count), np.full(count, "train"), names)
    task = parse_params(small("x", {"source": {"kind": "digits"}, "protocol": {"folds": 2}})).datasets["x"]
    with pytest.raises(DataError, match=r"class 4 \(label 4\) has 1 and 24,301 more; take fewer folds") as raised:
        make_folds(images, task, 42)
    assert len(str(raised.value)) < 400
    assert len(shown([f"{i}/" + "x" * 200 + ".png" for i in range(9)])) < 300
    with pytest.raises(DataError, match="labels must be 0 to 2 for 3 class names") as raised:
        ImageSet(np.zeros((5, 8, 8, 1), np.uint8), np.arange(5), np.full(5, "train"), ("a" * 200, "b" * 200, "c" * 200))
    assert len(str(raised.value)) < 400


def test_groups_of_one_image_each_mean_nothing() -> None:
    images = ImageSet(np.zeros((8, 8, 8, 1), np.uint8), np.arange(8) % 2, np.full(8, "train"), ("a", "b"), np.arange(8))
    digits = {"source": {"kind": "digits"}, "protocol": {"folds": 2, "grouped": True}}
    task = parse_params(small("x", digits)).datasets["x"]
    with pytest.raises(DataError, match="each group holds one image, so that it means nothing"):
        make_folds(images, task, 42)


@pytest.mark.parametrize(("names", "says"), [
    (["a", "b", "a"], "two classes cannot have one name: a"), (["a", ""], "class_names"),
    (["a", "  "], "class_names"),
])  # fmt: skip
def test_class_names_doubled_or_empty_are_refused(names: list[str], says: str) -> None:
    source = {"kind": "npz", "path": "x.npz", "md5": "0" * 32, "class_names": names}
    with pytest.raises(ParamsError, match=says):
        parse_params(small("x", {"source": source}))
