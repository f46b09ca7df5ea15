"""Room for the kernels of many shapes, which a supernet needs and other networks do not.

On CPUs, PyTorch's convolutions are oneDNN's, which compiles a kernel for every shape that it meets and keeps the 1,024
used last. The widths of one small supernet make 2,000: each step of a sandwich then compiled a hundred of them anew,
for a quarter of its time.
"""

from __future__ import annotations

import os

VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
"""What oneDNN reads, once, at the first convolution of a process."""
KERNELS = 16384
"""How many are kept; one takes about 27 KiB."""


def make_room() -> None:
    """Let this process and those that it starts keep more kernels, where the environment does not say how many."""
    os.environ.setdefault(VARIABLE, str(KERNELS))
