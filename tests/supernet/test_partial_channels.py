"""A few channels of every layer learn: exactly, in narrow subnets too, and nothing else moves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from supernet.errors import ConfigError
from supernet.options import TrainOptions
from supernet.partial_channels import PartialChannels
from supernet.seeds import rng
from supernet.trainer import CHECKPOINT, Trainer
from tests.supernet.strategies.course import few_images, interrupted, small_supernet
from tests.tiny import tiny_images, tiny_supernet

OPTIONS = TrainOptions(
    epochs=3, batch_size=16, lr=0.02, warmup=0.0, evaluate_every=9, evaluate_examples=16, calibration_examples=16,
    checkpoint_seconds=0.0, partial_channels=0.25, weight_decay=0.1,
)  # fmt: skip
LAYERS = {
    "linear": (nn.Linear(8, 6), (3, 5, 8)),
    "convolution": (nn.Conv2d(8, 6, 3, stride=2, padding=1, dilation=2), (2, 8, 9, 9)),
    "without a bias": (nn.Conv2d(8, 6, 1, bias=False), (2, 8, 4, 4)),
    "depth-wise": (nn.Conv2d(8, 16, 3, padding=1, groups=8), (2, 8, 5, 5)),
    "in groups": (nn.Conv2d(8, 12, 3, groups=4), (2, 8, 5, 5)),
    "of a line": (nn.Conv1d(8, 6, 3), (2, 8, 7)),
    "of a volume": (nn.Conv3d(8, 6, 3), (2, 8, 4, 4, 4)),
    "reflecting at the border": (nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"), (2, 8, 5, 5)),
}


class Net(nn.Sequential):
    """A layer, something that bends, and a head that learns whole; in double precision."""

    def __init__(self, layer: nn.Module, shape: tuple[int, ...]) -> None:
        features = layer(torch.zeros(shape)).flatten(1).shape[1]
        super().__init__(layer, nn.Tanh(), nn.Flatten(), nn.Linear(features, 2))
        chance = torch.Generator().manual_seed(0)
        for parameter in self.double().parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=chance, dtype=torch.float64) / 3)


def learns(partial: PartialChannels, path: str, weight: Tensor) -> Tensor:
    """True where a weight learns."""
    found = partial.layers[path]
    shape = [1] * weight.dim()
    shape[found.axis] = -1
    return found.entries.view(shape).expand(weight.shape)


def gradients(network: nn.Module, x: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Answer, gradients of the parameters and of the input."""
    x = x.clone().requires_grad_()
    answer = network(x)
    names, parameters = zip(*network.named_parameters())
    *found, dx = torch.autograd.grad(answer.square().sum(), [*parameters, x])
    return answer, dict(zip(names, found)), dx


def saved_bytes(network: nn.Module, x: Tensor) -> int:
    """Of everything that the backward pass is kept for, parameters aside; what two layers keep counts once."""
    own = {parameter.data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        """Look at what is saved."""
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        answer = network(x)
    assert answer.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("kind", LAYERS)
def test_channels_that_learn_have_the_gradient_they_always_had(kind: str) -> None:
    layer, shape = LAYERS[kind]
    network = Net(layer, shape)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    answer, plain, dx = gradients(network, x)
    partial = PartialChannels(network, 0.25)
    partial.install(network)
    again, found, dx_again = gradients(network, x)
    assert torch.equal(again, answer) and partial.layers.keys() == {"0"}
    mask = learns(partial, "0", plain["0.weight"])
    assert 0.2 <= mask.double().mean() <= 0.3
    expected = {**plain, "0.weight": plain["0.weight"] * mask}
    if kind == "reflecting at the border":  # not run as a part, and only learnt as one
        expected = plain
    torch.testing.assert_close((found, dx_again), (expected, dx), rtol=1e-12, atol=1e-12)


def test_a_layer_keeps_the_channels_that_learn_of_what_it_was_given() -> None:
    layers = [
        layer for _ in range(3) for layer in (nn.Conv2d(16, 16, 3, padding=1), nn.Sigmoid(), nn.Dropout(0.5))
    ]
    network, x = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 64, 2)), torch.rand(4, 16, 8, 8)
    plain, given = saved_bytes(network, x), x.nbytes
    partial = PartialChannels(network, 0.25)
    partial.install(network)
    positions = 3 * 4 * 8  # which four channels of each of three layers
    assert plain - saved_bytes(network, x) == 3 * given - 3 * given // 4 - positions


@pytest.mark.parametrize("autocast", [False, True])
def test_narrow_subnets_learn_the_channels_inside_them(autocast: bool) -> None:
    net, x, draw = tiny_supernet().train(), tiny_images(), rng(0, "partial")
    partial = PartialChannels(net.largest, 0.25, plan=net.plan)
    assert not any("classifier" in path for path in partial.layers)
    tolerance = {"rtol": 0.05, "atol": 0.05} if autocast else {"rtol": 1e-3, "atol": 1e-4}
    for arch in [net.space.smallest(), net.space.largest(), *(net.space.sample(draw) for _ in range(3))]:
        found = []
        for subnet in (net.subnet(arch), partial.install_in(net.subnet(arch))):
            net.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                subnet(x).square().mean().backward()
            found.append({name: p.grad for name, p in net.largest.named_parameters()})
        for path in partial.layers:
            plain, part = (grads[f"{path}.weight"] for grads in found)
            assert (plain is None) == (part is None)
            if plain is not None and part is not None:
                mask = learns(partial, path, plain)
                torch.testing.assert_close(part, plain * mask, **tolerance)
                assert not part[~mask].any()


def test_every_prefix_of_an_axis_has_its_share_of_channels_that_learn() -> None:
    network = nn.Sequential(nn.Linear(40, 4), nn.Linear(4, 2))
    for seed in range(20):
        entries = PartialChannels(network, 0.25, seed).layers["0"].entries
        counts = entries.cumsum(0)
        assert counts[-1] == 10
        assert all(abs(int(count) - (i + 1) / 4) <= 1 for i, count in enumerate(counts))
    drawn = [PartialChannels(network, 0.25, seed).layers["0"].entries for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lamb", "lion", "adafactor", "adagrad"])
def test_channels_that_do_not_learn_are_neither_decayed_nor_moved_by_momentum(optimizer: str) -> None:
    net = small_supernet()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    training = Trainer(net, few_images(), replace(OPTIONS, optimizer=optimizer, clip_norm=1.0, ema=0.5))
    training.run()
    partial, after = training.stepper.partial, net.state_dict()
    assert partial.layers.keys() == {"one", "two"}
    for path in partial.layers:
        name = f"largest.{path}.weight"
        moved = after[name] != before[name]
        assert torch.equal(moved, learns(partial, path, moved)), name
    assert not torch.equal(after["largest.head.weight"], before["largest.head.weight"])
    kept = {name: value for name, value in training.stepper.tensors().items() if "two.weight:" in name}
    assert all(value.numel() <= before["largest.two.weight"].numel() // 4 + 1 for value in kept.values())


def test_an_interrupted_run_of_partial_channels_ends_at_the_same_bytes(tmp_path: Path) -> None:
    options = replace(OPTIONS, optimizer="adamw")
    Trainer(small_supernet(), few_images(), options, tmp_path / "whole").run()
    with pytest.raises(KeyboardInterrupt):
        Trainer(small_supernet(), few_images(), options, tmp_path / "parts").run(interrupted(at=2))
    Trainer(small_supernet(), few_images(), options, tmp_path / "parts").run()
    whole, parts = ((tmp_path / name / CHECKPOINT).read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_a_share_of_nothing_or_everything_is_the_usual_training() -> None:
    weights = []
    for share in (0.0, 1.0):
        net = small_supernet()
        Trainer(net, few_images(), replace(OPTIONS, partial_channels=share, epochs=1)).run()
        weights.append(net.state_dict())
    torch.testing.assert_close(*weights, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "shrinking"}, "shrinking sorts units anew .* set train.partial_channels=0"),
        ({"execution": "compiled"}, "compiled subnets .* choose another train.execution"),
    ],
)
def test_what_does_not_go_together_with_partial_channels_is_refused(
    options: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Trainer(small_supernet(), few_images(), replace(OPTIONS, **options))  # type: ignore[arg-type]


def test_a_share_outside_its_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"partial_channels is 1\.5; it can be 0 to 1"):
        TrainOptions(partial_channels=1.5)
