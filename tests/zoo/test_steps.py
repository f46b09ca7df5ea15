"""What a step refuses, it refuses before it works."""

from __future__ import annotations

from pathlib import Path

import pytest

from supernet.errors import SpaceError
from supernet.presets import Mobile
from zoo.pipeline import profiling
from zoo.pipeline.profiling import profile_device
from zoo.pipeline.run import open_run
from zoo.pipeline.workspace import Workspace


def test_a_space_too_small_to_learn_from_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Mobile(resolution=8, widths=(8, 8, 12), depths=(1, 2), features=32).supernet()
    monkeypatch.setattr(profiling, "most_telling", lambda space, *_: [space.smallest(), space.largest()])
    with pytest.raises(SpaceError, match="a predictor needs 10 to learn from"):
        profile_device(Workspace(open_run(tmp_path / "run"), net))
    assert list(tmp_path.iterdir()) == []
