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
    """Notes down who asked for what, and may cut transfers short or begin elsewhere than asked."""

    ranges = True
    begins_at: int | None = None
    cut_after: int | None = None
    cuts = 0
    asked: list[tuple[str, str | None]]


class Handler(SimpleHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        asked = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        start = asked if self.server.begins_at is None else self.server.begins_at
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        body = content[start:]
        limit = self.server.cut_after
        if limit is not None and len(body) > limit and self.server.cuts > 0:
            self.server.cuts -= 1
            body = body[:limit]
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[tuple[Server, WebStore]]:
    server = Server(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        store = open_store(f"http://127.0.0.1:{server.server_port}")
        assert isinstance(store, WebStore)
        yield server, store
    finally:
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
