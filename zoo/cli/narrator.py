"""How a run talks to a person: plain words, a bar for every long step, tables.

Names in what is said may come from anybody's manifest, so no text is read as markup, and none reaches the
terminal before `supernet.plain.plain` has seen it. A style is an argument beside the text.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
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
from rich.text import Text

from supernet.plain import plain
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
        self.console.print()
        self.console.print(_shown(text, "bold"))

    def say(self, text: str) -> None:
        """A sentence."""
        self.console.print(_shown(f"  {text}"))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A bar for each part of a step, for as long as the block lasts; yields what the step reports to."""
        columns = (
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[words]}", markup=False),
        )
        bars, parts = Bars(*columns, console=self.console), dict[str, TaskID]()

        def report(part: str, done: int, total: int, words: str = "") -> None:
            """Move the bar of a part."""
            if not parts:
                bars.start()
            if part not in parts:
                parts[part] = bars.add_task(plain(part), total=total, words="")
            said: dict[str, Any] = {"words": plain(words)} if words else {}
            bars.update(parts[part], completed=done, total=total, **said)

        try:
            yield report
        finally:
            if parts:  # a step without parts leaves no empty line
                bars.stop()

    def table(self, title: str, rows: Sequence[Mapping[str, object]], text: Container[str] = ()) -> None:
        """Rows under the names of their columns.

        Args:
            text: columns of words, which begin on the left; the first one always does, numbers end on the right.
        """
        table = Table(title=_shown(title), title_justify="left", title_style="bold")
        columns = list(dict.fromkeys(name for row in rows for name in row))
        for i, column in enumerate(columns):
            table.add_column(
                _shown(column), justify="left" if i == 0 or column in text else "right", overflow="fold"
            )
        for row in rows:
            table.add_row(*(_shown(row.get(column, "")) for column in columns))
        self.console.print(table)


def _shown(text: object, style: str = "") -> Text:
    return Text(plain(text), style=style)
