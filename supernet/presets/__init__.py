"""Published supernets, each a page: choices, a largest network of timm's modules, the reference's names."""

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
    from supernet.presets.matformer import MatFormer as MatFormer
    from supernet.presets.mixpath import MixPath as MixPath
    from supernet.presets.mobile import Mobile as Mobile
    from supernet.presets.ofa import OFAMobileNetV3 as OFAMobileNetV3, OFAProxyless as OFAProxyless
    from supernet.presets.ofa_resnet import OFAResNet50D as OFAResNet50D
    from supernet.presets.preset import (
        Loadable as Loadable,
        Preset as Preset,
        load_reference as load_reference,
        presets as presets,
    )
    from supernet.presets.proxylessnas import ProxylessNAS as ProxylessNAS
    from supernet.presets.single_path import SinglePath as SinglePath
    from supernet.presets.spos import SPOS as SPOS
    from supernet.presets.vit_resnas import ViTResNASSmall as ViTResNASSmall, ViTResNASTiny as ViTResNASTiny

_MODULES = {
    "presets": "supernet.presets.preset",
    "Preset": "supernet.presets.preset",
    "Loadable": "supernet.presets.preset",
    "load_reference": "supernet.presets.preset",
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
    "ProxylessNAS": "supernet.presets.proxylessnas",
    "SinglePath": "supernet.presets.single_path",
    "SPOS": "supernet.presets.spos",
    "ViTResNASSmall": "supernet.presets.vit_resnas",
    "ViTResNASTiny": "supernet.presets.vit_resnas",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
