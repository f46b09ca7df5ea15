"""Sorting channels: the same largest function, the important ones in front, and the reference's order."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import pytest
import torch
from timm.models._efficientnet_blocks import InvertedResidual, SqueezeExcite
from timm.models._efficientnet_builder import round_channels
from torch import Tensor, nn

from benchmarks import kits
from supernet.elastic.reorder import reorder
from supernet.elastic.supernet import Supernet
from supernet.presets import OFAResNet50D
from supernet.presets.ofa import LAYERS
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.sorting import descending, sort_hidden
from supernet.space import Choice, SearchSpace
from tests.supernet.presets.test_preset import QUICK, images, made

KITS = Path(__file__).parents[4] / "shared" / "kits"


def block(squeeze: bool = True) -> Supernet:
    """One inverted residual of 16 to 24 channels with widths 48, 64 and 96, as in the kits."""
    gate = partial(
        SqueezeExcite,
        rd_ratio=0.25,
        gate_layer="hard_sigmoid",
        force_act_layer=nn.ReLU,
        rd_round_fn=round_channels,
    )
    network = nn.Sequential(
        InvertedResidual(
            *(16, 24, 7, 1),
            exp_ratio=6,
            act_layer=nn.Hardswish if squeeze else nn.ReLU6,
            norm_layer=partial(nn.BatchNorm2d, eps=1e-5 if squeeze else 1e-3),
            se_layer=gate if squeeze else None,
        )
    )
    wiring = PlanBuilder(network, SearchSpace((Choice("expand", (3, 4, 6)),)))
    width = wiring.dim("width", ["expand"], lambda expand: 16 * expand, "hidden")
    wiring.inverted_residual("0", width, wiring.dim("kernel", [], lambda: 7, "kernel"))
    if squeeze:
        wiring.squeeze("0.se", width, lambda wide: round_channels(wide // 4))
    return Supernet(network.eval(), wiring.plan())


def reader_norms(supernet: Supernet) -> Tensor:
    """L1 norm of what the projection reads from each hidden channel."""
    return supernet.largest.get_parameter("0.conv_pwl.weight").detach().abs().sum((0, 2, 3))


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_sorting_leaves_the_largest_network_as_it_was(phase: int) -> None:
    torch.manual_seed(0)
    supernet, x = block(), torch.randn(2, 16, 9, 9)
    with torch.no_grad():
        before = supernet(x, supernet.space.largest())
        sort_hidden(supernet, phase)
        torch.testing.assert_close(supernet(x, supernet.space.largest()), before)


def test_channels_are_sorted_inside_the_segments_that_were_trained() -> None:
    torch.manual_seed(0)
    supernet = block()
    first = reader_norms(supernet)[:48].sort().values
    sort_hidden(supernet, phase=2)
    norms = reader_norms(supernet)
    assert torch.equal(norms[:48].sort().values, first)
    for start, end in ((0, 48), (48, 64), (64, 96)):
        assert (norms[start : end - 1] >= norms[start + 1 : end]).all()


def test_descending_keeps_to_its_borders() -> None:
    assert descending(torch.tensor([1.0, 3.0, 2.0, 5.0]), [0, 2, 4]).tolist() == [1, 0, 3, 2]


def test_both_sides_of_a_bottleneck_are_sorted_by_their_own_readers() -> None:
    torch.manual_seed(0)
    preset = OFAResNet50D(stage_widths=(32, 64, 96, 128), classes=4)
    supernet, x = preset.supernet().eval(), torch.randn(1, 3, 32, 32)
    arch = preset.space.largest()
    with torch.no_grad():
        before = supernet(x, arch)
        sort_hidden(supernet, phase=0)
        # Forty convolutions sum their channels in another order.
        torch.testing.assert_close(supernet(x, arch), before, rtol=1e-3, atol=1e-4)
    for conv in ("conv2", "conv3"):
        norms = supernet.largest.get_parameter(f"layer2.1.{conv}.weight").abs().sum((0, 2, 3))
        assert (norms[:-1] >= norms[1:]).all()


def reference(arrays: kits.Arrays, when: str) -> dict[str, Tensor]:
    """The weights of the kit's block by our names."""
    found = {}
    for name, value in arrays.items():
        if name.startswith(f"sort/{when}/") and "matrix" not in name:
            layer, _, tensor = name.removeprefix(f"sort/{when}/").rpartition(".")
            layer = layer.replace(".conv.conv", ".conv").replace(".bn.bn", ".bn")
            found[f"0.{LAYERS[layer]}.{tensor}"] = torch.from_numpy(value)
    return found


@pytest.mark.skipif(not KITS.is_dir(), reason="no ../shared/kits here")
@pytest.mark.parametrize("phase", [0, 1, 2])
@pytest.mark.parametrize("name", ["ofa_mbv3", "ofa_proxyless"])
def test_the_order_is_that_of_the_reference(name: str, phase: int) -> None:
    arrays, _ = kits.read(KITS / f"{name}.npz")
    supernet = block(squeeze=name == "ofa_mbv3")
    supernet.largest.load_state_dict(reference(arrays, "before"), strict=False)
    sort_hidden(supernet, phase)
    ours, theirs = supernet.largest.state_dict(), reference(arrays, f"after{phase}")
    # The reference marks segments by adding 1e5 in float32, whose last digit is worth 1/64 or less:
    # behind the first segment its order is right to within that.
    first = (96, 64, 48)[phase]
    for tensor, expected in theirs.items():
        axis = 1 if tensor in ("0.conv_pwl.weight", "0.se.conv_reduce.weight") else 0
        if tensor.startswith("0.se.conv_reduce") or tensor == "0.bn3.weight":
            continue
        assert torch.equal(ours[tensor].narrow(axis, 0, first), expected.narrow(axis, 0, first)), tensor
    norms = theirs["0.conv_pwl.weight"].abs().sum((0, 2, 3))
    torch.testing.assert_close(reader_norms(supernet), norms, atol=1 / 64, rtol=0)


@pytest.mark.parametrize("name", [*QUICK, "prenas_tiny"])
def test_reordering_leaves_every_preset_as_it_was(name: str) -> None:
    preset, supernet = made(name)
    supernet = copy.deepcopy(supernet)
    for key, value in supernet.largest.named_parameters():
        if key.endswith("bias"):
            nn.init.normal_(value, 0, 0.1)
    arch, x = preset.space.largest(), images(name)
    with torch.no_grad():
        before = supernet(x, arch)
        reorder(supernet)
        torch.testing.assert_close(supernet(x, arch), before, rtol=1e-3, atol=1e-4)
