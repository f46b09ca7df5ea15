"""What a device costs: export, exact identity, measurements that repeat.

The idea: a latency belongs to a device, and a `Device` is the chip and everything about how it was used. Networks
are timed against each other, in bursts beside a reference that stays in the loop, so that a busy machine widens an
interval instead of shifting a number.

In the order one would read them:

- `options`: what can be asked of a measurement
- `device`: what a latency belongs to
- `described`: devices by name, each a small file
- `runners`: what runs a network here: one class for each runtime, in a registry
- `openvino_runner`: likewise OpenVINO, an extra
- `compiled_runner`: likewise PyTorch's own compiler
- `executorch_runner`: likewise ExecuTorch with XNNPACK, an extra
- `cuda_runner`: likewise an NVIDIA GPU, operator by operator or as a captured graph
- `onnx_files`: which file ONNX Runtime runs: one in eight bits lies beside the exported one
- `onnx_session`: a network in ONNX Runtime, timed call by call
- `host`: what an agent tells of its machine
- `agent`: the server on another machine that runs what it is sent
- `remote`: the runtime that sends networks there
- `tunnel`: likewise over ssh, which starts the agent
- `checkup`: whether a device is there, and quiet enough to be measured
- `energy`: what a call takes, where the machine counts it
- `peak_memory`: what running it takes, in a process of its own
- `export`: a plain module as one ONNX file, checked against PyTorch
- `node_names`: its nodes, named after the modules they come from
- `pool`: many exports side by side
- `template`: the largest network traced once, its graph cut as subnets are
- `subnet_files`: the files of many subnets, by whichever of the two roads
- `sampling`: which subnets to measure
- `bursts`: how networks are timed against each other
- `journal`: what has been timed so far, line by line
- `measurement`: `Measurement` and `Profile`: what came out
- `profiler`: `profile`: all of it in one call that can be killed
- `fastest_types`: the types of eight bits that are fastest on a device
- `quantise`: an exported network in eight bits, with the types that are fastest here
- `mixed`: likewise some of its stages
- `file_size`: how many bytes such files take
- `explain`: where the milliseconds of a subnet go, block by block
- `errors`: what can go wrong
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from supernet.lazy import offers

if TYPE_CHECKING:
    from hardware.device import Device as Device, local_device as local_device
    from hardware.explain import Explanation as Explanation, explain as explain
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
    "explain": "hardware.explain",
    "Explanation": "hardware.explain",
    "profile": "hardware.profiler",
    "spread": "hardware.sampling",
    "Measurement": "hardware.measurement",
    "Profile": "hardware.measurement",
    "DeviceOptions": "hardware.options",
    "ProfileOptions": "hardware.options",
}
__all__ = list(_MODULES)
__getattr__, __dir__ = offers(__name__, _MODULES)
