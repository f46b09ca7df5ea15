"""Published supernets, each a page: choices, a largest network of timm's modules, the reference's names."""

from supernet.presets.ofa import OFAMobileNetV3, OFAProxyless
from supernet.presets.preset import Preset, load_reference, presets

__all__ = ["OFAMobileNetV3", "OFAProxyless", "Preset", "load_reference", "presets"]
