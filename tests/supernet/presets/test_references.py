"""Presets against what the reference implementations computed (kits of ../shared, which may be absent)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks import kits, parity
from benchmarks.contract import Result
from supernet.calibrate import calibrate

KITS = Path(__file__).parents[4] / "shared" / "kits"
NAMES = ("ofa_mbv3", "ofa_proxyless", "ofa_resnet_small", "attentivenas", "autoformer_mini", "prenas_mini")
OFA = NAMES[:3]

pytestmark = pytest.mark.skipif(not KITS.is_dir(), reason="no ../shared/kits here")


@cache
def kit(name: str) -> kits.Kit:
    return kits.load(KITS / f"{name}.npz")


def compared(name: str, cases: list[kits.Case]) -> dict[str, float]:
    result = Result("parity", {})
    parity.measure(kit(name), cases, result)
    return result.figures


def held(figures: dict[str, float]) -> bool:
    counted = figures.get("macs_mismatches", 0) + figures["params_mismatches"]
    return (
        figures["worst_relative_difference"] <= 2e-4
        and not counted
        and not figures["worst_cut_out_difference"]
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_subnet_answers_like_that_of_the_reference(name: str) -> None:
    loaded, case = kit(name), kit(name).cases[4]
    arch = loaded.preset.from_reference(case.config)
    with torch.no_grad():
        for output, inside, outside in parity.outputs(loaded, case, arch):
            assert torch.equal(inside, outside)
            assert parity.relative(inside, case.expected[output]) <= 2e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_subnet_of_the_kit_answers_and_costs_as_the_reference_says(name: str) -> None:
    assert held(compared(name, kit(name).cases))


@pytest.mark.parametrize("name", NAMES)
def test_the_reference_reads_back_the_words_it_wrote(name: str) -> None:
    preset = kit(name).preset
    for case in kit(name).cases:
        arch = preset.from_reference(case.config)
        assert preset.from_reference(preset.to_reference(arch)) == arch


def test_more_architectures_of_a_kit_come_from_another_file(tmp_path: Path) -> None:
    arrays, meta = kits.read(KITS / "ofa_mbv3.npz")
    chosen = {key: arrays[key][2:4] for key in ("out_x64", "out_x96", "out_x75", "table")}
    text = np.frombuffer(f'{{"archs": {meta["archs"][2:4]}}}'.replace("'", '"').encode(), dtype=np.uint8)
    np.savez(tmp_path / "more.npz", meta=text, **chosen)
    loaded = kits.load(KITS / "ofa_mbv3.npz")
    loaded.cases = []
    loaded.add(tmp_path / "more.npz")
    assert [case.config for case in loaded.cases] == meta["archs"][2:4]
    assert np.array_equal(loaded.cases[1].expected["out_x75"], arrays["out_x75"][3])


def gradients(loaded: kits.Kit, arch_index: int) -> dict[str, Tensor | None]:
    """Gradients of the reference's loss by our names."""
    supernet = loaded.supernet.eval()
    supernet.zero_grad()
    arch = loaded.preset.from_reference(loaded.cases[arch_index].config)
    (supernet(loaded.images("x64"), arch) * loaded.images("grad_cotangent")).sum().backward()
    return {name: parameter.grad for name, parameter in supernet.largest.named_parameters()}


@pytest.mark.parametrize("name", OFA)
def test_gradients_land_where_the_reference_puts_them(name: str) -> None:
    loaded = kit(name)
    found = gradients(loaded, 4)
    for theirs, norm in loaded.meta["grads"]["4"].items():
        ours = found[loaded.preset.rename(theirs) or ""]
        assert (ours is None) == (norm is None), theirs
        if ours is not None:
            assert float(ours.norm()) == pytest.approx(norm[0], rel=2e-3), theirs
            # A unit that lies on the edge of a ReLU6 falls to either side, by the processor's kernels.
            assert abs(int(ours.count_nonzero()) - norm[2]) <= 2, theirs


@pytest.mark.parametrize("name", OFA[:2])
def test_kernel_matrices_get_the_gradients_of_the_reference(name: str) -> None:
    loaded = kit(name)
    for matrix in ("7to5", "5to3"):
        expected = torch.from_numpy(loaded.arrays[f"grad1_blocks2_{matrix}_matrix"])
        ours = gradients(loaded, 1)[f"blocks.1.1.conv_dw.transform_{matrix}"]
        assert ours is not None
        assert float((ours - expected).abs().max() / expected.abs().max()) < 2e-4


@pytest.mark.parametrize("name", ["autoformer_mini", "prenas_mini"])
def test_transformers_have_the_gradient_norms_of_the_reference(name: str) -> None:
    loaded = kit(name)
    for case in loaded.cases:
        loaded.supernet.zero_grad()
        arch = loaded.preset.from_reference(case.config)
        loaded.supernet(loaded.images("x"), arch).square().sum().backward()
        squares = [p.grad.square().sum() for p in loaded.supernet.parameters() if p.grad is not None]
        assert float(torch.stack(squares).sum().sqrt()) == pytest.approx(case.expected["gradnorm"], rel=1e-5)


def statistics(loaded: kits.Kit, key: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """The reference's flat vector of means or variances, by our names."""
    start = 0
    for norm, length in loaded.meta["bn_order"]:
        ours = (loaded.preset.rename(f"{norm}.weight") or "").removesuffix(".weight")
        yield ours, loaded.arrays[key][start : start + length]
        start += length


@pytest.mark.parametrize("name", OFA)
def test_calibration_finds_the_statistics_of_the_reference(name: str) -> None:
    loaded = kit(name)
    arch = loaded.preset.from_reference(loaded.cases[6].config)
    found = calibrate(loaded.supernet.eval().subnet(arch), [loaded.images("cal_a"), loaded.images("cal_b")])
    with torch.no_grad():
        out = loaded.supernet(loaded.images("x64"), arch, found)
    assert parity.relative(out, loaded.arrays["calib_out_arch6_x64"]) < 2e-4
    stored = dict(loaded.supernet.largest.named_buffers())
    for buffer in ("running_mean", "running_var"):
        for norm, expected in statistics(loaded, f"calib_{buffer}_arch6"):
            ours = stored[f"{norm}.{buffer}"].clone()
            part = found.get(f"{norm}.{buffer}", ours[:0])
            ours[: len(part)] = part
            assert parity.relative(ours, expected) < 2e-4, norm


@pytest.mark.parametrize("name", OFA)
def test_training_moves_the_first_channels_of_the_shared_statistics(name: str) -> None:
    loaded = kits.load(KITS / f"{name}.npz")
    arch = loaded.preset.from_reference(loaded.cases[5].config)
    with torch.no_grad():
        out = loaded.supernet.train()(loaded.images("cal_a"), arch)
    assert parity.relative(out, loaded.arrays["train_out_arch5_cal_a"]) < 2e-4
    stored = dict(loaded.supernet.largest.named_buffers())
    for buffer in ("running_mean", "running_var"):
        for norm, expected in statistics(loaded, f"train_{buffer}_arch5"):
            assert parity.relative(stored[f"{norm}.{buffer}"], expected) < 2e-4, norm


def test_attentivenas_resizes_inside_the_network() -> None:
    loaded = kit("attentivenas")
    arch = loaded.preset.from_reference(loaded.cases[3].config)
    with torch.no_grad():
        inside = loaded.supernet.eval()(loaded.images("x80"), arch)
    assert parity.relative(inside, loaded.arrays["out_resize_arch3_x80"]) < 2e-4
