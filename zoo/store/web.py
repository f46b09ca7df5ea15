"""A store behind a web server that serves files, with or without ranges."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from supernet.errors import StateError
from zoo.store.protocol import CHUNK, InterruptedTransferError, MissingError, stores

TIMEOUT_S = 30


@stores.register("http")
@stores.register("https")
class WebStore:
    """Read-only, over HTTP.

    Args:
        address: of the folder that holds ``index.json``.
    """

    remote = True

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def chunks(self, name: str, start: int = 0) -> tuple[int, Iterator[bytes]]:
        """See `Store`; a server that ignores the range begins at 0."""
        url = f"{self.address}/{quote(name)}"
        request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
        try:
            response: HTTPResponse = urlopen(request, timeout=TIMEOUT_S)
        except HTTPError as error:
            if error.code == 416:
                return self.chunks(name)
            if error.code in (404, 410):
                raise MissingError(f"{url} is missing (HTTP {error.code})") from error
            raise StateError(f"{url} answers HTTP {error.code} {error.reason}; try again later") from error
        except (URLError, HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            raise InterruptedTransferError(
                f"{url} cannot be reached ({reason}); check the network, or use the cache with offline=True"
            ) from error
        begins = start if _begins_at(response, start) else 0
        return begins, _pieces(response, url)


def _begins_at(response: HTTPResponse, start: int) -> bool:
    return response.status == 206 and (response.headers.get("Content-Range") or "").startswith(
        f"bytes {start}-"
    )


def _pieces(response: HTTPResponse, url: str) -> Iterator[bytes]:
    with response:
        try:
            while piece := response.read(CHUNK):
                yield piece
        except (HTTPException, OSError) as error:
            raise InterruptedTransferError(
                f"the transfer of {url} was cut off ({error}); try again"
            ) from error
