"""The look that all figures share; matplotlib is imported when one is drawn."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from supernet.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1f2933", "#7b8794", "#e4e7eb"
LEFT = 0.075
LINE = 125
"""Letters of the line below a title that fit; a longer one is written smaller."""


def canvas(title: str, provenance: str, across: str, up: str) -> tuple[Figure, Axes]:
    """An empty figure of 10 by 5.6 inches, with room for a legend beside the axes.

    Args:
        title: what is shown, in words.
        provenance: where it comes from, in a line below the title.
        across: label of the horizontal axis, with its unit.
        up: label of the vertical axis, with its unit.
    """
    from matplotlib.figure import Figure

    # a Figure of its own, not pyplot: no window, no state shared with the caller's plots
    figure = Figure(figsize=(10, 5.6), dpi=150, facecolor="white")
    axes = figure.subplots()
    figure.subplots_adjust(left=LEFT, right=0.71, top=0.86, bottom=0.115)
    figure.text(LEFT, 0.945, title, fontsize=13, fontweight="bold", color=INK)
    size = 8.5 * min(1.0, LINE / max(len(provenance), 1))
    figure.text(LEFT, 0.895, provenance, fontsize=size, color=MUTED, family="monospace")
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GRID)
    return figure, axes


def png_of(figure: Figure) -> BytesIO:
    """A figure as PNG, 150 dots per inch, with the legend of its axes beside them."""
    for axes in figure.axes:
        if axes.get_legend_handles_labels()[0]:
            # beside the axes: inside, it hides points of one data set or another
            axes.legend(
                loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8.5, frameon=False, labelspacing=0.9
            )
    image = BytesIO()
    figure.savefig(image, format="png", metadata={"Software": None})
    return image


def write_png(figure: Figure, path: Path) -> Path:
    """Write a figure, see `png_of`.

    Raises:
        StateError: when the place cannot be written to.
    """
    return write_atomically(path, png_of(figure).getvalue())
