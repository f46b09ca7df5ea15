"""Single Path One-Shot's supernet (Guo et al., arXiv:1904.00420): ShuffleNetV2 blocks, four candidates each.

A choice block holds candidates of which an architecture keeps one; cut out, it is a sequence of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from supernet.elastic.plan import Plan
from supernet.presets.candidates import OneOf
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import PlannedPreset, asked, presets
from supernet.space import Architecture, Choice, SearchSpace

OPERATIONS = ("shuffle3", "shuffle5", "shuffle7", "xception")


class ShuffleUnit(nn.Module):
    """Half of the channels pass (through a projection when striding), the rest goes through the branch.

    With stride 1 the input's even channels pass and its odd ones are worked on, which shuffles the
    halves of the unit before.
    """

    def __init__(self, branch_main: nn.Module, branch_proj: nn.Module | None) -> None:
        super().__init__()
        self.branch_main = branch_main
        self.branch_proj = branch_proj

    def forward(self, x: Tensor) -> Tensor:
        """Half of the channels through the block, the other half past it or through the projection."""
        if self.branch_proj is not None:
            return torch.cat([self.branch_proj(x), self.branch_main(x)], 1)
        return torch.cat([x[:, ::2], self.branch_main(x[:, 1::2])], 1)


@presets.register("spos")
@dataclass(frozen=True)
class SPOS(PlannedPreset):
    """Twenty choice blocks of four candidates: 1.1e12 subnets.

    The reference takes BGR images of 0 to 255 without normalisation. Its last pooling is fixed to
    224 px; ours adapts to other sizes and is the same there. Its search over channels was never
    released: ``scales`` follows the paper's description, a prefix of the widest hidden layer.

    Args:
        repeats: blocks per stage; the first of each halves the resolution.
        widths: channels per stage.
        scales: hidden width over half the output's, per block; one value is no choice.
        classes: of the classifier.
        affine: whether batch norms scale and shift; off while searching, on to train one subnet.
        dropout: before the classifier.
    """

    repeats: tuple[int, ...] = (4, 4, 8, 4)
    widths: tuple[int, ...] = (64, 160, 320, 640)
    scales: tuple[float, ...] = (1.0,)
    classes: int = 1000
    affine: bool = False
    dropout: float = 0.1

    @cached_property
    def space(self) -> SearchSpace:
        """One of four operations per block, and a scale where there are several."""
        choices = []
        for i in range(sum(self.repeats)):
            choices.append(Choice(f"features.{i}.operation", OPERATIONS))
            if len(self.scales) > 1:
                choices.append(Choice(f"features.{i}.scale", self.scales))
        return SearchSpace(tuple(choices))

    def network(self) -> nn.Module:
        """The largest network: normal weights, of deviation 1 over the input channels, 0.01 in the stem."""
        network = nn.Sequential()
        network.add_module("first_conv", self._unit(self.channels, 16, 3, 2))
        features = [OneOf(*self._candidates(*shape)) for shape in self._shapes()]
        network.add_module("features", nn.Sequential(*features))
        network.add_module("conv_last", self._unit(self.widths[-1], 1024))
        network.add_module("globalpool", nn.AdaptiveAvgPool2d(1))
        network.add_module("flatten", nn.Flatten())
        network.add_module("dropout", nn.Dropout(self.dropout))
        network.add_module("classifier", nn.Sequential(nn.Linear(1024, self.classes, bias=False)))
        self._initialise(network)
        return network

    def plan(self, network: nn.Module) -> Plan:
        """One candidate per block, and a prefix of its hidden layers."""
        wiring = PlanBuilder(network, self.space)
        for i, shape in enumerate(self._shapes()):
            wiring.one_of(f"features.{i}", f"features.{i}.operation", OPERATIONS)
            if len(self.scales) > 1:
                self._scale(wiring, i, shape[1])
        return wiring.plan()

    def _shapes(self) -> Iterator[tuple[int, int, int]]:
        """Input channels, output channels and stride of every block."""
        into = 16
        for repeat, width in zip(self.repeats, self.widths):
            for j in range(repeat):
                yield into, width, 1 if j else 2
                into = width

    def _norm(self, channels: int) -> nn.Module:
        return nn.BatchNorm2d(channels, affine=self.affine)

    def _unit(self, into: int, out: int, kernel: int = 1, stride: int = 1) -> nn.Sequential:
        conv = nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=False)
        return nn.Sequential(conv, self._norm(out), nn.ReLU(inplace=True))

    def _depthwise(self, channels: int, kernel: int, stride: int) -> nn.Sequential:
        conv = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels, bias=False)
        return nn.Sequential(conv, self._norm(channels))

    def _candidates(self, into: int, out: int, stride: int) -> Iterator[nn.Module]:
        passing = into if stride == 2 else into // 2
        hidden, rest = int(out // 2 * self.scales[-1]), out - passing
        for kernel in (3, 5, 7):
            main = [
                self._unit(passing, hidden),
                self._depthwise(hidden, kernel, stride),
                self._unit(hidden, rest),
            ]
            yield ShuffleUnit(flat(main), self._projection(into, kernel) if stride == 2 else None)
        xception = [
            *(self._depthwise(passing, 3, stride), self._unit(passing, hidden)),
            *(self._depthwise(hidden, 3, 1), self._unit(hidden, hidden)),
            *(self._depthwise(hidden, 3, 1), self._unit(hidden, rest)),
        ]
        yield ShuffleUnit(flat(xception), self._projection(into, 3) if stride == 2 else None)

    def _projection(self, channels: int, kernel: int) -> nn.Sequential:
        return flat([self._depthwise(channels, kernel, 2), self._unit(channels, channels)])

    def _scale(self, wiring: PlanBuilder, i: int, out: int) -> None:
        """A prefix of the hidden layers; positions as `_candidates` lays them out."""
        width = wiring.dim(
            f"features.{i}.hidden", [f"features.{i}.scale"], lambda scale: int(out // 2 * scale), "hidden"
        )
        for k in range(3):
            main = f"features.{i}.{k}.branch_main"
            wiring.layer(f"{main}.0", width)
            wiring.depthwise(f"{main}.3", width)
            wiring.layer(f"{main}.5", None, width)
            for norm in (1, 4):
                wiring.norm(f"{main}.{norm}", width)
        main = f"features.{i}.3.branch_main"
        wiring.layer(f"{main}.2", width)
        wiring.layer(f"{main}.7", width, width)
        wiring.layer(f"{main}.12", None, width)
        for conv in (5, 10):
            wiring.depthwise(f"{main}.{conv}", width)
        for norm in (3, 6, 8, 11):
            wiring.norm(f"{main}.{norm}", width)

    def _initialise(self, network: nn.Module) -> None:
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d):
                deviation = 0.01 if name.startswith("first_conv") else 1 / module.weight.shape[1]
                nn.init.normal_(module.weight, 0, deviation)
            elif isinstance(module, nn.BatchNorm2d) and self.affine:
                nn.init.constant_(module.bias, 1e-4)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of ``{"arch": [operation ids 0 to 3]}``, with ``"scales"`` when they are a choice.

        Raises:
            ArchitectureError: for a missing key, a list of another length or a value outside the space.
        """
        blocks = sum(self.repeats)
        values: dict[str, Any] = {}
        for i, operation in enumerate(asked(config, "arch", blocks)):
            values[f"features.{i}.operation"] = dict(enumerate(OPERATIONS)).get(operation, operation)
        if len(self.scales) > 1:
            scales = asked(config, "scales", blocks)
            values |= {f"features.{i}.scale": scale for i, scale in enumerate(scales)}
        return self.space.encode(values)

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """``{"arch": [operation ids]}``, with ``"scales"`` when they are a choice."""
        values = self.space.decode(arch)
        blocks = range(sum(self.repeats))
        operations = [OPERATIONS.index(str(values[f"features.{i}.operation"])) for i in blocks]
        scales = [values[f"features.{i}.scale"] for i in blocks] if len(self.scales) > 1 else None
        return {"arch": operations} | ({"scales": scales} if scales else {})

    def rename(self, name: str) -> str | None:
        """The tensor's name here, which is the reference's."""
        return name


def flat(parts: list[nn.Sequential]) -> nn.Sequential:
    """One sequence of all the layers."""
    return nn.Sequential(*(layer for part in parts for layer in part))
