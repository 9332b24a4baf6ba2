"""A local HTTP server that behaves, and misbehaves as servers and proxies do."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from qlcnet.data.download import KnownFile, Patience

BODY = bytes(range(256)) * 4000  # 1,024,000 bytes
HASTE = Patience(connect=2, silence=2, slow_window=30, tries=3, first_wait=0.001, longest_wait=0.01)


def known(body: bytes = BODY, name: str = "set.npz", **more: object) -> KnownFile:
    """A file whose right bytes are `body`."""
    return KnownFile(name, hashlib.md5(body).hexdigest(), **more)  # type: ignore[arg-type]


class Handler(BaseHTTPRequestHandler):
    """Answers with the next behaviour of the server's script, and honestly once the script is over."""

    server: Server  # type: ignore[assignment]

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.requests.append((self.path, self.headers.get("Range"), self.headers.get("If-Range")))
            behave = self.server.script.pop(0) if self.server.script else honest
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            behave(self)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass

    def offset(self) -> int:
        wanted = self.headers.get("Range")
        return int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0

    def start(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


class Server(ThreadingHTTPServer):
    """`script`: behaviours for the next requests. `requests`: (path, Range, If-Range) of those that came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.etag = BODY, '"one"'
        self.script: list[Callable[[Handler], None]] = []
        self.requests: list[tuple[str, str | None, str | None]] = []
        self.lock = threading.Lock()
        self.stop = threading.Event()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.base}/set.npz?download=1"


def honest(handler: Handler) -> None:
    """Ranges, If-Range and lengths as they should be."""
    body, offset, server = handler.server.body, handler.offset(), handler.server
    if offset and handler.headers.get("If-Range", server.etag) != server.etag:
        offset = 0
    if offset >= len(body):
        handler.start(416, Content_Range=f"bytes */{len(body)}", Content_Length=0)
    elif offset:
        span = f"bytes {offset}-{len(body) - 1}/{len(body)}"
        handler.start(206, Content_Range=span, Content_Length=len(body) - offset, ETag=server.etag)
    else:
        handler.start(200, Content_Length=len(body), ETag=server.etag)
    handler.wfile.write(body[offset:])


def drops_after(count: int) -> Callable[[Handler], None]:
    """The connection breaks after `count` bytes of the body."""

    def behave(handler: Handler) -> None:
        body, offset = handler.server.body, handler.offset()
        span = f"bytes {offset}-{len(body) - 1}/{len(body)}"
        status = {"status": 206, "Content_Range": span} if offset else {"status": 200}
        handler.start(**status, Content_Length=len(body) - offset, ETag=handler.server.etag)  # type: ignore[arg-type]
        handler.wfile.write(body[offset : offset + count])

    return behave


def ignores_range(handler: Handler) -> None:
    """The whole body, whatever was asked for."""
    handler.start(200, Content_Length=len(handler.server.body))
    handler.wfile.write(handler.server.body)


def answers(status: int, body: bytes = b"", **headers: object) -> Callable[[Handler], None]:
    """This status, this body."""

    def behave(handler: Handler) -> None:
        handler.start(status, Content_Length=len(body), **headers)
        handler.wfile.write(body)

    return behave


def no_length(body: bytes) -> Callable[[Handler], None]:
    """A body that ends when the connection closes."""

    def behave(handler: Handler) -> None:
        handler.start(200)
        handler.wfile.write(body)

    return behave


def announces(length: int) -> Callable[[Handler], None]:
    """The whole body under a wrong Content-Length."""

    def behave(handler: Handler) -> None:
        handler.start(200, Content_Length=length)
        handler.wfile.write(handler.server.body)

    return behave


def wrong_range(handler: Handler) -> None:
    """206 with bytes from elsewhere."""
    body = handler.server.body
    handler.start(206, Content_Range=f"bytes 0-{len(body) - 1}/{len(body)}", Content_Length=len(body))
    handler.wfile.write(body)


def lying_range(handler: Handler) -> None:
    """206 that claims the range asked for and sends the file's first bytes."""
    body, offset = handler.server.body, handler.offset()
    span = f"bytes {offset}-{len(body) - 1}/{len(body)}"
    handler.start(206, Content_Range=span, Content_Length=len(body) - offset)
    handler.wfile.write(body[: len(body) - offset])


def falls_silent(handler: Handler) -> None:
    """A few bytes, then nothing, with the connection open."""
    handler.start(200, Content_Length=len(handler.server.body))
    handler.wfile.write(handler.server.body[:1000])
    handler.server.stop.wait(20)


def drips(handler: Handler) -> None:
    """A byte now and then, for ever."""
    handler.start(200, Content_Length=len(handler.server.body))
    end = time.monotonic() + 20
    while time.monotonic() < end and not handler.server.stop.wait(0.02):
        handler.wfile.write(b"x")


def never_ends(handler: Handler) -> None:
    """No length and no end."""
    handler.start(200)
    while not handler.server.stop.is_set():
        handler.wfile.write(bytes(1 << 16))
