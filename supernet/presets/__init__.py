"""Published supernets, each a page: choices, a largest network of timm's modules, the reference's names."""

from supernet.presets.attentivenas import AttentiveNAS
from supernet.presets.autoformer import (
    AutoFormerBase,
    AutoFormerSmall,
    AutoFormerTiny,
    PreNASBase,
    PreNASSmall,
    PreNASTiny,
)
from supernet.presets.matformer import MatFormer
from supernet.presets.mixpath import MixPath
from supernet.presets.mobile import Mobile
from supernet.presets.ofa import OFAMobileNetV3, OFAProxyless
from supernet.presets.ofa_resnet import OFAResNet50D
from supernet.presets.preset import Preset, presets
from supernet.presets.proxylessnas import ProxylessNAS
from supernet.presets.published import Loadable, Searched, load_reference, load_searched
from supernet.presets.single_path import SinglePath
from supernet.presets.spos import SPOS
from supernet.presets.vit_resnas import ViTResNASSmall, ViTResNASTiny

__all__ = [
    "SPOS",
    "AttentiveNAS",
    "AutoFormerBase",
    "AutoFormerSmall",
    "AutoFormerTiny",
    "Loadable",
    "MatFormer",
    "MixPath",
    "Mobile",
    "OFAMobileNetV3",
    "OFAProxyless",
    "OFAResNet50D",
    "PreNASBase",
    "PreNASSmall",
    "PreNASTiny",
    "Preset",
    "ProxylessNAS",
    "Searched",
    "SinglePath",
    "ViTResNASSmall",
    "ViTResNASTiny",
    "load_reference",
    "load_searched",
    "presets",
]
