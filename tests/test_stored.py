"""What a stage wrote and something damaged: every reader names the file, says so, and what brings it back."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from qlcnet.config import Params
from qlcnet.data.imageset import DataError, ImageSet
from qlcnet.fit.fold_folder import read_config
from qlcnet.fit.task_facts import TaskFacts
from qlcnet.stored import DamagedError, read_array, read_object
from tests.grid.projects import TASK, make_project, plan

CONTENTS = {"empty": b"", "zeros": bytes(100), "text": b"hello\n", "object": b"{}", "list": b"[1]"}


@pytest.mark.parametrize(("content", "says"), [
    (b"", "Expecting value"), (b"{", "Expecting property"), (b"[1]", "it holds list, no object"),
    (b'{"a": 1}', "it lacks b, c"), (bytes(7), "damaged"),
])  # fmt: skip
def test_an_object_is_whole_or_named(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"a\.json is damaged \(.*\); do that") as raised:
        read_object(path, "do that", ("a", "b", "c"))
    assert says in str(raised.value)
    path.write_text('{"a": 1, "b": 2, "c": 3}')
    assert read_object(path, "do that", ("a", "b", "c")) == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("mmap_mode", [None, "r"])
def test_an_array_is_whole_or_named(tmp_path: Path, content: bytes, mmap_mode: None) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"a\.npy is damaged \(not a whole \.npy file\); do that"):
        read_array(path, "do that", mmap_mode)
    np.save(path, np.arange(100))
    assert np.array_equal(read_array(path, "do that", mmap_mode), np.arange(100))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedError):
        read_array(path, "do that", mmap_mode)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Params]:
    root = tmp_path_factory.mktemp("whole")
    return root, make_project(root)


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("file", [
    f"data/raw/{TASK}/about.json", f"data/raw/{TASK}/images.npy", f"data/raw/{TASK}/labels.npy",
    f"data/folds/{TASK}.csv", f"data/quanvolved/{TASK}/ry/card.json",
])  # fmt: skip
def test_a_plan_names_the_damaged_file(whole: tuple[Path, Params], tmp_path: Path, file: str, content: bytes) -> None:
    shutil.copytree(whole[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / file).write_bytes(content)
    with pytest.raises((DamagedError, DataError, ValueError)) as raised:
        plan(whole[1], tmp_path)
    assert Path(file).name in str(raised.value)
    assert "run `qlcnet" in str(raised.value)


def test_readers_of_results_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "task.json").write_text('{"seed": 1}')
    with pytest.raises(DamagedError, match=r"task\.json is damaged \(it lacks task, class_names.*run `qlcnet train"):
        TaskFacts.read(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert read_config(tmp_path) == {}
    with pytest.raises(DamagedError, match=r"config\.json is damaged \(it lacks fingerprint\)"):
        read_config(tmp_path, ["fingerprint"])
    with pytest.raises(DataError, match=r"about\.json is missing: run `qlcnet fetch"):
        ImageSet.load(tmp_path / "nothing")
