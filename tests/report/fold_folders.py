"""Makes the files of a finished study without fitting anything: images, folds, circuits, fold folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave
from safetensors.numpy import save_file

from qlcnet.config import Params, canonical, fingerprint, parse_params
from qlcnet.data.channel_card import ChannelCard, Decode, Evaluations
from qlcnet.data.fold_table import FoldTable
from qlcnet.data.folds import make_folds
from qlcnet.data.imageset import ImageSet
from qlcnet.fit.fold_folder import CONFIG, HISTORY, PREDICTIONS, WEIGHTS, fold_path
from qlcnet.fit.identity import settings_of
from qlcnet.fit.task_facts import TaskFacts
from tests.params import REQUIRED

SMALL: dict[str, Any] = {
    **REQUIRED,
    "datasets": {
        "spots": {
            "source": {"kind": "npz", "path": "spots.npz", "md5": "0" * 32},
            "protocol": {"kind": "pooled-cv", "folds": 3},
        }
    },
    "circuits": {"ry": {"encoding": "ry", "ansatz": "random"}},
    "models": {
        "classical": {"inputs": ["image"], "head": "linear"},
        "hybrid": {"inputs": ["image", "quanv:ry"], "head": "quantum"},
    },
    "backbones": {"lcnet_050": {}, "lcnet_075": {}},
    "training": {"epochs": 4, "batch_size": 16},
    "report": {"title": "A study of spots"},
}
CLASS_NAMES = ("naevus", "melanoma", "benign keratosis", "vascular lesion")
COMPUTED_ON = {"vendor": "AuthenticAMD", "torch": "AVX512", "onednn": "AVX512", "products": "oneDNN", "variables": {}}
NUMERICS = {"torch": "2.15.0", "threads": 1, "layout": "channels_last", "device": "cpu", "precision": "float32"}


def make_params(**sections: Any) -> Params:
    """SMALL with whole sections replaced."""
    return parse_params({**SMALL, **sections})


def make_study(root: Path, params: Params | None = None, images: int = 120, seed: int = 0) -> Params:
    """Everything that `qlcnet report` reads, below `root`: predictions better than chance, drawn from `seed`."""
    params = params or make_params()
    for number, (task, section) in enumerate(params.datasets.items()):
        rng = np.random.default_rng([seed, number])
        image_set = make_images(rng, images)
        image_set.save(root / "data/raw" / task)
        folds = make_folds(image_set, section, params.seed)
        folds.write(root / "data/folds" / f"{task}.csv")
        for name in params.circuits:
            make_circuit(root / "data/quanvolved" / task, name, image_set, params)
        for name, section in params.channels.items():
            folder = root / "data/quanvolved" / task / name
            folder.mkdir(parents=True)
            shape = (len(image_set), 28, 28, 2)
            ChannelCard(
                name,
                section.kind,
                image_set.digest,
                "",
                shape,
                Decode(1.0, 0.0),
                None,
                fingerprint(name),
                Evaluations(0, 0),
            ).write(folder)
        make_facts(params, task, image_set).write(root / "results/folds" / task)
        for backbone in params.backbones:
            for model in params.models:
                skill = rng.uniform(0.8, 1.6)
                for repeat in folds.repeats:
                    for fold in folds.folds:
                        folder = fold_path(root / "results/folds", task, backbone, model, repeat, fold)
                        make_fold(folder, params, folds, image_set, skill, rng)
    return params


def make_facts(params: Params, task: str, images: ImageSet) -> TaskFacts:
    """What `train` leaves beside the fits of a task."""
    settings = {
        backbone: {
            model: {
                "backbone": canonical(of_backbone),
                "model": canonical(of_model),
                "training": canonical(params.training_of(model)),
            }
            for model, of_model in params.models.items()
        }
        for backbone, of_backbone in params.backbones.items()
    }
    data = {"images": images.digest, "folds": "", "channels": {}}
    return TaskFacts(
        task, params.seed, images.class_names, canonical(params.datasets[task].protocol), data, settings, {}
    )


def make_images(rng: np.random.Generator, images: int) -> ImageSet:
    """28 px colour images of soft spots whose width is the class; classes as unequal as those of a medical set."""
    labels = np.sort(rng.choice(len(CLASS_NAMES), size=images, p=[0.6, 0.2, 0.12, 0.08]))
    labels[: 3 * len(CLASS_NAMES)] = np.arange(3 * len(CLASS_NAMES)) % len(CLASS_NAMES)
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    width = (0.15 + 0.15 * labels)[:, None, None]
    centre = rng.normal(scale=0.2, size=(2, images, 1, 1))
    spot = np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / width)
    skin = np.array([230, 180, 160]) - spot[..., None] * np.array([120, 130, 110])
    pixels = np.clip(skin + rng.normal(scale=8, size=skin.shape), 0, 255).astype(np.uint8)
    about = {"title": "Spots", "source": "drawn by a test", "licence": "CC0-1.0", "url": "", "checksum": {}, "note": ""}
    parts = np.array(["train", "train", "val", "test"])[np.arange(images) % 4]
    return ImageSet(pixels, labels.astype(np.int64), parts, CLASS_NAMES, np.arange(images) // 2, about)


def make_circuit(folder: Path, name: str, images: ImageSet, params: Params) -> None:
    """A folder of data/quanvolved: card.json, circuit.json, channels, and the task's preview."""
    (folder / name).mkdir(parents=True)
    circuit = params.circuits[name]
    shape = (len(images), *images.images.shape[1:3], 4)
    evaluations = Evaluations(executed=81, hardware=shape[1] * shape[2])
    card = ChannelCard(
        name, "circuit", images.digest, "", shape, Decode(1.0, 0.0), None, fingerprint(name), evaluations
    )
    card.write(folder / name)
    found = {  # what quantum.quanvolve writes, but for the gates and the polynomial
        "name": name,
        "params": canonical(circuit),
        "versions": {"pennylane": "0.45.1"},
        "drawing": "0: ──RY(t0)──RZ(0.51)─╭●─┤  <Z>\n1: ──RY(t1)───────────╰X─┤  <Z>",
        "formulas": ["cos(t0)", "-0.9987 cos(t1) + 0.01236 sin(t1) sin(t3)", "cos(t2)", "cos(t0) cos(t1) cos(t3)"],
        "terms": [1, 2, 1, 1],
        "dependence": [[0], [1, 3], [2], [0, 1, 3]],
        "warnings": ["Channel 0 is a function of a single pixel (top left): no patch is combined."],
        "affine": None if circuit.noise.is_none else [{"scale": 0.93, "offset": 0.0}, None, None, None],
        "storage_error": 2.0**-12,
        "qnode_evaluations": 81,
    }
    (folder / name / "circuit.json").write_text(json.dumps(found, sort_keys=True, indent=1))
    grey = images.images[0].mean(2) / 255
    np.save(folder / name / "channels.npy", np.repeat(np.cos(np.pi * grey)[None, ..., None], 4, 3).astype(np.float16))
    imsave(folder / "preview.png", np.tile(grey, (2, 5)), cmap="gray", metadata={"Software": None})


def make_fold(
    folder: Path, params: Params, folds: FoldTable, images: ImageSet, skill: float, rng: np.random.Generator
) -> None:
    """One fold folder: config, history, predictions for its validation and test rows, a file for the weights."""
    *_, task, backbone, model, repeat_name, fold_name = folder.parts
    repeat, fold = int(repeat_name.removeprefix("repeat-")), int(fold_name.removeprefix("fold-"))
    split = folds.split(repeat, fold)
    rows = np.concatenate([split.validation, split.test])
    classes = len(images.class_names)
    logits = rng.normal(size=(len(rows), classes)) + np.log(np.bincount(images.labels, minlength=classes) / len(images))
    logits[np.arange(len(rows)), images.labels[rows]] += skill + 0.3 * rng.normal()
    predictions = {
        "index": rows.astype(np.int64),
        "target": images.labels[rows].astype(np.int64),
        "part": np.repeat(np.uint8([0, 1]), [len(split.validation), len(split.test)]),
        "probabilities": (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32),
    }
    quantum = bool(params.models[model].circuits)
    head, training = params.models[model].head.is_quantum, params.training_of(model)
    config: dict[str, Any] = {
        "settings": settings_of(backbone, params.backbones[backbone], params.models[model], training, None),
        "rows": [task, backbone, model, repeat, fold],
        "numerics": NUMERICS,
        "computed_on": COMPUTED_ON,
        "parameters": 609_111 + 1000 * list(params.backbones).index(backbone),
        "multiply_adds": 1_260_000,
        "circuit_evaluations": {
            "executed": 81 * quantum,
            "hardware_quanvolution": 784 * len(images) * quantum,
            "hardware_head": 17 * len(split.train) * params.training.epochs * head,
        },
        "images": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        "input_shape": [3 + 4 * quantum, 28, 28],
        "normalisation": {"channels": [3], "mean": [0.5] * 3, "sd": [0.2] * 3},
    }  # fmt: skip
    config["fingerprint"] = fingerprint(config)
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(json.dumps(config, sort_keys=True, indent=1))
    (folder / HISTORY).write_text(make_history(params.training.epochs, classes, rng))
    save_file(predictions, folder / PREDICTIONS)
    save_file({"head.weight": np.zeros((classes, 4), np.float32)}, folder / WEIGHTS)


def make_history(epochs: int, classes: int, rng: np.random.Generator) -> str:
    """history.csv: learning curves with a little noise."""
    names = [
        "loss",
        "accuracy",
        "balanced_accuracy",
        "auc_macro",
        "auc_micro",
        *(f"recall_{k}" for k in range(classes)),
    ]
    lines = [",".join(["epoch", "learning_rate", *(f"{part}_{name}" for part in ("train", "val") for name in names)])]
    for epoch in range(epochs):
        good = 1 - np.exp(-(epoch + 1) / epochs * 2) + rng.normal(scale=0.02, size=2 * len(names))
        values = [1.6 - g if i % len(names) == 0 else 0.4 + 0.5 * g for i, g in enumerate(good)]
        lines.append(",".join([str(epoch), "0.001", *(repr(float(v)) for v in values)]))
    return "\n".join(lines) + "\n"
