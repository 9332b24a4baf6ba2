"""Grids: what runs first, what is kept when something breaks, and that nothing of it changes a byte."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from qlcnet.config import Backbone, Input, Model
from qlcnet.cost.network_size import network_size
from qlcnet.cost.room import worker_memory
from qlcnet.cost.workload import NetworkKind, NetworkSize
from qlcnet.fit.fold_folder import read_config, read_history, read_provenance
from qlcnet.fit.spec import FitResult, FitSpec
from qlcnet.fit.task_facts import TaskFacts
from qlcnet.grid.engine import EngineError
from qlcnet.grid.grid import link_results
from qlcnet.grid.keeper import Keeper
from qlcnet.grid.plan import plan_text
from qlcnet.grid.run import RESTARTS, GridError, run_grid
from tests.grid.conftest import Reference
from tests.grid.projects import TASK, Record, bytes_of, make_project, plan, run_locally

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = {"lcnet_035": {}, "lcnet_100": {}, "lcnet_050": {}}


def count_instantly(kinds: list[NetworkKind]) -> list[NetworkSize]:
    widths = [int(kind.backbone_name.removeprefix("lcnet_")) for kind in kinds]
    return [NetworkSize(width * 10**6, width * 1000, 60, width * 1000) for width in widths]


class InstantEngine:
    """Fits nothing: `act` says what each submitted future becomes."""

    workers = 1

    def __init__(self, on_event: Callable[[tuple[str, str, Any]], None], act: Callable[..., None]) -> None:
        self.on_event, self.act, self.order, self.closed = on_event, act, [], []

    def submit(self, spec: FitSpec) -> Future[FitResult]:
        self.order.append(spec)
        future: Future[FitResult] = Future()
        self.act(self, spec, future)
        return future

    def close(self, abort: bool = False) -> None:
        for spec in self.order:  # events that were still on their way
            self.on_event(("start", spec.fingerprint, "pid 1"))
            self.on_event(("epoch", spec.fingerprint, {"epoch": 0}))
        self.closed.append(abort)


def result(epochs: int = 2) -> FitResult:
    history = [{"epoch": i, "train_loss": 1.0 / (i + 1)} for i in range(epochs)]
    one = np.zeros(1, np.float32)
    return FitResult({"index": one}, history, {"w": one}, {"parameters": 1}, seconds=1.0)


def succeed(engine: InstantEngine, spec: FitSpec, future: Future[FitResult]) -> None:
    engine.on_event(("start", spec.fingerprint, "pid 1"))
    engine.on_event(("epoch", spec.fingerprint, {"epoch": 0}))
    future.set_result(result())
    engine.on_event(("epoch", spec.fingerprint, {"epoch": 0}))  # again, and the second epoch not before the result


def run_instantly(root: Path, act: Callable[..., None], listeners: list[Any], **settings: Any) -> list[InstantEngine]:
    """Run the project's grid on engines that act at once; returns the engines that were opened."""
    params = make_project(root, backbones=WIDTHS, **settings)
    grid, store = plan(params, root)
    engines: list[InstantEngine] = []

    def opened(on_event: Any) -> InstantEngine:
        engines.append(InstantEngine(on_event, act))
        return engines[-1]

    try:
        run_grid(grid.todo, opened, Keeper.of(grid, store, {"commit": "c"}, count=count_instantly), listeners)
    finally:
        run_instantly.engines, run_instantly.store = engines, store  # type: ignore[attr-defined]
    return engines


# --- order ----------------------------------------------------------------------------------------------------------


def test_the_longest_fits_start_first(tmp_path: Path) -> None:
    engine, *_ = run_instantly(tmp_path, succeed, [])
    assert [spec.backbone_name for spec in engine.order] == ["lcnet_100"] * 6 + ["lcnet_050"] * 6 + ["lcnet_035"] * 6
    assert engine.closed == [False]


def test_listeners_hear_each_epoch_once_in_order_and_nothing_after_the_end(tmp_path: Path) -> None:
    record = Record()
    run_instantly(tmp_path, succeed, [record])
    for name in {name for _, name, _ in record.told}:
        of_fit = [(kind, epoch) for kind, fit, epoch in record.told if fit == name]
        assert of_fit == [("started", None), ("epoch", 0), ("epoch", 1), ("finished", None)]


def test_a_listener_that_raises_is_left_out_and_the_grid_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Record):
        def epoch(self, spec: FitSpec, metrics: dict[str, float]) -> None:
            raise OSError("disk full")

    other = Record()
    run_instantly(tmp_path, succeed, [Broken(), other])
    assert sum(kind == "finished" for kind, *_ in other.told) == 18
    assert "Broken stopped following the grid: OSError('disk full')" in caplog.text


def test_a_prediction_made_before_the_fit_is_kept_with_it(tmp_path: Path) -> None:
    engine, *_ = run_instantly(tmp_path, succeed, [])
    store = run_instantly.store  # type: ignore[attr-defined]
    predicted = [read_provenance(store.path(spec.fingerprint))["predicted_seconds"] for spec in engine.order]
    assert predicted == sorted(predicted, reverse=True)
    provenance = read_provenance(store.path(engine.order[0].fingerprint))
    assert provenance["commit"] == "c"
    assert provenance["seconds"] == 1.0
    assert provenance["work"]["steps"] == 2 * 3  # 40 training images a fold, batches of 16, 2 epochs


# --- failures -------------------------------------------------------------------------------------------------------


def test_a_fit_that_raises_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    def act(engine: InstantEngine, spec: FitSpec, future: Future[FitResult]) -> None:
        if spec.backbone_name == "lcnet_050" and spec.fold == 1 and spec.model_name == "hybrid":
            future.set_exception(ValueError("no such channel"))
        else:
            succeed(engine, spec, future)

    record = Record()
    with pytest.raises(
        GridError, match=r"(?s)1 of 18 fits failed.*lcnet_050/hybrid/repeat-0/fold-1: ValueError: no such"
    ):
        run_instantly(tmp_path, act, [record])
    assert sum(kind == "finished" for kind, *_ in record.told) == 17
    assert [kind for kind, name, _ in record.told if "050/hybrid/repeat-0/fold-1" in name] == ["failed"]


def test_what_ended_beside_a_dead_worker_is_kept_and_new_workers_take_the_rest(tmp_path: Path) -> None:
    def act(engine: InstantEngine, spec: FitSpec, future: Future[FitResult]) -> None:
        if len(engine.order) % 3 == 0:
            future.set_exception(BrokenProcessPool("a worker died"))
        else:
            succeed(engine, spec, future)

    engines = run_instantly(tmp_path, act, [])
    assert [len(engine.order) for engine in engines] == [18, 6, 2]
    assert [engine.closed for engine in engines] == [[True], [True], [False]]


def test_workers_that_die_again_and_again_end_the_grid_with_advice(tmp_path: Path) -> None:
    def act(engine: InstantEngine, spec: FitSpec, future: Future[FitResult]) -> None:
        future.set_exception(BrokenProcessPool("a worker died"))

    with pytest.raises(GridError, match=r"died 3 times before a fit ended.*18 fits are left.*fewer workers"):
        run_instantly(tmp_path, act, [])
    assert len(run_instantly.engines) == RESTARTS + 1  # type: ignore[attr-defined]


def test_an_engine_that_cannot_go_on_is_one_error_not_one_a_fit(tmp_path: Path) -> None:
    def act(engine: InstantEngine, spec: FitSpec, future: Future[FitResult]) -> None:
        future.set_exception(EngineError("the scheduler is gone"))

    with pytest.raises(EngineError, match="the scheduler is gone"):
        run_instantly(tmp_path, act, [])
    assert run_instantly.engines[0].closed == [True]  # type: ignore[attr-defined]


def test_weights_of_a_file_count_by_content_and_are_found_from_any_folder(tmp_path: Path) -> None:
    backbones = {"lcnet_035": {"pretrained": "weights/own.safetensors"}}
    params = make_project(tmp_path, backbones=backbones)
    path = tmp_path / "weights" / "own.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"one")
    first, _ = plan(params, tmp_path)
    assert first.specs[0].backbone.pretrained == str(path)
    assert str(tmp_path) not in json.dumps(first.configs), "no path of this machine in results"
    path.write_bytes(b"two")
    second, _ = plan(params, tmp_path)
    assert not first.configs.keys() & second.configs.keys()


def test_a_fit_of_other_packages_is_another_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_project(tmp_path)
    before, _ = plan(params, tmp_path)
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.1" if name == "timm" else real(name))
    after, _ = plan(params, tmp_path)
    assert not before.configs.keys() & after.configs.keys()


def test_inputs_of_the_report_are_noted_beside_the_fits(tmp_path: Path) -> None:
    params = make_project(tmp_path)

    def noted() -> dict[str, str]:
        grid, store = plan(params, tmp_path)
        grid.specs = []  # nothing of it was fitted
        link_results(grid, store, tmp_path / "results")
        return TaskFacts.read(tmp_path / "results" / TASK).shown

    first = noted()
    assert set(first) == {f"raw/{TASK}/about.json", f"quanvolved/{TASK}/ry/card.json"}
    about = tmp_path / "data" / "raw" / TASK / "about.json"
    about.write_text(about.read_text().replace('"title": "squares"', '"title": "Squares"'))
    changed = noted()
    assert [name for name in first if first[name] != changed[name]] == [f"raw/{TASK}/about.json"]


def test_a_models_own_training_is_in_its_fits_and_in_what_is_known_of_them(tmp_path: Path) -> None:
    models = {"usual": {"inputs": ["image"]}, "own": {"inputs": ["image"], "training": {"epochs": 5, "batch_size": 8}}}
    grid, store = plan(make_project(tmp_path, models=models), tmp_path)
    of_model = {spec.model_name: spec for spec in grid.specs}
    assert {n: (s.training.epochs, s.training.batch_size) for n, s in of_model.items()} == {
        "usual": (2, 16),
        "own": (5, 8),
    }
    for name, spec in of_model.items():
        known = grid.describe(spec)
        assert known["params"]["training"]["epochs"] == spec.training.epochs
        assert known["params"]["model"].keys() == {"inputs", "fusion", "head", "replicate"}
        assert known["settings"]["training"].get("epochs") == spec.training.epochs
        assert "training" not in known["settings"]["model"], name
    assert grid.kind(of_model["usual"]).key == grid.kind(of_model["own"]).key, "one network, counted once"
    work = grid.work(store, lambda kinds: [NetworkSize(1, 1, 1, 1) for _ in kinds])
    assert work[of_model["own"].name].steps == 5 * 5
    assert work[of_model["usual"].name].steps == 2 * 3
    small = {spec.name: replace(work[spec.name], size=NetworkSize(1, 10**6, 1, 1)) for spec in grid.todo}
    assert grid.most_memory(small) == max(worker_memory(small[s.name], s.training.batch_size) for s in grid.todo)


def test_a_channel_that_is_not_there_is_said_before_any_fit(tmp_path: Path) -> None:
    circuits = {"ry": {"ansatz": "none", "colour": "channels"}}  # 12 channels, but 4 where images are grey
    params = make_project(tmp_path, models={"m": {"inputs": ["quanv:ry/7"]}}, circuits=circuits)
    with pytest.raises(ValueError, match="input 'quanv:ry/7': ry has the channels 0 to 3"):
        plan(params, tmp_path)


# --- real workers ---------------------------------------------------------------------------------------------------


def test_a_real_grid_fits_every_fold_and_a_second_run_opens_no_engine(reference: Reference, tmp_path: Path) -> None:
    root, params, grid, store, record = reference
    assert len(grid.todo) == 6
    for spec in grid.specs:
        of_fit = [(kind, epoch) for kind, fit, epoch in record.told if fit == spec.name]
        assert of_fit == [("started", None), ("epoch", 0), ("epoch", 1), ("finished", None)]
        folder = store.path(spec.fingerprint)
        assert read_config(folder)["fingerprint"] == spec.fingerprint
        assert [row["epoch"] for row in read_history(folder)] == [0, 1]
    again, _ = plan(params, root)
    assert again.todo == []
    run_grid(again.todo, lambda on_event: pytest.fail("nothing is to do"), Keeper.of(again, store, {}))
    link_results(again, store, tmp_path / "results")
    assert len(list((tmp_path / "results").rglob("predictions.safetensors"))) == 6


def test_a_real_fit_that_raises_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no weights")
    backbones = {"lcnet_035": {}, "broken": {"architecture": "lcnet_035", "pretrained": "broken.safetensors"}}
    params = make_project(tmp_path, models={"m": {"inputs": ["image"]}}, backbones=backbones, epochs=1)
    record = Record()
    with pytest.raises(GridError, match=r"3 of 6 fits failed(.|\n)*not a readable .safetensors file"):
        run_locally(tmp_path, params, record)
    assert (
        sorted(kind for kind, *_ in record.told if kind in ("finished", "failed")) == ["failed"] * 3 + ["finished"] * 3
    )


def test_a_network_too_deep_for_the_images_is_named_and_the_others_are_fitted(tmp_path: Path) -> None:
    backbones = {"lcnet_035": {}, "convnext_atto": {}}
    params = make_project(tmp_path, models={"m": {"inputs": ["image"]}}, backbones=backbones, epochs=1)
    record = Record()
    fault = r"backbones.convnext_atto: cannot take 16 x 16 pixels; set training.input_size \(32 works\)"
    with pytest.raises(GridError, match=rf"3 of 6 fits failed(.|\n)*{fault}"):
        run_locally(tmp_path, params, record)
    ended = sorted((kind, name.split("/")[1]) for kind, name, _ in record.told if kind in ("finished", "failed"))
    assert ended == [("failed", "convnext_atto")] * 3 + [("finished", "lcnet_035")] * 3
    text = plan_text(params, tmp_path, 1)
    assert text.count("WILL FAIL on squares: backbones.convnext_atto: cannot take 16 x 16 pixels") == 1


@pytest.mark.parametrize(("name", "works"), [
    ("dla34", 32), ("inception_v3", 96), ("vit_tiny_patch16_224", 224), ("lcnet_050", 0),
])  # fmt: skip
def test_the_size_that_works_was_tried(name: str, works: int) -> None:
    kind = NetworkKind(name, Backbone(), Model(inputs=(Input("image"),)), (3,), 28, 28, 7)
    fault = network_size(kind).fault
    assert fault.endswith(f"cannot take 28 x 28 pixels; set training.input_size ({works} works)" if works else "")
    assert bool(fault) == bool(works)


@contextmanager
def running(root: Path, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """The grid of `root` in a process group of its own; checks that none of the group outlives the block."""
    command = [sys.executable, "-m", "tests.grid.projects", str(root)]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary)},
        # where the tests run in the background (`make test &`), the shell has Ctrl-C ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    members: list[psutil.Process] = []
    try:
        process.members = members  # type: ignore[attr-defined]
        yield process
        psutil.wait_procs(members, timeout=20)
        assert [member for member in members if member.is_running()] == []
    finally:
        for member in [psutil.Process(process.pid), *members] if process.poll() is None else members:
            if member.is_running():
                member.kill()
        process.wait()


def wait_for(process: subprocess.Popen[str], *kinds: str) -> list[str]:
    """Read lines until one of each kind came, in order; the words of the last. Notes the children on the way."""
    assert process.stdout is not None
    words: list[str] = []
    for kind in kinds:
        words = next((line.split() for line in process.stdout if line.split()[0] == kind), [])
        assert words, f"the grid ended before {kind!r}"
    process.members[:] = psutil.Process(process.pid).children(recursive=True)  # type: ignore[attr-defined]
    return words


def test_ctrl_c_kill_9_and_a_dead_worker_cost_only_running_fits(
    reference: Reference, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    make_project(tmp_path)
    store, scratch = tmp_path / ".qlcnet" / "folds", tmp_path / ".qlcnet" / "tmp"
    temporary = Path(tempfile.mkdtemp())  # not below tmp_path: the names of Unix sockets are short
    request.addfinalizer(lambda: shutil.rmtree(temporary))

    with running(tmp_path, temporary) as process:
        wait_for(process, "finished", "epoch")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to every process of the group
        assert process.wait(timeout=30) == 130
    assert [*scratch.iterdir(), *temporary.glob("pymp-*")] == []
    after_ctrl_c = {path.name: path.stat().st_mtime_ns for path in store.iterdir() if path.name[0] != "."}
    assert 1 <= len(after_ctrl_c) < 6

    with running(tmp_path, temporary) as process:
        wait_for(process, "finished", "epoch")
        process.kill()
        assert process.wait(timeout=30) == -signal.SIGKILL
    assert len([*scratch.iterdir(), *temporary.glob("pymp-*")]) == 2
    after_kill = {path.name: path.stat().st_mtime_ns for path in store.iterdir() if path.name[0] != "."}
    assert after_ctrl_c.items() < after_kill.items()

    with running(tmp_path, temporary) as process:
        victim = int(wait_for(process, "started")[1])
        os.kill(victim, signal.SIGKILL)
        assert process.wait(timeout=120) == 0
    assert [*scratch.iterdir(), *temporary.glob("pymp-*")] == []
    kept = plan(reference.params, tmp_path)[1]
    assert after_kill.items() <= {path.name: path.stat().st_mtime_ns for path in store.iterdir()}.items()
    assert bytes_of(kept) == bytes_of(reference.store)


def test_the_parent_of_a_grid_imports_no_torch(tmp_path: Path) -> None:
    make_project(tmp_path)
    script = (
        "import sys\nfrom pathlib import Path\nfrom qlcnet.config import load_params\n"
        "from tests.grid.projects import plan\nimport qlcnet.grid.run, qlcnet.grid.local\n"
        "plan(load_params(Path(sys.argv[1]) / 'params.yaml'), Path(sys.argv[1]))\n"
        "print(sorted({'torch', 'pytorch_lightning', 'timm', 'pennylane', 'mlflow'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout.replace("'", '"')) == []
