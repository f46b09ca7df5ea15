"""What a store is, the registry of stores, and the road from an address to one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from supernet.errors import StateError, SupernetError
from supernet.registry import Registry

CHUNK = 1 << 20


class Store(Protocol):
    """What can be read from."""

    address: str
    remote: bool
    """Whether reading needs a network."""

    def chunks(self, name: str, start: int = 0) -> tuple[int, Iterator[bytes]]:
        """The bytes of a file.

        Args:
            name: path inside the store, with forward slashes.
            start: where to begin, if the store can.

        Returns:
            Where the bytes really begin, ``start`` or 0, and the bytes in pieces.

        Raises:
            StateError: when it cannot be reached; `MissingError` when there is no such file,
                `InterruptedTransferError` when the transfer ended early.
        """
        ...


class MissingError(StateError):
    """A file or an entry that is not there."""


class InterruptedTransferError(StateError):
    """A transfer that ended early; asking again goes on."""


class StalledTransferError(InterruptedTransferError):
    """A transfer in which nothing came for too long; asking again goes on."""


class OversizeError(StateError):
    """A file that goes on beyond what was promised of it."""


def within(pieces: Iterable[bytes], room: int, what: str, *, begins: int = 0) -> Iterator[bytes]:
    """The pieces of a file, so far as they fit into what was promised; a store may send anything.

    Args:
        room: bytes that the file may have.
        what: to call it in the message.
        begins: where in the file the pieces begin.

    Raises:
        OversizeError: in place of the first piece that reaches beyond.
    """
    received = begins
    for piece in pieces:
        received += len(piece)
        if received > room:
            raise OversizeError(
                f"{what} may have {room:,} bytes, and {received:,} came before the transfer was stopped; "
                f"it was not kept, ask its publisher to verify the zoo"
            )
        yield piece


def read_whole(store: Store, name: str, room: int) -> bytes:
    """A small file of a store, such as its index.

    Args:
        name: path inside the store.
        room: bytes it may have.

    Raises:
        StateError: when it cannot be had; `MissingError` when it is not there, `OversizeError` when it is longer.
    """
    return b"".join(within(store.chunks(name)[1], room, f"{name} of {store.address}"))


stores: Registry[Callable[[str], Store]] = Registry(
    "store", modules=("zoo.store.local", "zoo.store.web"), group="supernet.stores"
)
"""Stores by the scheme of their address; each is made from the whole address, ``"http://..."``."""


def open_store(address: str | Path) -> Store:
    """The store at a folder, or at an address whose scheme is registered in `stores`.

    Raises:
        SupernetError: for an unknown scheme, or a blank address.
    """
    if not str(address).strip():
        raise SupernetError("an empty address names no zoo; give a folder ('.' is this one) or http://...")
    scheme, colon, _ = str(address).partition("://")
    return stores[scheme](str(address)) if colon else stores["file"](str(address))
