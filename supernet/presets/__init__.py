"""Published supernets, each a page: choices, a largest network of timm's modules, the reference's names.

The idea: a preset is a fixed dataclass. Its fields are the options of the space, `Preset.supernet` makes the
supernet, and `Preset.from_reference` and `Preset.to_reference` translate architectures to and from the words of the
authors' code. `presets` knows them all by name; docs/presets.md says what was checked of each.

In the order one would read them:

- `preset`: what every preset offers, and the registry
- `published`: weights and searched networks that others published
- `plan_builder`: a plan written by hand, layer by layer
- `candidates`: modules whose children are alternatives
- `sorting`: important channels first, between the phases of a training
- `mobile`: a small MobileNetV3 for images of 8 to 64 px, the one of the quickstart
- `ofa`: Once-for-all: MobileNetV3 and Proxyless
- `ofa_resnet`: Once-for-all: ResNet50D
- `attentivenas`: AttentiveNAS, and a space in the manner of BigNAS
- `spos`: Single Path One-Shot: four candidates a block
- `proxylessnas`: ProxylessNAS: six candidates a block
- `single_path`: Single-Path NAS: one superkernel a block
- `mixpath`: MixPath: several kernels at a time, summed
- `autoformer`: AutoFormer and PreNAS: elastic ViTs
- `vit_resnas`: ViT-ResNAS: a ViT in three stages
- `matformer`: MatFormer: nested MLPs
- `cells`: cells as graphs of states, and the operations on their edges
- `darts`: DARTS and PC-DARTS: a normal and a reduction cell
- `nasbench201`: NAS-Bench-201: one cell of six edges
- `two_streams`: what reversible networks share: stages of two streams, cut alike
- `rev_mobile`: reversible MBConv
- `rev_resnet`: reversible bottlenecks
- `rev_unet3d`: a 3-D U-Net of reversible MBConv stages
- `rev_vit`: reversible ViT, and a mixer of MLPs
- `rev_split`: a transformer in several parts, each updated from the others
- `revcol`: RevCol: columns of four resolutions
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from supernet.presets.attentivenas import AttentiveNAS as AttentiveNAS
    from supernet.presets.autoformer import (
        AutoFormerBase as AutoFormerBase,
        AutoFormerSmall as AutoFormerSmall,
        AutoFormerTiny as AutoFormerTiny,
        PreNASBase as PreNASBase,
        PreNASSmall as PreNASSmall,
        PreNASTiny as PreNASTiny,
    )
    from supernet.presets.darts import DARTS as DARTS
    from supernet.presets.matformer import MatFormer as MatFormer
    from supernet.presets.mixpath import MixPath as MixPath
    from supernet.presets.mobile import Mobile as Mobile
    from supernet.presets.nasbench201 import NASBench201 as NASBench201
    from supernet.presets.ofa import OFAMobileNetV3 as OFAMobileNetV3, OFAProxyless as OFAProxyless
    from supernet.presets.ofa_resnet import OFAResNet50D as OFAResNet50D
    from supernet.presets.preset import Preset as Preset, presets as presets
    from supernet.presets.proxylessnas import ProxylessNAS as ProxylessNAS
    from supernet.presets.published import (
        Loadable as Loadable,
        Searched as Searched,
        load_reference as load_reference,
        load_searched as load_searched,
    )
    from supernet.presets.rev_mobile import RevMobile as RevMobile
    from supernet.presets.rev_resnet import RevResNet as RevResNet
    from supernet.presets.rev_split import RevSplit as RevSplit
    from supernet.presets.rev_unet3d import RevUNet3d as RevUNet3d
    from supernet.presets.rev_vit import RevMLP as RevMLP, RevViT as RevViT
    from supernet.presets.revcol import RevCol as RevCol
    from supernet.presets.single_path import SinglePath as SinglePath
    from supernet.presets.spos import SPOS as SPOS
    from supernet.presets.vit_resnas import ViTResNASSmall as ViTResNASSmall, ViTResNASTiny as ViTResNASTiny

_MODULES = {
    "presets": "supernet.presets.preset",
    "Preset": "supernet.presets.preset",
    "Loadable": "supernet.presets.published",
    "load_reference": "supernet.presets.published",
    "Searched": "supernet.presets.published",
    "load_searched": "supernet.presets.published",
    "AttentiveNAS": "supernet.presets.attentivenas",
    "AutoFormerBase": "supernet.presets.autoformer",
    "AutoFormerSmall": "supernet.presets.autoformer",
    "AutoFormerTiny": "supernet.presets.autoformer",
    "PreNASBase": "supernet.presets.autoformer",
    "PreNASSmall": "supernet.presets.autoformer",
    "PreNASTiny": "supernet.presets.autoformer",
    "MatFormer": "supernet.presets.matformer",
    "MixPath": "supernet.presets.mixpath",
    "Mobile": "supernet.presets.mobile",
    "OFAMobileNetV3": "supernet.presets.ofa",
    "OFAProxyless": "supernet.presets.ofa",
    "OFAResNet50D": "supernet.presets.ofa_resnet",
    "DARTS": "supernet.presets.darts",
    "NASBench201": "supernet.presets.nasbench201",
    "ProxylessNAS": "supernet.presets.proxylessnas",
    "RevMobile": "supernet.presets.rev_mobile",
    "RevResNet": "supernet.presets.rev_resnet",
    "RevSplit": "supernet.presets.rev_split",
    "RevCol": "supernet.presets.revcol",
    "RevUNet3d": "supernet.presets.rev_unet3d",
    "RevMLP": "supernet.presets.rev_vit",
    "RevViT": "supernet.presets.rev_vit",
    "SinglePath": "supernet.presets.single_path",
    "SPOS": "supernet.presets.spos",
    "ViTResNASSmall": "supernet.presets.vit_resnas",
    "ViTResNASTiny": "supernet.presets.vit_resnas",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
