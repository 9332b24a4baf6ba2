"""Worker processes come from a forkserver that has imported what fits need, with settings that hold numbers still."""

from __future__ import annotations

import os
import subprocess
import sys

from qlcnet import machine
from qlcnet.grid import worker_process

# in a process of its own: a forkserver is started once
LOOK = """
import os, sys
from concurrent.futures import ProcessPoolExecutor
from qlcnet.grid import worker_process

if __name__ == "__main__":
    worker_process.PRELOADED = sys.argv[1]
    with ProcessPoolExecutor(1, worker_process.worker_context()) as pool:
        named = "__import__('sys').modules.keys() & {'torch', 'qlcnet.fit.fitting', 'timm'}"
        print(sorted(pool.submit(eval, named).result()))
        print(pool.submit(eval, "sorted(__import__('os').environ.items())").result())
    print("torch" in sys.modules)
"""


def look(preloaded: str) -> list[str]:
    """Modules that a worker has before its first task, its environment, whether the parent has torch."""
    hostile = {**os.environ, "OMP_NUM_THREADS": "7", "ONEDNN_DEFAULT_FPMATH_MODE": "ANY", "NVIDIA_TF32_OVERRIDE": "1"}
    run = subprocess.run([sys.executable, "-c", LOOK, preloaded], capture_output=True, text=True, env=hostile)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_a_worker_has_torch_before_its_first_task() -> None:
    modules, environment, parent = look(worker_process.PRELOADED)
    assert modules == "['qlcnet.fit.fitting', 'timm', 'torch']"
    assert parent == "False", "only workers pay for the import"
    for name, value in (worker_process.ONE_THREAD | machine.FIXED_VARIABLES).items():
        assert repr((name, value)) in environment


def test_a_forkserver_swallows_a_module_that_is_not_there() -> None:
    """Why the test above looks into a worker: a preload with a wrong name costs seconds a fit and says nothing."""
    modules, *_ = look("qlcnet.grid.preloaded")
    assert modules == "[]"
