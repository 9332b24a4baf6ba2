"""Twins: which model is whose control, of which kind, and what else differs between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from qlcnet.config import HEADS, Channels, Params, load_params, parse_params
from qlcnet.config.controls import (
    KINDS,
    Twin,
    draws_in,
    identities_in,
    quantum_models,
    reference_of,
    replicates_in,
    twins_in,
)

STUDIES = Path(__file__).resolve().parents[1] / "studies"
ENTANGLED = {"kind": "quantum", "ansatz": "entangled"}


def study(**models: Any) -> Params:
    """`classical`, and models given as inputs besides the image, or as whole models."""
    described = {name: model if "inputs" in model else {"inputs": ["image"], **model} for name, model in models.items()}
    return parse_params(
        {
            "seed": 1,
            "datasets": {"digits": {"source": {"kind": "digits"}}},
            "circuits": {"ry": {}, "ry-43": {"seed": 43}, "plain": {"ansatz": "none"}, "far": {"stride": 2}},
            "channels": {
                "conv": {"kind": "conv", "of": "ry"},
                "fourier": {"kind": "fourier-random", "of": "ry"},
                "noise": {"kind": "noise", "of": "ry"},
                "mine": {"kind": "file", "path": "mine.npy", "md5": "0" * 32},
            },
            "models": {"classical": {"inputs": ["image"]}, **described},
            "backbones": {"lcnet_050": {}},
            "training": {},
        }
    )


def reading(*inputs: str, **model: Any) -> dict[str, Any]:
    return {"inputs": ["image", *inputs], **model}


QUANV, HEAD = reading("quanv:ry"), {"head": "quantum"}


@pytest.mark.parametrize(
    ("model", "control", "kind", "unequal"),
    [
        (QUANV, reading("channel:conv"), "conv", ()),
        (QUANV, reading("channel:fourier"), "fourier-random", ()),
        (QUANV, reading("channel:noise"), "noise", ()),
        (QUANV, reading("channel:mine"), "file", ()),
        (QUANV, reading("quanv:plain"), "no-ansatz", ()),
        (reading("quanv:ry/0"), reading("channel:conv/0"), "conv", ()),
        (reading("quanv:ry-43"), reading("channel:conv"), "conv", ()),  # filters take only where it lies
        (reading("quanv:ry-43"), reading("channel:fourier"), None, ()),  # terms and norm are of another circuit
        (reading("quanv:far"), reading("channel:conv"), None, ()),
        (reading("quanv:far"), reading("quanv:plain"), "no-ansatz", ("circuits.plain.stride",)),
        (QUANV, reading("quanv:ry-43"), None, ()),
        (QUANV, {"inputs": ["grey", "channel:conv"]}, None, ()),
        (QUANV, reading("channel:conv", fusion="separate"), "conv", ("fusion",)),
        (QUANV, reading("channel:conv", training={"epochs": 3}), "conv", ("training.epochs",)),
        (QUANV, reading("channel:conv", replicate=1), "conv", ("replicate",)),
        (HEAD, {"head": "sine"}, "sine", ()),
        (HEAD, {"head": "bottleneck"}, "bottleneck", ()),
        (HEAD, {"head": "frozen-quantum"}, "frozen-quantum", ()),
        (HEAD, {"head": "mlp"}, "mlp", ()),
        (HEAD, {"head": "fourier"}, "fourier", ()),
        (HEAD, {"head": {"kind": "stochastic", "shots": 5}}, "stochastic", ()),
        (HEAD, {"head": {"kind": "bottleneck", "qubits": 3}}, "bottleneck", ("head.qubits",)),
        (HEAD, {"head": {"kind": "bottleneck", "normalise": False}}, "bottleneck", ("head.normalise",)),
        (HEAD, {"head": {"kind": "mlp", "layers": 2}}, "mlp", ("head.layers",)),
        (HEAD, {"head": "mlp", "training": {"batch_size": 32}}, "mlp", ("training.batch_size",)),
        (HEAD, {"head": "linear"}, None, ()),  # the reference has no neck
        ({"head": ENTANGLED}, {"head": {**ENTANGLED, "entangling": False}}, "unentangled", ()),
        ({"head": ENTANGLED}, {"head": {**ENTANGLED, "entangling": False, "layers": 2}}, None, ()),
        ({"head": ENTANGLED}, {"head": "sine"}, None, ()),  # another function
        ({"head": {"kind": "quantum", "noise": {"depolarizing": 0.1}}}, {"head": "sine"}, None, ()),
        (reading("quanv:ry", head="quantum"), reading("quanv:ry", head="mlp"), "mlp", ()),
        (reading("quanv:ry", head="quantum"), reading("channel:conv", head="quantum"), "conv", ()),
        (reading("quanv:ry", head="quantum"), reading("channel:conv", head="mlp"), None, ()),  # two things
    ],
)  # fmt: skip
def test_a_twin_differs_in_one_part_and_is_named_with_the_rest(
    model: dict[str, Any], control: dict[str, Any], kind: str | None, unequal: tuple[str, ...]
) -> None:
    found = [pair for pair in twins_in(study(one=model, other=control)) if pair.model == "one"]
    assert found == ([] if kind is None else [Twin("one", "other", kind, unequal)])


def test_an_unequal_pair_is_no_issue_where_the_control_is_meant_for_another() -> None:
    params = study(
        quantum=HEAD, mlp={"head": "mlp"}, entangled={"head": ENTANGLED},
        wide={"head": {"kind": "mlp", "ansatz": "entangled"}},
    )  # fmt: skip
    assert {(t.model, t.control, t.unequal) for t in twins_in(params)} == {
        ("quantum", "mlp", ()), ("entangled", "wide", ()),
    }  # fmt: skip


def test_every_kind_of_head_and_channels_has_a_row() -> None:
    of_channels = {get_args(section.model_fields["kind"].annotation)[0] for section in get_args(Channels)}
    assert set(KINDS) == of_channels | (set(HEADS) - {"linear", "quantum"}) | {"no-ansatz", "unentangled"}
    assert [kind for kind, row in KINDS.items() if row.identity] == ["sine"]


def test_replicates_draws_and_identities() -> None:
    params = study(
        again={"replicate": 1}, third={"replicate": 2, "training": {"epochs": 3}}, quantum=HEAD, sine={"head": "sine"},
        a=QUANV, b=reading("quanv:ry-43"), c=reading("quanv:plain"),
    )  # fmt: skip
    assert replicates_in(params) == (("classical", "again"),)
    assert draws_in(params) == (("a", "b"),)
    assert identities_in(params) == (("quantum", "sine"),)
    assert quantum_models(params) == ("quantum", "a", "b")


def test_the_reference_reads_the_same_of_the_image() -> None:
    params = study(
        grey={"inputs": ["grey"]}, five={"inputs": ["grey", "quanv:ry"]}, alone={"inputs": ["quanv:ry"]}, q=QUANV
    )
    assert [reference_of(params, name) for name in ("five", "alone", "q")] == ["grey", "classical", "classical"]


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_presets_declare_their_family_and_compare_equals(path: Path) -> None:
    params = load_params(path)
    assert params.evidence.primary is not None
    assert [twin for twin in twins_in(params) if twin.unequal] == []


def test_the_ablation_has_a_twin_of_every_kind() -> None:
    params = load_params(STUDIES / "ablation.yaml")
    twins = twins_in(params)
    assert {twin.kind for twin in twins} == set(KINDS) - {"file"}
    assert {kind for twin in twins if twin.model == "quanv" for kind in [twin.kind]} >= {"conv", "fourier-random"}
    draws = draws_in(params)
    assert max(map(len, draws)) >= 5, "a claim about circuits of the kind takes five"
    assert replicates_in(params)
