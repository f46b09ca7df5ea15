"""What tests of several files share."""

from __future__ import annotations

from tests.zoo.road import road as road
