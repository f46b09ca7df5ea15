"""One call of a command: who tells it, which run it works on, and how it ends when it is stopped."""

from __future__ import annotations

import inspect
import shlex
import signal
import sys
from collections.abc import Callable
from functools import cached_property, wraps
from types import FrameType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

if TYPE_CHECKING:
    from zoo.cli.narrator import Narrator
    from zoo.pipeline.run import Run

P = ParamSpec("P")

STOPPING = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """Ctrl-C, or SIGTERM. The message says what is kept and how to go on.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int, words: str = "") -> None:
        super().__init__(words or _how_to_go_on(None))
        self.number = number

    @property
    def exit_code(self) -> int:
        """What a shell expects of a process that a signal ended: 130 or 143."""
        return 128 + self.number


def heed_signals() -> None:
    """Raise `Stopped` at the first Ctrl-C or SIGTERM; a second one ends the process at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        """Raise, and let go of the signals."""
        for each in STOPPING:
            signal.signal(each, signal.SIG_DFL)
        raise Stopped(number)

    for each in STOPPING:
        signal.signal(each, stop)


class Session:
    """What a command needs besides what was typed."""

    def __init__(self) -> None:
        self.run: Run | None = None
        """The run that is worked on, once it is open."""

    @cached_property
    def narrator(self) -> Narrator:
        """Who tells how it goes."""
        from zoo.cli.narrator import Narrator

        return Narrator()


def in_session(command: Callable[Concatenate[Session, P], None]) -> Callable[P, None]:
    """A command whose first argument is not typed but made: its `Session`.

    When it is stopped, the message says what the run of the session holds by then.
    """

    @wraps(command)
    def typed(*args: P.args, **kwargs: P.kwargs) -> None:
        """The command as it is typed."""
        session = Session()
        try:
            command(session, *args, **kwargs)
        except Stopped as stopped:
            raise Stopped(stopped.number, _how_to_go_on(session.run)) from None

    signature = inspect.signature(command, eval_str=True)
    shown: Any = typed
    shown.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])
    return typed


def _how_to_go_on(run: Run | None) -> str:
    command = as_typed()
    if run is None:
        return f"stopped; to begin again: {command}"
    from zoo.pipeline.kept import kept

    words = "; ".join(kept(run).values()) or "nothing yet"
    return f"stopped; kept in {run.folder}: {words}; to go on: {command}"


def as_typed() -> str:
    """The command line, to be pasted into a shell."""
    return shlex.join(["supernet", *sys.argv[1:]])
