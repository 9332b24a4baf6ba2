"""Every kind of source to its folder, from the real files where they are there."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qlcnet.config import Data, Task
from qlcnet.data import medmnist_info as info_module
from qlcnet.data.imageset import DataError, ImageSet
from qlcnet.data.medmnist_info import class_names_of, file_of, medmnist_info
from qlcnet.data.sources import SOURCES, fetch
from tests.data.server import HASTE, Server, answers, drops_after

REBUILT = {
    "kind": "npz",
    "path": "dermamnist-rebuilt/dermamnist.npz",
    "md5": "6a87c9f00098fa970a94520ff13ce6cc",
    "classes_of": "dermamnist",
    "licence": "CC BY-NC 4.0",
    "groups": {"path": "dermamnist-rebuilt/dermamnist_rebuilt_index.csv", "column": "lesion_id"},
}


def bring(tmp_path: Path, source: dict[str, Any], *places: Path | str, mirrors: tuple[str, ...] = ()) -> ImageSet:
    data = Data(search_path=tuple(map(str, places)), mirrors=mirrors)
    task = Task.model_validate({"source": source})
    return ImageSet.load(fetch("task", task, data, tmp_path / "project", HASTE))


def own_file(folder: Path, name: str = "own.npz", classes: int = 3, **arrays: np.ndarray) -> dict[str, Any]:
    """A file of the user's, and its source section."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(3).integers(0, 256, (12, 8, 8, 3), np.uint8)
    np.savez(folder / name, **{"train_images": images, "train_labels": np.arange(12) % classes, **arrays})
    return {"kind": "npz", "path": name, "md5": hashlib.md5((folder / name).read_bytes()).hexdigest()}


def test_the_table_knows_every_kind_of_the_params() -> None:
    kinds = Task.model_json_schema()["properties"]["source"]["discriminator"]["mapping"]
    assert set(SOURCES) == set(kinds)


# --- digits ------------------------------------------------------------------------------------------------------


def test_digits_need_no_network(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    loaded = bring(tmp_path, {"kind": "digits", "size": 8})
    np.testing.assert_array_equal(loaded.images[..., 0], np.rint(load_digits().images * 255 / 16))
    np.testing.assert_array_equal(loaded.labels, load_digits().target)
    assert set(loaded.parts) == {"train"}
    assert loaded.class_names == tuple("0123456789")


def test_digits_are_resized(tmp_path: Path) -> None:
    loaded = bring(tmp_path, {"kind": "digits"})
    assert loaded.images.shape == (1797, 28, 28, 1)
    # written down: another release of Pillow or scikit-learn must not change the default study unnoticed
    assert loaded.digest == "8c15bd40ae18e1796cdc5d2547c491514b267f3ff00be8e2ef583ded4e907378"


def test_other_digits_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn import datasets

    changed = datasets.load_digits()
    changed.target[0] += 1
    monkeypatch.setattr(datasets, "load_digits", lambda: changed)
    with pytest.raises(DataError, match=r"datasets\.task: .* MD5 .*expected 7696c07daa6d85010f8268703ab8b067"):
        bring(tmp_path, {"kind": "digits"})


# --- MedMNIST ----------------------------------------------------------------------------------------------------


def test_the_twelve_sets_at_four_sizes() -> None:
    info = medmnist_info()
    assert len(info) == 12
    for name, entry in info.items():
        if name == "chestmnist":
            continue
        assert len(class_names_of(name)) == len(entry["label"])
        for size in (28, 64, 128, 224):
            file = file_of(name, size)
            assert file.name == (f"{name}.npz" if size == 28 else f"{name}_{size}.npz")
            assert file.urls[0].split("?")[0].endswith(f"/{file.name}")
            assert len(file.md5) == 32
    assert len({file_of(name, size).md5 for name in info if name != "chestmnist" for size in (28, 224)}) == 22
    assert class_names_of("dermamnist")[4] == "melanoma"


def test_medmnist_is_read_without_torch() -> None:
    code = (
        "import sys; from qlcnet.data.sources import file_of; file_of('dermamnist', 28); print('torch' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "False"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("chestmnist", "chestmnist is multi-label .14 yes-or-no labels"),
        ("dermnist", "'dermnist' is not a 2D MedMNIST set"),
        ("organmnist3d", "'organmnist3d' is not a 2D MedMNIST set"),
    ],
)
def test_sets_that_are_not_supported_list_those_that_are(tmp_path: Path, name: str, words: str) -> None:
    for source in ({"kind": "medmnist", "name": name}, {**own_file(tmp_path / "project"), "classes_of": name}):
        with pytest.raises(DataError, match=rf"datasets\.task: {words}.*allowed: pathmnist, dermamnist, .*organsmnist"):
            bring(tmp_path, source)


def test_breastmnist(tmp_path: Path, shared_data: Path) -> None:
    loaded = bring(tmp_path, {"kind": "medmnist", "name": "breastmnist"}, shared_data)
    with np.load(shared_data / "breastmnist" / "breastmnist.npz") as npz:
        images = np.concatenate([npz["train_images"], npz["val_images"], npz["test_images"]])
        labels = np.concatenate([npz["train_labels"], npz["val_labels"], npz["test_labels"]])
    np.testing.assert_array_equal(loaded.images[..., 0], images)
    np.testing.assert_array_equal(loaded.labels, labels[:, 0])
    assert np.unique(loaded.parts, return_counts=True)[1].tolist() == [156, 546, 78]
    assert loaded.class_names == ("malignant", "normal, benign")
    assert loaded.about["checksum"] == {"breastmnist.npz": "750601b1f35ba3300ea97c75c52ff8f6"}
    assert loaded.about["licence"] == "CC BY 4.0"


def test_found_and_downloaded_give_the_same_bytes(
    tmp_path: Path, shared_data: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The official address is down, the mirror breaks off once: the folder is the same to the last byte."""
    source = {"kind": "medmnist", "name": "breastmnist"}
    server.body = (shared_data / "breastmnist" / "breastmnist.npz").read_bytes()
    server.script = [answers(503)] * 3 + [drops_after(200_000)]
    entry = {**medmnist_info()["breastmnist"], "url": f"{server.base}/official"}
    monkeypatch.setattr(info_module, "medmnist_info", lambda: {"breastmnist": entry})
    bring(tmp_path / "a", source, mirrors=(f"{server.base}/mirror",))
    assert server.requests[-1][:2] == ("/mirror/breastmnist.npz", "bytes=200000-")
    bring(tmp_path / "b", source, shared_data)
    a, b = (tmp_path / name / "project" / "data" / "raw" / "task" for name in "ab")
    for path in a.iterdir():
        assert path.read_bytes() == (b / path.name).read_bytes()


def test_a_corrupted_copy_is_never_used(tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray((shared_data / "breastmnist" / "breastmnist.npz").read_bytes())
    data[1000] ^= 1
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "breastmnist.npz").write_bytes(data)
    source = {"kind": "medmnist", "name": "breastmnist"}
    loaded = bring(tmp_path, source, tmp_path / "place", shared_data)
    assert len(loaded) == 780
    entry = {**medmnist_info()["breastmnist"], "url": "http://127.0.0.1:1/x"}
    monkeypatch.setattr(info_module, "medmnist_info", lambda: {"breastmnist": entry})
    found = hashlib.md5(data).hexdigest()
    with pytest.raises(DataError, match=f"MD5 {found}, expected 750601b1f35ba3300ea97c75c52ff8f6"):
        bring(tmp_path, source, tmp_path / "place")
    assert len(ImageSet.load(tmp_path / "project" / "data" / "raw" / "task")) == 780, "the old folder stays"


# --- files of the user's -----------------------------------------------------------------------------------------


def test_an_own_file(tmp_path: Path) -> None:
    source = own_file(tmp_path / "place")
    loaded = bring(tmp_path, source, tmp_path / "place")
    assert loaded.class_names == ("class 0", "class 1", "class 2")
    assert loaded.groups is None
    assert loaded.about["title"] == "own"
    named = bring(tmp_path, {**source, "class_names": ["a", "b", "c"], "title": "Mine"}, tmp_path / "place")
    assert (named.class_names, named.about["title"]) == (("a", "b", "c"), "Mine")


def test_an_own_file_in_the_project_or_by_absolute_path(tmp_path: Path) -> None:
    source = own_file(tmp_path / "project")
    a = bring(tmp_path, source)
    b = bring(tmp_path, {**source, "path": str(tmp_path / "project" / "own.npz")})
    assert a.about == b.about, "no folder of this machine in the output"


def test_an_own_file_of_another_md5_is_not_used(tmp_path: Path) -> None:
    source = own_file(tmp_path / "place")
    with pytest.raises(DataError, match=rf"has MD5 {source['md5']}, expected {'0' * 32}(.|\n)*source\.md5"):
        bring(tmp_path, {**source, "md5": "0" * 32}, tmp_path / "place")


def test_too_few_class_names(tmp_path: Path) -> None:
    source = {**own_file(tmp_path / "project"), "class_names": ["a", "b"]}
    with pytest.raises(DataError, match=r"labels must be 0 to 1 for 2 class names \(a, b\), these are 0 to 2"):
        bring(tmp_path, source)


def test_an_own_file_that_cannot_be_read_names_the_key(tmp_path: Path) -> None:
    source = own_file(tmp_path / "project", train_images=np.zeros((12, 8, 8, 3), np.float32))
    with pytest.raises(DataError, match=r"datasets\.task: train_images: float32"):
        bring(tmp_path, source)
    assert not (tmp_path / "project" / "data" / "raw" / "task").exists()


def test_groups_pinned_or_not(tmp_path: Path) -> None:
    source = own_file(tmp_path / "project")
    table = tmp_path / "project" / "groups.csv"
    table.write_text("patient\n" + "\n".join(str(i // 3) for i in range(12)) + "\n")
    groups: dict[str, Any] = {"path": "groups.csv", "column": "patient"}
    loaded = bring(tmp_path, {**source, "groups": groups})
    np.testing.assert_array_equal(loaded.groups, np.arange(12) // 3)
    assert loaded.about["groups"] == {
        "column": "patient", "file": "groups.csv", "count": 4, "matched": "order",
    }  # fmt: skip
    md5 = hashlib.md5(table.read_bytes()).hexdigest()
    assert loaded.about["checksum"]["groups.csv"] == md5
    pinned = bring(tmp_path, {**source, "groups": {**groups, "md5": md5}})
    assert pinned.about == loaded.about
    with pytest.raises(DataError, match=f"has MD5 {md5}, expected {'1' * 32}"):
        bring(tmp_path, {**source, "groups": {**groups, "md5": "1" * 32}})


def test_the_rebuilt_dermamnist_with_its_lesions(tmp_path: Path, shared_data: Path) -> None:
    loaded = bring(tmp_path, REBUILT, shared_data)
    assert loaded.images.shape == (10_015, 28, 28, 3)
    assert [np.count_nonzero(loaded.parts == part) for part in ("train", "val", "test")] == [7007, 1003, 2005]
    assert loaded.groups is not None
    assert len(np.unique(loaded.groups)) == 7470
    shared = [set(loaded.groups[loaded.parts == part].tolist()) for part in ("train", "val", "test")]
    more_than_one = (shared[0] & shared[1]) | (shared[0] & shared[2]) | (shared[1] & shared[2])
    assert len(more_than_one) == 1006
    assert loaded.class_names == class_names_of("dermamnist")
    assert np.bincount(loaded.labels).tolist() == [327, 514, 1099, 115, 1113, 6705, 142]
    # lesions of one diagnosis each: groups that were matched to the wrong rows would mix them
    pairs = np.unique(np.stack([loaded.groups, loaded.labels]), axis=1)
    assert pairs.shape[1] == 7470


# --- the folder --------------------------------------------------------------------------------------------------


def test_a_place_that_cannot_be_written_is_an_error_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "data").write_text("a file, not a folder")
    with pytest.raises(DataError, match=r"datasets\.task: .*project/data"):
        bring(tmp_path, {"kind": "digits"})
