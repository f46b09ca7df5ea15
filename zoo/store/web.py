"""A store behind a web server that serves files, with or without ranges."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from supernet.errors import StateError
from zoo.store.protocol import (
    CHUNK,
    InterruptedTransferError,
    MissingError,
    StalledTransferError,
    stores,
)

TIMEOUT_S = 20.0


def default_timeout_s() -> float:
    """``$SUPERNET_TIMEOUT_S``, else `TIMEOUT_S`.

    Raises:
        StateError: when that is no number above 0.
    """
    text = os.environ.get("SUPERNET_TIMEOUT_S") or str(TIMEOUT_S)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise StateError(f"SUPERNET_TIMEOUT_S is {text!r}; a number of seconds above 0 is accepted")
    return seconds


@stores.register("http")
@stores.register("https")
class WebStore:
    """Read-only, over HTTP.

    Args:
        address: of the folder that holds ``index.json``.
        timeout_s: how long a server may send nothing; `default_timeout_s` when None.
    """

    remote = True

    def __init__(self, address: str, timeout_s: float | None = None) -> None:
        self.address = address.rstrip("/")
        self.timeout_s = timeout_s or default_timeout_s()

    def chunks(self, name: str, start: int = 0) -> tuple[int, Iterator[bytes]]:
        """See `Store`; a server that ignores the range begins at 0."""
        url = f"{self.address}/{quote(name)}"
        try:
            request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
            response: HTTPResponse = urlopen(request, timeout=self.timeout_s)
        except HTTPError as error:
            if error.code == 416 and start:
                return self.chunks(name)
            if error.code in (404, 410):
                raise MissingError(f"{url} is missing (HTTP {error.code})") from error
            raise StateError(f"{url} answers HTTP {error.code} {error.reason}; try again later") from error
        except (HTTPException, OSError) as error:
            raise self._interrupted(url, error, "cannot be reached") from error
        except ValueError as error:
            raise StateError(f"{self.address} is no address of a zoo: {error}") from error
        begins = start if _begins_at(response, start) else 0
        return begins, self._pieces(response, url)

    def _pieces(self, response: HTTPResponse, url: str) -> Iterator[bytes]:
        with response:
            try:
                # what has arrived, however little: a transfer that is cut off or killed keeps it
                while piece := response.read1(CHUNK):
                    yield piece
            except (HTTPException, OSError) as error:
                raise self._interrupted(url, error, "was cut off") from error

    def _interrupted(self, url: str, error: Exception, what: str) -> InterruptedTransferError:
        reason = error.reason if isinstance(error, URLError) else error
        if isinstance(reason, TimeoutError):
            return StalledTransferError(
                f"{url} sent nothing for {self.timeout_s:g} seconds; try again later, "
                f"or wait longer with SUPERNET_TIMEOUT_S={3 * self.timeout_s:g}"
            )
        return InterruptedTransferError(
            f"{url} {what} ({reason}); check the network, or use the cache with offline=True"
        )


def _begins_at(response: HTTPResponse, start: int) -> bool:
    return response.status == 206 and (response.headers.get("Content-Range") or "").startswith(
        f"bytes {start}-"
    )
