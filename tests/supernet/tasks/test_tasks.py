"""What is special to a task: masks, canvases, texts, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from math import log
from pathlib import Path

import pytest
import torch

from supernet.build import build
from supernet.errors import DataError, SupernetError
from supernet.evaluate import Evaluator
from supernet.options import DataOptions, SupernetOptions, TrainOptions
from supernet.sources import load_data
from supernet.tasks import segmentation
from supernet.tasks.classification import ImageClassification
from supernet.tasks.language import LanguageModelling
from supernet.tasks.segmentation import Segmentation
from supernet.tasks.task import Metric, Score
from supernet.trainer import Trainer


def test_mean_iou_is_that_counted_by_hand_and_ignores_classes_never_met() -> None:
    task = Segmentation(("background", "cat", "dog", "never"), 1, 2)
    masks = torch.tensor([[[0, 0], [1, 2]]])
    answers = torch.tensor([[[0, 1], [1, 1]]])
    logits = torch.nn.functional.one_hot(answers, 4).movedim(-1, 1).float()
    overlap, pixels = task.metrics(logits, (torch.zeros(1, 1, 2, 2), masks))
    # background: 1 of 2, cat: 1 of 3, dog: 0 of 1
    assert overlap.value == pytest.approx(100 * (1 / 2 + 1 / 3 + 0) / 3)
    assert pixels.value == pytest.approx(50.0)


def test_uniform_answers_need_eight_bits_per_byte() -> None:
    task = LanguageModelling(4)
    bits, _ = task.metrics(torch.zeros(2, 4, 256), torch.randint(256, (2, 5)))
    assert bits.value == pytest.approx(8.0)


def test_canvases_and_their_masks_move_together() -> None:
    data = load_data(DataOptions("scattered"))
    for images, masks in (data.batch(3, 64, seed=0), *data.batches("test", 50)):
        # Ink is what is brighter than 64 of 255, and all that a mask names is ink.
        assert ((images[:, 0] > 64 / 127.5 - 1) == (masks > 0)).all()
        assert images.flatten(1).unique(dim=0).shape[0] == len(images)


def test_no_digit_is_drawn_in_two_splits(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[set[bytes]] = []

    def canvases(digits: torch.Tensor, *rest: object) -> segmentation.Canvases:
        drawn.append({digit.numpy().tobytes() for digit in digits})
        return segmentation.Canvases(torch.zeros(1, 1, 24, 24), torch.zeros(1, 24, 24))

    monkeypatch.setattr(segmentation, "_canvases", canvases)
    load_data(DataOptions("scattered"))
    assert len(drawn) == 3 and sum(map(len, drawn)) == len(set().union(*drawn)) == 1797


def test_a_language_model_learns_the_next_token() -> None:
    task, batch = LanguageModelling(4), torch.tensor([[5, 6, 7, 8, 9]])
    logits = torch.full((1, 4, 256), -30.0)
    logits[0, range(4), [6, 7, 8, 9]] = 30.0
    assert task.inputs(batch).tensors[0].tolist() == [[5, 6, 7, 8]]
    assert task.loss(logits, batch).item() == pytest.approx(0, abs=1e-6)


def test_the_loss_of_uniform_answers_is_the_logarithm_of_the_classes() -> None:
    task = ImageClassification(tuple("abcd"), 1, 8)
    batch = (torch.zeros(2, 1, 8, 8), torch.tensor([0, 3]))
    assert task.loss(torch.zeros(2, 4), batch).item() == pytest.approx(log(4))


def test_images_reach_an_architecture_at_its_resolution() -> None:
    task = ImageClassification(tuple("abcd"), 3, 32)
    images = torch.randn(2, 3, 32, 32)
    batch = (images, torch.tensor([0, 1]))
    assert torch.equal(task.inputs(batch).tensors[0], images)
    assert task.inputs(batch, {"resolution": 24}).tensors[0].shape == (2, 3, 24, 24)
    assert task.example_inputs({"resolution": 24}).tensors[0].shape == (2, 3, 24, 24)


@pytest.fixture(scope="module")
def elastic_resolution() -> SupernetOptions:
    return SupernetOptions("unet", {"widths": [8, 8], "depth": 1, "resolution": [24, 48], "dims": ["hidden"]})


def _first(count: int, split: segmentation.Canvases) -> segmentation.Canvases:
    return segmentation.Canvases(split.images[:count], split.masks[:count])


def test_elastic_resolution_reaches_training_evaluation_and_costs(
    monkeypatch: pytest.MonkeyPatch, elastic_resolution: SupernetOptions
) -> None:
    all_ = load_data(DataOptions("scattered"))
    assert isinstance(all_, segmentation.ScatteredDigits)
    data = replace(all_, splits={name: _first(16, split) for name, split in all_.splits.items()})
    net = build(elastic_resolution, data.task)
    small, large = net.space.smallest(), net.space.largest()
    assert (net.input_values(small), net.input_values(large)) == ({"resolution": 24}, {"resolution": 48})
    seen: list[int] = []
    net.largest.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[-1]))
    trainer = Trainer(
        net, data, TrainOptions(epochs=1, batch_size=16, evaluate_examples=8, calibration_examples=8)
    )
    trainer.run()
    assert {24, 48} == set(seen)
    same = {name: value for name, value in net.space.decode(large).items() if name != "resolution"}
    cheap = net.costs().of(net.space.encode({**same, "resolution": 24})).macs
    assert cheap * 4 == net.costs().of(large).macs


def test_a_metric_that_is_no_number_is_named_with_its_architecture() -> None:
    data = load_data(DataOptions("digits", resolution=8))
    net = build(SupernetOptions("mobile"), data.task)
    with torch.no_grad():
        next(net.parameters()).fill_(float("nan"))
    arch = net.space.smallest()
    with pytest.raises(
        SupernetError, match=f"{arch.id}.*'log loss' of the task image-classification is no number"
    ):
        Evaluator(net, data, examples=16, calibration_examples=16)(arch)


def test_a_score_without_examples_is_unknown() -> None:
    assert Score(Metric("m", "", "max"), torch.tensor(0.0), torch.tensor(0)).value != 0


def test_texts_are_split_by_file_and_a_new_file_moves_no_other(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i}.txt").write_text(f"file {i:03d} " * 40)
    options = DataOptions(f"text:{tmp_path}", length=8)
    before = load_data(options)
    (tmp_path / "new.txt").write_text("brand new " * 40)
    after = load_data(options)
    for split in ("train", "search", "test"):
        old = bytes(before.splits[split].tolist()).replace(b"\n", b"")  # type: ignore[attr-defined]
        new = bytes(after.splits[split].tolist()).replace(b"\n", b"")  # type: ignore[attr-defined]
        assert old == new.replace(b"brand new ", b"")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DataOptions("scattered:3"), "takes nothing behind it"),
        (DataOptions("scattered", resolution=16), "24 or more"),
        (DataOptions("text:nowhere"), "no file or folder 'nowhere'"),
        (DataOptions("scatered"), "did you mean 'scattered'"),
    ],
)
def test_data_that_can_not_be_had_are_refused(options: DataOptions, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data(options)


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short")
    with pytest.raises(DataError, match="fewer than two rows of 128"):
        load_data(DataOptions(f"text:{tmp_path}"))


@pytest.mark.parametrize(
    ("model", "source", "message"),
    [
        ("mobile", "scattered", "classifies images, the data are for image-segmentation"),
        ("resnet18", "scattered", "classifies images"),
        ("decoder", "digits", "knows no channels, which image-classification needs"),
    ],
)
def test_a_network_for_another_task_is_refused(model: str, source: str, message: str) -> None:
    with pytest.raises(SupernetError, match=message):
        build(SupernetOptions(model), load_data(DataOptions(source)).task)


@pytest.mark.parametrize(
    ("options", "side", "message"),
    [
        (
            SupernetOptions("resnet18"),
            1,
            r"images of 1 px are too small for 'resnet18'; .* can be 17 or more",
        ),
        (SupernetOptions("resnet18"), 16, r"images of 16 px .* data\.resolution can be 17 or more"),
        (
            SupernetOptions("resnet18", {"resolution": [8, 32], "dims": ["hidden"]}),
            32,
            r"images of 8 px .* can be 17",
        ),
    ],
    ids=["one pixel", "sixteen", "elastic"],
)
def test_images_too_small_for_a_network_are_refused(
    options: SupernetOptions, side: int, message: str
) -> None:
    with pytest.raises(SupernetError, match=message):
        build(options, ImageClassification(("a", "b"), 3, side))


def test_images_just_large_enough_are_not_refused() -> None:
    net = build(SupernetOptions("resnet18", {"dims": ["hidden"]}), ImageClassification(("a", "b"), 3, 17))
    assert not net.largest.training
