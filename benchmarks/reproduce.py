"""Claim: `consistent` lets fits of another CPU pass, and not those of a network trained otherwise.

Run: python benchmarks/reproduce.py [--repeats 4] [--keep FOLDER] (about 15 minutes on two cores; a FOLDER that is
there is gone on with). Fits of 2 s on BreastMNIST (search path QLCNET_DATA): lcnet_050, three heads, two draws of first
weights, 5 folds, as a base and with one thing changed: the instruction set, the first weights, the learning rate, the
epochs. From these, studies are put together as a user has them, by drawing fits: one repeat, three repeats, one repeat
with replicates. Every study is then "recomputed" by each variant and graded as `qlcnet reproduce` grades fits of
another machine. Printed: the share of studies that are called different, and of single fits outside their range. The
last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import yaml

from machine import describe_machine
from qlcnet.reproduce.compare_fits import FitVerdict, grade_predictions
from qlcnet.reproduce.grades import Grade
from qlcnet.reproduce.predictions import Predictions
from qlcnet.reproduce.spread import Spreads
from qlcnet.reproduce.together import settle

SOURCE = {
    "kind": "npz",
    "path": "breastmnist/breastmnist.npz",
    "md5": "750601b1f35ba3300ea97c75c52ff8f6",
    "classes_of": "breastmnist",
}
TASK, BACKBONE, FOLDS = "breastmnist", "lcnet_050", 5
MODELS: dict[str, dict[str, Any]] = {
    "classical": {"inputs": ["image"], "head": "linear"},
    "bottleneck": {"inputs": ["image"], "head": "bottleneck"},
    "sine": {"inputs": ["image"], "head": "sine"},
}
AGAIN = "classical-again"
TRAINING: dict[str, Any] = {
    "epochs": 12, "batch_size": 64, "optimizer": "adam", "learning_rate": 0.001, "schedule": "constant",
}  # fmt: skip
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
# what is changed: sections of `training`, or the environment, or each model's replicate
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "another instruction set": {"environment": AVX2},
    "other first weights": {"replicate": 2},
    "learning rate x 2": {"learning_rate": 0.002},
    "learning rate x 3": {"learning_rate": 0.003},
    "learning rate x 10": {"learning_rate": 0.01},
    "learning rate / 3": {"learning_rate": 0.0003333},
    "one epoch fewer": {"epochs": 11},
    "half the epochs": {"epochs": 6},
}
# models, repeats a study
STUDIES: dict[str, tuple[tuple[str, ...], int]] = {
    "3 models, 1 repeat": (tuple(MODELS), 1),
    "1 model, 1 repeat": (("classical",), 1),
    "3 models, 3 repeats": (tuple(MODELS), 3),
    "with a replicate": (("classical", AGAIN), 1),
}


def fit_all(folder: Path, name: str, repeats: int) -> Path:
    """results/folds of a variant, fitted where they are not there yet."""
    root, changed = folder / name.replace(" ", "-").replace("/", "by"), dict(VARIANTS[name])
    environment, replicate = changed.pop("environment", {}), changed.pop("replicate", 0)
    root.mkdir(parents=True, exist_ok=True)
    models = {**MODELS, AGAIN: {**MODELS["classical"], "replicate": 1}}
    if replicate:
        models = {key: {**model, "replicate": replicate + model.get("replicate", 0)} for key, model in models.items()}
    params = {
        "seed": 42,
        "datasets": {
            TASK: {
                "source": SOURCE,
                "protocol": {"kind": "pooled-cv", "folds": FOLDS, "repeats": repeats},
            }
        },
        "circuits": {},
        "channels": {},
        "models": models,
        "backbones": {BACKBONE: {"activation": "relu"}},
        "training": {**TRAINING, **changed},
        "report": {"title": name},
    }
    (root / "params.yaml").write_text(yaml.safe_dump(params))
    for command in ("fetch", "split", "quanvolve", "train"):
        subprocess.run(
            [sys.executable, "-m", "qlcnet.cli", command, TASK], cwd=root, check=True,
            env={**os.environ, **environment},
        )  # fmt: skip
    return root / "results" / "folds"


Labelled = tuple[str, str]  # name of a fit in a study, and in the base


def put_together(base: Path, root: Path, models: Sequence[str], size: int, repeats: int, seed: int) -> list[Labelled]:
    """A folder of a study of `size` repeats: for each fold some fit of the base, drawn without putting back."""
    drawn = random.Random(seed).sample([(r, f) for r in range(repeats) for f in range(FOLDS)], size * FOLDS)
    names = []
    for model in models:
        for i, (repeat, fold) in enumerate(drawn):
            name = f"{TASK}/{BACKBONE}/{model}/repeat-{i // FOLDS}/fold-{i % FOLDS}"
            source = f"{TASK}/{BACKBONE}/{model}/repeat-{repeat}/fold-{fold}"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(base / source, target_is_directory=True)
            names.append((name, source))
    return names


def grade(root: Path, names: Sequence[Labelled], now: Path, spreads: Spreads) -> tuple[Grade, int]:
    """The verdict of a study whose fits are made again by a variant; and how many fits are outside their range."""
    fits = []
    for name, source in names:
        pair = [_read(root / name), _read(now / source)]
        then, again = (one.metrics() for one in pair)
        found = FitVerdict(name, Grade.BYTES, "predictions", {key: (then[key], again[key]) for key in then})
        grade_predictions(found, *pair, partial(spreads.of, name), True)
        fits.append(found)
    outside = sum(fit.grade == Grade.DIFFERENT for fit in fits)
    settle(fits)
    return max(fit.grade for fit in fits), outside


@cache
def _read(folder: Path) -> Predictions:
    return Predictions.read_folder(folder.resolve())


def main() -> None:
    """Fit, put together, grade, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--studies", type=int, default=40, help="of each kind, put together from the same fits")
    parser.add_argument("--keep", type=Path, help="where the fits are kept, and found again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.keep or Path(scratch) / "fits").resolve()
        made = {name: fit_all(folder, name, options.repeats) for name in VARIANTS}
        rows = []
        for kind, (models, size) in STUDIES.items():
            found_of = []
            for seed in range(options.studies):
                root = Path(scratch) / "studies" / f"{kind.replace(' ', '-')}-{seed}"
                names = put_together(made["base"], root, models, size, options.repeats, seed)
                found_of.append((root, names, Spreads(root)))
            for variant in list(VARIANTS)[1:]:
                found = [grade(root, names, made[variant], spreads) for root, names, spreads in found_of]
                fits = len(found_of[0][1])
                rows.append(
                    {
                        "study": kind,
                        "fits": fits,
                        "variant": variant,
                        "studies": len(found),
                        "different": sum(grade == Grade.DIFFERENT for grade, _ in found),
                        "untold": sum(grade == Grade.UNKNOWN for grade, _ in found),
                        "fits_outside": round(sum(count for _, count in found) / (fits * len(found)), 3),
                    }
                )
                row = rows[-1]
                print(
                    f"{kind:22} {fits:3} fits  {variant:24} different {row['different']} of {row['studies']} studies, "
                    f"untold {row['untold']}, fits outside {100 * row['fits_outside']:.0f} %"
                )
    print(json.dumps({"machine": describe_machine(), "rows": rows}))


if __name__ == "__main__":
    main()
