"""The identity of a fit: what changes it, what does not, each as the number of fits that are then to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qlcnet.config import Backbone, Head, Model, Training, parse_params
from qlcnet.data.fold_table import FoldTable
from qlcnet.data.folds import make_folds
from qlcnet.data.imageset import ImageSet
from qlcnet.fit import identity
from qlcnet.fit.code import Code
from qlcnet.fit.identity import changed, seeds_of, settings_of, words_of
from qlcnet.fit.spec import DataPaths
from qlcnet.fit.store import FoldStore
from qlcnet.grid import grid as grid_module
from qlcnet.grid.grid import plan_grid
from tests.grid.projects import TASK, make_project

FITS = 6  # of the project: 2 models x 3 folds
Change = Callable[[dict[str, Any], Path], None]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose store holds every fit (what is in the folders is nobody's business here)."""
    make_project(tmp_path)
    raw = json.loads((tmp_path / "params.yaml").read_text())
    grid = plan_grid(parse_params(raw), TASK, tmp_path, FoldStore(tmp_path / "folds"))
    store = FoldStore(tmp_path / "folds")
    for spec in grid.specs:
        store.put(spec.fingerprint, {"config.json": b"{}"}, {})
    assert len(grid.todo) == FITS
    return tmp_path


def to_do(root: Path, change: Change | None = None, task: str = TASK) -> tuple[int, int]:
    """Fits to do, of so many, after `change` of params.yaml (parsed) and of the project's files."""
    raw = json.loads((root / "params.yaml").read_text())
    if change:
        change(raw, root)
    grid = plan_grid(parse_params(raw), task, root, FoldStore(root / "folds"))
    return len(grid.todo), len(grid.specs)


def split_again(raw: dict[str, Any], root: Path, task: str = TASK) -> None:
    """What `qlcnet split` does."""
    params = parse_params(raw)
    images = ImageSet.load(DataPaths.of(root, task).raw)
    make_folds(images, params.datasets[task], params.seed).write(DataPaths.of(root, task).folds)


def repeats(raw: dict[str, Any], root: Path) -> None:
    raw["datasets"][TASK]["protocol"]["repeats"] = 2
    split_again(raw, root)


def another_task(raw: dict[str, Any], root: Path) -> None:
    """The same images under another name, with other class names."""
    raw["datasets"]["again"] = raw["datasets"].pop(TASK)
    for place in ("raw", "quanvolved"):
        (root / "data" / place / TASK).rename(root / "data" / place / "again")
    (root / "data" / "folds" / f"{TASK}.csv").rename(root / "data" / "folds" / "again.csv")
    path = root / "data" / "raw" / "again" / "about.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "class_names": ["one", "two", "three"]}))


def renamed_circuit(raw: dict[str, Any], root: Path) -> None:
    raw["circuits"]["other"] = raw["circuits"].pop("ry")
    raw["models"]["hybrid"]["inputs"] = ["image", "quanv:other"]
    (root / "data" / "quanvolved" / TASK / "ry").rename(root / "data" / "quanvolved" / TASK / "other")


def own_training(raw: dict[str, Any], **keys: Any) -> None:
    raw["models"]["hybrid"]["training"] = keys


def one_pixel(raw: dict[str, Any], root: Path) -> None:
    images = ImageSet.load(DataPaths.of(root, TASK).raw)
    pixels = np.array(images.images)
    pixels[7, 0, 0, 0] ^= 1
    ImageSet(pixels, images.labels, images.parts, images.class_names, None, {}).save(DataPaths.of(root, TASK).raw)


def moved_row(raw: dict[str, Any], root: Path) -> None:
    """From fold 0 to fold 1: fold 2 trains on and validates the same images as before."""
    path = DataPaths.of(root, TASK).folds
    table = FoldTable.read(path)
    table.fold[np.flatnonzero(table.fold == 0)[0]] = 1
    table.write(path)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        pytest.param(repeats, (FITS, 2 * FITS), id="repeats 1 to 2"),
        pytest.param(lambda raw, root: raw["models"].update(other=raw["models"].pop("hybrid")), (0, FITS), id="model"),
        pytest.param(lambda raw, root: raw["models"].update(twin=raw["models"]["hybrid"]), (0, 9), id="model twice"),
        pytest.param(
            lambda raw, root: raw.update(backbones={"small": {"architecture": "lcnet_035"}}), (0, FITS), id="backbone"
        ),
        pytest.param(renamed_circuit, (0, FITS), id="circuit renamed"),
        pytest.param(lambda raw, root: raw["training"].update(learning_rate=1e-3), (0, FITS), id="a default, written"),
        pytest.param(lambda raw, root: raw["models"]["classical"].update(head="sine"), (3, FITS), id="a head"),
        pytest.param(lambda raw, root: raw["training"].update(learning_rate=2e-3), (FITS, FITS), id="learning rate"),
        pytest.param(lambda raw, root: own_training(raw, learning_rate=2e-3), (3, FITS), id="one model's rate"),
        pytest.param(
            lambda raw, root: own_training(raw, learning_rate=1e-3), (0, FITS), id="one model's, as the others"
        ),
        pytest.param(lambda raw, root: raw.update(seed=7), (FITS, FITS), id="seed"),
        pytest.param(lambda raw, root: raw["models"]["hybrid"].update(replicate=0), (0, FITS), id="replicate 0"),
        pytest.param(lambda raw, root: raw["models"]["hybrid"].update(replicate=1), (3, FITS), id="replicate 1"),
        pytest.param(moved_row, (4, FITS), id="one row in another fold"),
        pytest.param(one_pixel, (FITS, FITS), id="one pixel"),
    ],
)
def test_fits_to_do_after_a_change_of(project: Path, change: Change, left: tuple[int, int]) -> None:
    assert to_do(project, change) == left


def test_the_same_rows_under_another_task_are_the_same_fits(project: Path) -> None:
    assert to_do(project, another_task, "again") == (0, FITS)


def test_two_folds_share_every_row(tmp_path: Path) -> None:
    """With two folds, a row that moves is in all training parts before or after."""
    datasets = {TASK: {"source": {"kind": "digits"}, "protocol": {"kind": "pooled-cv", "folds": 2}}}
    make_project(tmp_path, datasets=datasets)
    raw = json.loads((tmp_path / "params.yaml").read_text())
    store = FoldStore(tmp_path / "folds")
    for spec in plan_grid(parse_params(raw), TASK, tmp_path, store).specs:
        store.put(spec.fingerprint, {"config.json": b"{}"}, {})
    assert to_do(tmp_path) == (0, 4)
    assert to_do(tmp_path, moved_row) == (4, 4)


def test_other_threads_versions_or_code_are_other_fits(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = identity.numerics_of
    monkeypatch.setattr(grid_module, "numerics_of", lambda *how: {**usual(*how), "threads": 2})
    assert to_do(project) == (FITS, FITS)
    monkeypatch.setattr(grid_module, "numerics_of", lambda *how: {**usual(*how), "torch": "0.1"})
    assert to_do(project) == (FITS, FITS)
    monkeypatch.setattr(grid_module, "numerics_of", usual)
    assert to_do(project) == (0, FITS)
    monkeypatch.setattr(Code, "digest", lambda code, words: "quantum" if "quantum" in words else "other")
    assert to_do(project) == (FITS, FITS)


def test_folds_of_a_repeat_do_not_depend_on_how_many_there_are(project: Path) -> None:
    raw = json.loads((project / "params.yaml").read_text())
    tables = []
    for count in (1, 2, 5):
        raw["datasets"][TASK]["protocol"]["repeats"] = count
        split_again(raw, project)
        tables.append(FoldTable.read(DataPaths.of(project, TASK).folds))
    one, two, five = tables
    for repeat, fewer, more in ((0, one, two), (0, one, five), (1, two, five)):
        rows = [table.repeat == repeat for table in (fewer, more)]
        assert fewer.fold[rows[0]].tolist() == more.fold[rows[1]].tolist()
        assert fewer.index[rows[0]].tolist() == more.index[rows[1]].tolist()


def test_a_replicate_has_other_weights_in_the_same_order() -> None:
    usual = seeds_of(42, 1, 2)
    assert seeds_of(42, 1, 2, replicate=0) == usual
    several = [seeds_of(42, 1, 2, replicate) for replicate in range(5)]
    assert {seeds["order"] for seeds in several} == {usual["order"]}
    others = [seeds_of(42, repeat, fold)["weights"] for repeat in range(3) for fold in range(5)]
    weights = [seeds["weights"] for seeds in several[1:]]
    assert len({*weights, *others}) == len(weights) + len(others), "nor those of another fit"


def test_only_the_seeds_of_a_replicate_differ(project: Path) -> None:
    raw = json.loads((project / "params.yaml").read_text())
    raw["models"]["again"] = {**raw["models"]["hybrid"], "replicate": 1}
    grid = plan_grid(parse_params(raw), TASK, project, FoldStore(project / "folds"))
    one, other = (
        grid.configs[next(spec.fingerprint for spec in grid.specs if spec.model_name == name)]
        for name in ("hybrid", "again")
    )
    assert {key for key in one if one[key] != other[key]} == {"seeds", "fingerprint"}


def test_settings_hold_what_is_not_at_its_default() -> None:
    model = Model.model_validate({"inputs": ["image"], "head": {"kind": "quantum", "layers": 2, "normalise": True}})
    training = Training(epochs=10, learning_rate=0.5, device="cpu", augmentation={"crop_padding": 4})  # type: ignore[arg-type]
    assert settings_of("lcnet_050", Backbone(pretrained="w.safetensors"), model, training, "f" * 64) == {
        "backbone": {"architecture": "lcnet_050", "pretrained": "f" * 64},
        "model": {"head": {"kind": "quantum", "layers": 2}},
        "training": {"learning_rate": 0.5, "augmentation": {"crop_padding": 4}},
    }
    assert words_of(model.head, training) >= {"quantum", "ry", "adam", "constant"}


def test_defaults_are_pinned() -> None:
    """A key at its default is not in the identity: with another default old fits would answer for other settings.

    A new key belongs here with the default that leaves fits as they are. A default that changes needs a new key.
    """
    defaults = {
        name: {key: field.default for key, field in section.model_fields.items() if not field.is_required()}
        for name, section in (("backbone", Backbone), ("head", Head), ("training", Training))
    }
    noise, augmentation = defaults["head"].pop("noise"), defaults["training"].pop("augmentation")
    assert noise.model_dump() == dict.fromkeys(
        ("depolarizing", "amplitude_damping", "phase_damping", "readout_flip"), 0.0
    )
    assert augmentation.model_dump() == {"flip_horizontal": True, "flip_vertical": False, "crop_padding": 0}
    assert defaults == {
        "backbone": {"architecture": None, "activation": "relu", "strides": (2, 2, 2, 2, 2), "pretrained": False},
        "head": {
            "kind": "linear", "qubits": 4, "normalise": True, "ansatz": "ry", "layers": 1, "rotations": 4, "seed": 42,
            "entangling": True, "shots": None,
        },
        "training": {
            "epochs": 10, "batch_size": 64, "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0,
            "momentum": 0.9, "schedule": "constant", "class_weights": "none", "input_size": None, "device": "auto",
            "precision": "float32", "numerics": "fast",
        },
    }  # fmt: skip
    assert Model(inputs=("image",)).fusion == "stacked"
    assert changed(Model(inputs=("image",))) == {"inputs": ["image"]}
