from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from search.common import traits
from search.figures import COLOURS, Line, draw_common, draw_growth
from search.operators import sample_genes
from supernet.space import Choice, SearchSpace
from tests.search import synthetic

SPACE = synthetic.space()
GROUPS: dict[tuple[str, str], list[str]] = {}
for choice in SPACE.choices:
    GROUPS.setdefault((choice.name[:8], choice.name.rpartition(".")[2]), []).append(choice.name)


def test_the_usual_value_is_the_one_that_networks_have_most_often() -> None:
    archs = SPACE.architectures(sample_genes(SPACE, 30, np.random.default_rng(0)))
    for trait in traits(SPACE, archs, GROUPS):
        values = [SPACE.decode(arch) for arch in archs]
        names = GROUPS[trait.stage, trait.kind]
        chosen = Counter(value[name] for value in values for name in names if name in value)
        assert (trait.usual, trait.share) == (
            chosen.most_common(1)[0][0],
            max(chosen.values()) / chosen.total(),
        )
        assert trait.is_common == (trait.share >= 0.8)


def test_a_place_is_the_mean_over_the_choices_that_matter() -> None:
    space = SearchSpace(
        (Choice("a.depth", (0, 1)), Choice("a.0.width", (8, 16, 24), ("a.depth", (1,))), Choice("a.1.width", (8, 24)))
    )  # fmt: skip
    archs = [space.architecture(genes) for genes in ([0, 0, 1], [1, 1, 0], [1, 2, 1])]
    groups = {("a", "width"): ["a.0.width", "a.1.width"], ("a", "inner"): ["a.0.width"]}
    both, inner = traits(space, archs, groups)
    np.testing.assert_allclose(both.place, [1.0, 0.25, 1.0])
    np.testing.assert_allclose(inner.place, [np.nan, 0.5, 1.0])
    assert (both.usual, both.share, str(both)) == (24, 0.6, "24 (60%)")
    assert both.values == (8, 16, 24)


def test_choices_that_no_network_has_have_no_usual_value() -> None:
    space = SearchSpace((Choice("a.depth", (0, 1)), Choice("a.0.width", (8, 16), ("a.depth", (1,)))))
    (trait,) = traits(space, [space.smallest()], {("a", "width"): ["a.0.width"]})
    assert (trait.usual, str(trait), trait.is_common) == (None, "left out", False)


def pixels(path: Path) -> NDArray[np.int64]:
    with Image.open(path) as image:
        assert image.size == (1500, 840)
        return np.asarray(image.convert("RGB")).astype(np.int64)


def test_larger_values_are_drawn_darker(tmp_path: Path) -> None:
    archs = [SPACE.smallest(), SPACE.largest()]
    found = traits(SPACE, archs, GROUPS)
    path = draw_common(found, [1.0, 2.0], tmp_path / "c.png", title="t", provenance="p", cost="latency (ms)")
    row = pixels(path)[420, 300:1180].sum(axis=-1)
    left, right = row[: len(row) // 2], row[len(row) // 2 :]
    assert np.median(left) > 650 and np.median(right) < 300


def test_a_line_is_drawn_as_high_as_its_share(tmp_path: Path) -> None:
    low, high = np.linspace(0.1, 0.4, 20), np.linspace(0.2, 0.9, 20)
    lines = [Line("", "one", high), Line("", "other", low)]
    image = pixels(draw_growth(lines, tmp_path / "g.png", title="t", provenance="p"))[130:740, 400:1060]
    heights = []
    for colour in COLOURS[:2]:
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        heights.append(np.nonzero((image == wanted).all(-1))[0].mean())
    assert heights[0] < heights[1] - 100  # rows count from the top


@pytest.mark.parametrize("shares", [[0.5], [0.5, 0.5], [0.0, 0.0, 0.0]])
def test_a_front_that_never_grew_is_drawn_too(shares: list[float], tmp_path: Path) -> None:
    draw_growth([Line("", "", np.array(shares))], tmp_path / "g.png", title="t", provenance="p")
