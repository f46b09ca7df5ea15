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
from supernet.presets.ofa import OFAMobileNetV3, OFAProxyless
from supernet.presets.ofa_resnet import OFAResNet50D
from supernet.presets.preset import Preset, load_reference, presets

__all__ = [
    "AttentiveNAS",
    "AutoFormerBase",
    "AutoFormerSmall",
    "AutoFormerTiny",
    "OFAMobileNetV3",
    "OFAProxyless",
    "OFAResNet50D",
    "PreNASBase",
    "PreNASSmall",
    "PreNASTiny",
    "Preset",
    "load_reference",
    "presets",
]
