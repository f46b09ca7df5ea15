"""ProxylessNAS' candidates (Cai et al., arXiv:1812.00332): every block holds six convolutions, one is kept.

Candidates are timm's inverted residuals with weights of their own. Where a block keeps shape and
resolution it may be left out (the reference's ``Zero`` beside an identity shortcut).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from timm.models._efficientnet_blocks import InvertedResidual
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.efficientnet import EfficientNet
from torch import nn

from supernet.elastic.plan import Plan
from supernet.presets.candidates import OneOf
from supernet.presets.ofa import initialise
from supernet.presets.preset import Built, asked, presets
from supernet.presets.wiring import Wiring
from supernet.space import Architecture, Choice, SearchSpace

SKIP = "Zero"


@presets.register("proxylessnas")
@dataclass(frozen=True)
class ProxylessNAS(Built):
    """Twenty-one mixed blocks, fifteen of which may be left out: 6^6 * 7^15 = 2.2e17 subnets.

    Args:
        widths: channels per stage.
        cells: blocks per stage.
        strides: of the first block of each stage.
        kernels: of the candidates.
        expands: of the candidates.
        classes: of the classifier.
        dropout: before the classifier.
    """

    widths: tuple[int, ...] = (24, 40, 80, 96, 192, 320)
    cells: tuple[int, ...] = (4, 4, 4, 4, 4, 1)
    strides: tuple[int, ...] = (2, 2, 2, 1, 2, 1)
    kernels: tuple[int, ...] = (3, 5, 7)
    expands: tuple[int, ...] = (3, 6)
    classes: int = 1000
    dropout: float = 0.0

    @cached_property
    def candidates(self) -> tuple[str, ...]:
        """Names of the convolutions, as the reference writes them."""
        return tuple(
            f"{kernel}x{kernel}_MBConv{expand}" for expand in self.expands for kernel in self.kernels
        )

    def _blocks(self) -> Iterator[tuple[str, int, int, int]]:
        """Path, input channels, output channels and stride of every mixed block."""
        into = 16
        for i, (width, cells, stride) in enumerate(zip(self.widths, self.cells, self.strides)):
            for j in range(cells):
                yield f"blocks.{i + 1}.{j}", into, width, 1 if j else stride
                into = width

    @cached_property
    def space(self) -> SearchSpace:
        """One operation per block."""
        return SearchSpace(
            tuple(
                Choice(path, (SKIP, *self.candidates) if stride == 1 and into == out else self.candidates)
                for path, into, out, stride in self._blocks()
            )
        )

    def network(self) -> nn.Module:
        """The largest network, freshly initialised: convolutions normal by their fan-out."""
        norm = partial(nn.BatchNorm2d, eps=1e-3)
        stages = [["ds_r1_k3_s1_c16_noskip"]]
        stages += [
            [f"ir_r{cells}_k3_s{stride}_e1_c{width}"]
            for width, cells, stride in zip(self.widths, self.cells, self.strides)
        ]
        network: nn.Module = EfficientNet(
            decode_arch_def(stages),
            num_classes=self.classes,
            in_chans=self.channels,
            stem_size=32,
            num_features=1280,
            act_layer=nn.ReLU6,
            norm_layer=norm,
            drop_rate=self.dropout,
        )
        for path, into, out, stride in self._blocks():
            network.set_submodule(
                path,
                OneOf(
                    *(
                        InvertedResidual(
                            into, out, kernel, stride, exp_ratio=expand, act_layer=nn.ReLU6, norm_layer=norm
                        )
                        for expand in self.expands
                        for kernel in self.kernels
                    )
                ),
            )
        initialise(network)
        return network

    def plan(self, network: nn.Module) -> Plan:
        """One candidate per block, or none."""
        wiring = Wiring(network, self.space)
        for path, *_ in self._blocks():
            wiring.one_of(path, path, self.candidates)
        return wiring.plan()

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of ``{"ops": ["3x3_MBConv3", ..., "Zero"]}``, one per block.

        Raises:
            ArchitectureError: for a missing key, a list of another length or an unknown operation.
        """
        operations = asked(config, "ops", len(self.space))
        return self.space.encode({choice.name: op for choice, op in zip(self.space.choices, operations)})

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """``{"ops": [...]}``."""
        return {"ops": list(self.space.decode(arch).values())}
