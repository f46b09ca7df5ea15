"""Shapes that come again need no new kernels, however many there were between."""

from __future__ import annotations

import ctypes
import os

import pytest
import torch
from torch.backends import mkldnn
from torch.nn import functional as F

from supernet.kernel_cache import KERNELS, VARIABLE, make_room


def shapes_run(capfd: pytest.CaptureFixture[str]) -> int:
    """How many kernels were compiled for 640 shapes of a convolution."""
    x = torch.zeros(2, 40, 8, 8)
    weight = torch.zeros(48, 40, 3, 3)
    with torch.no_grad(), mkldnn.verbose(mkldnn.VERBOSE_ON_CREATION):
        for inner in range(21, 41):
            for outer in range(17, 49):
                F.conv2d(x[:, :inner], weight[:outer, :inner])
    ctypes.CDLL(None).fflush(None)  # what oneDNN said
    return capfd.readouterr().out.count("create:cache_miss")


@pytest.mark.skipif(not mkldnn.is_available(), reason="convolutions are not oneDNN's here")
@pytest.mark.skipif(
    os.environ.get(VARIABLE) != str(KERNELS), reason="the environment says how many kernels are kept"
)
def test_a_shape_that_comes_again_needs_no_new_kernel(capfd: pytest.CaptureFixture[str]) -> None:
    if shapes_run(capfd) < 1024:
        pytest.skip("oneDNN does not tell, or is not asked")
    assert shapes_run(capfd) == 0


def test_what_the_environment_says_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "7")
    make_room()
    assert os.environ[VARIABLE] == "7"
    monkeypatch.delenv(VARIABLE)
    make_room()
    assert os.environ[VARIABLE] == str(KERNELS)
