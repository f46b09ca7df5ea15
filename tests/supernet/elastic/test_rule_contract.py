"""What every registered rule promises: what it says of an op is what a cut network does."""

from __future__ import annotations

from random import Random

import pytest
import torch

from supernet.elastic.elasticise import elasticise
from supernet.elastic.rules import rules
from supernet.elastic.trace import trace
from tests.supernet.elastic.op_examples import EXAMPLES, SILENT, example

REFUTED = ("sliced differs", "cut network")
"""How the reason of a group begins or goes on that the graph let live and the check did not."""


def test_every_rule_of_the_house_is_shown_at_work() -> None:
    own = {name for name in rules if rules[name].__module__.startswith("supernet.")}
    assert own - EXAMPLES.keys() - SILENT.keys() == set()


@pytest.mark.parametrize("name", list(rules))
def test_a_rule_is_of_an_op_that_there_is(name: str) -> None:
    known = {schema.name.partition("::")[2] for schema in torch._C._jit_get_all_schemas()}
    assert name in known or name == "getitem" or hasattr(torch.ops.aten, name)


@pytest.mark.parametrize("name", [name for name in rules if name in EXAMPLES])
def test_what_a_rule_says_is_what_a_cut_network_does(name: str) -> None:
    net, x = example(name)
    assert name in {op.name for op in trace(net, x, strict=True).ops}
    with torch.no_grad():
        whole = net(x)
    supernet = elasticise(net, x, divisor=1)
    groups = (supernet.conversion or {})["groups"]
    assert not [group for group in groups if any(word in (group["reason"] or "") for word in REFUTED)]
    with torch.no_grad():
        torch.testing.assert_close(supernet(x, supernet.space.largest()), whole)
        for arch in (supernet.space.smallest(), supernet.space.sample(Random(0))):
            torch.testing.assert_close(supernet(x, arch), supernet.extract(arch)(x))
