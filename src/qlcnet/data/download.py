"""One file over HTTP: resumed, retried, from several addresses, and only under its final name once its MD5 is right."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3
from filelock import FileLock
from tqdm import tqdm

from qlcnet.address import without_password
from qlcnet.data.imageset import DataError
from qlcnet.data.partfile import BLOCK, PartFile, md5_of

log = logging.getLogger("qlcnet")

MOST_TRIES = 1000  # of one address, however much each of them brings


@dataclass(frozen=True)
class KnownFile:
    """A file that is known by its MD5. `folder`: the subfolder of a search place in which it may lie too."""

    name: str
    md5: str
    folder: str = ""
    urls: tuple[str, ...] = ()  # the official ones
    most_bytes: int = 64 << 30  # a longer answer cannot be the file


@dataclass(frozen=True)
class Patience:
    """How long to wait and how often to try, per address. Times in seconds."""

    connect: float = 10.0
    silence: float = 30.0  # no byte for so long: the connection is given up
    slow_window: float = 60.0  # and so it is when `slow_bytes` do not arrive in such a window
    slow_bytes: int = 32 << 10
    tries: int = 4  # that bring nothing new, in a row
    first_wait: float = 1.0  # doubled after each try, up to `longest_wait`
    longest_wait: float = 60.0


class DownloadError(DataError):
    """No address gave the file; `causes` holds one line an address."""

    def __init__(self, name: str, causes: Sequence[str]) -> None:
        self.causes = tuple(causes)
        super().__init__("\n".join([f"{name} could not be downloaded", *(f"  {cause}" for cause in causes)]))


class _TryAgain(Exception):
    """What went wrong may be over in a moment."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class _GiveUp(Exception):
    """This address will not give the file."""


def download(file: KnownFile, urls: Sequence[str], target: Path, patience: Patience | None = None) -> Path:
    """Bring `file` to `target`, trying each of `urls` in turn; what a broken-off run left is resumed.

    Safe to call from several processes at once: one downloads, the others wait. Raises DownloadError, DataError
    (disk too small), OSError.
    """
    patience = patience or Patience()
    target.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(target.with_name(target.name + ".lock"))
    if not _acquire(lock):
        log.info("%s is being downloaded by another process; waiting for it", file.name)
        lock.acquire()
    try:
        if target.is_file() and md5_of(target) == file.md5:
            return target
        causes: list[str] = []
        with PartFile(target.with_name(target.name + ".part")) as part, requests.Session() as session:
            # bytes as they are in the file: a server that compresses on the fly would break ranges and checksum
            session.headers.update({"Accept-Encoding": "identity", "User-Agent": "qlcnet"})
            for url in urls:
                try:
                    _insist(session, url, part, file, patience)
                except _GiveUp as error:
                    log.warning("%s: %s", without_password(url), error)
                    causes.append(f"{without_password(url)}: {error}")
                    continue
                part.finish(target)
                return target
        raise DownloadError(file.name, causes)
    finally:
        lock.release()


def _acquire(lock: FileLock) -> bool:
    try:
        lock.acquire(timeout=0.2)
    except TimeoutError:
        return False
    return True


def _insist(session: requests.Session, url: str, part: PartFile, file: KnownFile, patience: Patience) -> None:
    """Try `url` until the part has the file's MD5. Raises _GiveUp."""
    idle, part.mismatch = 0, ""
    for _ in range(MOST_TRIES):
        before = part.most
        try:
            if part.md5 != file.md5:
                _try_once(session, url, part, file, patience)
            return
        except _TryAgain as error:
            idle = 0 if part.most > before else idle + 1
            if idle >= patience.tries:
                seen = f"; before that: {part.mismatch}" if part.mismatch not in str(error) else ""
                raise _GiveUp(f"{error} ({idle} tries){seen}") from None
            wait = max(error.wait, patience.first_wait * 2 ** max(0, idle - 1))
            wait = min(wait, patience.longest_wait)
            log.warning("%s: %s; trying again in %.3g s", without_password(url), error, wait)
            time.sleep(wait)
    raise _GiveUp(f"still not complete after {MOST_TRIES} tries")


def _try_once(session: requests.Session, url: str, part: PartFile, file: KnownFile, patience: Patience) -> None:
    headers = {"Range": f"bytes={part.size}-"} if part.size else {}
    if part.size and (validator := part.validator(url)):
        headers["If-Range"] = validator
    try:
        response = session.get(url, headers=headers, stream=True, timeout=(patience.connect, patience.silence))
    except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
        raise _TryAgain(_cause(error)) from None
    except (requests.RequestException, ValueError) as error:
        raise _GiveUp(_cause(error)) from None
    with response:
        _check_status(response, part)
        resumed = part.size > 0
        total = _total_bytes(response, part)
        _check_room(total, part, file)
        part.remember(url, response.headers)
        broken = _receive(response, part, file, total, patience)
    if part.md5 == file.md5:
        return
    if broken or (total is not None and part.size < total):
        whole = f" of {total:,}" if total is not None else ""
        raise _TryAgain(f"broke off at {part.size:,}{whole} bytes" + (f" ({broken})" if broken else ""))
    again = bool(part.mismatch)
    part.mismatch = f"sent {part.size:,} bytes with MD5 {part.md5}, expected {file.md5}; they are not used"
    if resumed:
        part.restart()  # what was here before may be to blame
    elif again:
        part.restart()
        raise _GiveUp(part.mismatch)
    raise _TryAgain(part.mismatch)  # from the last byte on: a wrong length, or none, may have cut the body short


def _check_status(response: requests.Response, part: PartFile) -> None:
    """Return if a body worth reading follows (the part then ends where the body starts)."""
    status, what = response.status_code, f"HTTP {response.status_code} {response.reason or ''}".strip()
    if status == 416:  # there is nothing after our bytes, and they are not the file
        part.restart()
        if part.mismatch:
            raise _GiveUp(part.mismatch)
        raise _TryAgain(f"{what}: what was here already is not the start of the file")
    if status in (408, 425, 429) or status >= 500:
        seconds = response.headers.get("Retry-After", "")
        raise _TryAgain(what, float(seconds) if seconds.isdigit() else 0.0)
    if status not in (200, 206):
        raise _GiveUp(what)
    if response.headers.get("Content-Type", "").startswith(("text/html", "application/xhtml")):
        raise _GiveUp("a web page instead of the file (the page of a login, a proxy, or an error)")
    if status == 200:
        part.restart()  # the server ignores ranges, or the file has changed since
    elif not response.headers.get("Content-Range", "").startswith(f"bytes {part.size}-"):
        part.restart()
        raise _TryAgain(f"{what} with another range than the one asked for")


def _total_bytes(response: requests.Response, part: PartFile) -> int | None:
    if response.status_code == 206:
        found = re.search(r"/(\d+)$", response.headers["Content-Range"])
        return int(found[1]) if found else None
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _check_room(total: int | None, part: PartFile, file: KnownFile) -> None:
    if total is None:
        return
    if total > file.most_bytes:
        raise _GiveUp(f"announces {total:,} bytes; {file.name} has at most {file.most_bytes:,}")
    free = shutil.disk_usage(part.path.parent).free
    if total - part.size > free:
        raise DataError(
            f"{file.name} needs {total - part.size:,} more bytes, {part.path.parent} has {free:,} free: "
            "make room, or point the environment variable QLCNET_CACHE to another disk"
        )


def _receive(
    response: requests.Response, part: PartFile, file: KnownFile, total: int | None, patience: Patience
) -> str | None:
    """Append the body to the part; returns what broke it off, None if it ended by itself."""
    window_end, window_size = time.monotonic() + patience.slow_window, part.size
    with tqdm(total=total, initial=part.size, unit="B", unit_scale=True, desc=file.name, disable=None) as bar:
        while True:
            try:
                block = response.raw.read1(BLOCK, decode_content=False)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                return _cause(error)
            if not block:
                return None
            part.append(block)
            bar.update(len(block))
            if part.size > file.most_bytes:
                part.restart()
                raise _GiveUp(f"sends more than the {file.most_bytes:,} bytes that {file.name} can have")
            if time.monotonic() > window_end:
                if part.size - window_size < patience.slow_bytes:
                    return f"only {part.size - window_size:,} bytes in {patience.slow_window:g} s"
                window_end, window_size = time.monotonic() + patience.slow_window, part.size


def _cause(error: BaseException) -> str:
    """The innermost reason, without the addresses of objects that requests puts around it."""
    while True:
        inner = getattr(error, "reason", None) or next((a for a in error.args if isinstance(a, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = without_password(re.sub(r"<[^>]*>:? ?|\S+\(host=[^)]*\): ?", "", str(error)).strip())
    name = type(error).__name__
    return text if text.startswith(name) else f"{name}: {text}".removesuffix(": ")
