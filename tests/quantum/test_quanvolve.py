"""Circuits over all images of a task: what is written, reloaded from gates, in flat memory."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qlcnet import config
from qlcnet.quantum.quanvolution import prepare
from qlcnet.quantum.quanvolve import circuit_runs, load_circuit, stream_channels, write_circuit

CIRCUITS = {
    "ry": config.Circuit(),
    "bytes": config.Circuit(ansatz="entangled", storage="uint8", colour="channels", stride=2),
    "shots": config.Circuit(shots=30, noise=config.Noise(depolarizing=0.1)),
    "fresh": config.Circuit(shots=30, shots_drawn="fresh"),
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw") / "spots"
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.save(folder / "images.npy", rng.integers(0, 256, (40, 12, 10, 3), dtype=np.uint8))
    np.save(folder / "labels.npy", rng.integers(0, 3, 40))
    return folder


@pytest.fixture(scope="module")
def quanvolved(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quanvolved") / "spots"
    for name, params in CIRCUITS.items():
        write(raw, out / name, params)
    return out


def write(raw: Path, folder: Path, params: config.Circuit) -> dict[str, Any]:
    """Run a circuit over the images of `raw`; its circuit.json."""
    folder.mkdir(parents=True)
    write_circuit(np.load(raw / "images.npy"), folder.name, prepare(params), folder)
    return json.loads((folder / "circuit.json").read_text())


@pytest.mark.parametrize("name", CIRCUITS)
def test_channels_are_what_the_reloaded_circuit_computes(name: str, raw: Path, quanvolved: Path) -> None:
    stored = np.load(quanvolved / name / "channels.npy")
    again = load_circuit(quanvolved / name)
    assert np.array_equal(stored, again(np.load(raw / "images.npy")))
    assert again.circuit == prepare(CIRCUITS[name]).circuit
    assert again.fresh_shots == (30 if name == "fresh" else None)
    assert circuit_runs(again, (40, 12, 10, 3)) == (12 * 10 if name != "bytes" else 6 * 5 * 3)
    data = json.loads((quanvolved / name / "circuit.json").read_text())
    assert data["qnode_evaluations"] == 81
    assert data["versions"]["pennylane"]


def test_a_stored_circuit_needs_no_seed(raw: Path, quanvolved: Path, tmp_path: Path) -> None:
    """Gates and coefficients are data: with another seed in the params nothing changes."""
    data = json.loads((quanvolved / "ry" / "circuit.json").read_text())
    data["params"]["seed"] = 7
    (tmp_path / "circuit.json").write_text(json.dumps(data))
    images = np.load(raw / "images.npy")
    assert np.array_equal(load_circuit(tmp_path)(images), np.load(quanvolved / "ry" / "channels.npy"))


def test_digest_changes_with_storage_and_content(raw: Path, tmp_path: Path) -> None:
    images = np.load(raw / "images.npy")
    digests = {
        stream_channels(images, prepare(params), tmp_path / "channels.npy")
        for params in (config.Circuit(), config.Circuit(storage="uint8"), config.Circuit(seed=1))
    }
    assert len(digests) == 3


def test_log_says_speed_and_warnings(raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="qlcnet"):
        write(raw, tmp_path / "ry", config.Circuit())
    assert "circuit ry: 40 images in" in caplog.text
    assert "images/s" in caplog.text
    assert "Channel 0 is a function of a single pixel (top left)" in caplog.text


def test_the_qnodes_own_runs_are_counted(raw: Path, tmp_path: Path) -> None:
    images = np.zeros((3, 4, 4, 1), np.uint8)
    images[1, 0, 0] = 200  # top left of one patch, and of no other: the border is repeated below and to the right
    folder = tmp_path / "raw"
    folder.mkdir()
    np.save(folder / "images.npy", images)
    cards = {
        name: write(folder, tmp_path / name, config.Circuit(engine=name))  # type: ignore[arg-type]
        for name in ("exact", "torch", "pennylane")
    }
    counts = {name: card["qnode_evaluations"] for name, card in cards.items()}
    assert counts == {"exact": 81, "torch": 81, "pennylane": 81 + 2}
    assert "torch" in cards["torch"]["versions"]
    assert "torch" not in cards["exact"]["versions"]
    assert cards["torch"]["computed_on"] in ("cpu", "cuda")


def test_loading_and_running_a_stored_circuit_imports_no_pennylane(raw: Path, quanvolved: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from qlcnet.quantum.quanvolve import load_circuit;"
        f"load_circuit(Path({str(quanvolved / 'ry')!r}))(np.load({str(raw / 'images.npy')!r}));"
        "print([m for m in ('pennylane', 'torch', 'matplotlib') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


MEMORY = """
import sys, numpy as np
from pathlib import Path
from qlcnet import config
from qlcnet.quantum.quanvolution import prepare
from qlcnet.quantum.quanvolve import stream_channels
quanvolution = prepare(config.Circuit())
images = np.load(sys.argv[1], mmap_mode="r")
# VmHWM: ru_maxrss would start from the memory of the process that started this one
peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) // 1024
quanvolution(images[:1])
before = peak()
stream_channels(images, quanvolution, Path(sys.argv[2]))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    """A 224 px set, 150 MB in and 400 MB out, through less than 120 MB more than one image needs."""
    path = tmp_path / "images.npy"
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (1000, 224, 224, 3))
    images[...] = np.random.default_rng(0).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    images.flush()
    del images
    run = [sys.executable, "-c", MEMORY, str(path), str(tmp_path / "channels.npy")]
    grown = int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert (tmp_path / "channels.npy").stat().st_size > 4e8
    assert grown < 120
    (tmp_path / "channels.npy").unlink()
