"""The examples run, and what they print is true."""

from __future__ import annotations

import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from supernet.preprocessing import ImagePreprocessing
from tests.zoo.test_images import file_of_thirds, picture

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def printed(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What an example prints, run as a program."""
    with torch.random.fork_rng():
        runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__main__")
    return capsys.readouterr().out


def test_a_network_of_ones_own_becomes_elastic_and_its_subnets_are_exact(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = printed("own_model", capsys)
    assert "every live group was verified" in out
    assert re.search(r"blocks\.depth +depth +1 2 3 4", out)
    assert out.count("inside equals cut out: True") == 3
    largest, between, smallest = (int(n.replace(",", "")) for n in re.findall(r"([\d,]+) multiply-adds", out))
    assert largest > between > smallest


def test_a_runtime_of_ones_own_is_profiled_and_predicted(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed("own_device", capsys)
    assert "runtime='bfloat16'" in out and "precision='bf16'" in out
    for mean, low, high in re.findall(r"([\d.]+) ms, ([\d.]+) to ([\d.]+) in 9 of 10 cases", out):
        assert 0 < float(low) <= float(mean) <= float(high)
    assert out.count("in 9 of 10 cases") == 2


def test_images_of_ones_own_are_split_learnt_and_judged(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed("own_data", capsys)
    counts = [int(n) for n in re.findall(r"'(?:train|search|test)': (\d+)", out)]
    assert sum(counts) == 180 and min(counts) > 0
    right = [float(share) for share in re.findall(r"([\d.]+) % right", out)]
    assert len(right) == 2 and min(right) > 60


@pytest.mark.parametrize("inside", [9, 6])
def test_a_pulled_file_sees_a_photograph_without_this_library(
    inside: int, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = replace(ImagePreprocessing.plain(9, 1), resolution=inside, mean=(0.3,), std=(0.5,))
    file_of_thirds(tmp_path / "subnet" / "model.onnx", shown.to_json())
    said = []
    for name in ("left", "middle", "right"):
        photo = picture(tmp_path / f"{name}.png", name, size=(24, 18))
        monkeypatch.setattr(sys, "argv", ["pulled_photograph.py", str(tmp_path / "subnet"), str(photo)])
        said.append(printed("pulled_photograph", capsys).split()[0])
    assert said == ["left", "middle", "right"]


def test_every_example_is_tested_here() -> None:
    assert [path.stem for path in EXAMPLES] == ["own_data", "own_device", "own_model", "pulled_photograph"]
