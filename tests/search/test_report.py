from __future__ import annotations

from pathlib import Path

from PIL import Image

from search.archive import Evaluation
from search.report import FrontFigure, Point, _stairs, draw, points, rows
from tests.search import synthetic

THREE = synthetic.objectives()
ARCH = synthetic.space().largest()
KNOWN = Evaluation(ARCH, {"accuracy": 91.504, "latency": 17.64, "params": 30528.0})
RULED_OUT = Evaluation(ARCH, {"accuracy": float("nan"), "latency": 17.64, "params": 30528.0})


def test_a_row_carries_units_and_leaves_out_what_is_unknown() -> None:
    known, unknown = rows([KNOWN, RULED_OUT], THREE)
    assert known == {"network": ARCH.id, "accuracy (%)": "91.5", "latency (ms)": "17.64", "params": "30,528"}
    assert unknown["accuracy (%)"] == "-"


def test_networks_without_a_value_are_no_points() -> None:
    assert points([KNOWN, RULED_OUT], cost="latency", gain="accuracy") == [Point(17.64, 91.504)]


def test_a_figure_is_a_png_of_ten_by_five_point_six_inches(tmp_path: Path) -> None:
    spread = Point(2.1, 80, 2.0, 2.4)
    figure = FrontFigure(
        "A front", "supernet search --seed 0", "latency (ms)", "accuracy (%)", [Point(1, 70), Point(2, 80)],
        measured=[spread], chosen=[("knee", spread)], largest=Point(3, 81),
        baseline=[Point(1.5, 60)], seen=[Point(2, 50)],
    )  # fmt: skip
    with Image.open(draw(figure, tmp_path / "new" / "front.png")) as image:
        assert image.format == "PNG"
        assert image.size == (1500, 840)


def test_a_figure_of_a_bare_front_can_be_drawn(tmp_path: Path) -> None:
    assert draw(FrontFigure("t", "p", "ms", "%", [Point(1, 70)]), tmp_path / "front.png").exists()


def test_the_stairs_join_only_points_that_no_other_beats() -> None:
    marks = [Point(2, 60), Point(1, 50), Point(3, 55), Point(2, 65), Point(4, 70)]
    assert _stairs(marks) == [Point(1, 50), Point(2, 65), Point(4, 70)]
