"""Whatever a person can type wrongly is answered with what would have been accepted: one line for each mistake."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from supernet.errors import SupernetError
from zoo.cli import app

RUN = "RUN"
"""Stands for a folder that is not there yet."""

MISTAKES = [
    ("search --run RUN --max-params inf", "--max-params is inf; give a positive number"),
    ("search --run RUN --max-params nan", "--max-params is nan; give a positive number"),
    ("search --run RUN --max-params 0", "--max-params is 0; give a positive number"),
    ("search --run RUN --max-params -3", "--max-params is -3; give a positive number"),
    ("search --run RUN --max-latency-ms -0.5", "--max-latency-ms is -0.5; give a positive number"),
    ("quickstart --run RUN --max-latency-ms nan", "--max-latency-ms is nan; give a positive number"),
    ("export --run RUN --max-latency-ms inf", "--max-latency-ms is inf; give a positive number"),
    ("zoo list --run RUN --max-latency-ms 0", "--max-latency-ms is 0; give a positive number"),
    ("zoo pull --run RUN --max-params nan", "--max-params is nan; give a positive number"),
    ("search --run RUN --set search.max_params=inf", "search.max_params is inf; give a positive number"),
    (
        "search --run RUN --set search.max_latency_ms=-1",
        "search.max_latency_ms is -1; give a positive number",
    ),
    (
        "search --run RUN --until soon",
        "--until soon is neither a number of networks nor a time; write 500, or ",
    ),
    ("search --run RUN --set search.plateau=2", "search.plateau is 2; it can be 0 to 1"),
    ("search --run RUN --set search.population=2", "search.population is 2; it can be at least 4"),
    (
        "train --run RUN --set search.metric=accurcy",
        "no metric of image-classification; did you mean 'accuracy'",
    ),
    ("search --run RUN --set search.mutation=2", "search.mutation is 2"),
    ("train --run RUN --set train.lr=inf", "train.lr is inf; it can be at least 0"),
    ("train --run RUN --set train.lr=nan", "train.lr is nan; it can be at least 0"),
    ("profile --run RUN --set profile.seconds=-1", "profile.seconds is -1; it can be at least 0"),
    (
        "profile --run RUN --set profile.drop=30",
        "profile.drop is 30; of a burst of 20 calls it can be 0 to 19",
    ),
    (
        "profile --run RUN --set profile.subnets=8",
        "profile.subnets is 8; a predictor is learnt and tested on ",
    ),
    ("quickstart --run RUN --set profile.subnets=9", "which needs at least 10"),
    ("profile --run RUN --set device.threads=0", "device.threads is 0; it can be at least 1"),
    (
        "train --run RUN --set train.optimizer=sdg",
        "timm has no optimiser 'sdg'; did you mean 'sgd'? (supernet settings train.optimizer lists them all)",
    ),
    ("train --run RUN --set train.device=tpu", "cannot be used here: PyTorch knows no such device; there "),
    ("train --run RUN --set train.device=cuda:97", "train.device is 'cuda:97', which cannot be used here: "),
    ("train --run RUN --set train.device=meta", "train.device is 'meta', which cannot be used here: "),
    ("train --run RUN --data folder:nowhere --set train.device=tpu", "cannot be used here: "),
    ("train --run RUN --data folder:nowhere", "there is no folder 'nowhere'; write folder:PATH "),
    ("train --run RUN --set data.resolution=1", "data.resolution is 1; it can be 8 to 4096"),
    ("zoo demo ./nowhere a.png", "nowhere holds no manifest.json; give a folder that "),
    ("zoo evaluate ./nowhere digits", "nowhere holds no manifest.json; give a folder that "),
]


@pytest.mark.parametrize(("typed", "answer"), MISTAKES, ids=[typed for typed, _ in MISTAKES])
def test_a_mistake_is_answered_with_what_is_accepted(typed: str, answer: str, tmp_path: Path) -> None:
    words = [str(tmp_path / "run") if word == RUN else word for word in typed.split()]
    result = CliRunner().invoke(app, words)
    assert isinstance(result.exception, SupernetError), result.output
    assert answer in str(result.exception)
    assert list(tmp_path.iterdir()) == []
