"""The layout algebra and the plan that speaks it."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from supernet.elastic.layout import AxisLayout, Kernel, centre, leading
from supernet.elastic.plan import Dim, Plan
from supernet.errors import ArchitectureError, WidthError
from supernet.space import Choice, SearchSpace
from tests.tiny import tiny_supernet

FULL = {"h": 4, "a": 3, "b": 2}


def kept(layout: AxisLayout, sizes: dict[str, int]) -> list[int]:
    """The entries a layout keeps, counted out one by one."""
    found, start = [], 0
    for run in layout:
        shape = [FULL[f] if isinstance(f, str) else f for f in run]
        for position in np.ndindex(*shape):
            if all(not isinstance(f, str) or at < sizes[f] for f, at in zip(run, position)):
                found.append(start + int(np.ravel_multi_index(position, shape)))
        start += int(np.prod(shape))
    return found


@pytest.mark.parametrize(
    ("layout", "sizes"),
    [
        (AxisLayout.of(("h",)), {"h": 3}),
        (AxisLayout.of(("h", 5)), {"h": 2}),
        (AxisLayout.of((3, "h", 2)), {"h": 3}),
        (AxisLayout.of(("a", "h")), {"a": 2, "h": 3}),
        (AxisLayout.of(("a",), ("b",), (2,)), {"a": 1, "b": 2}),
        (AxisLayout.of(("a", 2), (3, "b")), {"a": 2, "b": 1}),
    ],
)
def test_a_cut_keeps_what_its_layout_says(layout: AxisLayout, sizes: dict[str, int]) -> None:
    sizes = FULL | sizes
    whole = torch.arange(layout.length(FULL) * 2).view(2, -1)
    part = layout.cut(whole, 1, sizes, FULL)
    torch.testing.assert_close(part, whole[:, kept(layout, sizes)])
    assert part.shape[1] == layout.length(sizes)
    assert sum(view.numel() for view in layout.views(whole, 1, sizes, FULL)) == part.numel()


def test_a_cut_at_full_size_is_the_tensor_itself() -> None:
    whole = torch.zeros(24)
    assert AxisLayout.of((3, "h", 2)).cut(whole, 0, FULL, FULL) is whole


def test_a_prefix_is_a_view_whose_gradient_lands_in_the_whole() -> None:
    whole = torch.ones(8, requires_grad=True)
    AxisLayout.of(("h", 2)).cut(whole, 0, FULL | {"h": 3}, FULL).sum().backward()
    assert whole.grad is not None
    assert whole.grad.tolist() == [1.0] * 6 + [0.0] * 2


def test_a_width_beyond_the_axis_names_both_numbers() -> None:
    with pytest.raises(WidthError, match=r"width 9 .* 1 to 8"):
        leading(torch.zeros(8, 6), axis=0, keep=9)


def test_a_kernel_is_cropped_at_its_centre() -> None:
    weight = torch.arange(25.0).view(1, 1, 5, 5)
    assert centre(weight, 3).flatten().tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]


def test_kernels_are_reached_through_the_chain_of_matrices() -> None:
    space = SearchSpace((Choice("k", (3, 5, 7)),))
    dims = {"k": Dim("k", 7, ("k",), np.array([3, 5, 7]), "kernel")}
    module = torch.nn.Conv2d(2, 2, 7, groups=2, bias=False)
    for name, size in (("transform_7to5", 5), ("transform_5to3", 3)):
        module.register_parameter(name, torch.nn.Parameter(torch.randn(size**2, size**2)))
    plan = Plan(space, dims, {}, {"weight": Kernel("k", ((5, "transform_7to5"), (3, "transform_5to3")))})
    five = (centre(module.weight, 5).reshape(2, 25) @ module.transform_7to5.T).view(2, 1, 5, 5)
    three = (five[:, :, 1:4, 1:4].reshape(2, 9) @ module.transform_5to3.T).view(2, 1, 3, 3)
    torch.testing.assert_close(plan.slices(module, space.encode({"k": 5})).tensors["weight"], five)
    torch.testing.assert_close(plan.slices(module, space.encode({"k": 3})).tensors["weight"], three)
    assert "weight" not in plan.slices(module, space.encode({"k": 7})).tensors


def test_a_plan_read_back_cuts_the_same() -> None:
    net = tiny_supernet()
    again = Plan.from_json(net.plan.to_json())
    arch = net.space.sample(Random(3))
    one, two = net.plan.slices(net.largest, arch), again.slices(net.largest, arch)
    assert one.absent == two.absent
    assert one.tensors.keys() == two.tensors.keys()
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(tensor, two.tensors[name])


def test_an_architecture_of_another_space_is_refused() -> None:
    other = SearchSpace((Choice("k", (3, 5)),))
    with pytest.raises(ArchitectureError, match="not of this space"):
        tiny_supernet().plan.sizes(other.largest())
