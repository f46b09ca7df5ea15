"""What every registered network promises: it fits a task by what that says of itself, and becomes elastic."""

from __future__ import annotations

import inspect
from pathlib import Path
from random import Random

import pytest
import torch

from supernet.elastic.elasticise import elasticise
from supernet.networks import made, networks
from supernet.options import DataOptions
from supernet.sources import load_data
from supernet.tasks.task import Dataset


def data_for(name: str, folder: Path) -> Dataset:
    """Data whose task says something that the network wants to know."""
    for i in range(12):
        (folder / f"{i}.txt").write_text("".join(f"{i} times {j} is {i * j}\n" for j in range(60)))
    known = inspect.signature(networks[name]).parameters
    for options in (DataOptions("scattered", resolution=24), DataOptions(f"text:{folder}", length=16)):
        data = load_data(options)
        if set(data.task.network) & set(known):
            return data
    pytest.fail(f"no task of the house fits {name}")


def told(name: str, data: Dataset) -> dict[str, int]:
    """What the task says, as far as the network knows the words."""
    known = inspect.signature(networks[name]).parameters
    return {key: value for key, value in data.task.network.items() if key in known}


@pytest.mark.parametrize("name", list(networks))
def test_it_fits_a_task_and_becomes_elastic_for_it(name: str, tmp_path: Path) -> None:
    data = data_for(name, tmp_path)
    task = data.task
    torch.manual_seed(0)
    net = elasticise(made(networks[name], told(name, data)), task.example_inputs())
    assert net.space.size > 1
    batch = data.batch(0, 3, seed=0)
    inputs = task.inputs(batch)
    for arch in (net.space.largest(), net.space.sample(Random(0)), net.space.smallest()):
        with torch.no_grad():
            outputs = inputs.call(net.subnet(arch))
            torch.testing.assert_close(outputs, inputs.call(net.extract(arch)))
        assert torch.isfinite(task.loss(outputs, batch))
        assert [score.metric for score in task.metrics(outputs, batch)] == list(task.measures)
        assert len(task.decode(outputs)) == 3


@pytest.mark.parametrize("name", list(networks))
def test_its_weights_follow_the_seed(name: str, tmp_path: Path) -> None:
    arguments = told(name, data_for(name, tmp_path))
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(made(networks[name], arguments).state_dict())
    one, again, other = states
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)
