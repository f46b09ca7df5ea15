"""The picture of predicted against measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from predictors.estimate import Estimate
from predictors.report import INSIDE, OUTSIDE, draw_predictions
from supernet.drawing import canvas

MEASURED = np.array([1.0, 2.0, 4.0, 8.0])


def marks(mean: NDArray[np.float64], path: Path) -> dict[str, NDArray[np.intp]]:
    """Where the axes show each colour: pixels from the left and from the top ``(2, pixels)``."""
    estimate = Estimate(mean, mean * 0.8, mean * 1.25, mean * 0.1, "ms", 0.9)
    place = draw_predictions(MEASURED, estimate, path / "p.png", title="t", provenance="p", of="latency (ms)")
    with Image.open(place) as image:
        assert image.size == (1500, 840)
        assert (np.asarray(image.convert("RGB"))[:, :4] == 255).all(), "a label is cut off"
        inside = np.asarray(image.convert("RGB"))[130:740, 115:1060]
    found = {}
    for colour in (INSIDE, OUTSIDE):
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        found[colour] = np.stack(np.nonzero((inside == wanted).all(-1))[::-1])
    return found


def test_a_measurement_outside_its_interval_has_a_colour_of_its_own(tmp_path: Path) -> None:
    good = marks(MEASURED, tmp_path)
    assert good[INSIDE].shape[1] > 40 and good[OUTSIDE].shape[1] == 0
    bad = marks(MEASURED * [1, 1, 1, 2], tmp_path)
    assert bad[INSIDE].shape[1] > 40 and bad[OUTSIDE].shape[1] > 10
    assert bad[OUTSIDE][0].mean() > bad[INSIDE][0].max()


def test_too_large_a_prediction_lies_above_the_line(tmp_path: Path) -> None:
    above, below = (marks(MEASURED * [1, factor, 1, 1], tmp_path)[OUTSIDE] for factor in (2.0, 0.5))
    assert above[1].mean() < below[1].mean()


@pytest.mark.parametrize("letters", [20, 300])
def test_the_line_below_the_title_fits_into_the_figure(letters: int) -> None:
    figure, _ = canvas("t", "m" * letters, "x", "y")
    (line,) = [text for text in figure.texts if text.get_text().startswith("mm")]
    assert line.get_window_extent().x1 < figure.bbox.x1
