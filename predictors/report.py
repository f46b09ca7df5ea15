"""A picture for people: what was predicted against what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from predictors.estimate import Estimate, Values
from supernet.drawing import MUTED, canvas, write_png

INSIDE, OUTSIDE = "#2563eb", "#dc2626"


def draw_predictions(
    measured: Values, predicted: Estimate, path: Path, *, title: str, provenance: str, of: str
) -> Path:
    """Write the figure as PNG: a point and an interval for each architecture, and the line they should lie on.

    Args:
        measured: what was measured ``(architectures,)``, in the unit of the estimate.
        predicted: of the same architectures, by a predictor that has not seen them.
        path: where to.
        title: what is shown, in words.
        provenance: where it comes from, in a line below the title.
        of: what was predicted, with its unit: ``"latency (ms)"``.

    Raises:
        StateError: when the place cannot be written to.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    figure, axes = canvas(title, provenance, f"measured {of}", f"predicted {of}")
    ends = [min(measured.min(), predicted.low.min()), max(measured.max(), predicted.high.max())]
    axes.plot(ends, ends, color=MUTED, linewidth=1.0, linestyle=(0, (4, 2)), label="as measured", zorder=2)
    band = [ends[0] * 0.9, ends[1] * 0.9], [ends[0] * 1.1, ends[1] * 1.1]
    axes.fill_between(ends, *band, color=MUTED, alpha=0.12, linewidth=0, label="within 10 %", zorder=1)
    inside = (measured >= predicted.low) & (measured <= predicted.high)
    for which, color, words in ((inside, INSIDE, "inside"), (~inside, OUTSIDE, "outside")):
        if which.any():
            mean = predicted.mean[which]
            spread = np.abs(np.stack([predicted.low[which], predicted.high[which]]) - mean)
            axes.errorbar(
                measured[which], mean, yerr=spread, fmt="o", ms=5, color=color, mec="white", mew=0.8,
                elinewidth=1.1, capsize=2, zorder=3,
                label=f"{which.sum()} {words} their\n{predicted.level:.0%} interval ({predicted.unit})",
            )  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):
        axis.axes.set(**{f"{axis.axis_name}scale": "log"})
        axis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    return write_png(figure, path)
