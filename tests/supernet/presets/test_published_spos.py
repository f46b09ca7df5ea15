"""SPOS' supernet by its published names answers as when it is computed from those names by hand."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from supernet.presets import SPOS, load_reference
from tests.supernet.presets.by_name import State, images, noise, norm, normed

# SPOS: what a candidate's branches hold, by position: (kernel, in, out, depth-wise, followed by ReLU).
Layer = tuple[int, int, int, bool, bool]
SHUFFLES = ((4, 64), (4, 160), (8, 320), (4, 640))


def spos_branches(op: int, into: int, out: int, stride: int) -> dict[str, list[Layer]]:
    kernel, passing, hidden = (3, 5, 7, 3)[op], into if stride == 2 else into // 2, out // 2
    rest = out - passing
    main: list[Layer] = [
        (1, passing, hidden, False, True),
        (kernel, hidden, hidden, True, False),
        (1, hidden, rest, False, True),
    ]
    if op == 3:
        main = [(3, passing, passing, True, False), (1, passing, hidden, False, True)]
        main += [(3, hidden, hidden, True, False), (1, hidden, hidden, False, True)]
        main += [(3, hidden, hidden, True, False), (1, hidden, rest, False, True)]
    proj: list[Layer] = [(kernel, into, into, True, False), (1, into, into, False, True)]
    return {"branch_main": main} | ({"branch_proj": proj} if stride == 2 else {})


def spos_blocks() -> Iterator[tuple[int, int, int, int]]:
    into, i = 16, 0
    for repeat, out in SHUFFLES:
        for j in range(repeat):
            yield i, into, out, 1 if j else 2
            into, i = out, i + 1


@cache
def spos_state() -> State:
    shapes: dict[str, tuple[int, ...]] = {"first_conv.0.weight": (16, 3, 3, 3)}
    shapes |= dict(normed("first_conv.1", 16, False))
    for i, into, out, stride in spos_blocks():
        for op in range(4):
            for branch, layers in spos_branches(op, into, out, stride).items():
                at = 0
                for kernel, a, b, depthwise, relu in layers:
                    path = f"features.{i}.{op}.{branch}"
                    shapes[f"{path}.{at}.weight"] = (b, 1 if depthwise else a, kernel, kernel)
                    shapes |= dict(normed(f"{path}.{at + 1}", b, False))
                    at += 3 if relu else 2
    shapes["conv_last.0.weight"] = (1024, 640, 1, 1)
    shapes |= dict(normed("conv_last.1", 1024, False))
    return noise(shapes | {"classifier.0.weight": (1000, 1024)})


def spos_forward(state: State, arch: list[int], x: Tensor) -> Tensor:
    def branch(path: str, layers: list[Layer], stride: int, x: Tensor) -> Tensor:
        at = 0
        for kernel, a, _, depthwise, relu in layers:
            step = stride if depthwise else 1
            # Only the first depth-wise convolution strides.
            stride = 1 if depthwise else stride
            weight = state[f"{path}.{at}.weight"]
            x = norm(
                state,
                f"{path}.{at + 1}",
                F.conv2d(x, weight, None, step, kernel // 2, 1, a if depthwise else 1),
            )
            x, at = (F.relu(x), at + 3) if relu else (x, at + 2)
        return x

    x = F.relu(norm(state, "first_conv.1", F.conv2d(x, state["first_conv.0.weight"], None, 2, 1)))
    for i, into, out, stride in spos_blocks():
        path, branches = f"features.{i}.{arch[i]}", spos_branches(arch[i], into, out, stride)
        even, odd = (x, x) if stride == 2 else (x[:, 0::2], x[:, 1::2])
        if stride == 2:
            even = branch(f"{path}.branch_proj", branches["branch_proj"], 2, even)
        x = torch.cat([even, branch(f"{path}.branch_main", branches["branch_main"], stride, odd)], 1)
    x = F.relu(norm(state, "conv_last.1", F.conv2d(x, state["conv_last.0.weight"])))
    return x.mean((2, 3)) @ state["classifier.0.weight"].T


def test_the_published_supernet_of_spos_loads_by_its_own_names_without_the_wrapper() -> None:
    preset, state = SPOS(), spos_state()
    supernet = preset.supernet().eval()
    assert len(state) == 1337
    assert state.keys() == supernet.largest.state_dict().keys()
    load_reference(
        preset, supernet, {"state_dict": {f"module.{name}": value for name, value in state.items()}}
    )
    searched = [2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3]
    for arch in (searched, [3] * 20):
        with torch.no_grad():
            ours = supernet(images(64), preset.from_reference({"arch": arch}))
            torch.testing.assert_close(ours, spos_forward(state, arch, images(64)), rtol=1e-4, atol=1e-4)
