"""Where data files are looked for, and the one door through which they come in: found or downloaded, but verified."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from qlcnet.config import Data
from qlcnet.data.download import DownloadError, KnownFile, Patience, download
from qlcnet.data.imageset import DataError
from qlcnet.data.partfile import md5_of

log = logging.getLogger("qlcnet")

VARIABLE = "QLCNET_DATA"  # folders, separated as in PATH


def cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's folder for downloads: $QLCNET_CACHE, else $XDG_CACHE_HOME/qlcnet, else ~/.cache/qlcnet."""
    if chosen := environ.get("QLCNET_CACHE"):
        return Path(chosen).expanduser()
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else _home() / ".cache") / "qlcnet"


def search_places(data: Data, root: Path, environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Folders in the order in which they are searched: params, environment, usual caches, own downloads."""
    given = [*data.search_path, *(text for text in environ.get(VARIABLE, "").split(os.pathsep) if text)]
    home = _home()
    usual = [
        home / ".medmnist",  # medmnist's cache
        *([Path(environ["TORCH_HOME"])] if environ.get("TORCH_HOME") else []),  # torchvision has no cache of its own:
        home / ".cache" / "torch",  # these are the roots that its examples and users give
        root,
        root / "data",
        home / "data",
        home / "datasets",
        cache_folder(environ),
    ]
    places = [*(root / Path(text).expanduser() for text in given), *usual]
    return tuple(dict.fromkeys(Path(os.path.normpath(place)) for place in places))


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # no HOME and no such user, as in some containers
        return Path("/nonexistent")


class Fetcher:
    """Finds files on the search path or downloads them; hands out verified files only.

    `rejected` collects a line for each file that was found and not used.
    """

    def __init__(self, data: Data, root: Path, patience: Patience | None = None) -> None:
        self.root, self.mirrors, self.patience = root, data.mirrors, patience
        self.places = search_places(data, root)
        self.cache = cache_folder()
        self.rejected: list[str] = []

    def candidates(self, name: str, folder: str = "") -> Iterator[Path]:
        """Existing paths called `name` in each place and in its subfolder `folder`; an absolute `name` is one path."""
        for path in dict.fromkeys(path for place in self.places for path in (place / name, place / folder / name)):
            try:
                path.stat()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                self.reject(path, f"cannot be read ({error.strerror})")
            else:
                yield path

    def reject(self, path: Path, why: str) -> None:
        """Remember and say that something found at `path` is not used."""
        log.warning("%s %s: not used", path, why)
        self.rejected.append(f"{path} {why}")

    def accept(self, path: Path, md5: str) -> bool:
        """Whether `path` is a readable file with this MD5; if not, it is rejected."""
        if not path.is_file():  # a pipe or a device can be read for ever
            self.reject(path, "is a folder, not a file" if path.is_dir() else "is no regular file")
            return False
        try:
            found = md5_of(path)
        except OSError as error:
            self.reject(path, f"cannot be read ({error.strerror})")
            return False
        if found != md5:
            self.reject(path, f"has MD5 {found}, expected {md5}")
        return found == md5

    def find(self, file: KnownFile) -> Path | None:
        """The first file of that name on the search path that has the right MD5."""
        for path in self.candidates(file.name, file.folder):
            if self.accept(path, file.md5):
                return path
        return None

    def bring(self, file: KnownFile, advice: str = "") -> Path:
        """The file, from the search path or downloaded. Raises DataError saying which file to put where."""
        if found := self.find(file):
            log.info("%s: found at %s, MD5 verified", file.name, found)
            return found
        urls = file.urls + tuple(f"{base.rstrip('/')}/{Path(file.name).name}" for base in self.mirrors)
        if not urls:
            raise DataError(self.complaint(file, (), advice))
        target = self.cache / file.folder / Path(file.name).name
        try:
            path = download(file, urls, target, self.patience)
        except DownloadError as error:
            raise DataError(self.complaint(file, error.causes, advice)) from None
        except OSError as error:
            where = error.filename or target.parent
            raise DataError(
                f"{file.name} cannot be stored: {where}: {error.strerror or error}; "
                "the environment variable QLCNET_CACHE names another folder for downloads"
            ) from error
        log.info("%s: downloaded to %s, MD5 verified", file.name, path)
        return path

    def bring_own(self, path: str, md5: str | None, advice: str = "") -> tuple[Path, str]:
        """A file of the user's with its MD5: the first one of that name with the declared MD5, if one is.

        `advice`: what to do where a file of that name has another one.
        """
        name = str(Path(path).expanduser())
        if md5 is not None:
            return self.bring(KnownFile(name, md5), advice), md5
        for found in self.candidates(name):
            if found.is_file():
                md5 = md5_of(found)
                log.info("%s: found at %s; `md5: %s` beside its path in params.yaml would pin it", name, found, md5)
                return found, md5
            if not found.is_dir():  # a pipe or a device can be read for ever
                raise DataError(f"{found} is no regular file")
        raise DataError(self._nowhere("file", name))

    def find_folder(self, path: str) -> Path | None:
        """The first folder of that name."""
        return next((found for found in self.candidates(str(Path(path).expanduser())) if found.is_dir()), None)

    def bring_folder(self, path: str) -> Path:
        """A folder of the user's. Raises DataError naming the places where it could be."""
        if found := self.find_folder(path):
            return found
        if file := next(self.candidates(str(Path(path).expanduser())), None):
            raise DataError(f"{file} is a file, expected a folder of images; unpack an archive first")
        raise DataError(self._nowhere("folder", path))

    def _nowhere(self, kind: str, path: str) -> str:
        if Path(path).expanduser().is_absolute():
            return f"there is no {kind} {path}"
        return f"no {kind} {path} on the search path:" + "".join(f"\n  {place}" for place in self.places)

    def complaint(self, file: KnownFile, causes: tuple[str, ...], advice: str = "") -> str:
        """What was tried, and which file to put where."""
        fixed = Path(file.name).is_absolute()
        lines = [
            ("there is no usable " if fixed else "the search path holds no usable ")
            + file.name
            + (", and it could not be downloaded" if causes else "")
        ]
        if self.rejected:
            lines += ["Found, but not used:", *(f"  {line}" for line in self.rejected)]
            lines += ["  Replace or remove such files; nothing is read before its MD5 is right."]
        if causes:
            lines += ["Tried to download:", *(f"  {cause}" for cause in causes)]
        origin = f" from {file.urls[0]}" if file.urls else ""
        if fixed:
            lines += [f"What to do: put the file with MD5 {file.md5} there, or correct the path in params.yaml."]
        else:
            lines += [
                f"What to do: put {file.name} (MD5 {file.md5}){origin} into one of these folders",
                *(f"  {place}" + ("" if place.is_dir() else " (not there yet)") for place in self.places),
                f"or name its folder under data.search_path in params.yaml or in the environment variable {VARIABLE}; "
                "more servers to download from can be listed under data.mirrors.",
            ]
        return "\n".join([*lines, advice] if advice else lines)
