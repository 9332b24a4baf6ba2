"""LCNet's training step in JAX, for benchmarks/alternatives.py, which starts it with an interpreter that has JAX.

The network that it is given as arrays under timm's names, in jax.lax alone (no Flax): NHWC convolutions, BatchNorm with
running statistics, squeeze-excite, cross-entropy, gradient and Adam, in one jit with donated buffers, float32, one
thread. Reads a number of steps a line from standard input and answers with the processor seconds that they took and
the last loss; the first line it writes is about the first step, which compiles.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Arrays = dict[str, Any]
EPSILON, MOMENTUM = 1e-5, 0.1  # of BatchNorm, torch's
RATE, BETAS, ADAM_EPSILON = 1e-3, (0.9, 0.999), 1e-8


def convolution(x: Any, weight: Any, stride: int, groups: int = 1) -> Any:
    """NHWC, weight HWIO."""
    padding = [(size // 2, size // 2) for size in weight.shape[:2]]
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, weight, (stride, stride), padding, dimension_numbers=layout, feature_group_count=groups
    )


def forward(weights: Arrays, running: Arrays, strides: list[list[int]], x: Any) -> tuple[Any, Arrays]:
    """Logits and new running statistics. `strides`: of the stem, then of the blocks, stage by stage."""
    new = {}

    def normalised(x: Any, name: str) -> Any:
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        count = x.size // x.shape[-1]
        for key, value in (("mean", mean), ("var", variance * count / (count - 1))):
            new[f"{name}.running_{key}"] = (1 - MOMENTUM) * running[f"{name}.running_{key}"] + MOMENTUM * value
        scale = weights[f"{name}.weight"] * lax.rsqrt(variance + EPSILON)
        return jax.nn.relu((x - mean) * scale + weights[f"{name}.bias"])

    x = normalised(convolution(x, weights["conv_stem.weight"], strides[0][0]), "bn1")
    for i, stage in enumerate(strides[1:]):
        for j, stride in enumerate(stage):
            at = f"blocks.{i}.{j}"
            x = normalised(convolution(x, weights[f"{at}.conv_dw.weight"], stride, x.shape[-1]), f"{at}.bn1")
            if f"{at}.se.conv_reduce.weight" in weights:
                pooled = x.mean((1, 2), keepdims=True)
                for layer, activation in (("reduce", jax.nn.relu), ("expand", jax.nn.hard_sigmoid)):
                    name = f"{at}.se.conv_{layer}"
                    pooled = activation(convolution(pooled, weights[f"{name}.weight"], 1) + weights[f"{name}.bias"])
                x = x * pooled
            x = normalised(convolution(x, weights[f"{at}.conv_pw.weight"], 1), f"{at}.bn2")
    x = x.mean((1, 2), keepdims=True)
    x = jax.nn.relu(convolution(x, weights["conv_head.weight"], 1) + weights["conv_head.bias"])
    return x.reshape(len(x), -1) @ weights["classifier.weight"] + weights["classifier.bias"], new


def main(path: str) -> None:
    """Serve steps; `path`: an .npz of the network's arrays, `x`, `y` and `strides` as JSON."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    x, y, strides = arrays.pop("x"), arrays.pop("y"), json.loads(str(arrays.pop("strides")))
    running = {name: value for name, value in arrays.items() if "running_" in name}
    weights = {name: value for name, value in arrays.items() if name not in running}
    moments = [{name: np.zeros_like(value) for name, value in weights.items()} for _ in range(2)]

    def loss_of(weights: Arrays, running: Arrays, x: Any, y: Any) -> tuple[Any, Arrays]:
        logits, new = forward(weights, running, strides, x)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1).mean(), new

    def step(state: Any, x: Any, y: Any) -> tuple[Any, Any]:
        weights, running, means, squares, count = state
        (loss, running), gradients = jax.value_and_grad(loss_of, has_aux=True)(weights, running, x, y)
        count = count + 1
        tree = jax.tree_util.tree_map
        means = tree(lambda m, g: BETAS[0] * m + (1 - BETAS[0]) * g, means, gradients)
        squares = tree(lambda v, g: BETAS[1] * v + (1 - BETAS[1]) * g * g, squares, gradients)
        low, high = 1 - BETAS[0] ** count, 1 - BETAS[1] ** count

        def moved(weight: Any, mean: Any, square: Any) -> Any:
            return weight - RATE * (mean / low) / (jnp.sqrt(square / high) + ADAM_EPSILON)

        return (tree(moved, weights, means, squares), running, means, squares, count), loss

    fast = jax.jit(step, donate_argnums=0)
    state: Any = jax.device_put((weights, running, *moments, np.float32(0)))
    x, y = jax.device_put((x, y))

    def take(steps: int) -> None:
        nonlocal state
        started, loss = time.process_time(), None
        for _ in range(steps):
            state, loss = fast(state, x, y)
        jax.block_until_ready((state, loss))
        print(json.dumps({"seconds": time.process_time() - started, "loss": float(loss)}), flush=True)  # type: ignore[arg-type]

    take(1)
    for line in sys.stdin:
        take(int(line))


if __name__ == "__main__":
    main(sys.argv[1])
