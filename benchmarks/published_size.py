"""Bytes of one model and repeat in a published study: 10,015 images, 7 overlapping classes, drawn probabilities."""

from __future__ import annotations

import json
import lzma

import numpy as np

from qlcnet.evidence.metrics import METRICS, metrics_of
from qlcnet.publish.rounding import STEPS, pack, probabilities_of, steps_below

IMAGES, MODELS = 10_015, 4
PRIOR = np.array([0.67, 0.11, 0.11, 0.05, 0.03, 0.02, 0.01])


def main() -> None:
    """Print sizes, and what rounding changes in each metric."""
    rng = np.random.default_rng(0)
    target = rng.choice(len(PRIOR), IMAGES, p=PRIOR)
    shared = rng.normal(scale=1.2, size=(IMAGES, len(PRIOR)))
    sizes, changes = [], []
    for _ in range(MODELS):
        logits = np.log(PRIOR) + shared + rng.normal(scale=0.84, size=shared.shape)
        logits[np.arange(IMAGES), target] += 1.5
        p = (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)
        halves = np.moveaxis(np.ascontiguousarray(p.T.astype(np.float16)).view(np.uint8).reshape(7, IMAGES, 2), 2, 0)
        stored = steps_below(p)
        kinds = (halves, halves[:, :-1], pack(p, STEPS[0]))
        sizes.append([len(lzma.compress(np.ascontiguousarray(one).tobytes(), preset=9)) for one in kinds])
        exact, rounded = metrics_of(target, p), metrics_of(target, probabilities_of(stored))
        changes.append([abs(exact[name] - rounded[name]) for name in METRICS])
    names = ("float16", "float16, K - 1 columns", "as published")
    for name, size in zip(names, np.mean(sizes, 0), strict=True):
        print(f"{name:24s} {size / 1e3:6.1f} kB")
    for name, change in zip(METRICS, np.max(changes, 0), strict=True):
        print(f"largest change of {name:18s} {change:.1e}")
    print(json.dumps({"bytes": dict(zip(names, np.mean(sizes, 0).round().tolist(), strict=True)),
                      "change": dict(zip(METRICS, np.max(changes, 0).tolist(), strict=True))}))  # fmt: skip


if __name__ == "__main__":
    main()
