"""Weights from a file arrive whole, or the message says what differs and what would fit."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from supernet.build import build
from supernet.config import to_plain
from supernet.errors import ConfigError, WeightsError
from supernet.options import SupernetOptions
from supernet.tasks.classification import ImageClassification
from supernet.weights import load_weights, read_tensors

TASK = ImageClassification(tuple("abc"), 3, 32)


class Small(nn.Module):
    """Stem, norm, a widening layer and a head."""

    def __init__(self, width: int = 4, classes: int = 3, channels: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3)
        self.norm = nn.BatchNorm2d(width)
        self.body = nn.Conv2d(width, 2 * width, 1)
        self.head = nn.Linear(2 * width, classes)

    def features(self, x: Tensor) -> Tensor:
        """``(batch, 2 * width)``."""
        return self.body(self.norm(self.stem(x))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, classes)``."""
        out: Tensor = self.head(self.features(x))
        return out


def small(seed: int = 0, width: int = 4, classes: int = 3, channels: int = 3) -> Small:
    torch.manual_seed(seed)
    found = Small(width, classes, channels).eval()
    nn.init.uniform_(found.norm.running_mean)  # type: ignore[arg-type]
    return found


def renamed(network: nn.Module) -> dict[str, Tensor]:
    return {f"t{i}": value for i, value in enumerate(network.state_dict().values())}


def images(channels: int = 3) -> Tensor:
    return torch.randn(2, channels, 5, 5, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_network_with_loaded_weights_answers_as_the_one_they_came_from(
    tmp_path: Path, suffix: str, prefix: str
) -> None:
    theirs, ours, path = small(1), small(2), tmp_path / f"weights{suffix}"
    tensors = {prefix + name: value for name, value in theirs.state_dict().items()}
    save_file(tensors, path) if suffix == ".safetensors" else torch.save(tensors, path)
    fitted = load_weights(ours, path)
    assert torch.equal(ours(images()), theirs(images()))
    assert (fitted.tensors, fitted.fresh, fitted.adapted) == (len(tensors), [], [])


def test_a_checkpoint_that_holds_a_state_dict_is_read_and_its_order_kept(tmp_path: Path) -> None:
    torch.save({"state_dict": small().state_dict(), "epoch": 3}, tmp_path / "a.pth")
    assert list(read_tensors(tmp_path / "a.pth")) == list(small().state_dict())


def test_other_names_are_refused_by_name_and_fit_by_order(tmp_path: Path) -> None:
    theirs, ours, path = small(1), small(2), tmp_path / "weights.pth"
    torch.save(renamed(theirs), path)
    before = ours(images())
    with pytest.raises(WeightsError, match=r"stem.weight.* is not in the file.*supernet.weights_by=order"):
        load_weights(ours, path)
    assert torch.equal(ours(images()), before)
    load_weights(ours, path, by="order")
    assert torch.equal(ours(images()), theirs(images()))


@pytest.mark.parametrize("by", ["name", "order"])
def test_a_head_for_other_classes_is_made_anew_and_nothing_else_is(tmp_path: Path, by: str) -> None:
    theirs, ours, path = small(1, classes=7), small(2), tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), path)
    fresh = ours.head.weight.clone()
    fitted = load_weights(ours, path, by=by)  # type: ignore[arg-type]
    assert fitted.fresh == ["head.weight", "head.bias"]
    assert torch.equal(ours.features(images()), theirs.features(images()))
    assert torch.equal(ours.head.weight, fresh)


def test_a_file_without_a_head_fits_and_one_without_a_layer_does_not(tmp_path: Path) -> None:
    tensors = small(1).state_dict()
    headless = OrderedDict((name, value) for name, value in tensors.items() if "head" not in name)
    torch.save(headless, tmp_path / "a.pth")
    assert load_weights(small(2), tmp_path / "a.pth").fresh == ["head.weight", "head.bias"]
    torch.save({name: value for name, value in headless.items() if name != "body.bias"}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match=r"'body.bias' \(8,\) is not in the file"):
        load_weights(small(2), tmp_path / "b.pth")


@pytest.mark.parametrize(("file", "here"), [(3, 1), (1, 3)])
def test_an_adapted_stem_answers_to_a_grey_image_as_the_one_of_the_file(
    tmp_path: Path, file: int, here: int
) -> None:
    theirs, ours, path = small(1, channels=file), small(2, channels=here), tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), path)
    assert load_weights(ours, path, channels=here).adapted == ["stem.weight"]
    grey = images(1)
    torch.testing.assert_close(ours(grey.expand(-1, here, -1, -1)), theirs(grey.expand(-1, file, -1, -1)))


def test_other_widths_are_refused_with_the_first_shapes(tmp_path: Path) -> None:
    torch.save(small(width=5).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(
        WeightsError, match=r"'stem.weight' is \(4, 3, 3, 3\) and the file's \(5, 3, 3, 3\);.* more;"
    ):
        load_weights(small(), tmp_path / "weights.pth")


def test_the_message_names_a_similar_model_that_fits(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(timm.create_model("lcnet_035").state_dict(), path)
    with pytest.raises(WeightsError, match=r"it fits lcnet_035"):
        load_weights(timm.create_model("lcnet_050"), path, model="lcnet_050")


class Evil:
    """Runs something when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("ran",)


def test_nothing_in_a_file_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"stem.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="nothing in it is run"):
        read_tensors(tmp_path / "evil.pth")
    assert "ran" not in capsys.readouterr().out


def test_files_without_usable_tensors_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no file .*nowhere"):
        read_tensors(tmp_path / "nowhere.pth")
    for name in ("a.pth", "a.safetensors"):
        (tmp_path / name).write_bytes(b"no weights")
        with pytest.raises(WeightsError, match=rf"{name} can not be read"):
            read_tensors(tmp_path / name)
    torch.save({"epoch": 1, "model": {}}, tmp_path / "b.pth")
    with pytest.raises(WeightsError, match="'epoch', 'model'"):
        read_tensors(tmp_path / "b.pth")
    torch.save({"w": torch.tensor([1.0, float("nan")])}, tmp_path / "c.pth")
    with pytest.raises(WeightsError, match="no numbers, in 'w'"):
        read_tensors(tmp_path / "c.pth")


def test_the_largest_of_a_supernet_is_the_network_of_the_file_bit_for_bit(tmp_path: Path) -> None:
    path, small_mobile = tmp_path / "weights.pth", {"widths": [8, 8, 12], "depths": [1, 2], "features": 32}
    theirs = build(SupernetOptions("mobile", dict(small_mobile)), TASK, seed=1)
    torch.save(renamed(theirs.largest), path)
    net = build(SupernetOptions("mobile", dict(small_mobile), str(path), "order"), TASK, seed=2)
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(net(x, net.space.largest()), theirs(x, theirs.space.largest()))
    assert net.origin is not None
    assert net.origin["weights"] == to_plain(load_weights(theirs.largest, path, by="order"))


def test_a_head_that_is_made_anew_begins_with_zeros_from_which_it_can_learn(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    theirs = timm.create_model("lcnet_035", num_classes=TASK.network["classes"] + 1)
    torch.save(theirs.state_dict(), path)
    net = build(SupernetOptions("lcnet_035", weights=str(path)), TASK)
    head = net.largest.get_classifier()
    assert not head.weight.any()
    assert not head.bias.any()
    labels = torch.zeros(2, dtype=torch.long)
    torch.nn.functional.cross_entropy(net(torch.randn(2, 3, 32, 32), net.space.largest()), labels).backward()
    assert head.weight.grad.any()
    torch.save(timm.create_model("lcnet_035", num_classes=TASK.network["classes"]).state_dict(), path)
    assert build(SupernetOptions("lcnet_035", weights=str(path)), TASK).largest.get_classifier().weight.any()


def test_weights_from_two_places_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="leave one of them out"):
        SupernetOptions("lcnet_035", {"pretrained": True}, "weights.pth")
