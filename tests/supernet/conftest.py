"""What several tests of the engine learn from."""

from __future__ import annotations

import pytest

from supernet.data import ImageDataset
from supernet.options import DataOptions
from supernet.sources import load_data


@pytest.fixture(scope="session")
def digits() -> ImageDataset:
    """Handwritten digits of 8 px; nothing changes them."""
    found = load_data(DataOptions(resolution=8))
    assert isinstance(found, ImageDataset)
    return found
