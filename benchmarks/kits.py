"""Reference kits: weights, inputs and the outputs a reference implementation computed from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.noise import noise, weight
from supernet.elastic.supernet import Supernet
from supernet.presets.attentivenas import AttentiveNAS
from supernet.presets.autoformer import AutoFormerTiny, PreNASTiny
from supernet.presets.ofa import OFAMobileNetV3, OFAProxyless
from supernet.presets.ofa_resnet import OFAResNet50D
from supernet.presets.published import Loadable, load_reference

REFERENCES = Path(__file__).parent / "references"
"""What `benchmarks.references` wrote: small, and part of the repository."""
Arrays = dict[str, NDArray[Any]]
HEAD = 64
"""Pixels per side of every kit's main input."""


@dataclass
class Kit:
    """One reference supernet with its weights loaded.

    Args:
        name: of its file.
        space: what the kit calls it.
        preset: the preset that claims to be it.
        supernet: with the kit's weights, in evaluation mode.
        cases: architectures with what the reference computed.
        arrays: everything else: inputs, gradients, statistics.
        meta: the kit's own description.
    """

    name: str
    space: str
    preset: Loadable
    supernet: Supernet
    cases: list[Case] = field(default_factory=list)
    arrays: Arrays = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)

    def images(self, name: str) -> Tensor:
        """An input by name, as float32."""
        return torch.from_numpy(self.arrays[name].astype(np.float32))

    def add(self, path: Path) -> None:
        """Architectures of the same weights and inputs, with their outputs, from another file."""
        arrays, meta = read(path)
        self.cases += cases(meta["archs"], arrays)


@dataclass(frozen=True)
class Case:
    """One architecture in the reference's words, and its row of every array."""

    config: dict[str, Any]
    expected: Arrays


def read(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of a kit, and its description: inside it, or the JSON file of the same name."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    if "meta" in arrays:
        return arrays, json.loads(bytes(arrays.pop("meta")).decode())
    return arrays, json.loads(path.with_suffix(".json").read_text())


def cases(configs: Sequence[dict[str, Any]], arrays: Arrays) -> list[Case]:
    """Each architecture with its rows of the arrays that have one row per architecture."""
    whole = (
        "out_x64",
        "out_x96",
        "out_x75",
        "out_eval",
        "out_train",
        "out_calibrated",
        "table",
        "y",
        "params",
    )
    named = {name: arrays[name] for name in (*whole, "gradnorm") if name in arrays}
    return [
        Case(config, {name: array[i] for name, array in named.items()}) for i, config in enumerate(configs)
    ]


def load(path: Path) -> Kit:
    """The kit in a file, with the weights in its preset's supernet."""
    arrays, meta = read(path)
    # A transformer kit describes its space; the others name it.
    space = meta["space"] if isinstance(meta["space"], str) else "autoformer"
    preset = PRESETS[space](meta, path)
    supernet = preset.supernet().eval()
    # The references of this repository say what their tensors were called; the numbers are noise.
    arrays |= {name: noise(name, shape) for name, shape in meta.get("inputs", {}).items()}
    state = {name: weight(name, shape) for name, shape in meta.get("state", {}).items()}
    load_reference(preset, supernet, weights(arrays) | state)
    return Kit(path.stem, space, preset, supernet, cases(meta["archs"], arrays), arrays, meta)


def weights(arrays: Arrays) -> dict[str, Tensor]:
    """The reference's ``state_dict``: levels times scales, float32 as it is, or float16."""
    state: dict[str, Tensor] = {}
    for name, value in arrays.items():
        if name.startswith("w/"):
            state[name[2:]] = torch.from_numpy(value.astype(np.float32) * arrays[f"s/{name[2:]}"])
        elif name.startswith("f/"):
            state[name[2:]] = torch.from_numpy(value)
        elif name.startswith("w."):
            state[name[2:]] = torch.from_numpy(value.astype(np.float32))
    return state


def _ofa(preset: type[OFAMobileNetV3 | OFAProxyless]) -> Callable[[Mapping[str, Any], Path], Loadable]:
    def make(meta: Mapping[str, Any], _: Path) -> Loadable:
        built = meta["constructor"]
        return preset(
            width=built["width_mult"],
            kernels=tuple(built["ks_list"]),
            expands=tuple(built["expand_ratio_list"]),
            depths=tuple(built["depth_list"]),
            classes=built["n_classes"],
            dropout=built["dropout_rate"],
        )

    return make


def _resnet(meta: Mapping[str, Any], _: Path) -> Loadable:
    built = meta["constructor"]
    return OFAResNet50D(
        stage_widths=tuple(meta["stage_width_list"]),
        base_depths=tuple(meta["base_depth_list"]),
        extra=tuple(built["depth_list"]),
        expands=tuple(built["expand_ratio_list"]),
        widths=tuple(built["width_mult_list"]),
        classes=built["n_classes"],
        dropout=built["dropout_rate"],
    )


def _attentive(meta: Mapping[str, Any], _: Path) -> Loadable:
    # The kit runs at 64 px; its table also counts at the resolutions of the published space.
    resolutions = (HEAD, *meta["supernet_config"]["resolutions"])
    return AttentiveNAS(resolutions=resolutions, classes=meta["n_classes"], dropout=0.0)


def _autoformer(meta: Mapping[str, Any], path: Path) -> Loadable:
    built, space = meta["kwargs"], meta["space"]
    preset = PreNASTiny if path.stem.startswith("prenas") else AutoFormerTiny
    return preset(
        embed_dim=built["embed_dim"],
        heads=built["num_heads"],
        mlp_ratio=built["mlp_ratio"],
        embed_dims=tuple(space["embed_dim"]),
        head_counts=tuple(space["num_heads"]),
        mlp_ratios=tuple(space["mlp_ratio"]),
        depths=tuple(space["depth"]),
        classes=built["num_classes"],
        resolution=built["img_size"],
        patch=built["patch_size"],
        reach=built["max_relative_position"],
        drop_path=0.0,
    )


PRESETS: dict[str, Callable[[Mapping[str, Any], Path], Loadable]] = {
    "ofa_mbv3": _ofa(OFAMobileNetV3),
    "ofa_proxyless": _ofa(OFAProxyless),
    "ofa_resnet": _resnet,
    "attentivenas": _attentive,
    "autoformer": _autoformer,
}
