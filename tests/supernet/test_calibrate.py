"""Statistics of one subnet, re-estimated."""

from __future__ import annotations

import logging
from random import Random

import pytest
import torch
from torch import nn

from supernet.calibrate import Calibrator, calibrate
from supernet.elastic.elasticise import elasticise
from supernet.errors import DataError, WeightsError
from tests.tiny import tiny_images, tiny_supernet

BATCHES = [tiny_images(6, seed=1), tiny_images(10, seed=2)]


def reset(network: nn.Module, momentum: float | None) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = momentum


def statistics_of(network: nn.Module) -> list[torch.Tensor]:
    return [x for name, x in network.named_buffers() if name.endswith(("running_mean", "running_var"))]


@pytest.mark.parametrize("seed", range(3))
def test_the_unbiased_statistics_are_those_of_the_subnet_cut_out_and_run_in_training_mode(seed: int) -> None:
    supernet = tiny_supernet()
    arch = supernet.space.sample(Random(seed))
    statistics = calibrate(supernet.subnet(arch), BATCHES, unbiased=True)
    alone = supernet.extract(arch)
    reset(alone, momentum=None)
    alone.train()
    with torch.no_grad():
        for batch in BATCHES:
            alone(batch)
    alone.eval()
    expected = statistics_of(alone)
    assert len(expected) == len(statistics)
    found = statistics_of(supernet.extract(arch, statistics))
    for ours, theirs in zip(found, expected):
        torch.testing.assert_close(ours, theirs)
    x = tiny_images(4, seed=3)
    torch.testing.assert_close(supernet(x, arch, statistics), alone(x))


def test_batches_weigh_by_their_samples_and_variances_are_biased() -> None:
    supernet = tiny_supernet()
    arch = supernet.space.smallest()
    first = supernet.largest.conv_stem
    statistics = calibrate(supernet.subnet(arch), BATCHES)
    maps = [first(batch) for batch in BATCHES]
    means = [x.mean((0, 2, 3)) for x in maps]
    variances = [x.var((0, 2, 3), correction=0) for x in maps]
    torch.testing.assert_close(statistics["bn1.running_mean"], (6 * means[0] + 10 * means[1]) / 16)
    torch.testing.assert_close(statistics["bn1.running_var"], (6 * variances[0] + 10 * variances[1]) / 16)


def test_one_batch_gives_statistics_that_reproduce_its_training_mode_output() -> None:
    supernet = tiny_supernet()
    arch = supernet.space.sample(Random(3))
    with torch.no_grad():
        evaluated = supernet(BATCHES[0], arch, calibrate(supernet.subnet(arch), BATCHES[:1]))
        alone = supernet.extract(arch).train()
        torch.testing.assert_close(evaluated, alone(BATCHES[0]), rtol=1e-4, atol=1e-5)


def test_the_supernet_is_left_as_it_was_even_in_training_mode_with_dropout() -> None:
    supernet = tiny_supernet()
    supernet.largest.drop_rate = 0.5
    supernet.train()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    versions = [value._version for value in supernet.state_dict().values()]
    hooks = [len(module._forward_pre_hooks) for module in supernet.modules()]
    arch = supernet.space.sample(Random(1))
    in_training = calibrate(supernet.subnet(arch), BATCHES)
    assert [value._version for value in supernet.state_dict().values()] == versions
    assert [len(module._forward_pre_hooks) for module in supernet.modules()] == hooks
    assert all(module.training for module in supernet.modules())
    for name, value in supernet.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    supernet.eval()
    for name, value in calibrate(supernet.subnet(arch), BATCHES).items():
        torch.testing.assert_close(value, in_training[name], rtol=0, atol=0)


def test_nothing_is_dropped_while_statistics_are_measured() -> None:
    layers = nn.Conv2d(3, 8, 3), nn.Dropout(0.5), nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)
    supernet = elasticise(nn.Sequential(*layers), (1, 3, 8, 8), verify=False).train()
    arch = supernet.space.largest()
    x = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = layers[2](layers[0](x)).mean((0, 2, 3))
    torch.testing.assert_close(calibrate(supernet.subnet(arch), [x])["3.running_mean"], expected)


def test_blocks_that_are_left_out_have_no_statistics() -> None:
    supernet = tiny_supernet()
    arch = supernet.space.smallest()
    gone = supernet.plan.slices(supernet.largest, arch).absent
    assert gone
    statistics = calibrate(supernet.subnet(arch), BATCHES)
    assert not [name for name in statistics if name.startswith(tuple(gone))]


def test_nothing_to_calibrate_on_is_an_error_that_says_so() -> None:
    supernet = tiny_supernet()
    with pytest.raises(DataError, match="no batch"):
        calibrate(supernet.subnet(supernet.space.smallest()), [])
    with pytest.raises(DataError, match="no batch"):
        Calibrator(supernet, [])


def test_statistics_of_another_architecture_are_refused_by_name() -> None:
    supernet = tiny_supernet()
    statistics = calibrate(supernet.subnet(supernet.space.largest()), BATCHES)
    with pytest.raises(WeightsError, match=r"blocks\.1\.0\.bn1\.running_mean.*another"):
        supernet(BATCHES[0], supernet.space.smallest(), statistics)
    with pytest.raises(WeightsError, match=r"did you mean 'bn1\.running_mean'"):
        supernet(BATCHES[0], supernet.space.largest(), {"bn1.runing_mean": torch.zeros(8)})


def test_a_calibrator_measures_an_architecture_once_until_the_weights_change(
    caplog: pytest.LogCaptureFixture,
) -> None:
    supernet = tiny_supernet()
    small, large = supernet.space.smallest(), supernet.space.largest()
    calibrator = Calibrator(supernet, BATCHES, keep=1)
    first = calibrator(small)
    assert calibrator(small) is first
    calibrator(large)
    assert calibrator(small) is not first
    again = calibrator(small)
    with torch.no_grad(), caplog.at_level(logging.DEBUG):
        supernet.largest.conv_stem.weight.mul_(2)
    fresh = calibrator(small)
    assert fresh is not again
    torch.testing.assert_close(fresh["bn1.running_mean"], 2 * again["bn1.running_mean"])
