"""Asks the references themselves: what their own code answers to weights and images of noise.

    pip install --no-deps --target DIR ofa              # once-for-all, MIT
    python -m benchmarks.references ofa --code DIR
    python -m benchmarks.references autoformer --code CHECKOUT/AutoFormer      # microsoft/Cream, MIT
    python -m benchmarks.references prenas --code CHECKOUT                     # tinyvision/PreNAS, Apache-2.0

Writes benchmarks/references/*.npz, which `benchmarks.parity` reads where nothing of this is installed.
They hold architectures, outputs and counts; weights and images are made again from their names
(`benchmarks.noise`). No code of a reference is part of this, and none of AttentiveNAS' outputs, whose
code may not be used commercially.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.kits import REFERENCES
from benchmarks.noise import noise, weight
from benchmarks.parity import macs, params

BATCH, CLASSES = 2, 10
OFA_SIDES = (64, 75)
"""An even and an odd side; what pads or rounds differs between them."""
RESNET_WIDTHS = (128, 192, 320, 512)
"""Of its stages, half of the published ones or less: 48 M weights of noise take seconds to make."""


@dataclass
class Reference:
    """What is asked of one reference, and in the end what it answered.

    Args:
        name: of the file.
        meta: what `benchmarks.kits` has to know to build the preset, and where this is from.
        archs: in the reference's own words.
        inputs: names and shapes of the images.
        arrays: one row per architecture each.
    """

    name: str
    meta: dict[str, Any]
    archs: list[dict[str, Any]]
    inputs: dict[str, tuple[int, ...]]
    arrays: dict[str, list[Any]] = field(default_factory=dict)

    def images(self, name: str) -> Tensor:
        """An input by name."""
        return torch.from_numpy(noise(name, self.inputs[name]))

    def add(self, **row: Any) -> None:
        """One more row, for the next architecture."""
        for name, value in row.items():
            self.arrays.setdefault(name, []).append(value)

    def write(self, folder: Path, network: nn.Module) -> Path:
        """Everything as a file; the network is asked for the names and shapes of its tensors only."""
        state = {name: list(value.shape) for name, value in network.state_dict().items()}
        meta = self.meta | {"archs": self.archs, "inputs": self.inputs, "state": state}
        meta["torch"] = torch.__version__
        text = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
        path = folder / f"{self.name}.npz"
        arrays: dict[str, Any] = {name: np.array(rows) for name, rows in self.arrays.items()}
        np.savez_compressed(path, meta=text, **arrays)
        return path


def fill(network: nn.Module) -> nn.Module:
    """The network with every tensor replaced by noise of its name, in evaluation mode."""
    network.load_state_dict({name: weight(name, value.shape) for name, value in network.state_dict().items()})
    return network.eval()


@torch.no_grad()
def once_for_all(count: int) -> Iterator[tuple[Reference, nn.Module]]:
    """The three supernets of once-for-all; the networks they cut out answer and are counted."""
    from ofa.imagenet_classification.elastic_nn import networks
    from ofa.imagenet_classification.networks import ResNets

    blocks = {"ks_list": [3, 5, 7], "expand_ratio_list": [3, 4, 6], "depth_list": [2, 3, 4]}
    widths = {
        "expand_ratio_list": [0.2, 0.25, 0.35],
        "depth_list": [0, 1, 2],
        "width_mult_list": [0.65, 0.8, 1.0],
    }
    kinds: dict[str, tuple[str, type[nn.Module], dict[str, Any], float]] = {
        "ofa_mobilenetv3": ("ofa_mbv3", networks.OFAMobileNetV3, blocks | {"width_mult": 1.0}, 1e-5),
        "ofa_proxyless": ("ofa_proxyless", networks.OFAProxylessNASNets, blocks | {"width_mult": 1.0}, 1e-3),
        "ofa_resnet50d": ("ofa_resnet", networks.OFAResNets, widths, 1e-5),
    }
    for name, (space, kind, choices, eps) in kinds.items():
        options = choices | {"n_classes": CLASSES, "dropout_rate": 0}
        ResNets.STAGE_WIDTH_LIST = list(RESNET_WIDTHS)
        network: Any = fill(kind(bn_param=(0.1, eps), **options))
        meta = {"space": space, "constructor": options, **source("mit-han-lab/once-for-all", "MIT")}
        if space == "ofa_resnet":
            meta |= {"stage_width_list": RESNET_WIDTHS, "base_depth_list": [2, 2, 4, 2]}
        inputs = {f"x{side}": (BATCH, 3, side, side) for side in OFA_SIDES}
        reference = Reference(name, meta, sampled(network, choices, count), inputs)
        for arch in reference.archs:
            network.set_active_subnet(**arch)
            subnet = network.get_active_subnet(preserve_weight=True).eval()
            row: dict[str, Any] = {f"out_{x}": subnet(reference.images(x)).numpy() for x in inputs}
            parameters = params(subnet)
            reference.add(**row, table=[macs(subnet, 64), macs(subnet, 224), parameters])
        yield reference, network


def sampled(network: Any, choices: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
    """The largest, the smallest and some random architectures, as lists per block and stage."""
    values = {
        "ks": choices.get("ks_list"),
        "e": choices["expand_ratio_list"],
        "d": choices["depth_list"],
        "w": range(len(choices["width_mult_list"])) if "width_mult_list" in choices else None,
    }
    lengths, rng = {key: len(own) for key, own in network.sample_active_subnet().items()}, Random(0)
    chosen: list[Callable[[Any], Any]] = [max, min, *[rng.choice] * (count - 2)]
    return [{key: [pick(values[key]) for _ in range(n)] for key, n in lengths.items()} for pick in chosen]


def vision_transformer(name: str, code: dict[str, str], count: int) -> Iterator[tuple[Reference, nn.Module]]:
    """AutoFormer's supernet, small; PreNAS' is the same but for a line."""
    from model.supernet_transformer import Vision_TransformerSuper

    kwargs = {
        "img_size": 64,
        "patch_size": 16,
        "embed_dim": 192,
        "depth": 5,
        "num_heads": 3,
        "mlp_ratio": 4.0,
    }
    kwargs |= {"qkv_bias": True, "num_classes": CLASSES, "max_relative_position": 2}
    kwargs |= dict.fromkeys(("gp", "relative_position", "change_qkv", "abs_pos"), True)
    space = {"mlp_ratio": [2.0, 3.0, 3.5, 4.0], "num_heads": [1, 2, 3], "depth": [3, 4, 5]}
    space |= {"embed_dim": [96, 136, 192]}
    network: Any = fill(Vision_TransformerSuper(**kwargs))
    rng, archs = Random(0), list[dict[str, Any]]()
    for pick in (max, min, *[rng.choice] * (count - 2)):
        depth = pick(space["depth"])
        lists = {key: [pick(space[key]) for _ in range(depth)] for key in ("mlp_ratio", "num_heads")}
        archs.append({"layer_num": depth, "embed_dim": [pick(space["embed_dim"])] * depth} | lists)
    inputs = {"x": (BATCH, 3, kwargs["img_size"], kwargs["img_size"])}
    reference = Reference(name, {"kwargs": kwargs, "space": space, **code}, archs, inputs)
    for arch in archs:
        network.set_sample_config(arch)
        reference.add(y=network(reference.images("x")).numpy(), params=network.get_sampled_params_numel(arch))
    yield reference, network


def source(repository: str, licence: str) -> dict[str, str]:
    """Where answers are from, as their file says."""
    return {"source": f"https://github.com/{repository}", "licence": licence}


SOURCES: dict[str, Callable[[int], Iterator[tuple[Reference, nn.Module]]]] = {
    "ofa": once_for_all,
    "autoformer": lambda n: vision_transformer("autoformer", source("microsoft/Cream", "MIT"), n),
    "prenas": lambda n: vision_transformer("prenas", source("tinyvision/PreNAS", "Apache-2.0"), n),
}


@torch.no_grad()
def main() -> None:
    """Ask one source and write its answers."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.references", description=__doc__)
    parser.add_argument("source", choices=SOURCES)
    parser.add_argument("--code", type=Path, help="where its package is, unless it is installed")
    parser.add_argument("--architectures", type=int, default=8, help="how many, of each supernet")
    parser.add_argument("--into", type=Path, default=REFERENCES)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.code:
        sys.path.insert(0, str(options.code))
    for reference, network in SOURCES[options.source](options.architectures):
        path = reference.write(options.into, network)
        print(f"{path.name}: {len(reference.archs)} architectures, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
