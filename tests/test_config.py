"""params.yaml: what is accepted, what an error says, what a fingerprint covers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from qlcnet.config import Input, Params, ParamsError, Task, canonical, fingerprint, load_params, parse_params

MINE = {"kind": "file", "path": "mine.npy", "md5": "0" * 32}
DIGITS = {"source": {"kind": "digits", "size": 16}}  # of the demo
STUDIES = Path(__file__).resolve().parents[1] / "studies"


def demo() -> dict[str, Any]:
    return yaml.safe_load((STUDIES / "demo.yaml").read_text())


def changed(path: str, value: Any) -> dict[str, Any]:
    raw = demo()
    *parents, last = path.split("/")
    node = raw
    for part in parents:
        node = node.setdefault(part, {})
    node[last] = value
    return raw


def primary(metric: str = "accuracy", *compare: list[str]) -> dict[str, Any]:
    return {"metric": metric, "compare": list(compare)}


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda p: p.stem)
def test_every_preset_is_valid_and_says_what_it_is(path: Path) -> None:
    load_params(path)
    assert path.read_text().startswith(f"# {path.stem}: ")


@pytest.mark.parametrize("name", ["paper-dermamnist", "paper-cifar10", "breastmnist"])
def test_paper_presets_hold_the_papers_protocol(name: str) -> None:
    params = load_params(STUDIES / f"{name}.yaml")
    (task,) = params.datasets.values()
    training = params.training
    assert (task.protocol.folds, params.seed) == (5, 42)
    assert (training.optimizer, training.learning_rate, training.batch_size, training.epochs) == ("adam", 1e-3, 64, 10)
    assert training.augmentation.flip_horizontal
    assert training.augmentation.crop_padding > 0
    widths = ["lcnet_050", "lcnet_075", "lcnet_100", "lcnet_150", "lcnet_200"]
    assert list(params.backbones) == (widths[:3] if name == "paper-cifar10" else widths)
    assert {b.activation for b in params.backbones.values()} == {"relu"}
    assert list(params.models) == ["classical", "classical-bottleneck", "hybrid", "quanv"]
    assert task.protocol.kind == ("train-cv" if name == "paper-cifar10" else "pooled-cv")


def head_of(path: Path) -> list[str]:
    """The comment lines before the first key."""
    return path.read_text().split("\nseed:")[0].splitlines()


def test_the_reading_of_the_paper_stands_once_and_presets_with_its_settings_refer_to_it() -> None:
    readings = [path.name for path in STUDIES.glob("*.yaml") if sum(" -> " in line for line in head_of(path)) > 3]
    assert readings == ["paper-dermamnist.yaml"]
    of_the_paper = {path.name for path in STUDIES.glob("*.yaml") if "section 4.6: Adam" in path.read_text()}
    refer = {path.name for path in STUDIES.glob("*.yaml") if "the head of paper-dermamnist." in path.read_text()}
    assert of_the_paper == refer | {"paper-dermamnist.yaml"}
    assert len(refer) == 8


def test_the_reading_of_the_paper_says_what_the_presets_hold() -> None:
    """Every `-> key: value` of the list, looked up in the preset that has it in its head."""
    path = STUDIES / "paper-dermamnist.yaml"
    params = load_params(path)
    (task,) = params.datasets.values()
    (head,) = [model.head for model in params.models.values() if model.head.kind == "quantum"]
    holds = {
        "protocol.folds: 5": task.protocol.folds == 5,
        "protocol.kind: pooled-cv": task.protocol.kind == "pooled-cv",
        "training.optimizer: adam, schedule: constant": (params.training.optimizer, params.training.schedule)
        == ("adam", "constant"),
        "backbones.*.pretrained: false": not any(backbone.pretrained for backbone in params.backbones.values()),
        "backbones.*.activation: relu": {backbone.activation for backbone in params.backbones.values()} == {"relu"},
        "head.normalise: true": head.normalise,
        "circuits.ry: the random ansatz": params.circuits["ry"].ansatz == "random",
    }
    text = "\n".join(head_of(path))
    assert [said for said, is_so in holds.items() if f"-> {said}" not in text or not is_so] == []


def test_the_committed_params_are_the_demo() -> None:
    assert (STUDIES.parent / "params.yaml").read_text() == (STUDIES / "demo.yaml").read_text()


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("training/epoch", 3, "training.epoch: unknown key"),
        ("training/epochs", 0, "training.epochs: input should be greater than or equal to 1 (given 0)"),
        ("training/epochs", "ten", "training.epochs: input should be a valid integer"),
        (
            "training/optimizer",
            "adagrad",
            "training.optimizer: input should be 'adam', 'adamw' or 'sgd' (given 'adagrad')",
        ),
        ("training/batch_size", 1, "training.batch_size"),
        ("training/learning_rate", -1e-3, "training.learning_rate: input should be greater than 0"),
        ("models/hybrid/head", "quantm", "models.hybrid.head.kind: input should be 'linear'"),
        ("models/hybrid/inputs", ["image", "quanv:rz"], "no circuit 'rz' under `circuits` (there: ry)"),
        (
            "models/hybrid/head",
            {"kind": "sine", "ansatz": "random", "seed": 1},
            "models.hybrid.head: a head `sine` does not read ansatz, seed; remove it",
        ),
        (
            "circuits/ry",
            {"noise": {"depolarizing": 0.1}, "device": "lightning.qubit"},
            "circuits.ry: device 'lightning.qubit' cannot run `noise`",
        ),
        ("circuits/ry", {"device_shots": 9, "shots": 9}, "circuits.ry: `device_shots` samples the grid"),
        ("circuits/ry", {"tolerance": 0.1, "storage": "uint8"}, "circuits.ry: `storage: uint8` holds values from -1"),
        ("models/hybrid/inputs", ["quanv:ry/4"], "models.hybrid.inputs: 'quanv:ry/4': ry has the channels 0 to 3"),
        (
            "models/hybrid/inputs",
            ["channel:mine"],
            "models.hybrid.inputs: no channel 'mine' under `channels` (there: none)",
        ),
        ("channels", {"ry": MINE}, "channels.ry: `circuits` has this name too"),
        (
            "channels",
            {"mine": {**MINE, "kind": "sobel"}},
            "channels.mine: input tag 'sobel' found using 'kind' does not match any",
        ),
        ("channels", {"mine": {**MINE, "md5": "F" * 32}}, "channels.mine.md5: string should match pattern"),
        ("models/hybrid/inputs", [], "models.hybrid.inputs: list at least one input"),
        ("models/hybrid/inputs", ["quanv:ry/x"], "models.hybrid.inputs.0: 'quanv:ry/x' is no input; allowed:"),
        ("models/hybrid/inputs", ["image", 3], "models.hybrid.inputs.1: 3 is no input; allowed:"),
        ("models/hybrid/inputs", ["picture"], "'picture' is no input; allowed: image, grey, quanv:<circuit>"),
        ("circuits/ry/stride", 0, "circuits.ry.stride: input should be greater than or equal to 1 (given 0)"),
        ("circuits/ry/noise", {"depolarizing": 2}, "circuits.ry.noise.depolarizing"),
        ("circuits/ry/encoding", "rz", "circuits.ry.encoding: input should be 'ry', 'rx', 'rxy' or 'ryx' (given 'rz')"),
        (
            "datasets/digits/source",
            {"kind": "medmnist", "name": "dermamnist", "size": 32},
            "datasets.digits.source.size",
        ),
        ("datasets/digits/source/sise", 28, "datasets.digits.source.sise: unknown key"),
        ("datasets/digits/protocol/folds", 1, "datasets.digits.protocol.folds"),
        ("datasets/digits/protocol", {"kind": "official", "grouped": True}, "`grouped` has no meaning"),
        ("datasets/digits/protocol", {"kind": "official", "folds": 5}, "digits.protocol: `folds` has no meaning"),
        ("training", {"optimizer": "adam", "momentum": 0.9}, "training: the optimizer `adam` does not read `momentum`"),
        ("backbones/lcnet_050", {"strides": [2, 2, 2, 2, 3]}, "backbones.lcnet_050.strides"),
        ("backbones/LCNet 050", {}, "backbones"),
        (
            "datasets/digits.v2",
            {"source": {"kind": "digits"}},
            "datasets.digits.v2: the name of a task has no dot, at which DVC cuts keys; write digits-v2",
        ),
        ("models/hybrid/training", {"epoch": 3}, "models.hybrid.training.epoch: unknown key"),
        (
            "models/hybrid/training",
            {"epochs": 0},
            "models.hybrid.training.epochs: input should be greater than or equal",
        ),
        (
            "models/hybrid/training",
            {"augmentation": {"crop": 1}},
            "models.hybrid.training.augmentation.crop: unknown key",
        ),
        (
            "models/hybrid/training",
            {"optimizer": "adam", "momentum": 0.8},
            "models.hybrid.training: the optimizer `adam`",
        ),
        ("models/hybrid/training", {"device": "cpu"}, "models.hybrid.training: `device` is one for all models"),
        ("models/hybrid/training", {"numerics": "fast"}, "models.hybrid.training: `numerics` is one for all models"),
        ("training", {"numerics": "portable", "device": "cuda"}, "training: `numerics: portable` is float32 on a CPU"),
        ("training", {"numerics": "portable", "precision": "bfloat16"}, "device: auto, precision: bfloat16"),
        ("models/hybrid/training", 3, "models.hybrid.training: input should be a valid dictionary (given 3)"),
        (
            "datasets/more",
            {**DIGITS, "images_of": "none"},
            "datasets.more.images_of: no other task 'none' under `datasets`",
        ),
        (
            "datasets/more",
            {**DIGITS, "images_of": "more"},
            "images_of: no other task 'more' under `datasets` (there: digits)",
        ),
        (
            "datasets/more",
            {"source": {"kind": "digits"}, "images_of": "digits"},
            "datasets.more.source: is not that of digits, whose images it shares; write `source: &digits {...}` there",
        ),
        ("circuits", None, "circuits: empty; write `circuits: {}`"),
        ("training", None, "training: empty; write `training: {}`"),
        (
            "datasets/digits",
            {"protocol": {"folds": 3}},
            "datasets.digits.source: missing; write `source: {kind: digits}`",
        ),
        ("datasets", {}, "datasets: dictionary should have at least 1 item"),
        ("evidence/margin", {"accuracy": 0}, "evidence.margin.accuracy: input should be greater than 0 (given 0)"),
        ("evidence/margin", {"f1": 0.1}, "evidence.margin.f1: unknown key"),
        ("evidence/alpha", 0, "evidence.alpha: input should be greater than 0 (given 0)"),
        ("evidence/alpha", 0.5, "evidence.alpha: input should be less than 0.5 (given 0.5)"),
        (
            "evidence/primary",
            primary("loss", ["hybrid", "classical"]),
            "evidence.primary.metric: input should be 'accuracy', 'balanced",
        ),
        ("evidence/primary", primary(), "evidence.primary.compare: list at least one pair [a, b]"),
        ("evidence/primary", primary("accuracy", ["hybrid"]), "evidence.primary.compare.0.1: missing"),
        (
            "evidence/primary",
            primary("accuracy", ["hybrid", "hybrid"]),
            "evidence.primary.compare: [hybrid, hybrid] compares hybrid with itself",
        ),
        (
            "evidence/primary",
            primary("accuracy", ["hybrid", "classical"], ["classical", "hybrid"]),
            "evidence.primary.compare: [classical, hybrid] stands twice, whichever is first",
        ),
        (
            "evidence/primary",
            primary("accuracy", ["hybrid", "sine"]),
            "evidence.primary.compare: no model 'sine' under `models` (there: classical, hybrid)",
        ),
        (
            "channels",
            {"c": {"kind": "conv", "of": "rz"}},
            "channels.c.of: no circuit 'rz' under `circuits` (there: ry)",
        ),
        ("channels", {"n": {"kind": "noise"}}, "channels.n.of: missing"),
        (
            "channels",
            {"c": {"kind": "conv", "of": "ry", "filters": "cosine", "seed": 1}},
            "channels.c: cosine filters are not drawn, so that no `seed` is read; remove it",
        ),
        (
            "channels",
            {"c": {"kind": "conv", "of": "ry", "filters": "sobel"}},
            "channels.c.filters: input should be 'random' or 'cosine' (given 'sobel')",
        ),
        ("channels", {"f": {"kind": "fourier-random", "of": "ry", "degree": 1}}, "channels.f.degree: unknown key"),
        (
            "models/m",
            {"inputs": ["image"], "replicate": -1},
            "models.m.replicate: input should be greater than or equal",
        ),
        (
            "models/hybrid/head",
            "stochastic",
            "models.hybrid.head: a head `stochastic` needs `shots`, the number of draws of each value in training",
        ),
        (
            "models/hybrid/head",
            {"kind": "quantum", "shots": 0},
            "models.hybrid.head.shots: input should be greater than",
        ),
        (
            "models/hybrid/head",
            {"kind": "quantum", "entangling": False},
            "models.hybrid.head: the ansatz `ry` has no gate on two qubits; remove `entangling: false`",
        ),
        (
            "models/hybrid/head",
            {"kind": "mlp", "seed": 1, "shots": 10},
            "models.hybrid.head: a head `mlp` does not read seed, shots; remove it",
        ),
        (
            "models/hybrid/head",
            {"kind": "fourier", "noise": {"depolarizing": 0.1}, "entangling": False},
            "models.hybrid.head: a head `fourier` does not read entangling, noise; remove it",
        ),
        (
            "models/hybrid/head",
            {"kind": "bottleneck", "layers": 2},
            "models.hybrid.head: a head `bottleneck` does not read layers; remove it",
        ),
    ],
)
def test_a_wrong_key_is_named_with_what_is_allowed(path: str, value: Any, says: str) -> None:
    with pytest.raises(ParamsError) as error:
        parse_params(changed(path, value), "params.yaml")
    assert says in str(error.value)
    assert str(error.value).startswith("params.yaml: 1 wrong key")


def test_bytes_hold_no_random_polynomial() -> None:
    raw = changed("circuits/ry/storage", "uint8")
    for kind, fits in (("fourier-random", False), ("conv", True), ("noise", True)):
        raw["channels"] = {"twin": {"kind": kind, "of": "ry"}}
        if fits:
            parse_params(raw)
            continue
        with pytest.raises(ParamsError, match=r"channels\.twin\.of: ry is stored as uint8(.*)Use `storage: float16`"):
            parse_params(raw)


@pytest.mark.parametrize("section", ["seed", "datasets", "circuits", "channels", "models", "backbones", "training"])
def test_a_section_that_is_missing_is_named_with_what_to_write(section: str) -> None:
    raw = demo()
    raw.pop("evidence")  # names models, one of which has to go below
    del raw[section]
    with pytest.raises(ParamsError, match=rf"1 wrong key\n  {section}: missing; write `{section}: (.*)`$") as error:
        parse_params(raw)
    raw |= yaml.safe_load(str(error.value).split("`")[1])
    if section not in ("circuits", "channels"):  # which models read
        parse_params({**raw, "models": {"classical": {"inputs": ["image"]}}})


def test_what_dvc_asks_for_is_required() -> None:
    """Params of stages: DVC refuses one that is missing when it comes to the stage, after all that stands before."""
    stages = yaml.safe_load((STUDIES.parent / "dvc.yaml").read_text())["stages"]
    keys = {"datasets" for stage in stages.values() if stage.get("foreach") == "${datasets}"}
    for stage in stages.values():
        keys |= {key for key in stage.get("do", stage).get("params", []) if key != {"params.yaml": None}}
    required = {name for name, field in Params.model_fields.items() if field.is_required()}
    of_task = {name for name, field in Task.model_fields.items() if field.is_required()}
    prefix = "datasets.${key}"
    assert keys == required | {prefix} | {f"{prefix}.{name}" for name in of_task}


def test_all_wrong_keys_are_named_at_once() -> None:
    raw = changed("training/epochs", 0)
    raw["modles"] = {}
    with pytest.raises(ParamsError, match="2 wrong keys") as error:
        parse_params(raw)
    assert "modles" in str(error.value)
    assert "training.epochs" in str(error.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="no such file"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("seed: [1\n")
    with pytest.raises(ParamsError, match="not valid YAML"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("just text\n")
    with pytest.raises(ParamsError, match="expected keys"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("text", "value", "width"),
    [
        ("image", Input("image"), 3),
        ("grey", Input("grey"), 1),
        ("quanv:ry", Input("quanv", "ry"), 4),
        ("quanv:a.b-c_9/11", Input("quanv", "a.b-c_9", 11), 1),
        ("channel:mine", Input("channel", "mine"), 5),
        ("channel:mine/0", Input("channel", "mine", 0), 1),
    ],
)
def test_an_input_is_read_once_and_gives_its_text_back(text: str, value: Input, width: int) -> None:
    assert Input.parse(text) == value
    assert str(value) == text
    assert value.is_stored == (":" in text)
    assert value.width(3, {"ry": 4, "mine": 5}) == width


@pytest.mark.parametrize(
    "text", ["", "quanv", "quanv:", "quanv:ry/", "quanv:ry/-1", "quanv:ry/007", "quanv:Ry", "image/0", "x:ry", " image"]
)
def test_what_is_no_input(text: str) -> None:
    with pytest.raises(ValueError, match="is no input; allowed: image, grey, quanv:<circuit>"):
        Input.parse(text)


def test_inputs_are_written_as_their_text() -> None:
    """So names of models in params, identities and network sizes stay what they were."""
    model = parse_params(changed("models/hybrid/inputs", ["image", "quanv:ry/2", "quanv:ry"])).models["hybrid"]
    assert model.inputs == (Input("image"), Input("quanv", "ry", 2), Input("quanv", "ry"))
    assert canonical(model)["inputs"] == ["image", "quanv:ry/2", "quanv:ry"]
    assert type(model).model_validate(model.model_dump()) == model
    assert model.circuits == model.stored == ("ry",)


def test_a_model_has_its_own_keys_of_training() -> None:
    """And those of the section where it has none, also within `augmentation`."""
    raw = demo()
    raw["training"] |= {"optimizer": "sgd", "momentum": 0.5}
    raw["models"]["hybrid"]["training"] = {"learning_rate": 0.1, "augmentation": {"crop_padding": 3}}
    raw["models"]["adam"] = {"inputs": ["image"], "training": {"optimizer": "adam"}}
    params = parse_params(raw)
    usual = params.training
    assert params.training_of("classical") == usual
    hybrid = params.training_of("hybrid")
    assert (hybrid.learning_rate, hybrid.augmentation.crop_padding) == (0.1, 3)
    assert not hybrid.augmentation.flip_horizontal, "as in the section, not the default"
    assert hybrid == usual.model_copy(
        update={
            "learning_rate": 0.1,
            "augmentation": usual.augmentation.model_copy(update={"crop_padding": 3}),
        }
    )
    assert params.training_of("adam").optimizer == "adam"
    assert params.training_of("adam").momentum == 0.9, "which adam does not read"


def test_tasks_share_images_by_a_yaml_anchor(tmp_path: Path) -> None:
    demo = (STUDIES / "demo.yaml").read_text().replace("source: {kind", "source: &digits {kind")
    more = "  few: {source: *digits, images_of: digits, images_per_class: 20}\n"
    (tmp_path / "params.yaml").write_text(demo.replace("\ncircuits:", f"{more}\ncircuits:"))
    tasks = load_params(tmp_path / "params.yaml").datasets
    assert tasks["few"].images_of == "digits"
    assert tasks["few"].source == tasks["digits"].source
    chain = "  fewer: {source: *digits, images_of: few}\n"
    (tmp_path / "params.yaml").write_text(demo.replace("\ncircuits:", f"{more}{chain}\ncircuits:"))
    with pytest.raises(ParamsError, match=r"fewer\.images_of: few shares the images of digits itself; write digits"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({}, "size: missing"),
        ({"size": 4}, "size: input should be greater than or equal to 8 (given 4)"),
        ({"size": 32, "digest": "0" * 32}, "digest: string should match pattern"),
        ({"size": 32, "window": [4095, 0]}, "window: [4095, 0] is no range: the lower end comes first"),
        ({"size": 32, "window": [0, float("inf")]}, "window.1: input should be a finite number"),
        ({"size": 32, "class_names": {0: "none"}}, "class_names.0: input should be a valid string (given 0)"),
        ({"size": 32, "class_names": {"a": ""}}, "class_names.a: string should have at least 1 character"),
        ({"size": 32, "labels": {"path": "x.csv", "file": "f"}}, "labels.label: missing"),
        (
            {
                "size": 32,
                "groups": {"path": "a/x.csv", "column": "c", "id": "i"},
                "labels": {"path": "b/x.csv", "file": "f", "label": "l"},
            },
            "`groups` and `labels` are two files called x.csv; rename one",
        ),
        ({"size": 32, "colour": "gray"}, "colour: input should be 'auto', 'grey' or 'rgb' (given 'gray')"),
    ],
)
def test_a_folder_s_keys(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ParamsError) as raised:
        parse_params(changed("datasets/own/source", {"kind": "folder", "path": "lesions", **keys}))
    assert f"datasets.own.source{': ' if says.startswith('`') else '.'}{says}" in str(raised.value)


def test_what_is_declared_changes_no_fit_and_may_be_left_out() -> None:
    raw = demo()
    raw.pop("evidence")
    declared = {
        "primary": primary("auc_macro", ["hybrid", "classical"]),
        "margin": {"auc_macro": 0.03},
        "alpha": 0.1,
    }
    with_it, without = parse_params({**raw, "evidence": declared}), parse_params(raw)
    assert parse_params({**raw, "evidence": None}) == without
    assert without.evidence.primary is None
    metrics = ("accuracy", "balanced_accuracy", "auc_macro", "auc_micro")
    assert [without.evidence.margin.size_in(metric) for metric in metrics] == [0.01, 0.02, 0.01, 0.005]
    assert (with_it.evidence.margin.auc_macro, with_it.evidence.margin.accuracy) == (0.03, 0.01)
    assert with_it.model_copy(update={"evidence": without.evidence}) == without  # nothing else moved
    dvc = yaml.safe_load((STUDIES.parent / "dvc.yaml").read_text())["stages"]
    assert not [name for name, stage in dvc.items() if "evidence" in stage.get("do", stage).get("params", [])]


def test_params_are_immutable() -> None:
    params = parse_params(demo())
    with pytest.raises(ValueError, match="frozen"):
        params.training.epochs = 3  # type: ignore[misc]


def test_fingerprint_changes_with_every_value_and_with_nothing_else() -> None:
    params = parse_params(demo())
    assert fingerprint(params) == fingerprint(parse_params(demo()))
    assert fingerprint({"a": 1, "b": (1, 2)}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint(params.training) != fingerprint(parse_params(changed("training/epochs", 11)).training)
    # written out or left at its default: the same setting
    assert fingerprint(params) == fingerprint(parse_params(changed("training/weight_decay", 0.0)))
    assert canonical(params.models["hybrid"])["head"]["kind"] == "quantum"


def test_a_mirror_that_is_no_list_is_named_without_its_password() -> None:
    with pytest.raises(ParamsError, match=r"data\.mirrors: .*\(given 'http://host/x'\)") as error:
        parse_params(changed("data/mirrors", "http://user:geheim@host/x"))
    assert "geheim" not in str(error.value)
