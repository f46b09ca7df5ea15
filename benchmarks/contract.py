"""What every benchmark shares: its arguments, its table, its JSON.

``python -m benchmarks.NAME [options] [--quick] [--json FILE]`` prints a table a person can read and,
with ``--json``, writes ``{"benchmark", "commit", "machine", "settings", "figures", "rows"}``. A figure
that could not be measured is absent, never zero.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from supernet.files import write_atomically


def arguments(name: str, about: str) -> argparse.ArgumentParser:
    """A parser with the two options all benchmarks have; add the benchmark's own."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=about)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures and rows here")
    parser.add_argument("--quick", action="store_true", help="a smaller run that ends within a minute")
    return parser


@dataclass
class Result:
    """Figures and rows of one benchmark, as they come in."""

    benchmark: str
    settings: Mapping[str, Any]
    figures: dict[str, float] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    columns: tuple[str, ...] = ()
    """What of the rows is printed; everything when nothing is named."""

    def finish(self, path: Path | None) -> None:
        """Print the rows and figures, and write them as JSON when a path is given."""
        console = Console(width=None if os.environ.get("COLUMNS") else 160)
        if self.rows:
            console.print(_table(self.benchmark, self.rows, self.columns))
        for name, value in self.figures.items():
            console.print(f"{name} = {value:.6g}", highlight=False)
        if path is not None:
            settings = {
                name: str(value) if isinstance(value, Path) else value
                for name, value in self.settings.items()
            }
            document = {
                "benchmark": self.benchmark,
                "commit": commit(),
                "machine": machine(),
                "settings": settings,
                "figures": self.figures,
                "rows": self.rows,
            }
            write_atomically(path, json.dumps(document, indent=1, default=str) + "\n")


def _table(title: str, rows: Sequence[Mapping[str, Any]], only: Sequence[str] = ()) -> Table:
    columns = only or list(dict.fromkeys(name for row in rows for name in row))
    table = Table(title=title)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row.get(column, "")) for column in columns))
    return table


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def commit() -> str:
    """The commit of the checkout; "unknown" outside one."""
    folder = Path(__file__).parent
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "timm": version("timm"),
    }
