"""The code of a fit: what changes its digest and what does not, and that a worker runs the code that was planned."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from qlcnet.fit import code
from qlcnet.fit.code import LOADED, SOMETIMES, TABLES, Code
from qlcnet.fit.spec import DataPaths, FitSpec
from qlcnet.grid.engine import EngineError, SourcesChangedError
from qlcnet.grid.worker import check_sources, run_fit
from tests.grid.projects import TASK, make_project, plan

LINEAR = {"linear", "adam", "constant"}
QUANTUM = {"quantum", "random", "adam", "one-cycle"}
FITTING, BATCHES, TRAINING = "qlcnet.fit.fitting", "qlcnet.data.batches", "qlcnet.config.training"
HEADS, LCNET, MODULE, NETWORK, UNITS = (
    f"qlcnet.models.{name}" for name in ("heads", "lcnet", "module", "network", "units")
)


def changed(module: str, old: str, new: str) -> Code:
    """The code with one text replaced."""
    text = LOADED.texts[module].decode()
    assert old in text, f"{module} has changed: correct the test"
    return Code({**LOADED.texts, module: text.replace(old, new, 1).encode()})


def moved(old: str, new: str) -> Code:
    """The code with a module under another name, and the imports of it following."""
    texts = {name.replace(old, new): text.replace(old.encode(), new.encode()) for name, text in LOADED.texts.items()}
    return Code(texts)


# what, module, text, text in its place
UNCHANGED = {
    "a comment": (FITTING, "def fit_fold(", "# a comment\ndef fit_fold("),
    "a docstring": (FITTING, '"""Train `spec`', '"""Fit and train `spec`'),
    "layout": (FITTING, "fit(prepared, spec, on_epoch)", "fit(\n        prepared, spec, on_epoch,\n    )"),
    "an annotation": (BATCHES, "pixels: int", "pixels: float"),
    "an import of ours": (FITTING, "from qlcnet.fit.data", "import qlcnet.paths\nfrom qlcnet.fit.data"),
    "a function that no fit calls": (UNITS, "class Sine(", "def new() -> int:\n    return 1\n\n\nclass Sine("),
    "a head that no model has": (HEADS, '    "linear": ', '    "new": lambda e, c, h: nn.Identity(),\n    "linear": '),
    "a key of params.yaml": (TRAINING, "    epochs: int", "    patience: int = 3\n    epochs: int"),
    "a validator": (TRAINING, 'if self.optimizer != "sgd"', 'if self.optimizer == "adam"'),
}
CHANGED = {
    "an operator": (BATCHES, "addcmul(self._shift, x, self._scale)", "addcmul(self._scale, x, self._shift)"),
    "a number": (LCNET, "EMBEDDING = 1280", "EMBEDDING = 1281"),
    "a default argument": (LCNET, 'activation: str = "hard_swish"', 'activation: str = "relu"'),
    "the optimiser": (MODULE, '"adam": lambda weights, how: QuickAdam(', '"adam": lambda weights, how: SGD('),
    "a statement that runs at import": (NETWORK, "class InputChannels(", "torch.rand(1)\n\n\nclass InputChannels("),
    "a method of a dataclass": (BATCHES, "values.square().sum(1", "values.abs().sum(1"),
    "a property of a section": ("qlcnet.config.models", 'self.kind in ("quantum", ', 'self.kind not in ("quantum", '),
    "what a name stands for": (MODULE, "import cross_entropy", "import nll_loss as cross_entropy"),
    "the random streams": ("qlcnet.data.streams", ">> 1", ">> 2"),
    "the files of a fold": ("qlcnet.fit.fold_folder", "repr(float(v))", "str(float(v))"),
}


@pytest.mark.parametrize("what", UNCHANGED)
def test_it_does_not_change_with(what: str) -> None:
    other = changed(*UNCHANGED[what])
    for words in (LINEAR, QUANTUM):
        assert other.digest(words) == LOADED.digest(words)


@pytest.mark.parametrize(
    ("old", "new"),
    [("qlcnet.models.optimizer", "qlcnet.models.steps"), ("qlcnet.models.fast", "qlcnet.models.quick")],
)
def test_it_does_not_change_with_a_moved_file(old: str, new: str) -> None:
    other = moved(old, new)
    assert old not in other.texts
    assert other.digest(QUANTUM) == LOADED.digest(QUANTUM)


@pytest.mark.parametrize("what", CHANGED)
def test_it_changes_with(what: str) -> None:
    assert changed(*CHANGED[what]).digest(LINEAR) != LOADED.digest(LINEAR)


def test_a_part_counts_for_the_fits_that_run_it() -> None:
    quantum = changed("qlcnet.quantum.adjoint", "LARGEST_MATRIX = 5", "LARGEST_MATRIX = 4")
    assert quantum.digest(QUANTUM) != LOADED.digest(QUANTUM)
    assert quantum.digest(LINEAR) == LOADED.digest(LINEAR)
    shots = changed("qlcnet.quantum.fresh_shots", "clamp(min=0.0)", "clamp(min=1e-9)")
    assert shots.digest(LINEAR) == LOADED.digest(LINEAR)
    assert shots.digest({*LINEAR, "fresh_shots"}) != LOADED.digest({*LINEAR, "fresh_shots"})
    assert quantum.whole != LOADED.whole != shots.whole


def test_what_counts_is_found_whole() -> None:
    """A worked example: names on both sides of each way of following them."""
    places = {place for place, _ in LOADED.parts(QUANTUM)}
    assert {
        f"{FITTING}:fit_fold",
        "qlcnet.fit.data:open_fit_data",
        "qlcnet.models.heads:HEADS['quantum']",  # an entry of a table
        "qlcnet.quantum.head:QuantumLayer",  # by a function that the entry names
        "qlcnet.quantum.adjoint:_Adjoint",  # by a class
        "qlcnet.models.module:SCHEDULES['one-cycle']",
        "qlcnet.data.batches:InputArray.decode",  # a method of a dataclass
        "qlcnet.config.circuits:Noise.is_none",  # a property of a section
        "import:np",
    } <= places
    assert not {place for place in places if "sgd" in place or "'sine'" in place or "computed_on" in place}


def test_every_exception_names_something_that_is_there() -> None:
    assert LOADED.tables.keys() == TABLES
    assert all(LOADED.tables.values())
    last = {module.rpartition(".")[2] for module in LOADED.texts}
    assert last >= SOMETIMES | code.RECORDS
    assert {module for module, _ in code.ROOTS} <= LOADED.texts.keys()


def test_a_module_that_is_left_out_is_named() -> None:
    """It would else count for nothing without a word."""
    other = changed(FITTING, "from qlcnet.fit.prepare import Prepared, prepare", "from qlcnet.grid.run import prepare")
    with pytest.raises(LookupError, match=r"a fit runs qlcnet\.grid\.run\.prepare, which fit\.code\.ROOMS leaves out"):
        other.digest(LINEAR)


# --- in a worker ----------------------------------------------------------------------------------------------------


@pytest.fixture
def spec(tmp_path: Path) -> FitSpec:
    return plan(make_project(tmp_path), tmp_path)[0].specs[0]


def test_a_plan_names_the_code_that_it_is_for(spec: FitSpec) -> None:
    assert spec.code == LOADED.digest(spec.words)
    check_sources(spec)


@pytest.mark.parametrize("where", ["planned", "loaded", "on disk"])
def test_other_code_is_an_error_of_the_grid(spec: FitSpec, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    other, planned = changed(*CHANGED["a number"]), spec
    if where == "loaded":
        monkeypatch.setattr(code, "LOADED", other)
    elif where == "on disk":
        monkeypatch.setattr(Code, "on_disk", lambda: other)
    else:
        planned = replace(spec, code=other.digest(spec.words))
    with pytest.raises(SourcesChangedError, match="the sources changed while the grid ran; run again") as raised:
        run_fit(planned, DataPaths.of(Path("nowhere"), TASK), (), "content", "worker", print)
    travelled = pickle.loads(pickle.dumps(raised.value))
    assert isinstance(travelled, EngineError), "which ends the grid at once, see test_grid"
    assert str(travelled) == str(raised.value)


def test_a_comment_that_is_written_meanwhile_stops_nothing(spec: FitSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    other = changed(*UNCHANGED["a comment"])
    monkeypatch.setattr(Code, "on_disk", lambda: other)
    check_sources(spec)
