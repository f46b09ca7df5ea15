"""What every registered data source promises, whoever brings it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from supernet.elastic.inputs import Inputs
from supernet.errors import DataError
from supernet.options import DataOptions
from supernet.sources import load_data, sources
from supernet.tasks.task import Batch, Dataset, SplitName
from tests.supernet.test_data import fashion_mnist, image_folder

SPLITS: tuple[SplitName, ...] = ("train", "search", "test")


def _folder(root: Path) -> str:
    return str(image_folder(root, {"train": {"a": 24, "b": 24}}))


def _texts(root: Path) -> str:
    for i in range(12):
        (root / f"{i}.txt").write_text("\n".join(f"{i} times {j} is {i * j}" for j in range(60)))
    return str(root)


EXAMPLES: dict[str, Callable[[Path], str]] = {
    "digits": lambda root: "",
    "folder": _folder,
    "torchvision": lambda root: f"FashionMNIST@{fashion_mnist(root)}",
    "scattered": lambda root: "",
    "text": _texts,
    "elsewhere": lambda root: "60",
}
"""What stands behind the colon, given a folder to put files in."""


@pytest.fixture(scope="module", params=[name for name in sources if name in EXAMPLES])
def options(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DataOptions:
    rest = EXAMPLES[request.param](tmp_path_factory.mktemp(request.param))
    return DataOptions(source=f"{request.param}:{rest}".removesuffix(":"), length=32)


@pytest.fixture(scope="module")
def data(options: DataOptions) -> Dataset:
    return load_data(options)


def examples(batches: Iterable[Batch]) -> list[str]:
    """A hash of each example in some batches."""
    found = []
    for batch in batches:
        leaves: list[Tensor] = tree_leaves(batch)
        assert len({len(leaf) for leaf in leaves}) == 1
        for row in zip(*leaves):
            found.append(hashlib.sha256(b"".join(part.numpy().tobytes() for part in row)).hexdigest())
    return found


def same(one: Batch, two: Batch) -> bool:
    pairs = zip(tree_leaves(one), tree_leaves(two), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_every_source_of_the_house_is_held_to_the_contract() -> None:
    own = {name for name in sources if sources[name].__module__.startswith("supernet.")}
    assert own <= EXAMPLES.keys()


def test_it_is_called_what_it_was_asked_for_as(options: DataOptions, data: Dataset) -> None:
    assert data.name == options.source


def test_no_example_is_in_two_splits(data: Dataset) -> None:
    parts = [set(examples(data.batches(split, 100))) for split in SPLITS]
    assert all(parts)
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_shown_whole_and_in_one_order(split: SplitName, data: Dataset) -> None:
    whole = examples(data.batches(split, 7))
    assert len(whole) == data.count(split) > 0
    assert len(set(whole)) > 0.9 * len(whole)
    assert whole == examples(data.batches(split, 64))


def test_a_part_of_a_split_is_always_the_same_part(data: Dataset) -> None:
    whole, part = examples(data.batches("train", 64)), examples(data.batches("train", 3, most=8))
    assert len(part) == 8
    assert part == examples(data.batches("train", 8, most=8))
    assert set(part) <= set(whole)
    assert examples(data.batches("train", 64, most=10**9)) == whole


def test_a_batch_follows_its_step_and_seed_alone(data: Dataset) -> None:
    late = data.batch(11, 8, seed=3)
    assert len(set(examples([late]))) == len(examples([late])) == 8
    data.batch(2, 8, seed=3)
    assert same(data.batch(11, 8, seed=3), late)
    assert not same(data.batch(12, 8, seed=3), late)
    assert not same(data.batch(11, 8, seed=4), late)
    assert data.epoch_steps(8) == data.count("train") // 8


def test_calibration_sees_training_examples_as_they_are_each_once(data: Dataset) -> None:
    batches = data.calibration_batches(examples=16, batch_size=6, seed=1)
    found = examples(batches)
    assert len(found) == 16 and [len(tree_leaves(batch)[0]) for batch in batches] == [6, 6, 4]
    assert set(found) <= set(examples(data.batches("train", 64)))
    assert found == examples(data.calibration_batches(examples=16, batch_size=6, seed=1))
    assert found != examples(data.calibration_batches(examples=16, batch_size=6, seed=2))


def test_its_task_makes_inputs_of_a_batch_that_are_like_the_example(data: Dataset) -> None:
    shown = data.task.inputs(data.batch(0, 5, seed=0))
    example = data.task.example_inputs()
    assert isinstance(shown, Inputs) and isinstance(example, Inputs)
    assert (shown.batch, example.batch) == (5, 2)
    for given, typical in zip(shown.tensors, example.tensors, strict=True):
        assert (given.dtype, given.shape[1:]) == (typical.dtype, typical.shape[1:])
    again = data.task.example_inputs()
    assert all(torch.equal(a, b) for a, b in zip(again.tensors, example.tensors))


def test_its_task_says_what_is_measured_and_what_a_network_must_fit(data: Dataset) -> None:
    task = data.task
    assert task.name
    assert task.measures and all(metric.sense in ("min", "max") for metric in task.measures)
    assert len({metric.name for metric in task.measures}) == len(task.measures)
    assert task.ranked_by in task.measures
    assert task.network and all(isinstance(value, int) for value in task.network.values())


def test_what_it_says_of_itself_is_json_and_tells_it_from_another(
    options: DataOptions, data: Dataset
) -> None:
    plain: Any = json.loads(json.dumps([data.identity(), data.preprocessing()]))
    again = load_data(options)
    assert [again.identity(), again.preprocessing()] == plain
    other = load_data(replace(options, resolution=36, length=16))
    assert other.identity() != data.identity()


@pytest.mark.parametrize("name", list(sources))
def test_what_is_not_there_is_refused_with_a_word(name: str) -> None:
    with pytest.raises(DataError, match=r"no/where|nowhere"):
        load_data(DataOptions(source=f"{name}:/no/where@/nowhere"))
