"""An image that can not be decoded is named, and ends the run or is gone on without, as asked."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from supernet import image_folder as folders
from supernet.data import ImageDataset
from supernet.errors import DataError
from supernet.options import DataOptions
from tests.supernet.test_data import as_bytes, image_folder, load


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataOptions:
    """Of a folder that stays on disk; every image has a colour of its own."""
    monkeypatch.setattr(folders, "MEMORY_BYTES", 0)
    image_folder(tmp_path, {"train": {"a": 8, "b": 8}, "val": {"a": 3, "b": 3}, "test": {"a": 3, "b": 3}})
    return DataOptions(f"folder:{tmp_path}", shift=0.0, flip=False, corrupt="skip")


def damage(options: DataOptions, *names: str) -> None:
    """Cut files in two: their headers still are whole."""
    for name in names:
        path = Path(options.source.removeprefix("folder:")) / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def epoch(data: ImageDataset, number: int) -> list[tuple[bytes, int]]:
    steps = data.epoch_steps(4)
    shown = [data.batch(number * steps + step, 4, 0) for step in range(steps)]
    return [
        (image.numpy().tobytes(), int(label))
        for images, labels in shown
        for image, label in zip(as_bytes(data, images), labels)
    ]


@pytest.mark.parametrize("crop", [None, (1.0, 1.0)])
def test_an_image_that_is_damaged_between_epochs_is_named(
    options: DataOptions, crop: tuple[float, float] | None
) -> None:
    data = load(replace(options, corrupt="fail", random_crop=crop))
    epoch(data, 1)
    damage(options, "train/b/5.png")
    with pytest.raises(DataError, match=r"cannot decode .*train/b/5\.png: .*data\.corrupt=skip"):
        epoch(data, 2)


def test_the_next_image_takes_the_place_of_one_that_is_skipped_with_its_own_label(
    options: DataOptions, caplog: pytest.LogCaptureFixture
) -> None:
    data = load(options)
    before = [epoch(data, number) for number in (2, 3)]
    by_index = [
        (image.numpy().tobytes(), int(label))
        for images, labels in data.batches("train", 8)
        for image, label in zip(as_bytes(data, images), labels)
    ]
    damage(options, "train/a/3.png", "train/a/7.png", "train/b/7.png")
    stand_ins = {by_index[3]: by_index[4], by_index[7]: by_index[8], by_index[15]: by_index[0]}
    with caplog.at_level(logging.WARNING):
        after = [epoch(data, number) for number in (2, 3)]
    for ours, theirs in zip(after, before):
        assert ours == [stand_ins.get(image, image) for image in theirs]
    assert [epoch(load(options), number) for number in (2, 3)] == after
    assert len(caplog.messages) == 3
    assert sum("train/a/3.png" in said and "skipped" in said for said in caplog.messages) == 1


def test_nothing_is_judged_twice_where_an_image_is_skipped(options: DataOptions) -> None:
    data = load(options)
    damage(options, "test/a/0.png", "test/a/1.png", "test/a/2.png")
    assert [labels.tolist() for _, labels in data.batches("test", 3)] == [[1, 1, 1]]
    assert [labels.tolist() for _, labels in data.batches("test", 2)] == [[1], [1, 1]]


def test_a_split_in_memory_is_without_what_is_damaged(
    options: DataOptions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(folders, "MEMORY_BYTES", 1 << 20)
    damage(options, "train/a/3.png")
    root = Path(options.source.removeprefix("folder:"))
    (root / "train/b/0.png").write_bytes(b"not even a header")
    with caplog.at_level(logging.WARNING):
        data = load(options)
    assert isinstance(data.train.images, torch.Tensor)
    assert data.train.labels.tolist() == [0] * 7 + [1] * 7
    assert len(data.train.images) == 14 and len(caplog.messages) == 2
    with pytest.raises(DataError, match=r"cannot decode .*b/0\.png"):
        load(replace(options, corrupt="fail"))


def test_a_folder_of_which_nothing_is_left_is_refused(options: DataOptions) -> None:
    data = load(options)
    damage(options, *(f"train/{name}/{i}.png" for name in "ab" for i in range(8)))
    with pytest.raises(DataError, match="none of 16 images can be decoded"):
        data.batch(0, 4, 0)
