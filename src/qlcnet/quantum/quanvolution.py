"""Quanvolution of images in memory: a circuit of params made ready, then run over uint8 images on all cores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qlcnet import config, machine
from qlcnet.quantum.circuits import (
    AnyCircuit,
    Word,
    all_words,
    build_circuit,
    joint_words,
    make_qnode,
    single_words,
)
from qlcnet.quantum.images import check_images, cut_patches, pixel_angles
from qlcnet.quantum.patches import Patches, lay_patches
from qlcnet.quantum.polynomial import TrigPolynomial
from qlcnet.quantum.storage import Storage, storage_named
from qlcnet.quantum.surrogate import evaluate, fit_polynomial

if TYPE_CHECKING:
    from qlcnet.quantum.kernel import KernelGeometry, KernelTables

FLOAT_BYTES = 4 << 20  # of float32 results that a thread holds at a time where they are converted afterwards
SLICES_PER_THREAD = 4  # so that a busy core does not hold up the others
QNODE_BATCH = 4096  # patches in one broadcast call of the `pennylane` engine


@dataclass
class Tally:
    """Counts the patches on which the QNode itself was run (engine `pennylane`)."""

    patches: int = 0


@dataclass(frozen=True, eq=False)
class Quanvolution:
    """A circuit ready to run over images.

    `polynomial` has an output for each of `words`, products of Pauli-Z: each qubit's own, and, where shots are drawn,
    the products that fix their joint distribution. `evaluations`: QNode evaluations on the grid that fixed it.
    `tally`: those that came after it.
    """

    params: config.Circuit
    circuit: AnyCircuit
    words: tuple[Word, ...]
    polynomial: TrigPolynomial
    evaluations: int
    tally: Tally = field(default_factory=Tally)

    @property
    def storage(self) -> Storage:
        return storage_named(self.params.storage)

    @property
    def is_fresh(self) -> bool:
        """Whether words are stored, and shots drawn from them in training."""
        return self.params.shots is not None and self.params.shots_drawn == "fresh"

    @property
    def fresh_shots(self) -> int | None:
        """How many are drawn again in every epoch, if they are."""
        return self.params.shots if self.is_fresh else None

    @property
    def channels_polynomial(self) -> TrigPolynomial:
        """The expectation value of each qubit alone."""
        at = [self.words.index(word) for word in single_words(self.circuit.qubits)]
        return TrigPolynomial(self.polynomial.coefficients[at]).trimmed()

    def patches(self, height: int, width: int) -> Patches:
        """Where patches lie on images of that size."""
        return lay_patches(height, width, self.params.stride, self.params.padding)

    def stored_shape(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """(N, H', W', channels) of what is stored for images (N, H, W, C)."""
        patches = self.patches(shape[1], shape[2])
        colours = shape[3] if self.params.colour == "channels" else 1
        each = len(self.words) if self.is_fresh else self.circuit.qubits
        return shape[0], patches.rows, patches.columns, colours * each

    def __call__(
        self,
        images: NDArray[np.uint8],
        out: NDArray[Any] | None = None,
        first_image: int = 0,
        threads: int | None = None,
        storage: Storage | None = None,
    ) -> NDArray[Any]:
        """Channels as stored, (N, H', W', channels), of uint8 images (N, H, W, 1 or 3).

        `out` is filled and returned if given. `first_image` is the number of the first image in the whole set (shots
        are drawn by it). `threads`: by default one a core; they change no result. `storage`: another one than the
        params'. Raises ValueError for other images, or an `out` that does not fit.
        """
        check_images(images)
        storage = storage or self.storage
        shape = self.stored_shape(images.shape)
        if out is None:
            out = np.empty(shape, storage.dtype)
        elif out.shape != shape or out.dtype != storage.dtype or not out.flags.c_contiguous:
            raise ValueError(f"out is {out.dtype} {out.shape}; needed is a C-contiguous {storage.dtype} {shape}")
        if self.params.engine == "pennylane":
            run_qnode(self, images, out, storage, first_image)
        elif self.params.engine == "torch":
            run_torch(self, images, out, storage, first_image)
        else:

            def run(part: NDArray[np.uint8], into: NDArray[Any], at: int) -> None:
                run_exact(self, part, into, storage, first_image + at)

            in_threads(run, images, out, threads)
        return out


def in_threads(
    fill: Callable[[NDArray[np.uint8], NDArray[Any], int], None],
    images: NDArray[np.uint8],
    out: NDArray[Any],
    threads: int | None = None,
) -> None:
    """`fill(images, out, number of the first)` on slices of both, in threads (by default one a core), and wait."""
    threads = threads or machine.cores()
    if threads == 1 or len(images) == 1:
        fill(images, out, 0)
        return
    step = -(-len(images) // (threads * SLICES_PER_THREAD))
    with ThreadPoolExecutor(threads) as pool:
        parts = [slice(start, start + step) for start in range(0, len(images), step)]
        # list(): wait, and raise what a thread raised
        list(pool.map(lambda part: fill(images[part], out[part], part.start), parts))


def prepare(params: config.Circuit, program: str | None = None) -> Quanvolution:
    """Build the circuit of params and find its exact polynomial by evaluating it on the named PennyLane device.

    `program`: the text of the params' `file`, if they name one. Raises QasmError, DegreeError, ValueError.
    """
    return prepare_circuit(build_circuit(params, program), params)


def prepare_circuit(circuit: AnyCircuit, params: config.Circuit) -> Quanvolution:
    """The same for a circuit that is already there as gates, for example a stored one."""
    if params.shots is None:
        words = single_words(circuit.qubits)
    else:
        words = all_words(circuit.qubits) if params.shots_drawn == "fresh" else joint_words(circuit.groups)
    sampled = params.device_shots is not None
    qnode = make_qnode(circuit, params.device, words, params.device_shots, params.shots_seed if sampled else None)
    polynomial = fit_polynomial(qnode, circuit.qubits, circuit.degree, tolerance=params.tolerance, is_sampled=sampled)
    if circuit.noise.is_none and not np.any(polynomial.coefficients):
        raise ValueError(
            f"device {params.device!r} gives 0 for every expectation value, whatever the pixels: it computes nothing, "
            "or this circuit says nothing"
        )
    return Quanvolution(params, circuit, words, polynomial, (2 * circuit.degree + 1) ** circuit.qubits)


@lru_cache(maxsize=16)
def _tables(q: Quanvolution, height: int, width: int) -> tuple[KernelTables, KernelGeometry]:
    from qlcnet.quantum.kernel_tables import make_tables

    return make_tables(q.polynomial, q.patches(height, width))


def run_exact(q: Quanvolution, images: NDArray[np.uint8], out: NDArray[Any], storage: Storage, first: int) -> None:
    """Fill `out` by the polynomial, in one thread."""
    from qlcnet.quantum import kernel, kernel_tables  # numba takes a while to import

    tables, geometry = _tables(q, images.shape[1], images.shape[2])
    grey = q.params.colour == "grey"
    each = len(q.words)
    colours = 1 if grey else images.shape[3]
    if q.params.shots is None and each == 4 and storage.dtype.itemsize < 4:
        run_four(images, out, grey, tables, geometry)
        return
    work = kernel_tables.make_workspace(tables, geometry)
    images = _read_only(images)
    step = max(1, FLOAT_BYTES // (4 * each * colours * out.shape[1] * out.shape[2]))
    for start in range(0, len(images), step):
        part = images[start : start + step]
        values = np.empty((*out[start : start + step].shape[:3], colours * each), np.float32)
        kernel.run_float(part, grey, tables, geometry, work, values)
        if q.params.shots is not None and not q.is_fresh:
            values = _with_shots(q, values.reshape(*values.shape[:3], colours, each), first + start)
        out[start : start + step] = storage.encode(values)


def run_four(
    images: NDArray[np.uint8], out: NDArray[Any], grey: bool, tables: KernelTables, geometry: KernelGeometry
) -> None:
    """Fill `out`, float16 or uint8, by a function of four outputs, in one thread."""
    from qlcnet.quantum import kernel, kernel_tables

    work = kernel_tables.make_workspace(tables, geometry)
    colours = 1 if grey else images.shape[3]
    packed = out.view(np.uint32).reshape(*out.shape[:3], colours, out.dtype.itemsize)
    kernel.run_packed(_read_only(images), grey, tables, geometry, work, packed)


def _read_only(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A view that cannot be written: one type for the kernel, so that it is compiled once."""
    images = np.ascontiguousarray(images).view()
    images.flags.writeable = False
    return images


def run_torch(q: Quanvolution, images: NDArray[np.uint8], out: NDArray[Any], storage: Storage, first: int) -> None:
    """Fill `out` by the polynomial in torch, on the accelerator where there is one. Rounds other than the kernel."""
    from qlcnet.quantum.torch_quanvolution import channel_values

    module = _torch_module(q)
    step = module.images_at_a_time(*images.shape[1:])
    for start in range(0, len(images), step):
        values = channel_values(module, images[start : start + step])
        if q.params.shots is not None and not q.is_fresh:
            values = _with_shots(q, values.reshape(*values.shape[:3], -1, len(q.words)), first + start)
        out[start : start + step] = storage.encode(values)


@lru_cache(maxsize=4)
def _torch_module(q: Quanvolution) -> Any:
    from qlcnet.quantum.torch_quanvolution import TorchQuanvolution, accelerator

    p = q.params
    module = TorchQuanvolution(q.polynomial.coefficients, p.colour, p.stride, p.padding)
    return module.to(accelerator())


def _with_shots(q: Quanvolution, words: NDArray[np.float32], first_image: int) -> NDArray[np.float32]:
    from qlcnet.quantum.shots import sample_shots

    assert q.params.shots is not None
    first_patch = first_image * int(np.prod(words.shape[1:4]))
    drawn = sample_shots(words, q.params.shots, q.params.shots_seed, q.circuit.groups, first_patch)
    return drawn.reshape(*words.shape[:3], -1)


def run_qnode(q: Quanvolution, images: NDArray[np.uint8], out: NDArray[Any], storage: Storage, first: int) -> None:
    """Fill `out` by the PennyLane QNode, patch by patch: the slow reference of the exact engine.

    Without shots equal patches are evaluated once. With stored shots the device samples, seeded with shots_seed and the
    number of the first image: here, other than in the exact engine, results depend on how a set is cut into pieces.
    """
    pixels = cut_patches(images, q.patches(images.shape[1], images.shape[2]), q.params.colour)
    flat = pixels.reshape(-1, 4)
    back: NDArray[Any] | None = None
    if q.params.shots is None or q.is_fresh:
        flat, back = np.unique(flat, axis=0, return_inverse=True)
        qnode = make_qnode(q.circuit, q.params.device, q.words)
    else:
        seed = int(np.random.SeedSequence([q.params.shots_seed, first]).generate_state(1)[0])
        qnode = make_qnode(q.circuit, q.params.device, None, q.params.shots, seed)
    q.tally.patches += len(flat)
    pieces = [flat[i : i + QNODE_BATCH] for i in range(0, len(flat), QNODE_BATCH)]
    values = np.concatenate([evaluate(qnode, pixel_angles(p).T, compare=back is not None).T for p in pieces])
    out[...] = storage.encode(values if back is None else values[back.ravel()]).reshape(out.shape)
