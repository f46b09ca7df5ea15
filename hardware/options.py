"""What can be asked of a measurement. Nothing heavy is imported here: the command line reads it to start."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from supernet.errors import ConfigError, did_you_mean
from supernet.options import within

PROTOCOL = 1
"""An agent and its callers must speak the same one."""
SSH = "ssh://"
EIGHT_BITS = ("u8s8", "s8s8")
"""Types of activations and weights in eight bits, as ONNX Runtime has them."""
MIXED = "mixed"
"""The precision of a device that runs each stage of a network in float or in eight bits, as the architecture says."""
PATIENCE = 60.0
"""Seconds after which one that says nothing is hung up on."""


def check_ssh(address: str) -> None:
    """Refuse what is no place for ssh; a host that begins with a hyphen would be an option to it.

    Raises:
        ConfigError: for an address without a host, or with one that is no name.
    """
    try:
        parts = urlsplit(address)
        named = (parts.hostname or "", parts.username or "a", str(parts.port or 1))
    except ValueError as error:
        raise ConfigError(f"device.address is {address!r}: {error}") from error
    if not all(re.fullmatch(r"[\w.:][\w.:-]*", name) for name in named) or parts.password:
        raise ConfigError(
            f"device.address is {address!r}; it looks like ssh://host, ssh://user@host:22 or "
            f"ssh://host/path/of/supernet, and a password has no place in it"
        )


@dataclass(frozen=True)
class DeviceOptions:
    """How this machine is to be used while it is timed.

    Args:
        runtime: a registered runtime: ``onnxruntime``, ``torch``, ``compiled``, ``cuda`` or ``cuda_graph`` (an NVIDIA
            GPU), or ``openvino`` or ``executorch`` (extras).
        optimisation: graph optimisation of ONNX Runtime: ``disable``, ``basic``, ``extended`` or ``all``.
        threads: threads of one forward pass; as many cores are pinned.
        batch: images in one forward pass.
        precision: of weights and activations: ``fp32``; with ``onnxruntime`` also ``u8s8`` and ``s8s8`` (eight bits)
            and ``mixed`` (a search says of every stage whether it is in eight bits), with ``openvino`` also ``bf16``,
            with ``cuda`` and ``cuda_graph`` also ``tf32``, ``fp16`` and ``bf16``.
        pin: keep the measuring thread on its cores, where the operating system can.
        name: what to call the device, in tables and for ``supernet zoo pull --device``; its chip otherwise. It is
            given before the profile is taken, and is no part of the device's identity.
        address: of another machine on which ``supernet device serve`` runs, ``"http://localhost:8765"``, or that ssh
            reaches, ``"ssh://user@host"``, where it is started (`hardware.tunnel`); this machine when empty.

    Raises:
        ConfigError: for a number outside its range, or an address that is none.
    """

    runtime: str = "onnxruntime"
    optimisation: str = "all"
    threads: int = 1
    batch: int = 1
    precision: str = "fp32"
    pin: bool = True
    name: str = ""
    address: str = ""

    def __post_init__(self) -> None:
        within("threads", self.threads, 1)
        within("batch", self.batch, 1)
        if self.address and not self.address.startswith(("http://", "https://", SSH)):
            raise ConfigError(
                f"device.address is {self.address!r}; it looks like http://localhost:8765, and is what "
                f"`supernet device serve` prints, or like ssh://user@host"
            )
        if self.address.startswith(SSH):
            check_ssh(self.address)
        if self.address and self.runtime != "onnxruntime":
            raise ConfigError(f"device.runtime is {self.runtime!r}; devices elsewhere run onnxruntime")
        if self.address and self.precision not in (known := ("fp32", *EIGHT_BITS)):
            raise ConfigError(
                f"device.precision is {self.precision!r}{did_you_mean(self.precision, known)}; devices elsewhere have "
                f"{', '.join(known)}"
            )


@dataclass(frozen=True)
class ProfileOptions:
    """How many subnets are measured, and how well.

    Args:
        subnets: how many are measured.
        burst: calls in a row of one network; fewer leave its caches cold.
        drop: leading calls of a burst that do not count.
        warm_calls: calls before the first burst of a network, at least.
        warm_ms: time of those calls, at least, in milliseconds.
        window: networks between two bursts of the reference network.
        rounds: bursts of every network, at least.
        spread: enough bursts: half the 95 % confidence interval of a latency, over the latency.
        drift: how far the reference may move within a window before the window is measured again, and between two
            sessions before it is the machine that has moved.
        calm: how much longer than at its best the reference may take in a window that counts.
        repeat: share of the networks that is measured a second time at the end, at least six.
        seconds: of measuring, after which no rounds are added, however wide the intervals still are.
        workers: processes that export side by side.
        memory: whether a profile that is made has the peak memory of every network, and not of the reference alone;
            each of ONNX Runtime takes a process of its own, and a third of a second.
        seed: decides which subnets are measured and in which order.

    Raises:
        ConfigError: for a number outside its range.
    """

    subnets: int = 24
    burst: int = 20
    drop: int = 2
    warm_calls: int = 30
    warm_ms: float = 50.0
    window: int = 4
    rounds: int = 5
    spread: float = 0.01
    drift: float = 0.03
    calm: float = 0.06
    repeat: float = 0.05
    seconds: float = 30.0
    workers: int = 1
    memory: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        within("subnets", self.subnets, 3)
        if not 0 <= self.drop < self.burst:
            raise ConfigError(
                f"drop is {self.drop}; of a burst of {self.burst} calls it can be 0 to {self.burst - 1}"
            )
        for name in ("window", "rounds", "workers"):
            within(name, getattr(self, name), 1)
        for name in ("warm_calls", "warm_ms", "spread", "drift", "calm", "seconds", "seed"):
            within(name, getattr(self, name), 0)
        within("repeat", self.repeat, 0.0, 1.0)
