"""Settings every test runs under."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch.utils.flop_counter import flop_registry

torch.set_num_threads(1)

# The counter of PyTorch 2.11 does not know the kernel of attention on a CPU; newer ones count it as any other.
flop_registry.setdefault(
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu,
    flop_registry[torch.ops.aten._scaled_dot_product_flash_attention],
)

# A distribution of plug-ins, one for each registry: what is tested over a registry is tested over them.
sys.path.insert(0, str(Path(__file__).parent / "plugin"))
