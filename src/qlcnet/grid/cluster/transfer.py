"""Brings the files of a task to the workers of a cluster: none where they see the same files, else once a host."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qlcnet.data.channel_card import ARRAY, CARD
from qlcnet.fit.spec import DataPaths, FitSpec

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger("qlcnet")
CHUNK = 16 << 20  # bytes a message: what the scheduler holds at a time for each receiving host
SPOOL = "qlcnet"  # folder below Dask's scratch space on a worker's own disk


@dataclass(frozen=True)
class TaskFiles:
    """The files that fits of a grid read, and one digest of their contents.

    `weights`: local files of pretrained weights, by the paths that specs name.
    """

    paths: DataPaths
    channels: tuple[str, ...]
    digest: str
    weights: tuple[str, ...] = ()
    grid: str = field(default_factory=lambda: secrets.token_hex(4))

    @property
    def spool(self) -> str:
        """Name of the folder on a worker's own disk: each grid has its own, and removes it when it ends."""
        return f"{self.digest}-{self.grid}"

    @classmethod
    def of(cls, paths: DataPaths, channels: Iterable[str], weights: Iterable[str] = ()) -> TaskFiles:
        """Raises OSError when a file is missing, KeyError or ValueError when one is damaged."""
        names, weights = tuple(channels), tuple(weights)
        total = hashlib.sha256()
        for path in map(Path, weights):
            total.update(hashlib.sha256(path.read_bytes()).digest())
        for name, path in _small_files(paths, names):
            total.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
        # the large arrays by the digest that their stage wrote beside them: hashing them again would read them whole
        for card in (paths.raw / "about.json", *(paths.quanvolved / name / CARD for name in names)):
            total.update(str(json.loads(card.read_text(encoding="utf-8"))["digest"]).encode() + b"\0")
        for _, path in _large_files(paths, names):
            total.update(str(path.stat().st_size).encode() + b"\0")
        return cls(paths, names, total.hexdigest()[:32], weights)

    def each(self) -> Iterator[tuple[str, Path]]:
        """(name below the spool folder, path here) of every file."""
        yield from _small_files(self.paths, self.channels)
        yield from _large_files(self.paths, self.channels)
        yield from ((_spooled_weights(i, path), Path(path)) for i, path in enumerate(self.weights))

    def seen_by(self, spec: FitSpec, paths: DataPaths) -> FitSpec:
        """`spec` for a worker that has the files at `paths`: its pretrained weights lie beside them."""
        path = spec.backbone.pretrained
        if paths == self.paths or not isinstance(path, str):
            return spec
        there = paths.raw.parent / _spooled_weights(self.weights.index(path), path)
        return replace(spec, backbone=spec.backbone.model_copy(update={"pretrained": str(there)}))

    @property
    def names(self) -> list[str]:
        """Below the spool folder."""
        return [name for name, _ in self.each()]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(path.stat().st_size for _, path in self.each())


def _small_files(paths: DataPaths, channels: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    yield from ((f"raw/{name}", paths.raw / name) for name in ("about.json", "labels.npy"))
    yield "folds.csv", paths.folds
    yield from ((f"quanvolved/{c}/{CARD}", paths.quanvolved / c / CARD) for c in channels)


def _large_files(paths: DataPaths, channels: tuple[str, ...]) -> Iterator[tuple[str, Path]]:
    yield "raw/images.npy", paths.raw / "images.npy"
    yield from ((f"quanvolved/{c}/{ARRAY}", paths.quanvolved / c / ARRAY) for c in channels)


def _spooled_weights(number: int, path: str) -> str:
    return f"weights/{number}{Path(path).suffix}"


def spooled(spool: Path) -> DataPaths:
    """Where the files of a task lie in a spool folder."""
    return DataPaths(spool / "raw", spool / "folds.csv", spool / "quanvolved")


# --- on a worker --------------------------------------------------------------------------------------------------


def spool_of(worker: Any, name: str) -> Path:
    """The folder of a grid's files, shared by the workers of a host that use the same scratch space."""
    return Path(worker.local_directory).parent / SPOOL / name


def paths_seen(files: TaskFiles, worker: Any) -> DataPaths | None:
    """Where this worker finds the files: at the same place (a shared file system), in the spool folder, or nowhere."""
    try:
        if TaskFiles.of(files.paths, files.channels, files.weights).digest == files.digest:
            return files.paths
    except (OSError, KeyError, ValueError):
        pass
    spool = spool_of(worker, files.spool)
    return spooled(spool) if is_whole(spool, files.names) else None


def is_whole(spool: Path, names: Iterable[str]) -> bool:
    """Whether all files are in a spool folder: who sweeps /tmp removes file by file."""
    return all((spool / name).is_file() for name in names)


def write_chunk(spool: str, name: str, offset: int, chunk: bytes, dask_worker: Any = None) -> None:
    """Put a piece of a file into the folder that becomes the spool folder."""
    path = _partial(dask_worker, spool) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("r+b" if offset else "wb") as file:
        file.seek(offset)
        file.write(chunk)


def commit_spool(spool: str, names: list[str], dask_worker: Any = None) -> None:
    """All pieces are here: give the folder its name, in place of what a sweeper left of it."""
    partial, final = _partial(dask_worker, spool), spool_of(dask_worker, spool)
    if not is_whole(final, names):
        shutil.rmtree(final, ignore_errors=True)
    try:
        partial.rename(final)
    except OSError:
        if not is_whole(final, names):  # else a worker that shares the folder under another host name was first
            raise
        shutil.rmtree(partial, ignore_errors=True)


def remove_spool(spool: str, dask_worker: Any = None) -> None:
    """The grid is over."""
    for folder in (spool_of(dask_worker, spool), _partial(dask_worker, spool)):
        shutil.rmtree(folder, ignore_errors=True)


def _partial(worker: Any, spool: str) -> Path:
    return spool_of(worker, f".{spool}.partial")


# --- in the planning process ----------------------------------------------------------------------------------------


def send(client: Client, files: TaskFiles, addresses: list[str]) -> dict[str, Exception]:
    """Write the files to the spool folders of these workers, one a host; returns what went wrong, by address."""
    log.info("sending %.1f MB to %d host%s", files.size / 1e6, len(addresses), "s" * (len(addresses) > 1))
    failed: dict[str, Exception] = {}

    def tell(function: Callable[..., None], *arguments: Any) -> None:
        if well := [address for address in addresses if address not in failed]:
            answers = client.run(function, files.spool, *arguments, workers=well, on_error="return")
            failed.update({address: answer for address, answer in answers.items() if isinstance(answer, Exception)})

    for name, path in files.each():
        with path.open("rb") as file:
            offset = 0
            while chunk := file.read(CHUNK):
                tell(write_chunk, name, offset, chunk)
                offset += len(chunk)
    tell(commit_spool, files.names)
    return failed
