"""The networks that `benchmarks.coverage` knows, by set: built with random weights, nothing is downloaded."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from supernet.elastic.inputs import Inputs

BuiltNetwork = tuple[nn.Module, Inputs]
"""A network in evaluation mode, and a batch of two for it."""

TIMM22 = (
    *("mobilenetv3_large_100", "efficientnet_b0", "resnet50", "resnext50_32x4d", "regnety_008"),
    *("convnext_tiny", "mobilevit_s", "vit_small_patch16_224", "deit_tiny_distilled_patch16_224"),
    *("swin_tiny_patch4_window7_224", "levit_128", "repvgg_a2", "densenet121", "ghostnet_100"),
    *("mnasnet_100", "efficientvit_b0", "efficientvit_m0", "fastvit_t8", "edgenext_small"),
    *("mobilenetv4_conv_small", "mobilenetv4_hybrid_medium", "maxvit_tiny_tf_224"),
)
SMALLEST = Path(__file__).with_name("timm_smallest.json")
"""The smallest network of each timm module, as `pick` found them: building all 1,350 takes six minutes."""
BATCH = 2


def names(of: str) -> tuple[str, ...]:
    """The networks of a set: ``timm22``, ``timm``, ``torchvision`` or ``transformers``."""
    if of == "timm22":
        return TIMM22
    if of == "timm":
        return tuple(smallest().values())
    from benchmarks import coverage_torchvision, coverage_transformers

    return tuple({"torchvision": coverage_torchvision, "transformers": coverage_transformers}[of].NETWORKS)


def build(of: str, name: str, seed: int = 0) -> BuiltNetwork:
    """A network of a set, with lively weights; of timm's sets any timm name is known.

    Raises:
        KeyError: for a name that the set does not hold.
    """
    torch.manual_seed(seed)
    if of in ("timm", "timm22"):
        model, inputs = _timm(name)
    else:
        from benchmarks import coverage_torchvision, coverage_transformers

        networks: Mapping[str, Callable[[], BuiltNetwork]] = {
            "torchvision": coverage_torchvision,
            "transformers": coverage_transformers,
        }[of].NETWORKS
        model, inputs = networks[name]()
    return lively(model.eval()), inputs


def images(*shape: int) -> Inputs:
    """A batch of random images, or of whatever has that shape."""
    return Inputs((torch.randn(BATCH, *shape),))


def _timm(name: str) -> BuiltNetwork:
    import timm

    model = timm.create_model(name, pretrained=False)
    return model, images(*model.pretrained_cfg["input_size"])


def lively(model: nn.Module) -> nn.Module:
    """Random statistics and scales in place of those of a fresh network, so that mistakes show."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and isinstance(module.running_mean, Tensor):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def smallest() -> dict[str, str]:
    """Module of timm to its network of the fewest parameters; what the file does not know is picked anew."""
    import timm

    modules = _by_module(timm.list_models())
    known: dict[str, str] = json.loads(SMALLEST.read_text())["networks"]
    return {
        module: known[module] if known.get(module) in found else _pick(found)
        for module, found in sorted(modules.items())
    }


def pick() -> None:
    """Write `SMALLEST` for the timm that is installed."""
    import timm

    found = {module: _pick(names) for module, names in sorted(_by_module(timm.list_models()).items())}
    document = {"timm": version("timm"), "networks": found}
    SMALLEST.write_text(json.dumps(document, indent=1) + "\n")


def _by_module(models: list[str]) -> dict[str, list[str]]:
    """timm's networks by the module that makes them; those for its own tests are none."""
    from timm.models._registry import _model_to_module

    out: dict[str, list[str]] = {}
    for name in models:
        if not name.startswith("test_"):
            out.setdefault(_model_to_module[name], []).append(name)
    return out


def _pick(models: list[str]) -> str:
    return min(models, key=_parameters)


def _parameters(name: str) -> int:
    """How many parameters a timm network has: counted on the meta device, which holds none."""
    import timm

    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model: nn.Module = timm.create_model(name, pretrained=False)
    return sum(parameter.numel() for parameter in model.parameters())


if __name__ == "__main__":
    pick()
