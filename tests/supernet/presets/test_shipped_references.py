"""Presets against what the references answered to noise: small files of the repository, so in any clone."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from zlib import crc32

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks import kits, parity, references
from benchmarks.contract import Result
from benchmarks.noise import noise

FILES = sorted(kits.REFERENCES.glob("*.npz"))
SPACES = ("autoformer", "ofa_mobilenetv3", "ofa_proxyless", "ofa_resnet50d", "prenas")


@cache
def kit(name: str) -> kits.Kit:
    return kits.load(kits.REFERENCES / f"{name}.npz")


def figures(loaded: kits.Kit, cases: Sequence[kits.Case]) -> dict[str, float]:
    result = Result("parity", {})
    parity.measure(loaded, list(cases), result)
    return result.figures


def held(loaded: kits.Kit, cases: Sequence[kits.Case]) -> None:
    found = figures(loaded, cases)
    assert found["architectures"] == len(cases)
    assert found["worst_relative_difference"] <= parity.TOLERANCE
    assert found["worst_cut_out_difference"] == 0
    assert found["macs_mismatches"] == found["params_mismatches"] == 0


def test_every_space_whose_reference_may_be_used_has_a_file_that_says_where_it_is_from() -> None:
    assert tuple(path.stem for path in FILES) == SPACES
    assert sum(path.stat().st_size for path in FILES) < 300 * 1024
    for path in FILES:
        _, meta = kits.read(path)
        assert meta["source"].startswith("https://github.com/")
        assert meta["licence"] in ("MIT", "Apache-2.0")
        assert len(meta["archs"]) == 8


def uncounted(case: kits.Case) -> kits.Case:
    """A case without what a network costs, which takes two traces to look up."""
    return replace(case, expected={k: v for k, v in case.expected.items() if k not in ("table", "params")})


@pytest.mark.parametrize("name", SPACES)
def test_subnets_answer_as_those_of_their_reference(name: str) -> None:
    for case in kit(name).cases[1:4]:
        row = parity.compare(kit(name), uncounted(case))
        assert row["difference"] <= parity.TOLERANCE
        assert row["cut_out_difference"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", SPACES)
def test_every_subnet_answers_and_costs_as_its_reference_does(name: str) -> None:
    held(kit(name), kit(name).cases)


@pytest.mark.parametrize("name", SPACES)
def test_the_architectures_of_a_reference_differ_from_each_other(name: str) -> None:
    outputs = [next(iter(kits.cases([{}], {key: rows})[0].expected.values())) for key, rows in answers(name)]
    apart = [
        np.abs(one - other).max() / np.abs(one).max()
        for i, one in enumerate(outputs)
        for other in outputs[:i]
    ]
    assert min(apart) > 100 * parity.TOLERANCE


def answers(name: str) -> Iterable[tuple[str, NDArray[np.float32]]]:
    for case in kit(name).cases:
        key = "y" if "y" in case.expected else "out_x64"
        yield key, case.expected[key][None]


def wrong_norms(loaded: kits.Kit) -> None:
    for module in loaded.supernet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-2


def untaught_kernels(loaded: kits.Kit) -> None:
    for name, parameter in loaded.supernet.named_parameters():
        if "transform_" in name:
            nn.init.eye_(parameter)


def shifted_padding(loaded: kits.Kit) -> None:
    conv = loaded.supernet.largest.get_submodule("blocks.1.0.conv_dw")
    conv.register_forward_pre_hook(lambda module, args: (torch.roll(args[0], 1, -1),))


MISTAKES: list[tuple[str, Callable[[kits.Kit], None]]] = [
    ("ofa_mobilenetv3", wrong_norms),
    ("ofa_mobilenetv3", untaught_kernels),
    ("ofa_proxyless", shifted_padding),
    ("ofa_resnet50d", wrong_norms),
]


@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_a_mistake_in_a_network_is_far_beyond_the_tolerance(
    name: str, mistake: Callable[[kits.Kit], None]
) -> None:
    loaded = replace(kit(name), supernet=copy.deepcopy(kit(name).supernet))
    mistake(loaded)
    row = parity.compare(loaded, uncounted(loaded.cases[1]))
    assert row["difference"] > 10 * parity.TOLERANCE


def test_the_bias_of_prenas_is_not_that_of_autoformer() -> None:
    other = kit("prenas")
    for case, theirs in zip(kit("autoformer").cases[:2], other.cases):
        assert case.config == theirs.config
        assert parity.compare(other, uncounted(case))["difference"] > 0.01


def test_costs_are_those_of_the_reference_and_a_wrong_count_is_a_mismatch() -> None:
    loaded, case = kit("autoformer"), kit("autoformer").cases[1]
    held(loaded, [case])
    wrong = replace(case, expected=case.expected | {"params": case.expected["params"] + 1})
    found = figures(loaded, [case, wrong])
    assert (found["params_mismatches"], found["macs_mismatches"]) == (1, 0)


def test_more_architectures_need_the_kit_they_are_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["parity", "--more", "more.npz"])
    with pytest.raises(SystemExit):
        parity.main()


@pytest.mark.slow
def test_once_for_all_gives_the_same_answers_when_it_is_asked_again() -> None:
    pytest.importorskip("ofa", reason="once-for-all is not installed (pip install --no-deps ofa)")
    for reference, network in references.SOURCES["ofa"](3):
        arrays, meta = kits.read(kits.REFERENCES / f"{reference.name}.npz")
        shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
        assert (reference.archs, shapes) == (meta["archs"][:3], meta["state"])
        for name, rows in reference.arrays.items():
            stored = arrays[name][:3]
            assert np.abs(np.array(rows) - stored).max() <= parity.TOLERANCE * np.abs(stored).max()


def by_hand(name: str, position: int) -> float:
    """The same number in Python's own integers, as the definition of SplitMix64 has it."""
    mask = (1 << 64) - 1
    x = (0x9E3779B97F4A7C15 * (position + 1) + (crc32(name.encode()) << 32)) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return ((x ^ (x >> 31)) >> 40) / 2**23 - 1


def test_noise_is_the_same_everywhere() -> None:
    values = noise("blocks.1.conv.weight", (5, 7))
    assert values.ravel().tolist() == [by_hand("blocks.1.conv.weight", i) for i in range(35)]
    assert values[0, :3].tolist() == [-0.5331039428710938, -0.3236624002456665, 0.22626030445098877]


def test_noise_is_uniform_and_differs_by_name() -> None:
    one, other = noise("a", (100_000,)), noise("b", (100_000,))
    assert -1 <= one.min() < -0.999 < 0.999 < one.max() < 1
    assert abs(one.mean()) < 0.01
    assert float(one.std()) == pytest.approx(3**-0.5, rel=0.01)
    for pair in ((one, other), (one[1:], one[:-1])):
        assert abs(np.corrcoef(*pair)[0, 1]) < 0.02


def test_a_file_is_read_by_numpy_alone() -> None:
    for file in FILES:
        with np.load(file, allow_pickle=False) as arrays:
            assert {"archs", "inputs", "state"} <= json.loads(bytes(arrays["meta"])).keys()
