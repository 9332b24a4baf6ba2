"""The plan: counted work, predicted times, simulated schedules, and what `qlcnet plan` says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm

from qlcnet.config import Input, Task, parse_params
from qlcnet.cost import calibration
from qlcnet.cost.calibration import finished_fits, probed_here
from qlcnet.cost.cost_model import DEFAULTS, CostModel, terms
from qlcnet.cost.room import IMPORTS, MARGIN, worker_memory
from qlcnet.cost.schedule import makespan, simulate
from qlcnet.cost.workload import NetworkSize, TaskShape, Work
from qlcnet.data.batching import batch_sizes, predict_batch
from qlcnet.fit.fold_folder import read_config, read_provenance
from qlcnet.fit.spec import DataPaths
from qlcnet.fit.store import FoldStore
from qlcnet.grid import forecast
from qlcnet.grid.forecast import make_forecast
from qlcnet.grid.grid import channels_of
from qlcnet.grid.plan import plan_text
from qlcnet.grid.probe import CLASSES, IMAGES, probe
from qlcnet.grid.text import duration
from tests.grid.conftest import Reference
from tests.grid.projects import TASK, make_project, plan

MEASURED = json.loads(Path(__file__).with_name("measured_fits.json").read_text())  # benchmarks/scaling.py fits --save
# the 50 fits of paper-dermamnist's classical and hybrid model, two workers, as their provenance in the store says
GRID = json.loads(Path(__file__).with_name("measured_grid.json").read_text())


@pytest.fixture(autouse=True)
def _probe_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "_probe", lambda workers: [])


def work(steps: int = 100, multiply_adds: int = 10**6, **changes: Any) -> Work:
    size = NetworkSize(multiply_adds, 50_000, 60, 600_000)
    return replace(Work("cpu", steps, 4, steps * 64, 2000, 5000, size), **changes)


# --- schedule -------------------------------------------------------------------------------------------------------


def test_a_schedule_worked_out_by_hand() -> None:
    slots = simulate([3.0, 5.0, 2.0, 4.0], workers=2, startup=1.0)
    assert [(s.fit, s.worker, s.start, s.end) for s in slots] == [
        (1, 0, 1.0, 6.0), (3, 1, 1.0, 5.0), (0, 1, 5.0, 8.0), (2, 0, 6.0, 8.0),
    ]  # fmt: skip
    assert makespan(slots) == 8.0


def test_fits_are_handed_out_by_what_was_believed_not_by_what_they_take() -> None:
    assert [slot.fit for slot in simulate([1.0, 9.0], workers=1, costs=[2.0, 1.0])] == [0, 1]
    assert makespan(simulate([], workers=3)) == 0.0
    assert makespan(simulate([2.0, 2.0], workers=1, handover=0.5)) == 5.0


# --- work -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("train", [1, 2, 15, 16, 17, 31, 32, 33, 34, 40])
def test_steps_are_counted_as_batches_are_made(reference: Reference, train: int) -> None:
    spec = reference.grid.specs[0]
    shape = replace(reference.grid.shape, rows={(0, 0): (train, 300, 10)})
    counted = Work.of(replace(spec, repeat=0, fold=0), shape, reference.grid.kind(spec), NetworkSize(1, 1, 1, 1))
    assert counted.steps == 2 * len(batch_sizes(train, 16))
    assert counted.train_images == 2 * train
    assert (counted.evaluated_images, counted.evaluation_batches) == (3 * 300 + 10, 3 * 2 + 1)


def test_a_batch_of_predictions_keeps_large_images_small() -> None:
    sizes = [(8, 8), (28, 28), (32, 32), (33, 32), (64, 64), (224, 224), (512, 512)]
    assert [predict_batch(*size) for size in sizes] == [256, 256, 256, 248, 64, 16, 16]


def test_networks_are_counted_as_the_fits_count_them(reference: Reference) -> None:
    for spec in reference.grid.specs:
        size = read_provenance(reference.store.path(spec.fingerprint))["work"]["size"]
        config = read_config(reference.store.path(spec.fingerprint))
        assert size["multiply_adds"] == config["multiply_adds"]
        assert size["parameters"] == config["parameters"]
        assert sum(reference.grid.kind(spec).channels) == config["input_shape"][0]


@pytest.mark.parametrize("text", ["image", "grey", "quanv:ry", "quanv:ry/2"])
def test_channels_are_counted_as_the_data_has_them(reference: Reference, text: str) -> None:
    from qlcnet.fit.data import open_fit_data

    data = open_fit_data(DataPaths.of(reference.root, TASK), channels_of(reference.params))
    spec = reference.grid.specs[0]
    asked = replace(spec, model=spec.model.model_copy(update={"inputs": (Input.parse(text),)}))
    assert reference.grid.kind(asked).channels == (data.input(Input.parse(text)).channels,)


def expected(source: dict[str, Any], **task: Any) -> TaskShape | None:
    return TaskShape.expected(Task.model_validate({"source": source, **task}))


def test_tasks_that_are_not_fetched_are_known_from_their_source() -> None:
    derma = expected({"kind": "medmnist", "name": "dermamnist", "size": 64})
    assert derma is not None
    assert (derma.images, derma.height, derma.channels, derma.classes) == (10_015, 64, 3, 7)
    assert derma.rows[0, 0] == (8012, 2003, 0)
    cifar = expected({"kind": "cifar10"}, protocol={"kind": "train-cv", "folds": 5, "repeats": 2})
    assert cifar is not None
    assert len(cifar.rows) == 10
    assert cifar.rows[1, 4] == (40_000, 10_000, 10_000)
    official = expected({"kind": "medmnist", "name": "breastmnist"}, protocol={"kind": "official"})
    assert official is not None
    assert official.rows == {(0, 0): (546, 78, 156)}
    few = expected({"kind": "cifar10"}, protocol={"kind": "train-cv"}, images_per_class=600)
    assert few is not None
    assert few.rows[0, 0] == (4000, 1000, 1000)
    assert expected({"kind": "npz", "path": "own.npz", "md5": "0" * 32}) is None


def test_what_is_expected_of_a_source_is_what_splitting_it_gives(reference: Reference) -> None:
    shape = reference.grid.shape
    assert shape is not None
    task = reference.params.datasets[TASK].protocol
    from qlcnet.cost.workload import _expected_rows

    folds, rows = _expected_rows((60, 0, 0), task)
    assert (folds, rows) == (3, (40, 20, 0))
    assert all(row == rows for row in shape.rows.values())


# --- cost model -----------------------------------------------------------------------------------------------------


def planted(factors: np.ndarray, works: list[Work]) -> list[tuple[Work, float]]:
    return [(w, float(terms(w) @ (np.array(DEFAULTS["cpu"]) * factors))) for w in works]


WORKS = [
    work(steps, madds, input_values=values)
    for steps in (50, 400, 3000)
    for madds in (10**5, 10**7, 10**9)
    for values in (800, 50_000)
]


def test_one_finished_fit_sets_the_speed_of_the_machine() -> None:
    model = CostModel.calibrated(planted(np.full(6, 3.0), WORKS[:1]))
    assert model.seconds(WORKS[-1]) == pytest.approx(3 * CostModel().seconds(WORKS[-1]))
    assert model.fits == {"cpu": 1}


def test_many_finished_fits_set_each_cost() -> None:
    factors = np.array([2.0, 0.5, 1.0, 3.0, 1.0, 0.7])
    model = CostModel.calibrated(planted(factors, WORKS * 20))
    for unseen, seconds in planted(factors, [work(777, 3 * 10**8), work(100, 10**6, input_values=20_000)]):
        assert model.seconds(unseen) == pytest.approx(seconds, rel=0.05)


def test_no_cost_is_negative_however_odd_the_times() -> None:
    rng = np.random.default_rng(0)
    model = CostModel.calibrated([(w, float(rng.lognormal(0, 2))) for w in WORKS])
    assert (model.coefficients["cpu"] >= 0).all()
    assert all(model.seconds(w) > 0 for w in WORKS)


def test_fits_of_another_device_do_not_move_this_one() -> None:
    model = CostModel.calibrated([(work(device="cuda"), 5.0)])
    assert model.seconds(work()) == CostModel().seconds(work())


def test_a_probe_tells_the_speed_of_a_machine_until_a_fit_has_finished() -> None:
    probed = planted(np.array([9.0, 2.0, 2.0, 2.0, 2.0, 2.0]), [WORKS[2], WORKS[-1]])
    model = CostModel.calibrated([], probed)
    factor = np.median([seconds / CostModel().seconds(w) for w, seconds in probed])
    assert model.seconds(WORKS[5]) == pytest.approx(factor * CostModel().seconds(WORKS[5]))
    assert (model.probed, model.fits) == ({"cpu"}, {})
    assert model.seconds(work(device="cuda")) == CostModel().seconds(work(device="cuda"))
    finished = planted(np.full(6, 3.0), WORKS[:1])
    both = CostModel.calibrated(finished, probed)
    assert both.seconds(WORKS[5]) == CostModel.calibrated(finished).seconds(WORKS[5])
    assert both.probed == set()


def test_a_machine_is_probed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, found = FoldStore(tmp_path / "folds"), [(work(), 3.25)]
    assert probed_here(store, 1) == []
    assert probed_here(store, 1, lambda workers: found[:workers]) == found
    assert probed_here(store, 4, lambda workers: [*found, *found]) == [*found, *found]
    assert probed_here(store, 1, lambda workers: pytest.fail("probed again")) == found
    assert probed_here(store, 9) == [*found, *found], "of the nearest number of workers"
    assert probed_here(store, 7, lambda workers: []) == [], "a probe that failed is not kept"
    with monkeypatch.context() as other:
        other.setattr("socket.gethostname", lambda: "another")
        assert probed_here(store, 1) == []
    monkeypatch.setattr(calibration, "LOADED", SimpleNamespace(whole="faster code"))
    assert probed_here(store, 1) == []


def test_a_probe_times_fits_whose_work_is_known() -> None:
    fits = probe(2)
    for (counted, seconds), (backbone, images) in zip(fits, IMAGES.items(), strict=True):
        assert counted.steps == images * 4 // 5 // 64
        assert (counted.train_images, counted.evaluated_images) == (images * 4 // 5, 2 * images // 5)
        plain = timm.create_model(backbone, num_classes=CLASSES)
        assert counted.size.parameters == sum(parameter.numel() for parameter in plain.parameters())
        assert 0 < seconds < 60


def error_of_left_out(rows: list[dict[str, Any]], seconds: str, is_left_out: Callable[[dict[str, Any]], bool]) -> float:
    """Relative error of the summed prediction for the rows left out, by a model calibrated on the others."""
    split: dict[bool, list[tuple[Work, float]]] = {True: [], False: []}
    for row in rows:
        split[is_left_out(row)].append((Work.from_json(row["work"]), row[seconds]))
    model = CostModel.calibrated(split[False])
    return sum(model.seconds(w) for w, _ in split[True]) / sum(s for _, s in split[True]) - 1


@pytest.mark.parametrize("network", sorted({row["name"].split("/")[0] for row in MEASURED}))
def test_a_network_is_predicted_within_30_per_cent_from_measurements_of_others(network: str) -> None:
    assert abs(error_of_left_out(MEASURED, "cpu_seconds", lambda row: row["name"].startswith(network + "/"))) < 0.3


@pytest.mark.parametrize("width", sorted({row["backbone"] for row in GRID}))
def test_a_width_of_a_real_grid_is_predicted_within_30_per_cent_from_the_other_widths(width: str) -> None:
    assert abs(error_of_left_out(GRID, "seconds", lambda row: row["backbone"] == width)) < 0.3


@pytest.mark.parametrize("model", ["classical", "hybrid"])
def test_a_model_of_a_real_grid_is_predicted_within_30_per_cent_from_the_other_model(model: str) -> None:
    assert abs(error_of_left_out(GRID, "seconds", lambda row: row["model"] == model)) < 0.3


def test_a_real_grid_on_two_workers_took_what_its_simulated_schedule_takes() -> None:
    slots = simulate([row["seconds"] for row in GRID], 2, costs=[row["predicted_seconds"] for row in GRID])
    assert makespan(slots) == pytest.approx(max(row["end"] for row in GRID), rel=0.01)
    for slot in slots:  # not only the last: each fit ended when the schedule says
        assert slot.end == pytest.approx(GRID[slot.fit]["end"], abs=8)


# --- what the command says ------------------------------------------------------------------------------------------


def fetched_tasks(root: Path, **changes: Any) -> Any:
    raw = json.loads((root / "params.yaml").read_text())
    return parse_params({**raw, **changes})


def rows_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_finished_study_has_nothing_to_do_and_says_what_was_predicted(reference: Reference) -> None:
    text = plan_text(reference.params, reference.root, 2)
    assert "nothing to do" in text
    row = next(row for row in rows_of(text) if row[:3] == [TASK, "lcnet_035", "hybrid"])
    assert row[3] == "3"
    assert row[-1] == "%"
    assert "predicted: when the grid was started" in text


def test_a_new_width_is_all_that_is_to_do_and_finished_fits_calibrate_it(reference: Reference) -> None:
    backbones = {"lcnet_035": {"activation": "relu"}, "lcnet_050": {"activation": "relu"}}
    params = fetched_tasks(reference.root, backbones=backbones)
    made = make_forecast(params, reference.root, 2)
    assert {spec.backbone_name for spec in made.tasks[0].grid.todo} == {"lcnet_050"}
    assert len(made.tasks[0].grid.todo) == 6
    assert made.model.fits["cpu"] == 6
    each = float(np.median([fit.seconds for fit in finished_fits(reference.store)]))  # a first fit takes longer
    assert all(0.2 * each < seconds < 8 * each for seconds in made.tasks[0].seconds.values())
    text = plan_text(params, reference.root, 2)
    assert [TASK, "12", "6", "6"] in [row[:4] for row in rows_of(text)]
    assert "calibrated on 6 finished fits" in text


def test_the_second_plan_counts_no_network(reference: Reference, monkeypatch: pytest.MonkeyPatch) -> None:
    params = fetched_tasks(reference.root, training={"epochs": 7, "batch_size": 16, "device": "cpu"})
    monkeypatch.setattr(forecast, "_count", lambda kinds: pytest.fail("counted again"))
    assert [TASK, "6", "0", "6"] in [row[:4] for row in rows_of(plan_text(params, reference.root, 1))]


def test_tasks_that_are_not_there_are_planned_or_named(tmp_path: Path) -> None:
    datasets = {
        TASK: {"source": {"kind": "digits"}, "protocol": {"folds": 3}},
        "derma": {"source": {"kind": "medmnist", "name": "dermamnist"}},
        "own": {"source": {"kind": "npz", "path": "own.npz", "md5": "0" * 32}},
    }
    params = make_project(tmp_path, datasets=datasets)
    text = plan_text(params, tmp_path, 100)
    derma = next(line for line in text.splitlines() if line.startswith("derma"))
    assert derma.split()[1:4] == ["10", "0", "10"]
    assert "not fetched and split yet" in derma
    assert "run `qlcnet fetch own` first" in text
    assert "MB for data" in text
    assert "the time is for workers with a core each" in text
    assert "cost model (cpu): defaults" in text


def test_a_missing_file_of_weights_is_named_not_taken_for_missing_data(tmp_path: Path) -> None:
    params = make_project(tmp_path, backbones={"lcnet_035": {"pretrained": "typo.safetensors"}})
    with pytest.raises(FileNotFoundError, match=r"typo\.safetensors"):
        make_forecast(params, tmp_path, 1)


def test_a_first_plan_is_at_the_speed_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_project(tmp_path)
    before = sum(make_forecast(params, tmp_path, 1).tasks[0].seconds.values())
    monkeypatch.setattr(forecast, "_probe", lambda workers: planted(np.full(6, 0.5), WORKS[:1]))
    assert sum(make_forecast(params, tmp_path, 1).tasks[0].seconds.values()) == pytest.approx(before / 2)
    assert "cost model (cpu): defaults, scaled to the speed of this machine" in plan_text(params, tmp_path, 1)


def test_a_fold_table_of_other_params_is_not_believed(tmp_path: Path) -> None:
    make_project(tmp_path)
    datasets = {TASK: {"source": {"kind": "digits"}, "protocol": {"folds": 5}}}
    made = make_forecast(fetched_tasks(tmp_path, datasets=datasets), tmp_path, 1)
    assert not made.tasks[0].is_split
    assert len(made.tasks[0].grid.todo) == 10


def test_more_workers_take_less_time_but_never_less_than_the_longest_fit(tmp_path: Path) -> None:
    params = make_project(tmp_path, datasets={"derma": {"source": {"kind": "medmnist", "name": "dermamnist"}}})
    times = {}
    for workers in (1, 2, 10, 1000):
        made = make_forecast(params, tmp_path, workers)
        times[workers] = made.makespan(made.tasks[0]) - made.startup
    fits = made.tasks[0].seconds.values()
    assert times[1] == pytest.approx(sum(fits))
    assert times[2] < 0.6 * times[1]
    assert times[10] == times[1000] == pytest.approx(max(fits))


def test_memory_grows_with_workers_and_images_are_counted_once(tmp_path: Path) -> None:
    params = make_project(
        tmp_path, datasets={"cifar": {"source": {"kind": "cifar10"}, "protocol": {"kind": "train-cv"}}}
    )
    one, four = (make_forecast(params, tmp_path, workers) for workers in (1, 4))
    data = 60_000 * 32 * 32 * (3 + 4 * 2)
    assert four.memory - data - IMPORTS == pytest.approx(4 * (one.memory - data - IMPORTS))
    assert one.disk[1] == data


def test_memory_is_predicted_within_40_per_cent_of_what_was_measured() -> None:
    for row in MEASURED:
        predicted = worker_memory(Work.from_json(row["work"]), 64)
        assert predicted == pytest.approx(row["bytes"], rel=0.4, abs=0.15e9), row["name"]
        assert MARGIN * predicted > row["bytes"], row["name"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.44, "0.4 s"), (42.4, "42 s"), (59.6, "1 min 00 s"), (200, "3 min 20 s"), (18_420, "5 h 07 min")],
)
def test_durations_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_plan_of_a_known_study_imports_no_torch(reference: Reference) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom qlcnet.config import load_params\n"
        "from qlcnet.grid.plan import plan_text\nroot = Path(sys.argv[1])\n"
        "plan_text(load_params(root / 'params.yaml'), root, None)\nprint('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", script, str(reference.root)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "False"
    assert plan(reference.params, reference.root)[0].todo == []
