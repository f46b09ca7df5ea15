"""A supernet on disk."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from random import Random

import pytest
import timm
import torch
from torch import nn

from supernet.elastic.plan import Plan
from supernet.elastic.storage import PLAN, WEIGHTS, op_from_json, op_to_json
from supernet.elastic.supernet import Supernet
from supernet.elastic.trace import Op
from supernet.errors import StateError, WeightsError
from supernet.presets import Mobile
from supernet.space import SearchSpace
from tests.tiny import tiny_images, tiny_supernet


def rigid(origin: dict[str, object] | None = None, classes: int = 10) -> Supernet:
    """A timm network with nothing to choose."""
    network = timm.create_model("mobilenetv3_small_050", num_classes=classes)
    return Supernet(network.eval(), Plan(SearchSpace(()), {}, {}), origin=origin)


def test_a_supernet_that_was_saved_gives_the_same_outputs(tmp_path: Path) -> None:
    supernet = tiny_supernet()
    supernet.save(tmp_path)
    loaded = Supernet.load(tmp_path, model=tiny_supernet(seed=5).extract(supernet.space.largest()))
    assert loaded.space == supernet.space
    assert not loaded.training
    x = tiny_images()
    for seed in range(4):
        arch = supernet.space.sample(Random(seed))
        torch.testing.assert_close(loaded(x, arch), supernet(x, arch), rtol=0, atol=0)


def test_a_timm_origin_is_enough_to_load(tmp_path: Path) -> None:
    supernet = rigid({"timm": "mobilenetv3_small_050", "kwargs": {"num_classes": 10}})
    supernet.save(tmp_path / "deep" / "er")
    loaded = Supernet.load(tmp_path / "deep" / "er")
    x = tiny_images()
    arch = supernet.space.largest()
    torch.testing.assert_close(loaded(x, arch), supernet(x, arch), rtol=0, atol=0)
    assert loaded.origin == supernet.origin


def test_without_an_origin_the_error_says_what_to_give(tmp_path: Path) -> None:
    rigid().save(tmp_path)
    with pytest.raises(StateError, match="model=network"):
        Supernet.load(tmp_path)


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    rigid().save(tmp_path)
    with pytest.raises(WeightsError, match=r"classifier\.weight.*\(10, 1024\).*\(7, 1024\)"):
        Supernet.load(tmp_path, model=rigid(classes=7).largest)
    with pytest.raises(WeightsError, match=r"missing '0\.bias', '0\.weight'; surplus 'blocks.*and \d+ more"):
        Supernet.load(tmp_path, model=nn.Sequential(nn.Linear(2, 2)))


def test_kernel_matrices_are_stored_and_put_back_on_a_plain_network(tmp_path: Path) -> None:
    supernet = tiny_supernet()
    document = supernet.plan.to_json()
    name = "blocks.1.0.conv_dw"
    document["kernels"][f"{name}.weight"][1] = [[3, f"{name}.matrix_5to3"]]
    plain = supernet.extract(supernet.space.largest())
    matrix = nn.Parameter(torch.randn(9, 9, generator=torch.Generator().manual_seed(0)))
    plain.get_submodule(name).register_parameter("matrix_5to3", matrix)
    with_matrix = Supernet(plain, Plan.from_json(document)).eval()
    with_matrix.save(tmp_path)
    loaded = Supernet.load(tmp_path, model=supernet.extract(supernet.space.largest()))
    x, small = tiny_images(), supernet.space.smallest()
    torch.testing.assert_close(loaded(x, small), with_matrix(x, small), rtol=0, atol=0)


def test_an_old_plan_beside_new_weights_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rigid().save(tmp_path)
    old = (tmp_path / PLAN).read_text()
    supernet = tiny_supernet()
    supernet.save(tmp_path)
    (tmp_path / PLAN).write_text(old)
    with caplog.at_level(logging.WARNING):
        loaded = Supernet.load(tmp_path, model=tiny_supernet(seed=5).extract(supernet.space.largest()))
    assert loaded.space == supernet.space
    assert PLAN in caplog.text


def test_folders_without_a_whole_supernet_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=WEIGHTS):
        Supernet.load(tmp_path)
    supernet = rigid()
    supernet.save(tmp_path)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StateError, match="damaged"):
        Supernet.load(tmp_path, model=supernet.largest)
    (tmp_path / WEIGHTS).write_bytes(whole.replace(b'\\"schema_version\\": 2', b'\\"schema_version\\": 9', 1))
    with pytest.raises(StateError, match="schema_version 9"):
        Supernet.load(tmp_path, model=supernet.largest)
    (tmp_path / WEIGHTS).write_bytes(whole.replace(b'\\"schema_version\\": 2', b'\\"schema_version\\": 1', 1))
    with pytest.raises(StateError, match=r"open it with supernet 0\.1, or convert the network anew"):
        Supernet.load(tmp_path, model=supernet.largest)


def test_calls_survive_json() -> None:
    op = Op(
        "conv2d",
        "stem",
        (0, 1),
        ("stem.weight",),
        (((1,),), (("w",),), ((16,),)),
        ((((1,),), (("w",), (3, "v"))),),
    )
    assert op_from_json(json.loads(json.dumps(op_to_json(op)))) == op


def test_a_supernet_that_was_saved_costs_the_same(tmp_path: Path) -> None:
    supernet = Mobile(resolution=8, widths=(8, 8, 12), depths=(1, 2), features=32).supernet()
    loaded = Supernet.load(supernet.save(tmp_path))
    for seed in range(4):
        arch = supernet.space.sample(Random(seed))
        assert loaded.costs().of(arch) == supernet.costs().of(arch)
