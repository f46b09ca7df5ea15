"""How a run talks to a person: plain words, a bar for every long step, tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress as Bars,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from zoo.pipeline.progress import Progress


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
    def progress(self) -> Iterator[Progress]:
        """A bar for each part of a step, for as long as the block lasts; yields what the step reports to."""
        columns = (
            TextColumn("  {task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}"),
        )
        with Bars(*columns, console=self.console) as bars:
            parts: dict[str, TaskID] = {}

            def report(part: str, done: int, total: int, words: str = "") -> None:
                """Move the bar of a part."""
                if part not in parts:
                    parts[part] = bars.add_task(part, total=total, words="")
                said: dict[str, Any] = {"words": words} if words else {}
                bars.update(parts[part], completed=done, total=total, **said)

            yield report

    def table(self, title: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Rows under the names of their columns."""
        table = Table(title=title, title_justify="left", title_style="bold")
        columns = list(dict.fromkeys(name for row in rows for name in row))
        for i, column in enumerate(columns):
            table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
        for row in rows:
            table.add_row(*(str(row.get(column, "")) for column in columns))
        self.console.print(table)
