"""Tasks of the same images: linked where that is what would be made, made where it is not, equal bytes either way."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qlcnet.config import Circuit, Data, Params, Task, parse_params
from qlcnet.data.channel_card import ChannelCard
from qlcnet.data.channels import quanvolve
from qlcnet.data.sharing import recipe_of
from qlcnet.data.sources import fetch
from qlcnet.paths import Project
from qlcnet.quantum.storage import digest_array
from tests.data.pictures import draw_all
from tests.params import REQUIRED

N = 12


def bytes_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def linked(one: Path, other: Path) -> set[str]:
    """Files of two folders that are one file."""
    names = (p.relative_to(one) for p in one.rglob("*") if p.is_file())
    return {n.as_posix() for n in names if (other / n).is_file() and (one / n).samefile(other / n)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_files(tmp_path)
    return tmp_path


def write_files(root: Path) -> None:
    """An own file of images with its groups, and one of channels."""
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (N, 8, 8, 1), np.uint8)
    np.savez(root / "own.npz", train_images=images, train_labels=np.arange(N) % 3)
    (root / "groups.csv").write_text("patient\n" + "\n".join(str(i // 2) for i in range(N)) + "\n")
    np.save(root / "mine.npy", rng.random((N, 8, 8), np.float32))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def make_params(root: Path, is_pinned: bool = True, **source: Any) -> Params:
    groups = {"path": "groups.csv", "column": "patient", "md5": md5(root / "groups.csv") if is_pinned else None}
    own = {"kind": "npz", "path": "own.npz", "md5": md5(root / "own.npz"), "groups": groups, **source}
    return parse_params(
        {
            **REQUIRED,
            "datasets": {
                "first": {"source": own},
                "second": {"source": own, "images_of": "first", "images_per_class": 2},
            },
            "circuits": {"ry": {}},
            "channels": {"mine": {"kind": "file", "path": "mine.npy", "md5": md5(root / "mine.npy")}},
            "models": {"m": {"inputs": ["quanv:ry", "channel:mine"]}},
            "backbones": {"lcnet_035": {}},
        }
    )


def bring(root: Path, params: Params, *tasks: str) -> None:
    for task in tasks:
        fetch(task, params.datasets[task], Data(), root)


# --- images ---------------------------------------------------------------------------------------------------------


def test_images_of_another_task_are_linked(root: Path) -> None:
    params, project = make_params(root), Project(root)
    bring(root, params, "second", "first")  # nothing to link yet
    first, second = project.raw("first"), project.raw("second")
    alone = bytes_below(second)
    assert linked(first, second) == set()
    bring(root, params, "second")
    assert linked(first, second) == {"about.json", "groups.npy", "images.npy", "labels.npy", "parts.npy"} == set(alone)
    assert bytes_below(second) == bytes_below(first) == alone
    bring(root, params, "first")  # again: what is linked stays as it was
    assert linked(first, second) == set()
    assert bytes_below(second) == alone


def flipped_pixel(root: Path) -> None:
    path = Project(root).raw("first") / "images.npy"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def cut(root: Path) -> None:
    path = Project(root).raw("first") / "images.npy"
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(flipped_pixel, id="other pixels than it says"),
        pytest.param(cut, id="a file that is cut"),
        pytest.param(lambda root: bring(root, make_params(root, title="Other"), "first"), id="fetched by other params"),
        pytest.param(lambda root: bring(root, make_params(root, groups=None), "first"), id="without groups"),
    ],
)
def test_images_that_are_others_are_not_taken(root: Path, change: Callable[[Path], None]) -> None:
    params = make_params(root)
    bring(root, params, "second", "first")
    second = Project(root).raw("second")
    alone = bytes_below(second)
    change(root)
    bring(root, params, "second")
    assert linked(second, Project(root).raw("first")) == set()
    assert bytes_below(second) == alone


def test_groups_without_an_md5_are_read_again(root: Path) -> None:
    """Nobody says what the file holds now."""
    params = make_params(root, is_pinned=False)
    bring(root, params, "first", "second")
    assert linked(Project(root).raw("second"), Project(root).raw("first")) == set()


def test_a_folder_is_linked_if_it_is_pinned(root: Path) -> None:
    draw_all(root / "lesions", {"a": 2, "b": 2})
    table = root / "labels.csv"
    table.write_text("file,dx\na/0,x\na/1,y\nb/0,x\nb/1,y\n")
    labels = {"path": "labels.csv", "file": "file", "label": "dx", "md5": md5(table)}
    source: dict[str, Any] = {"kind": "folder", "path": "lesions", "size": 8, "labels": labels}

    def task(**changes: Any) -> Task:
        return Task.model_validate({"source": {**source, **changes}, "images_of": "first"})

    first, second = Project(root).raw("first"), Project(root).raw("second")
    fetch("first", task().model_copy(update={"images_of": None}), Data(), root)
    fetch("second", task(), Data(), root)
    assert linked(second, first) == set(), "nobody says what the folder holds now"
    pinned = task(digest=json.loads((first / "about.json").read_text())["checksum"]["lesions"])
    fetch("second", pinned, Data(), root)
    assert linked(second, first) == {"about.json", "images.npy", "labels.npy", "parts.npy"}
    unpinned = task(digest=pinned.source.digest, labels={**labels, "md5": None})
    fetch("first", unpinned.model_copy(update={"images_of": None}), Data(), root)
    fetch("second", unpinned, Data(), root)
    assert linked(second, first) == set(), "nor what the table says"
    fetch("second", task(digest=pinned.source.digest, labels={**labels, "label": "file"}), Data(), root)
    assert linked(second, first) == set()


def test_a_recipe_knows_no_folder_of_this_machine(root: Path) -> None:
    source = make_params(root).datasets["first"].source
    there = source.model_copy(update={"path": str(root / "own.npz")})
    assert recipe_of(there) == recipe_of(source)
    assert recipe_of(source.model_copy(update={"path": "below/own.npz"})) != recipe_of(source), "the title says it"
    assert recipe_of(Circuit()) != recipe_of(Circuit(seed=1))


# --- channels -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quanvolved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both tasks fetched, the channels of the second made while those of the first were not there."""
    root = tmp_path_factory.mktemp("quanvolved")
    write_files(root)
    params = make_params(root)
    bring(root, params, "first", "second")
    quanvolve("second", params, root)
    quanvolve("first", params, root)
    return root


@pytest.fixture
def made(quanvolved: Path, tmp_path: Path) -> Path:
    root = tmp_path / "project"
    shutil.copytree(quanvolved, root)
    assert linked(*places(root)) == set()
    return root


def places(root: Path) -> tuple[Path, Path]:
    return Project(root).channels("second"), Project(root).channels("first")


def test_channels_of_another_task_are_linked(made: Path) -> None:
    second, first = places(made)
    alone = bytes_below(second)
    quanvolve("second", make_params(made), made)
    assert linked(second, first) == set(alone) - {"preview.png"}
    assert bytes_below(second) == bytes_below(first) == alone


def other_circuit(folder: Path) -> None:
    """As the stage left it that ran with other params, under the same name."""
    root = folder.parents[2]
    params = make_params(root)
    quanvolve("first", params.model_copy(update={"circuits": {"ry": Circuit(seed=1)}}), root)


def other_images(folder: Path) -> None:
    card = ChannelCard.read(folder / "ry")
    replace(card, images="0" * 64).write(folder / "ry")


def other_version(folder: Path) -> None:
    path = folder / "ry" / "circuit.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "versions": {"pennylane": "0.1"}}))


def changed_values(folder: Path, row: int = 2) -> np.ndarray:
    stored = np.load(folder / "ry" / "channels.npy")
    stored[row, 0, 0, 0] += 0.5
    np.save(folder / "ry" / "channels.npy", stored)
    return stored


def other_code(folder: Path) -> None:
    """What former code made: whole, with its own digest, but not what the circuit gives today."""
    digest = digest_array(changed_values(folder, row=0))
    replace(ChannelCard.read(folder / "ry"), digest=digest).write(folder / "ry")


@pytest.mark.parametrize(
    "change",
    [
        other_circuit, other_images, other_version, changed_values, other_code,
        pytest.param(lambda folder: (folder / "ry" / "channels.npy").unlink(), id="no array"),
        pytest.param(lambda folder: (folder / "ry" / "card.json").write_text("{"), id="no card"),
        pytest.param(lambda folder: shutil.rmtree(folder / "ry"), id="nothing"),
    ],
)  # fmt: skip
def test_channels_that_are_others_are_made_again(made: Path, change: Callable[[Path], None]) -> None:
    second, first = places(made)
    alone = bytes_below(second)
    change(first)
    quanvolve("second", make_params(made), made)
    assert linked(second, first) == {f"mine/{file}" for file in ("card.json", "channels.npy", "mechanism.json")}, (
        "of those that are as they should"
    )
    assert bytes_below(second) == alone
