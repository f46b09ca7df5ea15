"""A server for tests, and how each kind of store is given a folder of entries to offer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from zoo.store import WebStore, open_store


class Server(ThreadingHTTPServer):
    """Notes down who asked for what, and may do to a transfer what servers do on a bad day or on purpose.

    Args:
        ranges: whether it knows them.
        begins_at: where it begins whatever was asked.
        cut_after: bytes after which it hangs up, ``cuts`` times.
        stall_after: bytes after which it sends nothing more and does not hang up, ``stalls`` times.
        surplus: bytes it sends beyond the file.
        only: how the path ends of the files that it stalls at or goes on beyond.
        length: the Content-Length it claims: ``"true"``, none at all, or whatever else it says.
        always: a status it answers everything with.
    """

    daemon_threads = True
    ranges = True
    begins_at: int | None = None
    cut_after: int | None = None
    cuts = 0
    stall_after = 0
    stalls = 0
    surplus = 0
    only = ""
    length: str | None = "true"
    always: int | None = None
    asked: list[tuple[str, str | None]]
    sent = 0
    stalled: threading.Event
    released: threading.Event


class Handler(SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        if self.server.always is not None:
            self.send_error(self.server.always)
            return
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        asked = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        start = asked if self.server.begins_at is None else self.server.begins_at
        self.send_response(206 if asked else 200)
        length = str(len(content) - start) if self.server.length == "true" else self.server.length
        if length is not None:
            self.send_header("Content-Length", length)
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        body = content[start:]
        limit = self.server.cut_after
        if limit is not None and len(body) > limit and self.server.cuts > 0:
            self.server.cuts -= 1
            body = body[:limit]
        bad = self.path.endswith(self.server.only)
        if bad and self.server.stalls > 0:
            self.server.stalls -= 1
            self.wfile.write(body[: self.server.stall_after])
            self.server.stalled.set()
            self.server.released.wait()
            return
        self.wfile.write(body)
        if bad and self.server.surplus:
            self._go_on()

    def _go_on(self) -> None:
        piece = bytes(1 << 16)
        try:
            for _ in range(self.server.surplus // len(piece)):
                self.wfile.write(piece)
                self.server.sent += len(piece)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[tuple[Server, WebStore]]:
    server = Server(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.asked, server.stalled, server.released = [], threading.Event(), threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        store = open_store(f"http://127.0.0.1:{server.server_port}")
        assert isinstance(store, WebStore)
        yield server, store
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()


@contextmanager
def _at_its_scheme(scheme: str, folder: Path) -> Iterator[str]:
    yield f"{scheme}://{folder}"


@contextmanager
def _over_http(folder: Path) -> Iterator[str]:
    with served(folder) as (_, store):
        yield store.address


HOSTS: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "file": partial(_at_its_scheme, "file"),
    "http": _over_http,
    "https": _over_http,  # the same class; a certificate for 127.0.0.1 is not to be had
    "elsewhere": partial(_at_its_scheme, "elsewhere"),
}
"""By scheme: offers a folder for as long as the block lasts, and yields the address to open it at. A new kind
of store is held to its contract by one entry here."""
