"""Named things of one kind: a newcomer is one file and one registered name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from supernet.errors import SupernetError, did_you_mean

T = TypeVar("T")


class Registry(Generic[T]):
    """What is registered of one kind, by name.

    >>> fruits = Registry[type]("fruit")
    >>> @fruits.register("apple")
    ... class Apple: ...
    >>> fruits["apple"] is Apple
    True
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate a class or function to make it known under ``name``.

        Raises:
            SupernetError: when the name is taken.
        """

        def enter(entry: T) -> T:
            if name in self._entries:
                raise SupernetError(
                    f"a {self.kind} called {name!r} is already registered; choose another name"
                )
            self._entries[name] = entry
            return entry

        return enter

    def __getitem__(self, name: str) -> T:
        """The entry of that name.

        Raises:
            SupernetError: when there is none; the message names the nearest.
        """
        if name not in self._entries:
            raise SupernetError(f"no {self.kind} is called {name!r}{did_you_mean(name, self._entries)}")
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)
