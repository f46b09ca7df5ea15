"""What a device costs: export, exact identity, measurements that repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from hardware.device import Device as Device, local_device as local_device
    from hardware.export import check_onnx as check_onnx, export_onnx as export_onnx
    from hardware.measurement import Measurement as Measurement, Profile as Profile
    from hardware.options import DeviceOptions as DeviceOptions, ProfileOptions as ProfileOptions
    from hardware.profiler import profile as profile
    from hardware.sampling import spread as spread

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
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
