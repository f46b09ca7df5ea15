"""One call of a command: who tells it, which run it works on, and how it ends when it is stopped."""

from __future__ import annotations

import inspect
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, wraps
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec

import typer

from search.options import LIMITS, latency_limits
from supernet.plain import plain

if TYPE_CHECKING:
    from zoo.cli.narrator import Narrator
    from zoo.pipeline.run import Run
    from zoo.store import Store

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
    """Raise `Stopped` at the first Ctrl-C or SIGTERM; a second one ends the process at once.

    A process that is forked from this one ends at once, and without a word: whoever made it knows why.
    """
    own = os.getpid()

    def stop(number: int, frame: FrameType | None) -> None:
        """Raise, and let go of the signals."""
        for each in STOPPING:
            signal.signal(each, signal.SIG_DFL)
        if os.getpid() != own:
            os.kill(os.getpid(), number)
        raise Stopped(number)

    for each in STOPPING:
        signal.signal(each, stop)


class Session:
    """What a command needs besides what was typed. Of several processes (torchrun) only the first one talks.

    Args:
        as_json: the result goes to standard output as JSON, and words to standard error.
        quiet: no words but errors.
    """

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        follows = os.environ.get("RANK", "0") != "0"
        self.as_json, self.quiet = as_json and not follows, quiet or follows
        self.run: Run | None = None
        """The run that is worked on, once it is open."""

    @cached_property
    def narrator(self) -> Narrator:
        """Who tells how it goes."""
        from rich.console import Console

        from zoo.cli.narrator import Narrator

        return Narrator(Console(highlight=False, stderr=self.as_json, quiet=self.quiet))

    def result(self, document: Mapping[str, Any]) -> None:
        """What came out, for programs; written when JSON was asked for.

        Args:
            document: JSON values, dataclasses, arrays and paths; what is no number becomes null.
        """
        if self.as_json:
            typer.echo(written(document))

    def open(
        self,
        named: str | None,
        config: Path | None,
        changes: Sequence[str] | None,
        *,
        data: str | None = None,
        model: str | None = None,
        weights: str | None = None,
        max_latency_ms: Sequence[str] | None = None,
        max_params: float | None = None,
        no_limits: bool = False,
        first: str | None = None,
        until: int | None = None,
        devices: Sequence[str] | None = None,
    ) -> Run:
        """The run that a command is about.

        Args:
            named: its folder, as typed; the run used last when None.
            config: a TOML file to read its options from.
            changes: ``section.key=value``, as typed.
            data: short for ``data.source``; the model, the weights and the limits likewise.
            no_limits: forget the limits that the run keeps.
            first: name of the run to begin where there is none.
            until: epochs to train in all.
            devices: the only ones that a limit may be about.

        Raises:
            SupernetError: see `find_run`, `open_run` and `latency_limits`.
        """
        from zoo.pipeline.run import open_run

        words = {"data.source": data, "supernet.model": model, "supernet.weights": weights}
        short: dict[str, object] = {
            **{key: word and json.dumps(word, ensure_ascii=False) for key, word in words.items()},
            **latency_limits(max_latency_ms or [], devices or []),
            "search.max_params": max_params,
        }
        given = [f"{key}={value}" for key, value in short.items() if value is not None]
        forgotten = [f"search.{name}" for name in LIMITS] if no_limits else []
        self.run = open_run(self._folder(named, first), config, [*(changes or []), *given], forgotten, until)
        return self.run

    def store(self, run: str | None, address: str | None) -> Store:
        """The zoo at an address, or that of a run.

        Raises:
            SupernetError: for an address of no known kind, and see `find_run`.
        """
        from zoo.pipeline.run import open_run
        from zoo.store import open_store

        return open_store(open_run(self._folder(run)).store if address is None else address)

    def _folder(self, named: str | None, first: str | None = None) -> Path:
        """The folder of the run; on standard error stands which one, when none was named."""
        from zoo.pipeline.run import find_run

        folder = find_run(named, first)
        if named is None and not self.quiet:
            typer.echo(plain(f"run: {folder}"), err=True)
        return folder


def written(document: Mapping[str, Any]) -> str:
    """A document as indented JSON."""
    import msgspec

    def other(value: Any) -> Any:
        """What JSON has no word for."""
        return value.tolist() if hasattr(value, "tolist") else str(value)

    return msgspec.json.format(msgspec.json.encode(document, enc_hook=other), indent=1).decode()


Json = Annotated[
    bool, typer.Option("--json", help="The result as JSON on standard output, words on standard error.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No words but errors.")]
FOR_ALL = tuple(
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
    for name, kind in (("json_", Json), ("quiet", Quiet))
)
"""The options that every command has."""


def in_session(command: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    """A command whose first argument is not typed but made: its `Session`, from ``--json`` and ``--quiet``.

    When it is stopped, the message says what the run of the session holds by then.
    """

    @wraps(command)
    def typed(*args: P.args, json_: bool, quiet: bool, **kwargs: P.kwargs) -> None:  # type: ignore[valid-type]
        """The command as it is typed."""
        session = Session(json_, quiet)
        try:
            command(session, *args, **kwargs)
        except Stopped as stopped:
            raise Stopped(stopped.number, _how_to_go_on(session.run)) from None

    signature = inspect.signature(command, eval_str=True)
    shown: Any = typed
    shown.__signature__ = signature.replace(parameters=[*list(signature.parameters.values())[1:], *FOR_ALL])
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
