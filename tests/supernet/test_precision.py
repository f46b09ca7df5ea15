"""Every stage in float or in eight bits, as one more choice of a supernet."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from supernet.elastic.slicing import named_tensors
from supernet.elastic.supernet import Supernet
from supernet.errors import ArchitectureError, ConversionError, SpaceError
from supernet.precision import Precision
from tests.tiny import tiny_images, tiny_supernet

STAGES = ("conv_stem", "blocks.0", "blocks.1", "blocks.2", "conv_head", "classifier")


@pytest.fixture(scope="module")
def net() -> Supernet:
    return tiny_supernet(example=(1, 3, 32, 32))


@pytest.fixture(scope="module")
def precision(net: Supernet) -> Precision:
    return Precision.of(net)


def test_every_stage_has_a_choice_after_all_others_and_the_largest_network_is_in_float(
    net: Supernet, precision: Precision
) -> None:
    plain = len(net.space)
    assert precision.stages == STAGES
    assert precision.space.choices[:plain] == net.space.choices == precision.plain_space.choices
    assert [choice.name for choice in precision.space.choices[plain:]] == [f"{s}.bits" for s in STAGES]
    assert precision.space.size == net.space.size * 2 ** len(STAGES)
    assert precision.stages_in_eight(precision.space.largest()) == ()
    assert precision.stages_in_eight(precision.space.smallest()) == STAGES


def test_whatever_its_precision_a_network_has_the_weights_answers_and_costs_it_had(
    net: Supernet, precision: Precision
) -> None:
    rng = Random(0)
    genes = net.space.matrix([net.space.largest(), net.space.smallest(), net.space.sample(rng)])
    for plain, lifted in zip(net.space.architectures(genes), precision.from_plain(genes)):
        drawn = lifted.copy()
        drawn[-len(STAGES) :] = [rng.randrange(2) for _ in STAGES]
        for arch in precision.space.architectures(np.stack([lifted, drawn])):
            with torch.no_grad():
                assert torch.equal(net(tiny_images(), plain), precision.net(tiny_images(), arch))
            pairs = zip(
                named_tensors(net.extract(plain)), named_tensors(precision.net.extract(arch)), strict=True
            )
            assert all(one == other and torch.equal(a, b) for (one, a), (other, b) in pairs)
            assert net.costs().of(plain) == precision.net.costs().of(arch)


def test_a_network_and_its_twin_differ_in_precision_alone(precision: Precision) -> None:
    arch = precision.space.sample(Random(1))
    twin = precision.twin(arch)
    assert precision.stages_in_eight(arch) and not precision.stages_in_eight(twin)
    both = precision.space.matrix([arch, twin])
    assert precision.is_mixed(both).tolist() == [True, False]
    assert (both[0, : -len(STAGES)] == both[1, : -len(STAGES)]).all()
    assert (precision.from_plain(both[:1, : -len(STAGES)]) == both[1]).all()
    values = precision.space.decode(arch)
    assert [stage for stage in STAGES if values[f"{stage}.bits"] == 8] == list(
        precision.stages_in_eight(arch)
    )


def test_what_has_no_stages_or_another_space_is_refused(net: Supernet, precision: Precision) -> None:
    with pytest.raises(ConversionError, match="was not traced"):
        Precision.of(tiny_supernet())
    with pytest.raises(ArchitectureError, match="not of this space"):
        precision.twin(net.space.largest())
    with pytest.raises(SpaceError, match=r"two choices are called 'conv_stem\.bits'"):
        Precision.of(precision.net)
