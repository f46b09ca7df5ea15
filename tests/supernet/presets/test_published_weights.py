"""Weights by their published names: each network answers as when it is computed from those names by hand.

The hand-written forward passes read nothing of the presets, only tensors by the names (and shapes) their
authors gave them; the numbers in them are noise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from supernet.errors import ArchitectureError, WeightsError
from supernet.presets import (
    SPOS,
    MatFormer,
    MixPath,
    ProxylessNAS,
    SinglePath,
    ViTResNASTiny,
    load_reference,
    load_searched,
)
from tests.supernet.presets.by_name import State, images, noise, norm, normed
from tests.supernet.presets.test_vit_resnas import definition


# ViT-ResNAS, by its definition.
def vit_shapes(entries: list[Any], side: int) -> dict[str, tuple[int, ...]]:
    width, tokens, classes, number = entries[0][1], side // 14, entries[-1][2], 0
    shapes: dict[str, tuple[int, ...]] = {
        "tokens": (1, 1, width),
        "pos_embed": (1, tokens * tokens + 1, width),
        "patch_embed.conv_proj.weight": (width, 24, 7, 7),
        "patch_embed.conv_proj.bias": (width,),
    }
    for k in (1, 2, 3):
        shapes[f"patch_embed.conv{k}.conv.weight"] = (24, 3 if k == 1 else 24, 3, 3)
        shapes |= dict(normed(f"patch_embed.conv{k}.bn", 24))
    for entry in entries[1:-1]:
        layers: dict[str, tuple[int, ...]]
        if entry[0] == 3:
            out, tokens = entry[2], tokens // 2
            layers = {"norm": (width,), "patch_reduce": (out, width, 3, 3), "token_transform": (out, width)}
            shapes[f"blocks.{number}.pos_embed"] = (1, tokens * tokens, out)
        else:
            inner, hidden = entry[1][1] * entry[1][2], entry[2][1]
            layers = {"norm1": (width,), "norm2": (width,), "attn.qkv": (3 * inner, width)}
            layers |= {"attn.proj": (width, inner), "mlp.fc1": (hidden, width), "mlp.fc2": (width, hidden)}
        for layer, shape in layers.items():
            shapes |= {f"blocks.{number}.{layer}.weight": shape, f"blocks.{number}.{layer}.bias": shape[:1]}
        width, number = entry[2] if entry[0] == 3 else width, number + 1
    ends = {"norm": (width,), "cls_head": (classes, width), "patch_head": (classes, width)}
    for layer, shape in ends.items():
        shapes |= {f"{layer}.weight": shape, f"{layer}.bias": shape[:1]}
    return shapes


def vit_forward(state: State, entries: list[Any], x: Tensor) -> Tensor:
    def linear(path: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{path}.weight"], state[f"{path}.bias"])

    def layer_norm(path: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{path}.weight"], state[f"{path}.bias"], 1e-6)

    def attention(path: str, x: Tensor, heads: int) -> Tensor:
        q, k, v = linear(f"{path}.qkv", x).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return linear(f"{path}.proj", mixed.transpose(1, 2).flatten(2))

    def stem(k: int, x: Tensor) -> Tensor:
        out = F.conv2d(x, state[f"patch_embed.conv{k}.conv.weight"], None, 2 if k == 1 else 1, 1)
        return F.relu(norm(state, f"patch_embed.conv{k}.bn", out))

    first = stem(1, x)
    patches = stem(3, stem(2, first)) + first
    proj = "patch_embed.conv_proj"
    patches = F.conv2d(patches, state[f"{proj}.weight"], state[f"{proj}.bias"], 7).flatten(2).transpose(1, 2)
    x = torch.cat([state["tokens"].expand(len(x), -1, -1), patches], 1) + state["pos_embed"]
    for number, entry in enumerate(entries[1:-1]):
        path = f"blocks.{number}"
        if entry[0] == 1:
            x = x + attention(f"{path}.attn", layer_norm(f"{path}.norm1", x), entry[1][1])
            hidden = F.gelu(linear(f"{path}.mlp.fc1", layer_norm(f"{path}.norm2", x)))
            x = x + linear(f"{path}.mlp.fc2", hidden)
            continue
        side, wider = int((x.shape[1] - 1) ** 0.5), (0, entry[2] - entry[1])
        y = layer_norm(f"{path}.norm", x)
        kept = F.avg_pool2d(x[:, 1:].transpose(1, 2).unflatten(2, (side, side)), 2).flatten(2).transpose(1, 2)
        weight, bias = state[f"{path}.patch_reduce.weight"], state[f"{path}.patch_reduce.bias"]
        made = F.conv2d(y[:, 1:].transpose(1, 2).unflatten(2, (side, side)), weight, bias, 2, 1)
        patches = made.flatten(2).transpose(1, 2) + state[f"{path}.pos_embed"] + F.pad(kept, wider)
        token = linear(f"{path}.token_transform", y[:, :1]) + F.pad(x[:, :1], wider)
        x = torch.cat([token, patches], 1)
    return linear("cls_head", layer_norm("norm", x[:, 0]))


def vit_preset() -> ViTResNASTiny:
    return ViTResNASTiny(widths=(64, 128, 256), resolution=56, classes=5)


def test_the_supernet_of_vit_resnas_loads_by_its_published_names() -> None:
    preset = vit_preset()
    entries = [list(entry) for entry in preset.to_reference(preset.space.largest())["network_def"]]
    state = noise(vit_shapes(entries, 56))
    supernet = preset.supernet().eval()
    load_reference(preset, supernet, {"model": state})
    with torch.no_grad():
        ours = supernet(images(56), preset.space.largest())
        torch.testing.assert_close(ours, vit_forward(state, entries, images(56)), rtol=1e-4, atol=1e-4)


def test_a_searched_vit_resnas_counts_only_the_blocks_it_has() -> None:
    preset = vit_preset()
    entries = definition(
        [
            (44, [(3, 192), (4, 96), (6, 112), (5, 160), (3, 128)]),
            (80, [(6, 384), (12, 256), (10, 192)]),
            (256, [(12, 768), (6, 640), (8, 512), (6, 448), (10, 384), (6, 576)]),
        ]
    )
    entries[-1][2] = 5
    state = noise(vit_shapes(entries, 56))
    network = load_searched(preset, {"network_def": entries}, state)
    with torch.no_grad():
        ours = network(images(56))
    torch.testing.assert_close(ours, vit_forward(state, entries, images(56)), rtol=1e-4, atol=1e-4)


# ProxylessNAS, as its JSON file says. None is a ZeroLayer; the others are (in, out, kernel, stride, ratio).
PROXYLESS: list[tuple[int, int, int, int, int] | None] = [
    *((40, 24, 3, 1, 1), (24, 32, 5, 2, 3), None, None, (32, 32, 3, 1, 3)),
    *((32, 56, 7, 2, 3), (56, 56, 3, 1, 6), None, None),
    *((56, 112, 7, 2, 6), None, (112, 112, 5, 1, 3), (112, 112, 3, 1, 3)),
    *((112, 128, 5, 1, 6), None, None, (128, 128, 5, 1, 3)),
    *((128, 256, 7, 2, 6), (256, 256, 7, 1, 6), None, (256, 256, 5, 1, 6)),
    (256, 432, 7, 1, 6),
]


def proxyless_config(**changes: Any) -> dict[str, Any]:
    blocks = []
    for layer in PROXYLESS:
        keeps = layer is None or (layer[3] == 1 and layer[0] == layer[1])
        names = ("in_channels", "out_channels", "kernel_size", "stride", "expand_ratio")
        conv = {"name": "ZeroLayer", "stride": 1}
        if layer is not None:
            conv = {"name": "MBInvertedConvLayer", **dict(zip(names, layer))}
        shortcut = {"name": "IdentityLayer"} if keeps else None
        blocks.append(
            {"name": "MobileInvertedResidualBlock", "mobile_inverted_conv": conv, "shortcut": shortcut}
        )
    return {
        "name": "ProxylessNASNets",
        "bn": {"momentum": 0.1, "eps": 0.001},
        "first_conv": {"name": "ConvLayer", "out_channels": 40, "kernel_size": 3, "stride": 2},
        "feature_mix_layer": {"name": "ConvLayer", "out_channels": 1728, "kernel_size": 1},
        "classifier": {"name": "LinearLayer", "out_features": 6, "dropout_rate": 0},
        "blocks": blocks,
    } | changes


def proxyless_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}

    def unit(path: str, *shape: int) -> None:
        shapes[f"{path}.conv.weight"] = shape
        shapes.update(normed(f"{path}.bn", shape[0]))

    unit("first_conv", 40, 3, 3, 3)
    for i, layer in enumerate(PROXYLESS):
        if layer is not None:
            into, out, kernel, _, expand = layer
            path = f"blocks.{i}.mobile_inverted_conv"
            if expand > 1:
                unit(f"{path}.inverted_bottleneck", into * expand, into, 1, 1)
            unit(f"{path}.depth_conv", into * expand, 1, kernel, kernel)
            unit(f"{path}.point_linear", out, into * expand, 1, 1)
    unit("feature_mix_layer", 1728, 432, 1, 1)
    return shapes | {"classifier.linear.weight": (6, 1728), "classifier.linear.bias": (6,)}


def proxyless_forward(state: State, x: Tensor) -> Tensor:
    def unit(path: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
        weight = state[f"{path}.conv.weight"]
        out = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, 1, groups)
        return norm(state, f"{path}.bn", out, eps=1e-3)

    x = F.relu6(unit("first_conv", x, 2))
    for i, layer in enumerate(PROXYLESS):
        if layer is not None:
            into, out, _, stride, expand = layer
            path = f"blocks.{i}.mobile_inverted_conv"
            y = F.relu6(unit(f"{path}.inverted_bottleneck", x)) if expand > 1 else x
            y = F.relu6(unit(f"{path}.depth_conv", y, stride, into * expand))
            y = unit(f"{path}.point_linear", y)
            x = x + y if stride == 1 and into == out else y
    x = F.relu6(unit("feature_mix_layer", x)).mean((2, 3))
    return F.linear(x, state["classifier.linear.weight"], state["classifier.linear.bias"])


def test_a_searched_proxylessnas_network_loads_from_its_own_description() -> None:
    config, state = proxyless_config(), noise(proxyless_shapes())
    preset = ProxylessNAS.for_network(config, resolution=64)
    assert preset.widths == (32, 56, 112, 128, 256, 432)
    assert (preset.stem, preset.first, preset.features, preset.classes) == (40, 24, 1728, 6)
    assert preset.space.size == ProxylessNAS().space.size
    network = load_searched(preset, config, {"state_dict": state})
    with torch.no_grad():
        ours = network(images(64))
    torch.testing.assert_close(ours, proxyless_forward(state, images(64)), rtol=1e-4, atol=1e-4)
    ops = preset.to_reference(preset.from_reference(config))["ops"]
    assert ops[:4] == ["5x5_MBConv3", "Zero", "Zero", "3x3_MBConv3"]
    assert ops[-1] == "7x7_MBConv6"


def with_block(k: int, **changes: Any) -> dict[str, Any]:
    config = proxyless_config()
    config["blocks"][k]["mobile_inverted_conv"] |= changes
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (with_block(1, use_se=True), r"block 1 is .*without squeeze"),
        (with_block(1, act_func="h_swish"), r"block 1 is .*ReLU6"),
        (
            with_block(6, stride=2),
            r"block 6 is .*with a shortcut where it keeps the shape and none elsewhere",
        ),
        (with_block(0, kernel_size=5), r"block 0 is .*has to be a 3x3_MBConv1"),
        (with_block(1, kernel_size=9), r"'blocks\.1\.0' was asked to be '9x9_MBConv3'"),
        (proxyless_config(bn={"eps": 1e-5}), r"eps 1e-05; those of this space have 0\.001"),
    ],
)
def test_a_network_that_no_candidate_is_like_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        ProxylessNAS.for_network(config).from_reference(config)


def test_a_network_of_other_widths_says_how_to_make_its_preset() -> None:
    with pytest.raises(
        ArchitectureError, match=r"stem 40, this preset 32; ProxylessNAS\.for_network\(config\)"
    ):
        ProxylessNAS().from_reference(proxyless_config())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            MixPath,
            r"no weights of a supernet of 'mixpath' were published \(there are some of: attentivenas, .*",
        ),
        (SinglePath, r"no weights of a supernet of 'single_path' were published"),
        (MatFormer, r"'matformer' were published; MatFormer\(pretrained=True\) starts from timm's"),
        (ProxylessNAS, r"'proxylessnas' were published; its searched networks were, see load_searched"),
    ],
)
def test_a_supernet_that_was_never_published_says_so(make: Callable[..., Any], message: str) -> None:
    preset = make(classes=4)
    with torch.device("meta"):
        supernet = preset.supernet()
    with pytest.raises(WeightsError, match=message):
        load_reference(preset, supernet, {})


def test_a_space_without_published_searched_networks_says_so() -> None:
    with pytest.raises(
        WeightsError, match=r"no weights of a searched network of 'spos' .*proxylessnas, vit_"
    ):
        load_searched(SPOS(), {"arch": [0] * 20}, {})


def test_counters_of_batches_may_be_missing_and_nothing_else() -> None:
    config, state = proxyless_config(), noise(proxyless_shapes())
    older = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    load_searched(ProxylessNAS.for_network(config, resolution=64), config, older)
    older.pop("feature_mix_layer.bn.running_var")
    with pytest.raises(WeightsError, match=r"no reference tensor fills 'bn2\.running_var' \(1 of"):
        load_searched(ProxylessNAS.for_network(config, resolution=64), config, older)
