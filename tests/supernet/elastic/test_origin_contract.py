"""What every kind of origin promises: a saved supernet comes back without anybody giving its network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from supernet.elastic.elasticise import elasticise
from supernet.elastic.origins import makers, rebuild
from supernet.elastic.supernet import Supernet
from supernet.errors import StateError, SupernetError
from supernet.presets import Mobile


def _preset() -> Supernet:
    return Mobile(resolution=8, widths=(8, 8, 16), depths=(1, 2), features=16).supernet()


def _made(origin: dict[str, Any], shape: tuple[int, ...]) -> Supernet:
    torch.manual_seed(0)
    supernet = elasticise(makers[next(iter(origin))](origin).eval(), shape)
    supernet.origin = origin
    return supernet


EXAMPLES: dict[str, Callable[[], Supernet]] = {
    "preset": _preset,
    "timm": lambda: elasticise("mobilenetv3_small_050", (1, 3, 32, 32), num_classes=4),
    "network": lambda: _made(
        {"network": "unet", "kwargs": {"classes": 3, "channels": 1, "widths": [8, 16]}},
        (1, 1, 16, 16),
    ),
    "elsewhere": lambda: _made(
        {"elsewhere": "perceptron", "kwargs": {"widths": [6, 24, 16, 4]}},
        (1, 6),
    ),
}


def test_every_kind_of_the_house_is_shown() -> None:
    own = {kind for kind in makers if makers[kind].__module__.startswith("supernet.")}
    assert own <= EXAMPLES.keys()


@pytest.mark.parametrize("kind", [kind for kind in makers if kind in EXAMPLES])
def test_a_saved_supernet_comes_back_by_its_origin(kind: str, tmp_path: Path) -> None:
    supernet = EXAMPLES[kind]().eval()
    assert supernet.origin is not None and kind in supernet.origin
    assert json.loads(json.dumps(supernet.origin)) == supernet.origin
    again = Supernet.load(supernet.save(tmp_path))
    assert (again.origin, again.space) == (supernet.origin, supernet.space)
    assert supernet.example is not None
    (shape,) = (tensor.shape for tensor in supernet.example.tensors)
    x = torch.randn(2, *shape[1:])
    for arch in (supernet.space.largest(), supernet.space.sample(Random(0))):
        with torch.no_grad():
            assert torch.equal(again(x, arch), supernet(x, arch))


@pytest.mark.parametrize("origin", [None, {}, {"thin_air": "x"}])
def test_an_origin_nobody_knows_is_answered_with_what_to_do(
    origin: dict[str, Any] | None, tmp_path: Path
) -> None:
    with pytest.raises(StateError, match=r"does not say how its network is made .*model=network"):
        rebuild(origin, tmp_path)


@pytest.mark.parametrize("kind", ["preset", "network"])
def test_a_name_that_is_no_longer_there_is_named(kind: str, tmp_path: Path) -> None:
    with pytest.raises(SupernetError, match="'mobil_e'"):
        rebuild({kind: "mobil_e", "kwargs": {}}, tmp_path)
