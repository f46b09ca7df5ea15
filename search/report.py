"""A front for people: rows of a table, and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from search.archive import Evaluation
from search.objective import Objective
from supernet.drawing import canvas, write_png
from supernet.wording import alike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FRONT, MEASURED, LARGEST = "#2563eb", "#0f172a", "#b45309"
BASELINES = ("#a3a9b3", "#c084fc", "#f472b6")
CHOSEN = ("#059669", "#d97706", "#dc2626")


@dataclass(frozen=True)
class Point:
    """One network in the figure: cost and gain, and the spread of the cost where it was measured."""

    cost: float
    gain: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class FrontFigure:
    """All that a picture of a front shows; empty parts are left out.

    Args:
        title: what was searched, in words.
        provenance: the command, the seed and the device, in a line below the title.
        cost: label of the horizontal axis, with its unit.
        gain: label of the vertical axis, with its unit.
        estimated: the front, with predicted costs, or measured ones where there are some.
        measured: networks whose cost was measured, with its spread.
        chosen: points under their own label in the legend, at their measured cost where there is one.
        largest: the largest network.
        baselines: the fronts of other searchers, by name.
        seen: everything else that was evaluated; what lies far below the rest is cut off.
        spread: what the bars of measured points are.
        front: what the front is called.
        sense: whether more or less gain is better; better is always drawn higher.
    """

    title: str
    provenance: str
    cost: str
    gain: str
    estimated: Sequence[Point]
    measured: Sequence[Point] = ()
    chosen: Sequence[tuple[str, Point]] = ()
    largest: Point | None = None
    baselines: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    seen: Sequence[Point] = field(default=(), repr=False)
    spread: str = "measured, with its spread"
    front: str = "front, predicted"
    sense: Literal["min", "max"] = "max"

    @property
    def sign(self) -> float:
        """What a gain is multiplied with to make more of it better."""
        return 1.0 if self.sense == "max" else -1.0


def points(evaluations: Sequence[Evaluation], *, cost: str, gain: str) -> list[Point]:
    """Evaluations as points of a figure; those without both values are left out."""
    pairs = [(evaluation.values[cost], evaluation.values[gain]) for evaluation in evaluations]
    return [Point(x, y) for x, y in pairs if x == x and y == y]


def rows(front: Sequence[Evaluation], objectives: Sequence[Objective]) -> list[dict[str, str]]:
    """One row per network: its id and every objective under its label, as text for a table."""
    columns = {o.label: alike([evaluation.values[o.name] for evaluation in front]) for o in objectives}
    return [
        {"network": evaluation.arch.id} | {label: column[i] for label, column in columns.items()}
        for i, evaluation in enumerate(front)
    ]


def draw(figure: FrontFigure, path: Path) -> Path:
    """Write the figure as PNG, 150 dots per inch, 10 by 5.6 inches.

    Raises:
        StateError: when the place cannot be written to.
    """
    return write_png(picture(figure), path)


def picture(figure: FrontFigure) -> Figure:
    """The figure, to be written or shown.

    The stairs join points that no other beats in cost and gain; a front of three objectives has more
    points than those, which stay single.
    """
    image, axes = canvas(figure.title, figure.provenance, figure.cost, figure.gain)
    _background(axes, figure)
    _foreground(axes, figure)
    _crop(axes, figure)
    return image


def _background(axes: Axes, figure: FrontFigure) -> None:
    if figure.seen:
        x, y = _columns(figure.seen)
        axes.scatter(
            x, y, s=9, color=FRONT, alpha=0.16, linewidths=0, label="evaluated by the search", zorder=2
        )
    for color, (name, marks) in zip(BASELINES, figure.baselines.items()):
        x, y = _columns(_stairs(marks, figure.sign))
        axes.step(x, y, where="post", color=color, linewidth=1.2, linestyle=(0, (4, 2)), zorder=3)
        axes.plot(x, y, "s", ms=4, color=color, label=f"front of {name}", zorder=3)


def _foreground(axes: Axes, figure: FrontFigure) -> None:
    if figure.estimated:
        axes.step(
            *_columns(_stairs(figure.estimated, figure.sign)),
            where="post",
            color=FRONT,
            linewidth=1.5,
            zorder=4,
        )
        x, y = _columns(figure.estimated)
        axes.plot(x, y, "o", ms=5, mfc="white", mec=FRONT, mew=1.3, label=figure.front, zorder=5)
    if figure.measured:
        _with_spread(axes, figure.measured, MEASURED, figure.spread, size=4.5, marker="o")
    for color, (label, point) in zip(CHOSEN, figure.chosen):
        _with_spread(axes, [point], color, label, size=9, marker="D")
    if figure.largest is not None:
        _with_spread(axes, [figure.largest], LARGEST, "largest network", size=12, marker="*")


def _crop(axes: Axes, figure: FrontFigure) -> None:
    """Leave out the depths that only networks of no interest reach, or they flatten the front."""
    chosen = [point for _, point in figure.chosen]
    fronts = [figure.estimated, *figure.baselines.values()]
    shown = [*(point for marks in fronts for point in _stairs(marks, figure.sign)), *chosen]
    gains = [point.gain for point in (*shown, *([figure.largest] if figure.largest else []))]
    if gains and max(gains) > min(gains):
        margin, limits = 0.35 * (max(gains) - min(gains)), axes.get_ylim()
        if figure.sense == "max":
            axes.set_ylim(bottom=max(limits[0], min(gains) - margin))
        else:
            axes.set_ylim(top=min(limits[1], max(gains) + margin))
    if figure.sense == "min":
        axes.invert_yaxis()


def _with_spread(
    axes: Axes, marks: Sequence[Point], color: str, label: str, *, size: float, marker: str
) -> None:
    x, y = [point.cost for point in marks], [point.gain for point in marks]
    below = [point.cost - point.low if point.low is not None else 0.0 for point in marks]
    above = [point.high - point.cost if point.high is not None else 0.0 for point in marks]
    spread = [[max(value, 0.0) for value in below], [max(value, 0.0) for value in above]]
    axes.errorbar(
        x, y, xerr=spread, fmt=marker, ms=size, color=color, mec="white", mew=0.8,
        ecolor=color, elinewidth=1.3, capsize=2.5, label=label, zorder=6,
    )  # fmt: skip


def _stairs(marks: Sequence[Point], sign: float = 1.0) -> list[Point]:
    """Those that no other beats in cost and gain."""
    kept: list[Point] = []
    for point in sorted(marks, key=lambda point: (point.cost, -sign * point.gain)):
        if not kept or sign * point.gain > sign * kept[-1].gain:
            kept.append(point)
    return kept


def _columns(marks: Sequence[Point]) -> tuple[list[float], list[float]]:
    ordered = sorted(marks, key=lambda point: (point.cost, point.gain))
    return [point.cost for point in ordered], [point.gain for point in ordered]
