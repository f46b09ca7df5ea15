"""Named things of one kind: a newcomer is one file and one registered name.

There is one road into every registry, walked when a name is first looked up, so that importing a package
imports no more than it has to:

1. The modules that come with the package are listed once, where the registry is made, and are imported; each
   registers what it defines with a decorator.
2. Whatever an installed distribution offers as an entry point of the registry's group is loaded. Its
   ``pyproject.toml`` says, for example::

       [project.entry-points."supernet.stores"]
       s3 = "my_package.s3:S3Store"

   The entry point is the thing to register, or a module that registers what it defines. One that cannot be
   loaded is named in a warning, and again when its name is asked for; all the others work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from types import ModuleType
from typing import Generic, TypeVar

from supernet.errors import SupernetError, did_you_mean

T = TypeVar("T")

log = logging.getLogger(__name__)


class Registry(Generic[T]):
    """What is registered of one kind, by name.

    >>> fruits = Registry[type]("fruit")
    >>> @fruits.register("apple")
    ... class Apple: ...
    >>> fruits["apple"] is Apple
    True

    Args:
        kind: what an entry is called in messages: ``"data source"``.
        modules: names of the modules that come with the package and register entries; imported on the
            first look-up.
        group: group of entry points that plug-ins offer entries under, ``"supernet.<kind>s"``; None for
            a registry without plug-ins.
    """

    def __init__(self, kind: str, *, modules: Sequence[str] = (), group: str | None = None) -> None:
        self.kind = kind
        self.modules = tuple(modules)
        self.group = group
        self._entries: dict[str, T] = {}
        self._broken: dict[str, str] = {}
        self._own_loaded = self._plugins_loaded = False
        # one thread loads while others wait; a module that looks something up while it is loaded does not
        self._lock = RLock()
        self._loading = False

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate a class or function to make it known under ``name``.

        Raises:
            SupernetError: when the name is taken.
        """

        def enter(entry: T) -> T:
            """The entry itself, known from now on."""
            self._enter(name, entry)
            return entry

        return enter

    def __getitem__(self, name: str) -> T:
        """The entry of that name.

        Raises:
            SupernetError: when there is none, and the message names the nearest; or when it is a plug-in
                that cannot be loaded, and the message says why.
        """
        if name not in self:
            if name in self._broken:
                raise SupernetError(
                    f"the {self.kind} {name!r} is a plug-in that cannot be loaded: {self._broken[name]}; "
                    f"mend or uninstall it"
                )
            raise SupernetError(
                f"no {self.kind} is called {name!r}{did_you_mean(name, self)}{self._silent()}"
            )
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        self._load_own()
        if name not in self._entries:
            self._load_plugins()
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        self._load_own()
        self._load_plugins()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _enter(self, name: str, entry: T) -> None:
        if self._entries.get(name, entry) is not entry:
            raise SupernetError(f"a {self.kind} called {name!r} is already registered; choose another name")
        self._entries[name] = entry

    def _load_own(self) -> None:
        if self._own_loaded:
            return
        with self._lock:
            if self._own_loaded or self._loading:
                return
            self._loading = True
            try:
                for module in self.modules:
                    import_module(module)
            finally:
                self._loading = False
            self._own_loaded = True

    def _load_plugins(self) -> None:
        if self._plugins_loaded or self.group is None:
            return
        with self._lock:
            if self._plugins_loaded or self._loading:
                return
            self._loading = True
            try:
                for point in sorted(entry_points(group=self.group), key=lambda point: point.name):
                    self._load_plugin(point)
            finally:
                self._loading = False
            self._plugins_loaded = True

    def _load_plugin(self, point: EntryPoint) -> None:
        try:
            found = point.load()
            if not isinstance(found, ModuleType):
                self._enter(point.name, found)
        except Exception as error:  # a plug-in may raise whatever it likes; it must not take the others along
            origin = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"
            why = f"{point.value} of {origin}: {type(error).__name__}: {error}"
            self._broken[point.name] = why
            log.warning("the plug-in %r for %s cannot be loaded: %s", point.name, self.group, why)

    def _silent(self) -> str:
        if not self._broken:
            return ""
        return f"; plug-ins that cannot be loaded: {', '.join(sorted(self._broken))}"
