"""Pictures of a search beside that of its front: how it grew, and what the networks of a front have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search.common import Trait
from search.objective import Values
from supernet.drawing import INK, MUTED, canvas, write_png

COLOURS = ("#2563eb", "#d97706", "#059669", "#c026d3", "#475569")
DASHES = ("solid", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
SHOWN = 10
"""Networks whose cost is written below a picture of many."""


@dataclass(frozen=True)
class Line:
    """How the hypervolume of one front grew.

    Args:
        name: of the search, or of a baseline.
        front: of which the volume is, where there are several.
        shares: after each network ``(networks,)``.
    """

    name: str
    front: str
    shares: Values


def draw_growth(lines: Sequence[Line], path: Path, *, title: str, provenance: str) -> Path:
    """Draw hypervolumes against evaluations as PNG: a colour for each front, a dash for each search.

    Raises:
        StateError: when the place cannot be written to.
    """
    figure, axes = canvas(
        title, provenance, "networks evaluated", "hypervolume (1 = the box of the first networks)"
    )
    fronts, names = (
        list(dict.fromkeys(column)) for column in zip(*((line.front, line.name) for line in lines))
    )
    for line in lines:
        axes.step(
            np.arange(1, len(line.shares) + 1),
            line.shares,
            where="post",
            color=COLOURS[fronts.index(line.front) % len(COLOURS)],
            linestyle=DASHES[names.index(line.name) % len(DASHES)],
            linewidth=1.6,
            label=", ".join(filter(None, (line.front, line.name))),
        )
    axes.set_xlim(left=0)
    ends = [line.shares[len(line.shares) // 10 :] for line in lines]
    low, high = min(float(part.min()) for part in ends), max(float(part.max()) for part in ends)
    axes.set_ylim(max(low - 0.1 * (high - low), 0.0), high + 0.05 * (high - low or 1.0))
    return write_png(figure, path)


def draw_common(
    found: Sequence[Trait], costs: Sequence[float], path: Path, *, title: str, provenance: str, cost: str
) -> Path:
    """Draw the networks of a front side by side, stage by stage, as PNG: the darker, the larger the values.

    Args:
        found: at least one.
        costs: of each network, ascending.
        cost: what that is, with its unit.

    Raises:
        StateError: when the place cannot be written to.
    """
    from matplotlib.colors import LinearSegmentedColormap

    figure, axes = canvas(title, provenance, f"networks of the front, by {cost}", "")
    names, size = [_named(trait) for trait in found], min(8.5, 200 / len(found))
    figure.subplots_adjust(left=min(0.03 + 0.00075 * size * max(map(len, names)), 0.5), right=0.79)
    shades = LinearSegmentedColormap.from_list("", ["#dbeafe", COLOURS[0], "#172554"])
    image = axes.imshow(
        np.array([trait.place for trait in found]), vmin=0, vmax=1, aspect="auto", interpolation="nearest",
        cmap=shades.with_extremes(bad="white"),
    )  # fmt: skip
    axes.grid(visible=False)
    axes.set_yticks(range(len(found)), names, fontsize=size)
    at = range(0, len(costs), -(-len(costs) // SHOWN))
    axes.set_xticks(at, [f"{costs[i]:.3g}" for i in at])
    for row, trait in enumerate(found):
        axes.text(
            1.015, row, str(trait), transform=axes.get_yaxis_transform(), va="center", fontsize=size,
            color=INK if trait.is_common else MUTED, fontweight="bold" if trait.is_common else "normal",
        )  # fmt: skip
        if row and trait.stage != found[row - 1].stage:
            axes.axhline(row - 0.5, color="white", linewidth=4)
    axes.text(1.015, -0.044, "usual value", transform=axes.transAxes, fontsize=8.5, color=MUTED)
    beside = figure.add_axes((0.9, 0.115, 0.014, 0.745))
    bar = figure.colorbar(image, cax=beside, ticks=[0, 0.5, 1])
    bar.ax.set_yticklabels(["smallest", "middle", "largest"], fontsize=8.5, color=MUTED)
    bar.outline.set_visible(False)
    return write_png(figure, path)


def _named(trait: Trait) -> str:
    low, high = trait.values[0], trait.values[-1]
    return f"{trait.stage}  {trait.kind} {low} to {high}"
