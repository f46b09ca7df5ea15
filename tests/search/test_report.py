from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from search.archive import Evaluation
from search.report import (
    BASELINES,
    CHOSEN,
    FRONT,
    LARGEST,
    MEASURED,
    FrontFigure,
    Point,
    _stairs,
    draw,
    points,
    rows,
)
from tests.search import synthetic

THREE = synthetic.objectives()
ARCH = synthetic.space().largest()
KNOWN = Evaluation(ARCH, {"accuracy": 91.504, "latency": 17.64, "params": 30528.0})
RULED_OUT = Evaluation(ARCH, {"accuracy": float("nan"), "latency": 17.64, "params": 30528.0})


def test_a_row_carries_units_and_leaves_out_what_is_unknown() -> None:
    known, unknown = rows([KNOWN, RULED_OUT], THREE)
    assert known == {"network": ARCH.id, "accuracy (%)": "91.50", "latency (ms)": "17.64", "params": "30,528"}
    assert unknown["accuracy (%)"] == "-"


def test_networks_without_a_value_are_no_points() -> None:
    assert points([KNOWN, RULED_OUT], cost="latency", gain="accuracy") == [Point(17.64, 91.504)]


def test_a_figure_is_a_png_of_ten_by_five_point_six_inches(tmp_path: Path) -> None:
    spread = Point(2.1, 80, 2.0, 2.4)
    figure = FrontFigure(
        "A front", "supernet search --seed 0", "latency (ms)", "accuracy (%)", [Point(1, 70), Point(2, 80)],
        measured=[spread], chosen=[("knee", spread)], largest=Point(3, 81),
        baselines={"random": [Point(1.5, 60)]}, seen=[Point(2, 50)],
    )  # fmt: skip
    with Image.open(draw(figure, tmp_path / "new" / "front.png")) as image:
        assert image.format == "PNG"
        assert image.size == (1500, 840)


EMPTY = FrontFigure("A front", "supernet search", "latency (ms)", "accuracy (%)", [])


def marks(figure: FrontFigure, colour: str, path: Path) -> NDArray[np.intp]:
    """Where the axes show a colour: pixels from the left and from the top ``(2, pixels)``."""
    with Image.open(draw(figure, path / "front.png")) as image:
        inside = np.asarray(image.convert("RGB"))[130:740, 115:1060]
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    rows, columns = np.nonzero((inside == wanted).all(-1))
    return np.stack([columns, rows])


LOW, HIGH = Point(1, 70), Point(2, 80)
PARTS = {
    "the front": (FRONT, lambda point: {"estimated": [point]}),
    "measured points": (MEASURED, lambda point: {"measured": [point]}),
    "chosen points": (CHOSEN[0], lambda point: {"chosen": [("knee", point)]}),
    "the largest": (LARGEST, lambda point: {"largest": point}),
    "the baseline": (BASELINES[0], lambda point: {"baselines": {"random": [point]}}),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_point_is_drawn_where_its_cost_and_gain_are(part: str, tmp_path: Path) -> None:
    colour, given = PARTS[part]
    # Two further points, of another colour, hold the axes where they are.
    ends = [Point(0.5, 60), Point(2.5, 90)]
    frame = replace(EMPTY, largest=ends[0], measured=ends[1:])
    if colour in (LARGEST, MEASURED):
        frame = replace(EMPTY, chosen=[("", end) for end in ends])
    assert marks(frame, colour, tmp_path).shape[1] == 0
    low, high = (marks(replace(frame, **given(point)), colour, tmp_path) for point in (LOW, HIGH))
    assert low.shape[1] >= 12 and high.shape[1] >= 12
    assert low[0].mean() < high[0].mean() and low[1].mean() > high[1].mean()


def test_a_figure_without_points_shows_none(tmp_path: Path) -> None:
    for colour in (FRONT, MEASURED, *CHOSEN, LARGEST, *BASELINES):
        assert marks(EMPTY, colour, tmp_path).shape[1] == 0


def test_where_less_is_better_less_is_drawn_higher(tmp_path: Path) -> None:
    loss = replace(EMPTY, sense="min", measured=[Point(0.5, 90), Point(2.5, 60)])
    worse, better = (
        marks(replace(loss, largest=point), LARGEST, tmp_path) for point in (Point(1, 85), Point(1, 65))
    )
    assert better[1].mean() < worse[1].mean()


def test_a_spread_is_drawn_as_wide_as_it_is(tmp_path: Path) -> None:
    frame = replace(EMPTY, chosen=[("", Point(0.5, 60)), ("", Point(2.5, 90))])
    none, wide = (
        marks(replace(frame, largest=point), LARGEST, tmp_path)
        for point in (Point(1.5, 75), Point(1.5, 75, 1.0, 2.2))
    )
    left, right = none[0].min() - wide[0].min(), wide[0].max() - none[0].max()
    assert left > 50 and right / left == pytest.approx(0.7 / 0.5, rel=0.2)


def test_the_stairs_join_only_points_that_no_other_beats() -> None:
    given = [Point(2, 60), Point(1, 50), Point(3, 55), Point(2, 65), Point(4, 70)]
    assert _stairs(given) == [Point(1, 50), Point(2, 65), Point(4, 70)]
