"""The program of the test repositories: all stages of a study in milliseconds, with files as qlcnet writes them.

It is copied to `src/qlcnet/cli.py` of a repository and stands for the code of another commit: `reproduce` knows of that
code nothing but its commands and its files. Fits are drawn, not trained: by seed, from the learning rate, the model,
the fold table and the channels, and, as on another kind of CPU, a little otherwise where ONEDNN_MAX_CPU_ISA is set.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import load_file, save

PARAMS = yaml.safe_load(Path("params.yaml").read_text())
CLASSES = 3


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def fetch(task: str) -> None:
    raw = Path("data/raw", task)
    raw.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    np.save(raw / "images.npy", rng.integers(0, 255, (PARAMS["images"], 4, 4), dtype=np.uint8))
    np.save(raw / "labels.npy", np.arange(PARAMS["images"]) % CLASSES)


def split(task: str) -> None:
    Path("data/folds").mkdir(parents=True, exist_ok=True)
    labels, folds = np.load(f"data/raw/{task}/labels.npy"), PARAMS["datasets"][task]["protocol"]["folds"]
    lines = [f"{i},{label},{i // CLASSES % folds}" for i, label in enumerate(labels.tolist())]
    Path(f"data/folds/{task}.csv").write_text("\n".join(["index,label,fold", *lines]) + "\n")


def quanvolve(task: str) -> None:
    folder = Path("data/quanvolved", task, "ry")
    folder.mkdir(parents=True, exist_ok=True)
    images = np.load(f"data/raw/{task}/images.npy")
    channels = np.cos(images / 80.0).astype(np.float16)
    np.save(folder / "channels.npy", channels)
    (folder / "card.json").write_text(json.dumps({"digest": sha(channels.tobytes())}))


def fit(task: str, backbone: str, model: str, repeat: int, fold: int) -> dict[str, bytes]:
    table = Path(f"data/folds/{task}.csv").read_text().splitlines()
    rows = [row for row in csv.DictReader(table) if int(row["fold"]) == fold]
    index = np.array([int(row["index"]) for row in rows])
    target = np.array([int(row["label"]) for row in rows])
    read = sha(np.load(f"data/quanvolved/{task}/ry/channels.npy").tobytes())
    rng = np.random.default_rng([repeat, fold, int(sha(f"{backbone}/{model}".encode())[:8], 16)])
    rate = PARAMS["training"]["learning_rate"]
    scores = rate * np.eye(CLASSES)[target] + rng.normal(size=(len(rows), CLASSES))
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    if isa:
        scores += 1e-3 * rng.normal(size=scores.shape)
    probabilities = (np.exp(scores) / np.exp(scores).sum(1, keepdims=True)).astype(np.float32)
    loss = -np.log(probabilities[np.arange(len(rows)), target]).mean()
    history = f"epoch,train_loss,val_accuracy\n0,{float(loss)!r},{float((scores.argmax(1) == target).mean())!r}\n"
    files = {
        "history.csv": history.encode(),
        "predictions.safetensors": save(
            {"index": index, "target": target, "part": np.zeros(len(rows), np.uint8), "probabilities": probabilities}
        ),
        "weights.safetensors": save({"w": scores.astype(np.float32)}),
    }
    config = {
        "settings": {"training": {"learning_rate": rate}, "model": model},
        "inputs": [read],
        "numerics": {"torch": "1"},
        "code": sha(Path(__file__).read_bytes()),
        "computed_on": {"vendor": "any", "variables": {"ONEDNN_MAX_CPU_ISA": isa} if isa else {}},
        "parameters": 1000,
        "multiply_adds": 2000,
        "circuit_evaluations": {"executed": 1, "hardware_quanvolution": 1, "hardware_head": 0},
    }
    config["fingerprint"] = sha(json.dumps([task, backbone, model, repeat, fold, config]).encode())[:32]
    config["files"] = {name: sha(content) for name, content in files.items()}
    return {"config.json": json.dumps(config, sort_keys=True).encode(), **files}


def train(task: str, *only: str) -> None:
    store, protocol = Path(".qlcnet/folds"), PARAMS["datasets"][task]["protocol"]
    wanted = set(only[1::2])
    known = {json.loads(p.read_text())["name"]: p.parent for p in store.glob("*/provenance.json")}
    for backbone in PARAMS["backbones"]:
        for model in PARAMS["models"]:
            for repeat in range(protocol.get("repeats", 1)):
                for fold in range(protocol["folds"]):
                    name = f"{backbone}/{model}/repeat-{repeat}/fold-{fold}"
                    if wanted and name not in wanted:
                        continue
                    if f"{task}/{name}" not in known:
                        time.sleep(float(os.environ.get("SECONDS_A_FIT", 0)))
                        files = fit(task, backbone, model, repeat, fold)
                        folder = store / json.loads(files["config.json"])["fingerprint"]
                        folder.mkdir(parents=True)
                        provenance = json.dumps({"name": f"{task}/{name}", "seconds": 2.0}).encode()
                        for file, content in {**files, "provenance.json": provenance}.items():
                            (folder / file).write_bytes(content)
                        known[f"{task}/{name}"] = folder
                    if not wanted:
                        target = Path("results/folds", task, name)
                        target.mkdir(parents=True, exist_ok=True)
                        for file in known[f"{task}/{name}"].iterdir():
                            if file.name != "provenance.json":
                                (target / file.name).write_bytes(file.read_bytes())
    if not wanted:
        facts = {
            "task": task, "seed": 0, "class_names": ["a", "b", "c"], "data": {}, "settings": {}, "shown": {},
            "protocol": {"kind": "pooled-cv", "repeats": 1, **protocol}, "failed": {},
        }  # fmt: skip
        Path("results/folds", task, "task.json").write_text(json.dumps(facts))


def report() -> None:
    tasks: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for folder in sorted(Path("results/folds").glob("*/*/*")):
        task, backbone, model = folder.parts[-3:]
        if folder.is_dir():
            arrays = [load_file(path) for path in sorted(folder.glob("*/*/predictions.safetensors"))]
            hits = np.concatenate([a["probabilities"].argmax(1) == a["target"] for a in arrays])
            tasks.setdefault(task, {}).setdefault(backbone, {})[model] = {"accuracy": float(hits.mean())}
    evidence = {}
    for task, of_task in tasks.items():
        (backbone, models), *_ = of_task.items()
        gap = models["hybrid"]["accuracy"] - models["classical"]["accuracy"]
        word = "better" if gap > 0.05 else "worse" if gap < -0.05 else "undecided"
        one = {"a": "hybrid", "b": "classical", "metric": "accuracy", "over": "one width", "backbones": [backbone]}
        evidence[task] = {"comparisons": [{**one, "role": "primary", "verdict": word, "sentence": f"{gap:+.4f}"}]}
    full = {
        task: {b: {m: {"accuracy": {"oof": round(v["accuracy"], 6)}} for m, v in ms.items()} for b, ms in bs.items()}
        for task, bs in tasks.items()
    }
    few = {
        task: {b: {m: {"accuracy": round(v["accuracy"], 4)} for m, v in ms.items()} for b, ms in bs.items()}
        for task, bs in tasks.items()
    }
    Path("results/summary.json").write_text(json.dumps({"tasks": full, "evidence": evidence}))
    Path("results/metrics.json").write_text(json.dumps(few))
    Path("results/curves.csv").write_text("epoch,loss\n")


if __name__ == "__main__":
    if "--help" in sys.argv:
        print("--only")  # noqa: T201
    else:
        {"fetch": fetch, "split": split, "quanvolve": quanvolve, "train": train, "report": report}[sys.argv[1]](
            *sys.argv[2:]
        )
