"""A supernet and its subnets go through pickle, deepcopy and `torch.save`, into other processes too."""

from __future__ import annotations

import copy
import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from supernet import elasticise
from supernet.elastic.skeleton import Variant
from tests.supernet.elastic.nets import images, seeded, small_vit
from tests.tiny import tiny_images, tiny_supernet


def saved(value: Any) -> Any:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


COPIES: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "deepcopy": copy.deepcopy,
    "torch.save": saved,
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_a_supernet_is_a_supernet_of_its_own(how: str) -> None:
    net, x = tiny_supernet(), tiny_images()
    net.costs((1, 3, 32, 32))
    again = COPIES[how](net)
    assert again.space == net.space
    for arch in (net.space.smallest(), net.space.largest()):
        torch.testing.assert_close(again(x, arch), net(x, arch), rtol=0, atol=0)
        torch.testing.assert_close(again.extract(arch)(x), net(x, arch), rtol=0, atol=0)
    assert sum(isinstance(m, Variant) for m in again.modules()) == sum(
        isinstance(m, Variant) for m in net.modules()
    )
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.zero_()
    assert net(x, net.space.smallest()).abs().max() > 0


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_of_a_subnet_answers_alike(how: str) -> None:
    net, x = tiny_supernet(), tiny_images()
    subnet = net.subnet(net.space.smallest())
    torch.testing.assert_close(COPIES[how](subnet)(x), subnet(x), rtol=0, atol=0)


def test_another_process_reads_a_supernet(tmp_path: Path) -> None:
    net, x = tiny_supernet(), tiny_images()
    torch.save({"net": net, "x": x, "expected": net(x, net.space.smallest())}, tmp_path / "all.pt")
    code = (
        "import sys, torch; found = torch.load(sys.argv[1], weights_only=False); net = found['net']; "
        "torch.testing.assert_close(net(found['x'], net.space.smallest()), found['expected']); print('equal')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "all.pt")], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "equal", done.stderr


def test_what_was_found_is_plain_json() -> None:
    found = elasticise(seeded(small_vit), (1, 3, 32, 32), verify=False).conversion
    assert json.loads(json.dumps(found)) == found


def test_a_subnet_is_laid_out_as_its_supernet() -> None:
    model = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.Conv2d(32, 4, 3))
    )
    model.to(memory_format=torch.channels_last)
    strides = [parameter.stride() for parameter in model.parameters()]
    x = images(1, 3, 8, 8).to(memory_format=torch.channels_last)
    net = elasticise(model, x)
    assert [parameter.stride() for parameter in net.largest.parameters()] == strides
    largest = net.extract(net.space.largest())
    assert [parameter.stride() for parameter in largest.parameters()] == strides
    small = net.extract(net.space.smallest())
    assert small[0].weight.shape[0] < 32
    for conv in (small[0], small[3]):
        assert conv.weight.is_contiguous(memory_format=torch.channels_last)
        assert not conv.weight.is_contiguous()
    torch.testing.assert_close(net(x, net.space.smallest()), small(x), rtol=0, atol=0)
