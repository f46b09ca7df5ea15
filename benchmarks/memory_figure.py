"""Draw memory against time of execution modes, from what `benchmarks.memory --model` wrote.

python -m benchmarks.memory_figure FILE.json [FILE.json ..] --out docs/memory.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from supernet.drawing import canvas, write_png

COLOURS = ("#1f6feb", "#d9480f", "#2b8a3e", "#862e9c", "#495057")
MARKS = {"plain": "o", "fused": "s", "checkpoint": "^", "checkpoint_fused": "v", "auto": "*"}


def main() -> None:
    """Read, draw and write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.memory_figure", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png")
    args = parser.parse_args()
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in args.files]
    draw([row for document in documents for row in document["rows"]], documents[0]["commit"][:10], args.out)


def draw(rows: list[dict[str, Any]], commit: str, path: Path) -> Path:
    """One point for every model and mode; those of `auto` are joined.

    Args:
        rows: of the benchmark.
        commit: where they come from.
        path: of the figure.
    """
    figure, axes = canvas(
        "What a training step needs in each execution mode",
        f"python -m benchmarks.memory --model .. at {commit}; gradients are equal to the last bit",
        "time over plain",
        "peak memory over plain",
    )
    for colour, model in zip(COLOURS, dict.fromkeys(row["model"] for row in rows)):
        mine = [row for row in rows if row["model"] == model]
        axes.plot([], [], "s", color=colour, label=model)
        for row in mine:
            kind = row["way"].partition("_")[0] if row["way"].startswith("auto") else row["way"]
            size = 110 if kind == "auto" else 45
            axes.scatter(row["time"], row["memory"], size, color=colour, marker=MARKS[kind], zorder=3)
        auto = sorted(
            ((row["time"], row["memory"]) for row in mine if row["way"].startswith(("auto", "plain"))),
            key=lambda point: point[1],
        )
        axes.plot(
            [time for time, _ in auto], [memory for _, memory in auto], color=colour, linewidth=0.8, alpha=0.6
        )
    for kind, mark in MARKS.items():
        axes.plot([], [], mark, color="#7b8794", label=kind)
    axes.set_ylim(bottom=0)
    return write_png(figure, path)


if __name__ == "__main__":
    main()
