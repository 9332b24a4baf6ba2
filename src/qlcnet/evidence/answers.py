"""What a study says of a quantum part: ahead of the classical network, ahead of its twins, or of neither.

Being ahead of every twin is a claim of several parts, each of which must hold: each is tested at alpha, and no
adjustment is needed (intersection-union test: Berger 1982). Being ahead of the classical network alone says nothing of
the quantum: docs/controls.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qlcnet.config.controls import Twin
from qlcnet.evidence.verdicts import Silent, Verdict

Judged = Callable[[str, str], "Verdict | Silent | None"]  # of a model against another; None: not compared
LEVELS = {"better": "ahead of", "worse": "behind", "equivalent": "level with"}  # by how a verdict's word begins
UNKNOWN = "not told apart from"


@dataclass(frozen=True)
class Standing:
    """A quantum model against the classical network and against its twins, strongest first, without identities.

    reference: the classical network, None where there is none. against: twins that could be compared.
    """

    model: str
    reference: tuple[str, Verdict] | None
    against: tuple[tuple[Twin, Verdict], ...]

    @property
    def strongest(self) -> tuple[Twin, Verdict] | None:
        """The twin that comes nearest, or leads by most."""
        return self.against[0] if self.against else None

    @property
    def beats_reference(self) -> bool:
        return self.reference is not None and level(self.reference[1]) == "ahead of"

    @property
    def beats_every_twin(self) -> bool:
        return bool(self.against) and all(level(verdict) == "ahead of" for _, verdict in self.against)

    @property
    def conclusion(self) -> str:
        """What follows, in a few words."""
        if not self.against:
            return "no twin of its quantum part was fitted, so that nothing says whether it is the quantum that helps"
        if self.beats_every_twin:
            if self.reference is None or self.beats_reference:
                return "the circuit helps beyond its twins"
            return "the circuit does more than its twins, but no benefit over the classical network is shown"
        nearest, verdict = self.against[0]
        if level(verdict) == "behind":
            return f"without {nearest.what.lacks} it does better: the circuit does not help"
        if self.beats_reference:
            return f"no sign that {nearest.what.doubt}"
        return f"no benefit is shown, and no sign that {nearest.what.doubt}"


def standing(model: str, reference: str | None, twins: tuple[Twin, ...], judged: Judged) -> Standing | None:
    """How `model` stands; None where it can be compared with nothing."""
    of_reference = judged(model, reference) if reference is not None else None
    against = []
    for twin in twins:
        verdict = judged(model, twin.control) if not twin.what.identity else None
        if isinstance(verdict, Verdict):
            against.append((twin, verdict))
    if not isinstance(of_reference, Verdict) and not against:
        return None
    against.sort(key=lambda pair: pair[1].test.mean)
    named = (reference, of_reference) if reference is not None and isinstance(of_reference, Verdict) else None
    return Standing(model, named, tuple(against))


def level(verdict: Verdict) -> str:
    """`ahead of`, `behind`, `level with` or `not told apart from`."""
    return next((word for start, word in LEVELS.items() if verdict.word.startswith(start)), UNKNOWN)
