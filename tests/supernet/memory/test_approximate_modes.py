"""Approximate modes: exact answers, and gradients that are off by what their formulas say."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn
from torch.nn import functional as F

from supernet.memory.approximation import approximation
from supernet.memory.few_bit import ACTIVATIONS, best_pieces, best_steps
from supernet.memory.inside import Replaced, run_inside
from supernet.memory.int8 import LEVELS, Kept as AsItIs, Packing, Rounded, View, is_dense, unpack
from supernet.memory.modes import is_exact, modes
from supernet.memory.relu_backward import NEAREST, sum_of_relus
from supernet.memory.shift_only import CALLS
from supernet.memory.steps import Steps, packed, stepped, unpacked
from supernet.seeds import rng
from tests.tiny import tiny_images, tiny_supernet

APPROXIMATE = sorted(name for name in modes if not is_exact(name))


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normally distributed, and asking for its gradient."""
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=chance, dtype=dtype).requires_grad_()


def gradients(call: Callable[[Tensor], Tensor], x: Tensor, *others: Tensor) -> list[Tensor | None]:
    """Of the sum of the answer, each entry times another number."""
    answer = call(x)
    weights = noise(*answer.shape, seed=7, dtype=answer.dtype).detach()
    return list(torch.autograd.grad((answer * weights).sum(), [x, *others], allow_unused=True))


def test_the_approximate_modes_are_known_as_such() -> None:
    assert {"int8", "few_bit", "relu_backward", "shift_only"} <= set(APPROXIMATE)
    assert is_exact("plain") and is_exact({"blocks": "plain"})
    assert not is_exact({"blocks.0": "plain", "blocks.1": "int8"})


@pytest.mark.parametrize("name", APPROXIMATE)
def test_an_approximate_mode_answers_exactly_and_leaves_everything_else_alone(name: str) -> None:
    x, draw = tiny_images(), rng(0, name)
    for training in (True, False):
        nets = [tiny_supernet().train(training) for _ in range(2)]
        classes = [type(module) for module in nets[1].modules()]
        for arch in [nets[0].space.smallest(), nets[0].space.largest(), nets[0].space.sample(draw)]:
            answers = [net.subnet(arch, execution=mode)(x) for net, mode in zip(nets, ("plain", name))]
            assert torch.equal(*answers)
            states = [torch.get_rng_state()]
            answers[1].square().mean().backward()
            states.append(torch.get_rng_state())
            assert torch.equal(*states)
        plain, found = (net.state_dict() for net in nets)
        assert plain.keys() == found.keys() and all(torch.equal(plain[key], found[key]) for key in plain)
        assert classes == [type(module) for module in nets[1].modules()]


@pytest.mark.parametrize("name", APPROXIMATE)
def test_an_approximate_mode_runs_in_mixed_precision_and_in_one_block(name: str) -> None:
    net, x = tiny_supernet().train(), tiny_images()
    arch = net.space.largest()
    execution = {"blocks.1": name, "blocks.2.0": name}
    with torch.autocast("cpu", torch.bfloat16):
        answer = net.subnet(arch, execution=execution)(x)
        assert torch.equal(answer, net.subnet(arch)(x))
    answer.float().square().mean().backward()
    learnt = {name for name, p in net.largest.named_parameters() if p.grad is not None}
    assert {"conv_stem.weight", "blocks.1.0.conv_dw.weight", "blocks.2.0.bn3.bias"} <= learnt


@pytest.mark.parametrize(("name", "error"), [("int8", 0.1), ("few_bit", 0.3), ("shift_only", 0.6)])
def test_the_measured_error_of_the_gradient_is_bounded(name: str, error: float) -> None:
    net, x = tiny_supernet().train(name != "shift_only"), tiny_images(8)

    def loss(execution: str) -> Tensor:
        """Of some labels, in some mode."""
        return F.cross_entropy(net.subnet(net.space.largest(), execution=execution)(x), torch.arange(8))

    before = {key: value.clone() for key, value in net.state_dict().items()}
    found = approximation(net, partial(loss, "plain"), partial(loss, name))
    assert 0 < found.error < error and found.cosine > 1 - error**2
    assert (found.untrained > 0) == (name == "shift_only")
    same = approximation(net, partial(loss, "plain"), partial(loss, "plain"))
    assert same.error == same.untrained == 0
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


class Counted:
    """A context that counts the bytes of what is saved in it."""

    def __init__(self) -> None:
        self.bytes: dict[int, int] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._note, lambda tensor: tensor)

    def _note(self, tensor: Tensor) -> Tensor:
        self.bytes[tensor.data_ptr()] = tensor.nbytes
        return tensor.detach()

    def __enter__(self) -> Counted:
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)


# Steps


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("entries", [1, 8, 37])
def test_packed_codes_are_unpacked(bits: int, entries: int) -> None:
    codes = torch.randint(2**bits, (entries, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    planes = packed(codes, bits)
    assert planes.nbytes == bits * (-(-3 * entries // 8))
    assert torch.equal(unpacked(planes, codes.shape), codes)


def test_a_stepped_function_answers_exactly_and_keeps_its_bits() -> None:
    steps, x = Steps((-1.0, 0.0, 2.0), (0.5, -0.25, 3.0, 0.5)), noise(4, 50)
    assert steps.bits == 2
    with Counted() as kept:
        answer = stepped(x, torch.sin, steps)
    assert torch.equal(answer, torch.sin(x)) and sum(kept.bytes.values()) == 4 * 50 * 2 // 8
    (dx,) = torch.autograd.grad(answer.sum(), x)
    expected = torch.where(x > 2, 0.5, torch.where(x > 0, 3.0, torch.where(x > -1, -0.25, 0.5)))
    assert torch.equal(dx, expected.double())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_best_pieces_are_those_that_trying_all_finds(count: int) -> None:
    chance = np.random.default_rng(0)
    values, weights = chance.normal(size=9), chance.uniform(0.1, 1, 9)

    def loss(ends: tuple[int, ...]) -> float:
        """Weighted squares around the mean of each piece."""
        total = 0.0
        for start, end in zip((0, *ends), ends):
            v, w = values[start:end], weights[start:end]
            total += (w * (v - (w @ v) / w.sum()) ** 2).sum()
        return float(total)

    tried = min(((*cuts, 9) for cuts in combinations(range(1, 9), count - 1)), key=loss)
    ends, levels = best_pieces(values, weights, count)
    assert tuple(ends) == tried and len(levels) == count


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_bit_more_than_halves_the_square_of_the_error(name: str) -> None:
    x = noise(20_000)
    (exact,) = torch.autograd.grad(ACTIVATIONS[name](x).sum(), x)
    errors = [
        (best_steps(ACTIVATIONS[name], bits)(x.detach()) - exact).square().mean() for bits in (1, 2, 3, 4)
    ]
    assert all(after < before / 2 for before, after in pairwise(errors))
    assert errors[2].sqrt() < 0.06
    mean = (best_steps(ACTIVATIONS[name], 3)(x.detach()) - exact).mean()
    assert abs(mean) < 0.01  # steps at the mean of their piece are right in the mean


@pytest.mark.parametrize("call", NEAREST)
def test_no_sum_of_three_relus_is_nearer(call: Callable[[Tensor], Tensor]) -> None:
    x = np.linspace(-20, 20, 20_001)
    exact = call(torch.from_numpy(x)).numpy()

    def distance(knots: Any) -> float:
        """Of the function that is 0, bends at three places, and is x."""
        left, middle, value, right = knots
        return float(
            np.square(exact - np.interp(x, [-20, left, middle, right, 20], [0, 0, value, right, 20])).sum()
        )

    bend, value = NEAREST[call]
    ours = (-bend, 0.0, value, bend)
    found = minimize(distance, (-bend * 0.9, 0.1, value, bend), method="Nelder-Mead")
    assert distance(ours) <= found.fun * (1 + 1e-5)


@pytest.mark.parametrize("call", NEAREST)
def test_the_way_back_is_that_of_the_sum_of_relus(call: Callable[[Tensor], Tensor]) -> None:
    steps, x = sum_of_relus(call), noise(1000)
    assert steps.bits == 2
    slopes = np.diff(steps.levels)
    assert sum(slopes) == pytest.approx(1) and slopes @ steps.edges == pytest.approx(0)
    expected = gradients(lambda x: sum(float(a) * F.relu(x - c) for a, c in zip(slopes, steps.edges)), 4 * x)
    torch.testing.assert_close(gradients(lambda x: stepped(x, call, steps), 4 * x), expected)


# Shifts


def detached_norm(x: Tensor, over: tuple[int, ...], fixed: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Normalised by a deviation that is a constant."""
    if fixed is not None:
        shape = (1, -1, *[1] * (x.dim() - 2))
        return (x - fixed[0].view(shape)) / (fixed[1].view(shape) + 1e-5).sqrt()
    mean = x.mean(over, keepdim=True)
    return (x - mean) / (x.var(over, correction=0, keepdim=True).detach() + 1e-5).sqrt()


@pytest.mark.parametrize(
    "kind", ["batch", "batch of a line", "fixed", "layer", "layer of two axes", "group", "plain"]
)
def test_a_norm_goes_back_as_if_its_deviation_were_a_constant(kind: str) -> None:
    shape = (5, 8) if kind == "batch of a line" else (5, 8, 3, 4)
    x, own = noise(*shape), (4,) if kind == "layer" else (3, 4) if kind == "layer of two axes" else (8,)
    scale, shift = noise(*own, seed=1), noise(*own, seed=2)
    if kind == "plain":
        scale = shift = torch.ones(()).double().requires_grad_()
    moments = noise(8, seed=3).detach(), noise(8, seed=4).detach().square()
    batch = tuple(axis for axis in range(x.dim()) if axis != 1)

    def call(x: Tensor) -> Tensor:
        """The norm, by PyTorch's function."""
        if kind == "plain":
            return F.layer_norm(x, (4,)) + 0 * shift
        if kind.startswith("layer"):
            return F.layer_norm(x, own, scale, shift)
        if kind == "group":
            return F.group_norm(x, 2, scale, shift)
        return F.batch_norm(x, *(m.clone() for m in moments), scale, shift, training=kind != "fixed")

    def by_hand(x: Tensor) -> Tensor:
        """The same, its deviation detached."""
        across = (1, -1, *[1] * (x.dim() - 2))
        if kind == "plain":
            return detached_norm(x, (-1,)) + 0 * shift
        if kind.startswith("layer"):
            return detached_norm(x, tuple(range(-len(own), 0))) * scale + shift
        if kind == "group":
            found = detached_norm(x.view(5, 2, 4, 3, 4), (2, 3, 4)).view(x.shape)
        else:
            found = detached_norm(x, batch, moments if kind == "fixed" else None)
        return found * scale.view(across) + shift.view(across)

    torch.testing.assert_close(call(x), by_hand(x))
    dx, dshift = gradients(by_hand, x, shift)
    with Replaced(CALLS), Counted() as kept:
        answer = call(x)
    assert torch.equal(answer, call(x))
    assert sum(kept.bytes.values()) <= x.nbytes // 3 + 2 * scale.nbytes

    def replaced(x: Tensor) -> Tensor:
        """In the mode."""
        with Replaced(CALLS):
            return call(x)

    found = gradients(replaced, x, shift, scale)
    torch.testing.assert_close(found[:2], [dx, dshift])
    assert kind == "plain" or found[2] is None


def test_relu6_keeps_one_bit_and_is_exact_and_hardswish_goes_back_by_the_sign_of_its_input() -> None:
    x = (4 * noise(4, 100, dtype=torch.float32)).detach().requires_grad_()
    best_steps(F.hardswish, 1)  # found once, and nothing of an input
    with Replaced(CALLS), Counted() as kept:
        answers = F.relu6(x), F.hardswish(x)
    assert sorted(kept.bytes.values()) == [50, 50]
    assert torch.equal(answers[0], F.relu6(x)) and torch.equal(answers[1], F.hardswish(x))
    (exact,) = torch.autograd.grad(F.relu6(x).sum(), x)
    found = [torch.autograd.grad(answer.sum(), x)[0] for answer in answers]
    assert torch.equal(found[0], exact) and torch.unique(found[1]).tolist() == pytest.approx(
        [0.2356, 0.7644], abs=1e-3
    )
    assert torch.equal(found[1] > 0.5, x > 0)


# Eight bits


@pytest.mark.parametrize("shape", [(4, 6, 8, 8), (4, 50, 12)])
def test_an_entry_is_off_by_at_most_half_a_step_of_its_channel(shape: tuple[int, ...]) -> None:
    x = noise(*shape).detach() * 10 ** noise(*shape[-1:], seed=1).detach()
    rounded = Rounded.of(x)
    assert rounded is not None
    others = (0, 2, 3) if len(shape) == 4 else (0, 1)
    ranges = x.amax(others, keepdim=True) - x.amin(others, keepdim=True)
    assert ((rounded.restored() - x).abs() <= ranges / LEVELS / 2 * (1 + 1e-9)).all()
    positive = Rounded.of(F.relu(x))
    assert positive is not None and not positive.restored()[x < 0].any()


def test_what_is_no_number_is_kept_as_it_is() -> None:
    x = noise(4, 8, 16, 16).detach()
    x[0, 0, 0, 0] = -torch.inf
    packing = Packing(nn.Module())
    assert torch.equal(unpack(packing.pack(x)), x)


def test_tensors_that_show_the_same_memory_are_rounded_once_and_each_as_it_is_seen() -> None:
    x, packing = noise(4, 8, 16, 16).detach(), Packing(nn.Module())
    x = x.to(memory_format=torch.channels_last)
    views = [x, x.flatten(2), x.flatten(2).transpose(1, 2), x.transpose(2, 3)]
    kept = [packing.pack(view) for view in views]
    assert len({id(each.rounded) for each in kept if isinstance(each, View)}) == 1
    values = [unpack(each) for each in kept]
    for view, value in zip(views, values):
        assert value.shape == view.shape
        torch.testing.assert_close(value, view, rtol=0, atol=0.02)
    part = packing.pack(x[:, 2:])
    assert isinstance(part, View)
    torch.testing.assert_close(unpack(part), x[:, 2:], rtol=0, atol=0.02)


def test_memory_that_is_used_again_is_rounded_again() -> None:
    packing, chance = Packing(nn.Module()), torch.Generator().manual_seed(0)
    kept, values = [], []
    for _ in range(20):
        x = torch.randn(2, 8, 32, 32, generator=chance)
        kept.append(packing.pack(x))
        values.append(x.mean().item())
        del x
    assert [unpack(each).mean().item() for each in kept] == pytest.approx(values, abs=1e-3)
    x = torch.zeros(2, 8, 32, 32)
    before = packing.pack(x)
    x.fill_(1.0)
    assert unpack(packing.pack(x)).eq(1).all() and not unpack(before).any()


def test_eight_bits_hold_a_quarter_and_weights_stay_what_they_are() -> None:
    net, x = (
        nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.Sigmoid()),
        noise(8, 16, 16, 16, dtype=torch.float32),
    )
    packing, kept = Packing(net), list[AsItIs | View]()

    def pack(tensor: Tensor) -> AsItIs | View:
        """Note what is kept."""
        kept.append(packing.pack(tensor))
        return kept[-1]

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        net(x)
    weight, *others = [each.tensor for each in kept if isinstance(each, AsItIs)]
    assert torch.equal(weight, net[0].weight) and not others
    rounded = [each.rounded for each in kept if isinstance(each, View)]
    assert len(rounded) == 2
    assert (
        sum(each.codes.nbytes + each.step.nbytes + each.low.nbytes for each in rounded) <= 0.26 * 2 * x.nbytes
    )


def test_the_gradient_of_an_input_needs_weights_alone_and_is_exact_in_eight_bits() -> None:
    x = noise(8, 16, 16, 16, dtype=torch.float32)
    found = []
    for name in ("plain", "int8"):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = nn.Sequential(nn.Conv2d(16, 16, 3), nn.Conv2d(16, 4, 1), nn.AvgPool2d(2))
        modes[name](net)
        with torch.autocast("cpu", torch.bfloat16, enabled=True):
            found.append(torch.autograd.grad(net(x).float().sum(), x)[0])
    assert torch.equal(*found)


def test_a_weight_that_is_changed_before_the_backward_pass_is_an_error() -> None:
    net = nn.Sequential(nn.Conv2d(16, 16, 3), nn.Sigmoid())
    modes["int8"](net)
    answer = net(noise(2, 16, 16, 16, dtype=torch.float32))
    with torch.no_grad():
        net[0].weight.add_(1)
    with pytest.raises(RuntimeError, match="modified in place between forward and backward"):
        answer.sum().backward()


def test_a_dense_tensor_has_no_gaps() -> None:
    x = torch.zeros(2, 3, 4, 5)
    assert all(map(is_dense, (x, x.transpose(0, 2), x.to(memory_format=torch.channels_last), x[1])))
    assert not any(map(is_dense, (x[:, 1:], x[..., ::2], x[:, :1, :1, :1].expand(2, 3, 4, 5))))


def test_a_module_with_a_forward_of_its_own_runs_inside_too() -> None:
    class Alone(nn.Module):
        """What it answers is set from outside."""

        def forward(self, x: Tensor) -> Tensor:
            """Not called."""
            raise AssertionError

    module, entered = Alone(), []

    class Note:
        """A context that says when it was entered."""

        def __enter__(self) -> None:
            entered.append(True)

        def __exit__(self, *error: object) -> None:
            entered.append(False)

    module.forward = partial(torch.add, 1)  # type: ignore[method-assign, assignment]
    run_inside(module, lambda module: Note())  # type: ignore[arg-type, return-value]
    assert module(torch.zeros(())) == 1 and entered == [True, False]
