"""What a device costs: export, exact identity, measurements that repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from hardware.device import Device, local_device
    from hardware.export import check_onnx, export_onnx
    from hardware.measurement import Measurement, Profile
    from hardware.options import DeviceOptions, ProfileOptions
    from hardware.profiler import profile
    from hardware.sampling import spread

_MODULES = {
    "Device": "hardware.device",
    "local_device": "hardware.device",
    "export_onnx": "hardware.export",
    "check_onnx": "hardware.export",
    "profile": "hardware.profiler",
    "spread": "hardware.sampling",
    "Measurement": "hardware.measurement",
    "Profile": "hardware.measurement",
    "DeviceOptions": "hardware.options",
    "ProfileOptions": "hardware.options",
}
__getattr__ = offers(__name__, _MODULES)
__all__ = [  # noqa: RUF022 - in the order one would learn them
    "Device",
    "local_device",
    "export_onnx",
    "check_onnx",
    "profile",
    "spread",
    "Measurement",
    "Profile",
    "DeviceOptions",
    "ProfileOptions",
]
