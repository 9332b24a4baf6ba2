"""What a circuit really computes: formulas, the pixels behind each channel, what noise does, warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qlcnet.quantum.circuits import draw
from qlcnet.quantum.polynomial import TrigPolynomial
from qlcnet.quantum.quanvolution import Quanvolution, prepare_circuit

PIXELS = ("top left", "top right", "bottom left", "bottom right")


@dataclass(frozen=True)
class Affine:
    """output = scale * noiseless output + offset."""

    scale: float
    offset: float


def affine_of_noiseless(
    noisy: TrigPolynomial, noiseless: TrigPolynomial, tolerance: float = 1e-9
) -> tuple[Affine | None, ...]:
    """For each output the affine map that the noise is, or None where it changes the function's shape.

    What is affine here is undone by per-channel normalisation, unless `scale` is 0: then the channel is dead.
    """
    first, second = _same_degree(noisy, noiseless)
    return tuple(_affine(a, b, tolerance) for a, b in zip(first, second, strict=True))


def _affine(noisy: NDArray[np.float64], clean: NDArray[np.float64], tolerance: float) -> Affine | None:
    """The map between two coefficient tensors; their first coefficient is the constant."""
    a, b = noisy.ravel(), clean.ravel()
    power = float(b[1:] @ b[1:])
    scale = float(a[1:] @ b[1:]) / power if power > tolerance**2 else 1.0
    if float(np.abs(a[1:] - scale * b[1:]).max(initial=0.0)) > tolerance:
        return None
    return Affine(scale, float(a[0] - scale * b[0]))


def _same_degree(*polynomials: TrigPolynomial) -> Sequence[NDArray[np.float64]]:
    size = max(p.coefficients.shape[1] for p in polynomials)
    result = []
    for p in polynomials:
        short = size - p.coefficients.shape[1]
        result.append(np.pad(p.coefficients, [(0, 0)] + [(0, short)] * p.inputs))
    return result


@dataclass(frozen=True)
class CircuitCard:
    """What the report says about a circuit; `to_data` is part of circuit.json.

    `dependence`: for each channel the pixels (0 top left … 3 bottom right) that really change it. `affine`: for each
    channel scale and offset of its noise, None where it changes the function, and None for a circuit without noise.
    `storage_error`: largest difference of a stored to an exact value. `qnode_evaluations`: of the circuit, on
    the grid and, with the engine `pennylane`, on the distinct patches of the images.
    """

    drawing: str
    formulas: tuple[str, ...]
    terms: tuple[int, ...]
    dependence: tuple[tuple[int, ...], ...]
    warnings: tuple[str, ...]
    affine: tuple[Affine | None, ...] | None
    storage_error: float
    qnode_evaluations: int

    def to_data(self) -> dict[str, Any]:
        """JSON data."""
        return asdict(self)


def describe(quanvolution: Quanvolution) -> CircuitCard:
    """The card of a circuit that is ready to run; a noisy one is fitted without its noise too, for comparison."""
    polynomial, circuit = quanvolution.channels_polynomial, quanvolution.circuit
    channels = range(polynomial.outputs)
    affine = None
    if not circuit.noise.is_none:
        exact = {"noise": circuit.noiseless().noise, "shots": None, "device_shots": None, "tolerance": 1e-8}
        params = quanvolution.params.model_copy(update=exact)
        noiseless = prepare_circuit(circuit.noiseless(), params).channels_polynomial
        affine = affine_of_noiseless(polynomial, noiseless)
    return CircuitCard(
        drawing=draw(circuit),
        formulas=tuple(polynomial.formula(q) for q in channels),
        terms=tuple(len(list(polynomial.terms(q))) for q in channels),
        dependence=tuple(polynomial.depends_on(q) for q in channels),
        warnings=tuple(warnings_for(polynomial, affine, quanvolution.params.shots is not None)),
        affine=affine,
        storage_error=quanvolution.storage.error,
        qnode_evaluations=quanvolution.evaluations + quanvolution.tally.patches,
    )


def warnings_for(
    polynomial: TrigPolynomial, affine: Sequence[Affine | None] | None, has_shots: bool = False
) -> list[str]:
    """What a reader of the results must know: channels that are constant, repeat a pixel or each other, idle noise."""
    found = []
    dependence = [polynomial.depends_on(q) for q in range(polynomial.outputs)]
    for q, pixels in enumerate(dependence):
        if not pixels:
            found.append(f"Channel {q} is dead: it is {polynomial.formula(q)} for every image.")
        elif len(pixels) == 1:
            found.append(f"Channel {q} is a function of a single pixel ({PIXELS[pixels[0]]}): no patch is combined.")
    for q in range(polynomial.outputs):
        for earlier in range(q):
            this, that = (TrigPolynomial(polynomial.coefficients[[i]]) for i in (q, earlier))
            if dependence[q] and dependence[earlier] and affine_of_noiseless(this, that)[0] is not None:
                found.append(
                    f"Channel {q} is channel {earlier} scaled and shifted: after normalisation it adds nothing."
                )
                break
    idle = [q for q, a in enumerate(affine or ()) if a is not None and a.scale and dependence[q]]
    if idle:
        which = "every channel" if len(idle) == polynomial.outputs else "channel " + ", ".join(map(str, idle))
        undone = "per-channel normalisation undoes it"
        if has_shots:  # they scatter as before around a weaker signal, and normalisation blows both up
            undone = (
                "per-channel normalisation undoes it, but for the shots, which scatter more against a weaker signal"
            )
        found.append(f"The noise only scales and shifts {which}: {undone}.")
    return found
