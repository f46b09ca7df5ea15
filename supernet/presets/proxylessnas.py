"""ProxylessNAS' candidates (Cai et al., arXiv:1812.00332): every block holds six convolutions, one is kept.

Candidates are timm's inverted residuals with weights of their own. Where a block keeps shape and
resolution it may be left out (the reference's ``Zero`` beside an identity shortcut). The published
networks were searched in spaces of other widths; `ProxylessNAS.for_network` reads theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar, Self

from timm.models._efficientnet_blocks import InvertedResidual
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.efficientnet import EfficientNet
from torch import nn

from supernet.elastic.plan import Plan
from supernet.errors import ArchitectureError
from supernet.presets.candidates import OneOf
from supernet.presets.ofa import ENDS, FIRST_BLOCK, LAYERS, initialise
from supernet.presets.plan_builder import PlanBuilder
from supernet.presets.preset import PlannedPreset, asked, presets
from supernet.space import Architecture, Choice, SearchSpace

SKIP = "Zero"
EPS = 1e-3
SHAPE = ("stem", "first", "widths", "cells", "strides", "features")
"""Options that a published network fixes."""
KEYS = frozenset({"in_channels", "out_channels", "kernel_size", "stride", "expand_ratio"})
"""What its description says of an inverted convolution."""


@presets.register("proxylessnas")
@dataclass(frozen=True)
class ProxylessNAS(PlannedPreset):
    """Twenty-one mixed blocks, fifteen of which may be left out: 6^6 * 7^15 = 2.2e17 subnets.

    Args:
        widths: channels per stage.
        cells: blocks per stage.
        strides: of the first block of each stage.
        kernels: of the candidates.
        expands: of the candidates.
        classes: of the classifier.
        dropout: before the classifier.
        stem: channels of the first convolution.
        first: channels of the fixed block behind it.
        features: channels before the classifier.
    """

    instead: ClassVar[str] = "its searched networks were, see load_searched and ProxylessNAS.for_network"

    widths: tuple[int, ...] = (24, 40, 80, 96, 192, 320)
    cells: tuple[int, ...] = (4, 4, 4, 4, 4, 1)
    strides: tuple[int, ...] = (2, 2, 2, 1, 2, 1)
    kernels: tuple[int, ...] = (3, 5, 7)
    expands: tuple[int, ...] = (3, 6)
    classes: int = 1000
    dropout: float = 0.0
    stem: int = 32
    first: int = 16
    features: int = 1280

    @classmethod
    def for_network(cls, config: Mapping[str, Any], **options: Any) -> Self:
        """The preset in which a published network lies: ``{"name": "ProxylessNASNets", "blocks": [...], ...}``.

        Args:
            config: the JSON file beside its weights.
            options: fields of the preset that it does not fix, e.g. ``resolution``.

        Raises:
            ArchitectureError: for a dictionary of another form.
        """
        stages = _stages(config)
        heads = [next(layer for layer in stage if layer is not None) for stage in stages[1:]]
        classes = asked(asked(config, "classifier"), "out_features")
        dropout = config["classifier"].get("dropout_rate") or 0.0
        return cls(
            widths=tuple(layer["out_channels"] for layer in heads),
            cells=tuple(map(len, stages[1:])),
            strides=tuple(layer["stride"] for layer in heads),
            stem=asked(asked(config, "first_conv"), "out_channels"),
            first=_first(stages)["out_channels"],
            features=asked(asked(config, "feature_mix_layer"), "out_channels"),
            **{"classes": classes, "dropout": dropout} | options,
        )

    @cached_property
    def candidates(self) -> tuple[str, ...]:
        """Names of the convolutions, as the reference writes them."""
        return tuple(
            f"{kernel}x{kernel}_MBConv{expand}" for expand in self.expands for kernel in self.kernels
        )

    def _blocks(self) -> Iterator[tuple[str, int, int, int]]:
        """Path, input channels, output channels and stride of every mixed block."""
        into = self.first
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
        norm = partial(nn.BatchNorm2d, eps=EPS)
        stages = [[f"ds_r1_k3_s1_c{self.first}_noskip"]]
        stages += [
            [f"ir_r{cells}_k3_s{stride}_e1_c{width}"]
            for width, cells, stride in zip(self.widths, self.cells, self.strides)
        ]
        network: nn.Module = EfficientNet(
            decode_arch_def(stages),
            num_classes=self.classes,
            in_chans=self.channels,
            stem_size=self.stem,
            num_features=self.features,
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
        wiring = PlanBuilder(network, self.space)
        for path, *_ in self._blocks():
            wiring.one_of(path, path, self.candidates)
        return wiring.plan()

    def from_reference(self, config: Mapping[str, Any]) -> Architecture:
        """The architecture of ``{"ops": ["3x3_MBConv3", ..., "Zero"]}``, one per block, or of a published network.

        Raises:
            ArchitectureError: for a missing key, a list of another length or an unknown operation; for a
                network that is not of this preset's widths.
        """
        if "blocks" in config and "ops" not in config:
            return self.from_reference({"ops": self._operations(config)})
        operations = asked(config, "ops", len(self.space))
        return self.space.encode({choice.name: op for choice, op in zip(self.space.choices, operations)})

    def _operations(self, config: Mapping[str, Any]) -> list[str]:
        """What a published network holds in each mixed block."""
        its = type(self).for_network(config)
        for field in SHAPE:
            if getattr(its, field) != getattr(self, field):
                raise ArchitectureError(
                    f"the network has {field} {getattr(its, field)}, this preset {getattr(self, field)}; "
                    f"{type(self).__name__}.for_network(config) makes the preset it lies in"
                )
        return [_operation(layer) for stage in _stages(config)[1:] for layer in stage]

    def to_reference(self, arch: Architecture) -> dict[str, Any]:
        """``{"ops": [...]}``."""
        return {"ops": list(self.space.decode(arch).values())}

    def rename_searched(self, name: str, arch: Architecture) -> str | None:
        """The tensor's name in the cut-out network, where every block holds one candidate."""
        if found := re.fullmatch(r"blocks\.(\d+)\.mobile_inverted_conv\.(.+)\.(\w+)", name):
            block, layer, tensor = int(found[1]), found[2], found[3]
            if block == 0:
                return f"blocks.0.0.{FIRST_BLOCK.get(layer, layer)}.{tensor}"
            paths = [path for path, *_ in self._blocks()]
            path = paths[block - 1] if block <= len(paths) else f"blocks.{block}"
            return f"{path}.0.{LAYERS.get(layer, layer)}.{tensor}"
        owner, _, tensor = name.rpartition(".")
        return f"{ENDS.get(owner, owner)}.{tensor}"


Layer = Mapping[str, Any]


def _stages(config: Mapping[str, Any]) -> list[list[Layer | None]]:
    """The inverted convolutions of a published network by stage, None where a block was left out.

    Raises:
        ArchitectureError: for a dictionary of another form, or a layer that no candidate is like.
    """
    eps = config.get("bn", {}).get("eps", EPS)
    if eps != EPS:
        raise ArchitectureError(f"the network's batch norms have eps {eps}; those of this space have {EPS}")
    stages: list[list[Layer | None]] = []
    for k, block in enumerate(asked(config, "blocks")):
        layer, shortcut = asked(block, "mobile_inverted_conv"), block.get("shortcut")
        has_shortcut = shortcut is not None and shortcut.get("name") != "ZeroLayer"
        if layer.get("name") == "ZeroLayer" and has_shortcut and stages:
            stages[-1].append(None)
            continue
        keeps = layer.get("stride") == 1 and layer.get("in_channels") == layer.get("out_channels")
        if not _is_candidate(layer) or has_shortcut != (keeps and k > 0):
            raise ArchitectureError(
                f"block {k} is {dict(block)}; it can be an MBInvertedConvLayer of ReLU6 without squeeze, with a "
                f"shortcut where it keeps the shape and none elsewhere, or a ZeroLayer beside a shortcut"
            )
        if has_shortcut:
            stages[-1].append(layer)
        else:
            stages.append([layer])
    _first(stages)
    return stages


def _operation(layer: Layer | None) -> str:
    if layer is None:
        return SKIP
    return f"{layer['kernel_size']}x{layer['kernel_size']}_MBConv{layer['expand_ratio']}"


def _is_candidate(layer: Layer) -> bool:
    plain = (
        layer.get("act_func", "relu6") == "relu6"
        and not layer.get("use_se")
        and not layer.get("mid_channels")
    )
    return layer.get("name") == "MBInvertedConvLayer" and layer.keys() >= KEYS and plain


def _first(stages: Sequence[Sequence[Layer | None]]) -> Layer:
    """The fixed block before the stages."""
    layer = stages[0][0] if stages and len(stages[0]) == 1 else None
    if layer is None or (layer["kernel_size"], layer["stride"], layer["expand_ratio"]) != (3, 1, 1):
        raise ArchitectureError(
            f"block 0 is {layer}; it has to be a 3x3_MBConv1 of stride 1, alone in its stage"
        )
    return layer
