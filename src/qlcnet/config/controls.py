"""Twins: models that differ from a quantum one in one part alone, by what the twin has in its place.

A claim that the quantum part helps needs it ahead of these, not only of a classical network; docs/controls.md has the
formula, the source and the test of each. A pair that differs in more than the one thing is named with all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, NamedTuple

from qlcnet.config.models import HEAD_KEYS, Head, Input, Model
from qlcnet.config.params import Params

Part = Literal["channels", "head"]


class Kind(NamedTuple):
    """What a twin stands for. shares, lacks: the table of docs/controls.md. doubt: of what there is no sign where the
    quantum model is not ahead of it. identity: it lacks nothing, and must agree to rounding.
    """

    part: Part
    shares: str
    lacks: str
    doubt: str
    identity: bool = False


CIRCUIT = "the circuit matters"
KINDS: dict[str, Kind] = {
    "conv": Kind("channels", "number of channels, patches, fixed", "nonlinearity and circuit", CIRCUIT),
    "fourier-random": Kind(
        "channels", "degree, number of terms and norm of each channel", "that a circuit made it", CIRCUIT
    ),
    "no-ansatz": Kind("channels", "encoding", "entanglement and mixing", "entanglement and mixing matter"),
    "noise": Kind("channels", "number of channels", "any information", "what the channels hold matters"),
    "file": Kind("channels", "what its maker says", "the circuit", CIRCUIT),
    "sine": Kind("head", "the function, for the paper's circuit", "nothing", CIRCUIT, identity=True),
    "frozen-quantum": Kind("head", "the circuit", "training of its angles", "training its angles matters"),
    "bottleneck": Kind("head", "neck", "any unit", "any unit behind the neck matters"),
    "mlp": Kind("head", "neck, number of trained parameters", "the circuit's form", CIRCUIT),
    "fourier": Kind("head", "neck, number of trained parameters", "the circuit's form", CIRCUIT),
    "stochastic": Kind("head", "neck, number of trained parameters, noise of shots", "the circuit", CIRCUIT),
    "unentangled": Kind("head", "gates on one qubit", "entanglement", "entanglement matters"),
}
# keys of a head that both kinds may read, and in which twins may differ: they mean another thing in each
OF_ONE_KIND = frozenset({"kind", "seed", "shots"})
LAID = ("colour", "stride", "padding")  # of a circuit: all that filters and noise take from it
OF_THE_ANSATZ = frozenset({"ansatz", "layers", "rotations", "seed"})  # of a circuit: read by its ansatz alone


@dataclass(frozen=True)
class Twin:
    """`control` has `kind` in the place of a quantum part of `model`; unequal: settings that differ besides."""

    model: str
    control: str
    kind: str
    unequal: tuple[str, ...] = ()

    @property
    def what(self) -> Kind:
        """Its row of KINDS."""
        return KINDS[self.kind]


def twins_in(params: Params) -> tuple[Twin, ...]:
    """Every pair of a model with a quantum part and a twin of that part, in the order of `models`.

    An unequal pair is left out where the model has an equal twin of this kind, or the control is another's equal twin.
    """
    pairs = [
        found
        for model in params.models
        for control in params.models
        if model != control and (found := twin_of(params, model, control))
    ]
    equal = [pair for pair in pairs if not pair.unequal]
    served = {(pair.model, pair.kind) for pair in equal}
    meant = {pair.control for pair in equal}
    return tuple(p for p in pairs if not p.unequal or ((p.model, p.kind) not in served and p.control not in meant))


def twin_of(params: Params, model: str, control: str) -> Twin | None:
    """What `control` is to `model`, if it is a twin of one of its quantum parts."""
    one, other = params.models[model], params.models[control]
    same_inputs = set(one.inputs) == set(other.inputs)
    kind = _head_twin(one.head, other.head) if same_inputs else None
    if kind is None and not same_inputs and one.head.kind == other.head.kind:
        kind = _channel_twin(params, one, other)
    if kind is None:
        return None
    return Twin(model, control, kind, tuple(_unequal(params, model, control, KINDS[kind].part)))


def _head_twin(one: Head, other: Head) -> str | None:
    if one.kind != "quantum":
        return None
    if other.kind == "quantum":
        alike = one.model_dump(exclude={"entangling"}) == other.model_dump(exclude={"entangling"})
        return "unentangled" if alike and one.entangling and not other.entangling else None
    if other.kind == "sine":
        return "sine" if is_papers(one) and one.layers == other.layers else None
    return other.kind if other.kind in KINDS else None


def is_papers(head: Head) -> bool:
    """Whether a quantum head is -sin(angle + w), exactly (test_the_papers_circuit_is_a_sine)."""
    return head.kind == "quantum" and head.ansatz == "ry" and head.noise.is_none and head.shots is None


def _channel_twin(params: Params, one: Model, other: Model) -> str | None:
    """Of `one`'s circuits each has its control among the inputs of `other`, all of one kind, and the rest is equal."""
    circuits = [i for i in one.inputs if i.kind == "quanv"]
    mine, theirs = ({i for i in model.inputs if i not in circuits} for model in (one, other))
    stand_ins = [i for i in other.inputs if i in theirs - mine]
    if not circuits or mine - theirs or len(circuits) != len(stand_ins) or set(circuits) & set(other.inputs):
        return None
    kinds = {_stands_for(params, a, b) for a, b in zip(circuits, stand_ins, strict=True)}
    return kinds.pop() if len(kinds) == 1 else None


def _stands_for(params: Params, one: Input, other: Input) -> str | None:
    if other.kind == "channel":
        section = params.channels[other.name]
        if section.kind == "file" or section.of == one.name:
            return section.kind
        mine, its = (params.circuits[name].model_dump(include=set(LAID)) for name in (one.name, section.of))
        return section.kind if section.kind in ("conv", "noise") and mine == its else None
    if other.kind != "quanv":
        return None
    circuit, without = params.circuits[one.name], params.circuits[other.name]
    encodings = {(each.file, each.encoding, each.uploads) for each in (circuit, without)}
    return "no-ansatz" if len(encodings) == 1 and circuit.ansatz != without.ansatz == "none" else None


def quantum_models(params: Params) -> tuple[str, ...]:
    """Models with a quantum part that are no control of another model, and no replicate."""
    controls = {twin.control for twin in twins_in(params)}
    return tuple(
        name
        for name, model in params.models.items()
        if name not in controls and not model.replicate and (model.circuits or model.head.kind == "quantum")
    )


def reference_of(params: Params, model: str) -> str | None:
    """The classical network that a model is measured by: the same images, a linear head, no channels; else the first
    of that kind, whatever it reads of the image.
    """
    plain = {one for one in params.models[model].inputs if not one.is_stored}
    classical = [
        name
        for name, other in params.models.items()
        if not other.stored and other.head.kind == "linear" and other.fusion == "stacked" and not other.replicate
    ]
    alike = [name for name in classical if set(params.models[name].inputs) == plain]
    return next(iter(alike or classical), None)


def identities_in(params: Params) -> tuple[tuple[str, str], ...]:
    """Pairs of models that are one function and start from the same weights: they must agree to rounding."""
    return tuple((t.model, t.control) for t in twins_in(params) if t.what.identity and not t.unequal)


def replicates_in(params: Params) -> tuple[tuple[str, str], ...]:
    """Pairs of models that differ in `replicate` alone."""
    return tuple(
        (a, b)
        for (a, one), (b, other) in combinations(params.models.items(), 2)
        if one.replicate != other.replicate and _without(one, "replicate") == _without(other, "replicate")
    )


def draws_in(params: Params) -> tuple[tuple[str, ...], ...]:
    """Models that are one but for the seed of what is drawn in their inputs, a circuit's or a control's, two at least.

    A random circuit is one draw of its kind: what such models differ by is the spread over circuits.
    """
    groups: dict[str, list[str]] = {}
    for name, model in params.models.items():
        recipe = [_drawn(params, one) for one in model.inputs]
        if any(drawn for _, drawn in recipe):
            key = repr(([text for text, _ in recipe], _without(model, "inputs")))
            groups.setdefault(key, []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _drawn(params: Params, one: Input) -> tuple[str, bool]:
    """What an input is but for its seed, and whether it was drawn by one."""
    section: Any = None
    if one.kind == "quanv":
        section = params.circuits[one.name]
        drawn = section.file is None and section.ansatz == "random"
    elif one.kind == "channel":
        section = params.channels[one.name]
        drawn = section.kind != "file" and getattr(section, "filters", "random") == "random"
    else:
        return str(one), False
    text = repr((one.kind, one.channel, _without(section, *(["seed"] if drawn else []))))
    return text, drawn


def _without(section: Any, *keys: str) -> dict[str, Any]:
    return section.model_dump(exclude=set(keys))


def _unequal(params: Params, model: str, control: str, part: Part) -> Iterator[str]:
    """Keys in which two models differ beyond the part, as they are resolved: `head.qubits`, `training.epochs`."""
    one, other = params.models[model], params.models[control]
    if one.fusion != other.fusion:
        yield "fusion"
    if one.replicate != other.replicate:
        yield "replicate"
    kinds = [HEAD_KEYS.get(head.kind, Head.model_fields.keys()) for head in (one.head, other.head)]
    read = kinds[0] & kinds[1] - OF_ONE_KIND if part == "head" else Head.model_fields.keys()
    for key in differing(one.head.model_dump(), other.head.model_dump()):
        if key in read and key != "entangling":
            yield f"head.{key}"
    for key in differing(params.training_of(model).model_dump(), params.training_of(control).model_dump()):
        yield f"training.{key}"
    circuits = [i.name for i in one.inputs if i.kind == "quanv" and i not in other.inputs]
    stand_ins = [i.name for i in other.inputs if i.kind == "quanv" and i not in one.inputs]
    for circuit, without in zip(circuits, stand_ins, strict=False):  # a control of `channels` lies as its circuit does
        for key in differing(params.circuits[circuit].model_dump(), params.circuits[without].model_dump()):
            if key not in OF_THE_ANSATZ:
                yield f"circuits.{without}.{key}"


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Keys of two mappings whose values are not equal, or that one of them lacks."""
    return [key for key in dict.fromkeys((*one, *other)) if one.get(key) != other.get(key)]
