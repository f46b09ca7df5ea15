"""Settings every test runs under."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

torch.set_num_threads(1)

# A distribution of plug-ins, one for each registry: what is tested over a registry is tested over them.
sys.path.insert(0, str(Path(__file__).parent / "plugin"))
