"""How a run talks to a person: plain words, a bar for every long step, tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

Report = Callable[..., None]
"""Called with what is done, what there is to do, and perhaps a few words on how it goes."""


class Narrator:
    """Writes to a terminal, or to a file just as well.

    Args:
        console: where to; standard output when None.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = 110  # a file does not wrap

    def heading(self, text: str) -> None:
        """The start of a step."""
        self.console.print(f"\n[bold]{text}[/bold]")

    def say(self, text: str) -> None:
        """A sentence."""
        self.console.print(f"  {text}")

    @contextmanager
    def bar(self, title: str) -> Iterator[Report]:
        """A progress bar for as long as the block lasts; yields what to report to."""
        with self._progress() as progress:
            task = progress.add_task(title, total=None, words="")

            def report(done: float, total: float, words: str | None = None) -> None:
                said: dict[str, Any] = {} if words is None else {"words": words}
                progress.update(task, completed=done, total=total, **said)

            yield report

    @contextmanager
    def steps(self) -> Iterator[Callable[[str, int, int], None]]:
        """A bar for each named step of a longer job; yields what to report ``(step, done, total)`` to."""
        with self._progress() as progress:
            tasks: dict[str, TaskID] = {}

            def report(step: str, done: int, total: int) -> None:
                if step not in tasks:
                    tasks[step] = progress.add_task(step, total=total, words="")
                progress.update(tasks[step], completed=done, total=total)

            yield report

    def _progress(self) -> Progress:
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
        )
        return Progress(*columns, console=self.console)

    def table(self, title: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Rows under the names of their columns."""
        table = Table(title=title, title_justify="left", title_style="bold")
        columns = list(dict.fromkeys(name for row in rows for name in row))
        for i, column in enumerate(columns):
            table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*(str(row.get(column, "")) for column in columns))
        self.console.print(table)
