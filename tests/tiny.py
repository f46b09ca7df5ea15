"""A small elastic network for tests: timm's own MobileNetV3 blocks and a plan written by hand."""

from __future__ import annotations

import numpy as np
import torch
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.mobilenetv3 import MobileNetV3
from torch import Tensor, nn

from supernet.elastic.layout import AxisLayout, Kernel
from supernet.elastic.plan import Dim, Plan, SizeAttribute
from supernet.elastic.slicing import named_tensors
from supernet.elastic.supernet import Supernet
from supernet.space import Choice, SearchSpace

STAGES = [["ds_r1_k3_s1_c8"], ["ir_r2_k5_s2_e4_c12_se0.25"], ["ir_r2_k5_s2_e4_c16"]]


def tiny_supernet(seed: int = 0, example: tuple[int, ...] | None = None) -> Supernet:
    """Three channels, 32 px, ten classes, 1,764 subnets: elastic width, kernel and depth.

    Statistics, affine parameters and biases are random, so that a wrong fold or a forgotten tensor shows.

    Args:
        example: shape of its input, where it is to know its costs and stages.
    """
    torch.manual_seed(seed)
    largest = MobileNetV3(
        decode_arch_def(STAGES), num_classes=10, stem_size=8, num_features=32, act_layer=nn.Hardswish
    )
    for name, tensor in named_tensors(largest):
        if name.endswith(("bias", "running_mean")):
            nn.init.normal_(tensor, 0, 0.1)
        elif tensor.dim() == 1:
            nn.init.uniform_(tensor, 0.5, 1.5)
    return Supernet(largest.eval(), tiny_plan(largest), example=example)


def tiny_images(batch: int = 2, seed: int = 0) -> Tensor:
    """Random images ``(batch, 3, 32, 32)``."""
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def tiny_plan(largest: nn.Module) -> Plan:
    """Of every inverted residual: expand width in three sizes, kernel 3 or 5, and whether it is there."""
    choices: list[Choice] = []
    dims: dict[str, Dim] = {}
    layouts: dict[str, tuple[AxisLayout | None, ...]] = {}
    kernels: dict[str, Kernel] = {}
    switches: dict[str, str] = {}
    size_attributes: list[SizeAttribute] = []

    def add(name: str, values: tuple[int, ...], kind: str, needs: tuple[str, tuple[int, ...]] | None) -> None:
        choices.append(Choice(name, values, needs))
        dims[name] = Dim(name, values[-1], (name,), np.array(values), kind)

    for path, block in largest.named_modules():
        if type(block).__name__ != "InvertedResidual":
            continue
        wide, kernel = block.conv_pw.out_channels, block.conv_dw.kernel_size[0]
        needs = None
        if block.has_skip:
            add(f"{path}.present", (0, 1), "present", None)
            switches[path], needs = f"{path}.present", (f"{path}.present", (1,))
        width = f"{path}.width"
        add(width, (wide // 2, wide * 3 // 4, wide), "hidden", needs)
        add(f"{path}.kernel", (3, kernel), "kernel", needs)
        layout = AxisLayout.of((width,))
        layouts |= {f"{path}.{name}.weight": (layout,) for name in ("conv_pw", "conv_dw")}
        for norm in (f"{path}.bn1", f"{path}.bn2"):
            layouts |= {f"{norm}.{x}": (layout,) for x in ("weight", "bias", "running_mean", "running_var")}
        layouts[f"{path}.conv_pwl.weight"] = (None, layout)
        if hasattr(block.se, "conv_reduce"):
            layouts[f"{path}.se.conv_reduce.weight"] = (None, layout)
            layouts |= {f"{path}.se.conv_expand.{x}": (layout,) for x in ("weight", "bias")}
        kernels[f"{path}.conv_dw.weight"] = Kernel(f"{path}.kernel")
        size_attributes.append(
            SizeAttribute(f"{path}.conv_dw", "groups", None, "weight", 0, wide, wide, 1, 1)
        )
        size_attributes += [
            SizeAttribute(f"{path}.conv_dw", "padding", i, "weight", 2 + i, kernel, kernel // 2, 1, 2)
            for i in (0, 1)
        ]
    return Plan(SearchSpace(tuple(choices)), dims, layouts, kernels, switches, tuple(size_attributes))
