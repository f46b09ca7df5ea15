"""Each score once more, by hand or by another road."""

from __future__ import annotations

from collections.abc import Callable
from math import log

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from predictors.zero_cost import scores, zero_cost
from predictors.zero_cost.candidate import Candidate
from predictors.zero_cost.correlation import unlikeness
from predictors.zero_cost.synflow import flows
from supernet.tasks.classification import ImageClassification
from tests.predictors.zero_cost.networks import alone, batch_for, made, task_for

TASK = ImageClassification(("a", "b", "c"), 2, 4)


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 2, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


LABELS = torch.tensor([0, 1, 2, 1])


def chain(bias: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, bias=bias), nn.ReLU(), nn.Conv2d(3, 4, 2, bias=bias), nn.ReLU(), nn.Flatten(),
        nn.Linear(4, 3, bias=bias),
    ).double()  # fmt: skip


def of(name: str, network: nn.Module, given: Tensor | None = None, labels: Tensor = LABELS) -> float:
    supernet = alone(network)
    batch = (images() if given is None else given, labels)
    return zero_cost(name, supernet.subnet(supernet.space.largest()), batch, TASK)


def gradients(network: nn.Module, x: Tensor, labels: Tensor) -> list[Tensor]:
    weights = [each for each in network.parameters() if each.dim() > 1]
    return list(torch.autograd.grad(F.cross_entropy(network(x), labels), weights))


def moved(network: nn.Module, along: list[Tensor], step: float) -> list[Tensor]:
    """The gradients after a step of the weights."""
    weights = [each for each in network.parameters() if each.dim() > 1]
    with torch.no_grad():
        for weight, way in zip(weights, along):
            weight += step * way
    found = gradients(network, images(), LABELS)
    with torch.no_grad():
        for weight, way in zip(weights, along):
            weight -= step * way
    return found


def test_parameters_and_multiply_adds_are_those_of_the_network_cut_out() -> None:
    supernet = made("cnn")
    for arch in (supernet.space.smallest(), supernet.space.largest()):
        network = supernet.extract(arch).eval()
        counted = FlopCounterMode(display=False)
        with counted:
            network(torch.zeros(1, 3, 32, 32))
        asked = supernet.subnet(arch), batch_for("cnn"), task_for("cnn")
        assert zero_cost("macs", *asked) == counted.get_total_flops() / 2
        assert zero_cost("params", *asked) == sum(each.numel() for each in network.parameters())


def test_snip_and_gradient_norm_are_sums_over_the_weights() -> None:
    network = chain(bias=True)
    slopes = gradients(network, images(), LABELS)
    weights = [each for each in network.parameters() if each.dim() > 1]
    assert of("snip", network) == pytest.approx(
        sum(float((w * g).abs().sum()) for w, g in zip(weights, slopes))
    )
    assert of("grad_norm", network) == pytest.approx(sum(float((g**2).sum()) ** 0.5 for g in slopes))


def test_snip_is_what_the_loss_changes_by_without_a_weight_to_first_order() -> None:
    network = chain()
    weight = network[5].weight
    before = float(F.cross_entropy(network(images()), LABELS))
    share = 1e-5
    total = 0.0
    for each in network.parameters():
        for i in range(each.numel()):
            with torch.no_grad():
                kept = each.view(-1)[i].item()
                each.view(-1)[i] *= 1 - share
                total += abs(float(F.cross_entropy(network(images()), LABELS)) - before) / share
                each.view(-1)[i] = kept
    assert weight.numel() == 12
    assert of("snip", network) == pytest.approx(total, rel=1e-3)


def test_grasp_is_the_gradient_of_gradients_by_differences() -> None:
    network = chain()
    slopes = gradients(network, images(), LABELS)
    step = 1e-5
    ahead, behind = moved(network, slopes, step), moved(network, slopes, -step)
    expected = -sum(
        float((w * (a - b)).sum()) / (2 * step) for w, a, b in zip(network.parameters(), ahead, behind)
    )
    assert of("grasp", network) == pytest.approx(expected, rel=1e-5)


def test_every_layer_of_a_chain_carries_the_same_flow_which_is_what_comes_out() -> None:
    network = chain()
    candidate = Candidate(network, TASK.inputs((images(), LABELS)), TASK, (images(), LABELS), lambda: 0, 0)
    found = [float(layer.sum()) for layer in flows(candidate)]
    out = float(network(torch.ones(1, 2, 4, 4, dtype=torch.float64)).sum())  # its weights are positive by now
    assert found == pytest.approx([out] * 3)
    assert of("synflow", chain()) == pytest.approx(log(3 * out))


def test_synflow_does_not_look_at_the_data_and_not_at_norms() -> None:
    plain = chain()
    normed = nn.Sequential(plain[0], nn.BatchNorm2d(3).double(), *list(plain)[1:])
    assert of("synflow", plain) == of("synflow", plain, 5 * images()) == of("synflow", normed)


def test_fisher_is_what_the_loss_of_an_example_changes_by_without_a_channel() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 3)).double()
    hidden = network[0](images()).detach().requires_grad_()
    expected = 0.0
    losses = F.cross_entropy(network[2](hidden.flatten(1)), LABELS, reduction="none")
    for i in range(4):
        (slope,) = torch.autograd.grad(losses[i], hidden, retain_graph=True)
        expected += float(((hidden[i] * slope[i]).sum((1, 2)) ** 2).sum()) / 8
    out = network(images()).detach().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(out, LABELS, reduction="sum"), out)
    expected += float(((out * slope) ** 2).sum()) / 8
    assert of("fisher", network) == pytest.approx(expected)


def test_fisher_does_not_depend_on_how_often_the_examples_are_shown() -> None:
    twice = torch.cat([images(), images()]), torch.cat([LABELS, LABELS])
    assert of("fisher", chain(), *twice) == pytest.approx(of("fisher", chain()))


def test_the_jacobian_is_that_by_differences() -> None:
    network, x, step = chain(), images(), 1e-6
    rows = torch.zeros(4, 32, dtype=torch.float64)
    for i in range(32):
        way = torch.zeros(32, dtype=torch.float64)
        way[i] = step
        change = way.view(2, 4, 4)
        rows[:, i] = (network(x + change).sum(1) - network(x - change).sum(1)).detach() / (2 * step)
    assert of("jacobian", network) == pytest.approx(unlikeness(rows), rel=1e-4)


def test_unlikeness_is_that_of_the_correlations_whatever_the_order_of_the_rows() -> None:
    rows = torch.randn(5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    values = np.linalg.eigvalsh(np.corrcoef(rows.numpy()))
    assert unlikeness(rows) == pytest.approx(-(np.log(values + 1e-5) + 1 / (values + 1e-5)).sum())
    assert unlikeness(rows.flip(0)) == pytest.approx(unlikeness(rows))
    alike = torch.cat([rows[:4], rows[:1] + 1e-3])
    assert unlikeness(alike) < unlikeness(rows)


def test_the_kernel_of_naswot_counts_the_switches_that_two_examples_share() -> None:
    network, x = chain(), images()
    first = network[0](x)
    codes = [first.flatten(1) > 0, network[2](F.relu(first)).flatten(1) > 0]
    kernel = np.array([[sum(int((c[i] == c[j]).sum()) for c in codes) for j in range(4)] for i in range(4)])
    assert kernel[0, 0] == 12 + 4
    assert of("naswot", network) == pytest.approx(np.linalg.slogdet(kernel + 1e-3 * np.eye(4))[1])


def test_zen_puts_back_what_batch_norms_took_away() -> None:
    """A batch norm scales its input by what it counts, so the score is that of the linear layers alone."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(2, 16, 3, bias=False), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(64, 3))
    wider = nn.Sequential(
        nn.Conv2d(2, 64, 3, bias=False), nn.BatchNorm2d(64), nn.Flatten(), nn.Linear(256, 3)
    )
    found = [of("zen", network.double()) for network in (plain, wider)]
    assert found[1] - found[0] == pytest.approx(
        log(4), abs=0.3
    )  # four times the channels differ, each as much


def test_zico_is_the_mean_over_the_deviation_of_gradients() -> None:
    network, x = chain(), images()
    parts = [gradients(network, x[i::2], LABELS[i::2]) for i in (0, 1)]
    expected = 0.0
    for a, b in zip(*parts):
        pair = np.stack([a.numpy(), b.numpy()])
        spread = pair.std(0)
        seen = spread > 0
        expected += log((np.abs(pair).mean(0)[seen] / spread[seen]).sum())
    assert of("zico", network) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["rnn", "decoder"])
def test_hidden_states_are_those_after_the_last_token_or_of_all(name: str) -> None:
    network, ids = made(name).largest, batch_for(name)
    assert isinstance(ids, Tensor)
    states: dict[str, Callable[[], Tensor]] = {
        "rnn": lambda: network.cells(network.embed(ids[:, :-1]))[1][0][0],
        "decoder": lambda: network.norm(network.blocks(network.embed(ids[:, :-1]))).mean(1),
    }
    supernet = made(name)
    found = zero_cost("hidden_covariance", supernet.subnet(supernet.space.largest()), ids, task_for(name))
    assert found == pytest.approx(unlikeness(states[name]().detach()), rel=1e-4)


def test_the_scores_of_the_literature_are_registered() -> None:
    named = "params macs grad_norm snip grasp synflow fisher jacobian naswot zen zico hidden_covariance"
    assert set(named.split()) <= set(scores)
