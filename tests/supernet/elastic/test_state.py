"""What a network remembers from call to call is remembered by the supernet too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from supernet import elasticise
from supernet.elastic.supernet import Supernet
from supernet.errors import ConversionError
from supernet.space import Architecture
from tests.supernet.elastic.nets import images, seeded


class Remembering(nn.Module):
    """Counts its calls and keeps a running mean of its input, of its hidden layer and of its answers."""

    mean: Tensor
    hidden: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 5)
        self.register_buffer("mean", torch.zeros(6))
        self.register_buffer("hidden", torch.zeros(32))
        self.answers = torch.zeros(5)
        self.step = 0

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x - self.mean).relu()
        if self.training:
            self.step += 1
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
            self.hidden = 0.9 * self.hidden + 0.1 * h.detach().mean(0)
        out: Tensor = self.last(h - self.hidden)
        self.answers = out.detach().mean(0)
        return out


Run = Callable[[Supernet, Architecture, Tensor], Tensor]
RUNS: dict[str, Run] = {
    "short form": lambda net, arch, x: net(x, arch),
    "subnet": lambda net, arch, x: net.subnet(arch)(x),
}


@pytest.mark.parametrize("run", RUNS)
def test_state_that_a_forward_pass_assigns_is_that_of_the_cut_out_network(run: str) -> None:
    net, x = elasticise(seeded(Remembering), (2, 6)).train(), images(4, 6)
    small = net.space.smallest()
    wide = net.plan.sizes(small)["first.width"]
    assert wide < 32
    alone = net.extract(small).train()
    for _ in range(3):
        torch.testing.assert_close(RUNS[run](net, small, x), alone(x), rtol=0, atol=0)
    largest = net.largest
    assert largest.step == alone.step == 3
    torch.testing.assert_close(largest.mean, alone.mean, rtol=0, atol=0)
    torch.testing.assert_close(largest.hidden[:wide], alone.hidden, rtol=0, atol=0)
    assert largest.hidden[wide:].abs().max() == 0
    torch.testing.assert_close(largest.answers, alone.answers, rtol=0, atol=0)


def test_a_subnet_that_is_kept_goes_on_from_the_state_of_the_supernet() -> None:
    net, x = elasticise(seeded(Remembering), (2, 6)).train(), images(4, 6)
    subnet = net.subnet(net.space.smallest())
    for _ in range(2):
        subnet(x)
        net(x, net.space.largest())
    assert net.largest.step == subnet.network.step + 1 == 4


def test_hooks_that_a_network_registers_as_it_runs_are_registered_once() -> None:
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 5)

        def forward(self, x: Tensor) -> Tensor:
            if not getattr(self, "hooked", False):
                self.first.register_forward_hook(lambda module, args, out: 2 * out)
                self.__dict__["hooked"] = True
            return self.last(self.first(x).relu())

    net, x = elasticise(seeded(Lazy), (2, 6)), images(4, 6)
    small = net.space.smallest()
    assert net.plan.sizes(small)["first.width"] < 32
    subnet, alone = net.subnet(small), net.extract(small)
    for _ in range(3):
        for run in (lambda: net(x, small), lambda: subnet(x)):
            torch.testing.assert_close(run(), alone(x), rtol=0, atol=0)
    assert not net.largest.first._forward_hooks


def test_what_was_set_on_a_kept_subnet_stays_its_own() -> None:
    class Switched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last, self.loud = nn.Linear(6, 32), nn.Linear(32, 5), False

        def set_loud(self) -> None:
            self.loud = True

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x).relu()) * (2 if self.loud else 1)

    net, x = elasticise(seeded(Switched), (2, 6)), images(4, 6)
    subnet = net.subnet(net.space.smallest())
    subnet.network.set_loud()
    for _ in range(2):
        torch.testing.assert_close(subnet(x), 2 * net(x, subnet.arch))
    assert not net.largest.loud


def test_a_gradient_passes_a_running_mean_that_is_assigned() -> None:
    class Scaling(nn.Module):
        scale: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 5)
            self.register_buffer("scale", torch.ones(32))

        def forward(self, x: Tensor) -> Tensor:
            h = self.first(x)
            out = h * self.scale
            if self.training:
                self.scale = 0.9 * self.scale + 0.1 * h.detach().abs().mean(0)
            return self.last(out)

    net, x = elasticise(seeded(Scaling), (2, 6)).train(), images(4, 6)
    small = net.space.smallest()
    assert net.plan.sizes(small)["first.width"] < 32
    alone = net.extract(small)
    net(x, small).square().sum().backward()
    alone(x).square().sum().backward()
    torch.testing.assert_close(
        net.largest.last.weight.grad[:, : alone.last.in_features], alone.last.weight.grad
    )


def test_buffers_updated_in_place_are_those_of_the_cut_out_network() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4)))
    net = elasticise(model, (4, 6)).train()
    small = net.space.smallest()
    alone = net.extract(small).train()
    net(images(4, 6), small), alone(images(4, 6))
    assert int(net.largest[1].num_batches_tracked) == int(alone[1].num_batches_tracked) == 1
    torch.testing.assert_close(
        net.largest[1].running_mean[: len(alone[1].running_mean)], alone[1].running_mean
    )


class Tables(nn.Module):
    """A dictionary of constants and one that is filled as the network runs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 5)
        self.constants = {"shift": torch.full((6,), 3.0)}
        self.cache: dict[str, Tensor] = {}

    def forget(self) -> None:
        self.cache = {}

    def forward(self, x: Tensor) -> Tensor:
        if not self.training and "weight" not in self.cache:
            self.cache["weight"] = self.first.weight.detach().abs().sum(1)
        scale = 1.0 if self.training else self.cache["weight"]
        return self.last(self.first(x + self.constants["shift"]).relu() * scale)


@pytest.mark.parametrize("warm", [False, True])
def test_constants_in_a_dictionary_stay_and_what_was_cached_goes(warm: bool) -> None:
    model, x = seeded(Tables), images(4, 6)
    with torch.no_grad():
        expected = model(x)
    if not warm:
        model.cache.clear()
    net = elasticise(model, (2, 6))
    small = net.space.smallest()
    assert net.plan.sizes(small)["first.width"] < 32
    torch.testing.assert_close(net(x, net.space.largest()), expected)
    torch.testing.assert_close(net(x, small), net.extract(small)(x), rtol=0, atol=0)
    net.largest(x)
    torch.testing.assert_close(net(x, small), net.extract(small)(x), rtol=0, atol=0)
    subnet = net.subnet(small)
    before = subnet(x)
    with torch.no_grad():
        net.largest.first.weight.mul_(2)
    assert not torch.allclose(subnet(x), before)


def test_state_in_a_dictionary_is_refused() -> None:
    class Bank(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 32), nn.Linear(32, 5)
            self.bank = {"mean": torch.zeros(5)}

        def forward(self, x: Tensor) -> Tensor:
            out = self.last(self.first(x).relu()) - self.bank["mean"]
            self.bank["mean"] = 0.5 * self.bank["mean"] + out.detach().mean(0)
            return out

    with pytest.raises(ConversionError, match=r"'bank'.*register_buffer"):
        elasticise(seeded(Bank), (2, 6))
