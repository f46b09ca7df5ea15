"""Single-Path NAS (Stamoulis et al., arXiv:1904.02877): one superkernel per block holds all candidates.

The 3x3 kernel is the centre of the 5x5 one, and the block with expand ratio 3 is its first half of
the channels; so the space is a slicing plan and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from timm.models._efficientnet_builder import decode_arch_def
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.elastic.plan import Plan
from supernet.errors import ArchitectureError
from supernet.presets.ofa import initialise
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import PlannedPreset, asked, presets
from supernet.space import Architecture, Choice, SearchSpace

STAGES = ((24, 2), (40, 2), (80, 2), (96, 1), (192, 2))
BLOCKS = 4
SKIP = "skip"


class SameConv2d(nn.Conv2d):
    """A convolution of stride 2 and an odd kernel that pads like TensorFlow's ``same``.

    As many zeros as make the output half as large, rounded up; of an image of even side one less
    before than behind. timm's own layer asks for the sizes of kernel and image in a way that
    `torch.compile` takes minutes to reason about.
    """

    @classmethod
    def like(cls, conv: nn.Module) -> SameConv2d:
        """The same convolution of this class, with weights of its own."""
        assert isinstance(conv, nn.Conv2d) and conv.stride == (2, 2)
        kernel, bias = conv.kernel_size[0], conv.bias is not None
        return cls(conv.in_channels, conv.out_channels, kernel, 2, kernel // 2, groups=conv.groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images ``(batch, channels, height, width)`` to half their sides."""
        behind, below = int(self.padding[1]), int(self.padding[0])
        before, above = behind - 1 + x.shape[-1] % 2, below - 1 + x.shape[-2] % 2
        padded = F.pad(x, (before, behind, above, below))
        return F.conv2d(padded, self.weight, self.bias, self.stride, groups=self.groups)


@presets.register("single_path")
@dataclass(frozen=True)
class SinglePath(PlannedPreset):
    """Twenty superkernels, fifteen of which may be left out: 4^5 * 5^15 = 3.1e13 subnets.

    The reference masks the channels it drops; we slice them, which is the network its result stands
    for. Its own decoder swaps ``3x3-6`` and ``5x5-3`` for other blocks; ours does not.

    Args:
        kernels: of the depth-wise convolutions.
        expands: ratios of a block's hidden width to its input.
        classes: of the classifier.
        dropout: before the classifier.
    """

    kernels: tuple[int, ...] = (3, 5)
    expands: tuple[int, ...] = (3, 6)
    classes: int = 1000
    dropout: float = 0.2

    def _blocks(self) -> Iterator[tuple[str, bool]]:
        """Path of every block and whether it may be left out."""
        for i in range(len(STAGES)):
            yield from ((f"blocks.{i + 1}.{j}", j > 0) for j in range(BLOCKS))

    @cached_property
    def space(self) -> SearchSpace:
        """Per block whether it is there, its kernel and its expand ratio."""
        choices: list[Choice] = []
        for path, optional in self._blocks():
            if optional:
                choices.append(Choice(f"{path}.present", (0, 1)))
            needs = (f"{path}.present", (1,)) if optional else None
            choices.append(Choice(f"{path}.kernel", self.kernels, needs))
            choices.append(Choice(f"{path}.expand", self.expands, needs))
        return SearchSpace(tuple(choices))

    def network(self) -> nn.Module:
        """The largest network, freshly initialised by the fan-out of its layers, as the reference does.

        Where it strides it pads like TensorFlow, whose ``same`` puts the odd pixel at the end.
        """
        shape = f"r{BLOCKS}_k{self.kernels[-1]}_e{self.expands[-1]}"
        stages = [["ds_r1_k3_s1_c16_noskip"]]
        stages += [[f"ir_{shape}_s{stride}_c{width}"] for width, stride in STAGES]
        stages += [["ir_r1_k3_s1_e6_c320_noskip"]]
        network: nn.Module = EfficientNet(
            decode_arch_def(stages),
            num_classes=self.classes,
            in_chans=self.channels,
            stem_size=32,
            num_features=1280,
            act_layer=nn.ReLU,
            norm_layer=partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01),
            drop_rate=self.dropout,
        )
        strided = [f"blocks.{i + 1}.0.conv_dw" for i, (_, stride) in enumerate(STAGES) if stride > 1]
        for path in ("conv_stem", *strided):
            network.set_submodule(path, SameConv2d.like(network.get_submodule(path)))
        initialise(network, linear="out", per_group=True)
        return network

    def plan(self, network: nn.Module) -> Plan:
        """Kernels, hidden widths and the blocks that may be left out."""
        wiring = PlanBuilder(network, self.space)
        for path, optional in self._blocks():
            into = network.get_parameter(f"{path}.conv_pw.weight").shape[1]
            hidden = wiring.dim(f"{path}.hidden", [f"{path}.expand"], partial(int.__mul__, into), "hidden")
            kernel = wiring.dim(f"{path}.kernel", [f"{path}.kernel"], int, "kernel")
            wiring.inverted_residual(path, hidden, kernel)
            if optional:
                wiring.switch(path, f"{path}.present", [f"{path}.present"], bool)
        return wiring.plan()

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of ``{"blocks": ["3x3-6", "5x5-3", "skip", ...]}``: kernel and expand ratio.

        Raises:
            ArchitectureError: for a missing key, a list of another length or a block that can not be.
        """
        values: dict[str, Any] = {}
        for (path, optional), block in zip(self._blocks(), asked(config, "blocks", len(STAGES) * BLOCKS)):
            if optional:
                values[f"{path}.present"] = int(block != SKIP)
            if block == SKIP and optional:
                continue
            written = re.fullmatch(r"(\d+)x\1-(\d+)", str(block))
            if written is None:
                raise ArchitectureError(
                    f"{path!r} was asked to be {block!r}; it can be like '3x3-6' or '5x5-3'"
                    + (f", or {SKIP!r}" if optional else "; the first block of a stage can not be left out")
                )
            values |= {f"{path}.kernel": int(written[1]), f"{path}.expand": int(written[2])}
        return self.space.encode(values)

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """``{"blocks": [...]}``."""
        values = self.space.decode(arch)

        def written(path: str) -> str:
            """One block in the reference's words: ``5x5-6``, or that it is skipped."""
            kernel = values.get(f"{path}.kernel")
            return f"{kernel}x{kernel}-{values[f'{path}.expand']}" if kernel else SKIP

        return {"blocks": [written(path) for path, _ in self._blocks()]}
