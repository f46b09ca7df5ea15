"""Between a loss and a moved weight: precision, accumulation, clipping, averages, and what is left alone."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from supernet.checkpoint import optimizer_tensors, restore_optimizer
from supernet.elastic.elasticise import elasticise
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError, SupernetError
from supernet.evaluate import Evaluator
from supernet.options import TrainOptions
from supernet.recipe import optimizer_of
from supernet.stepping import Stepper
from supernet.strategies import Context, Lesson
from supernet.trainer import CHECKPOINT, Trainer
from tests.supernet.strategies.course import few_images, interrupted, small_supernet

OPTIONS = TrainOptions(
    epochs=6, batch_size=16, lr=0.05, warmup=0.0, evaluate_every=9, evaluate_examples=16, calibration_examples=16,
    checkpoint_seconds=0.0,
)  # fmt: skip


class Block(nn.Module):
    """Two convolutions beside a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 12, 1), nn.Conv2d(12, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """As large as what came in."""
        found: Tensor = x + self.two(torch.relu(self.one(x)))
        return found


class Residual(nn.Module):
    """Nothing that looks at a batch as a whole, no dropout, and a block that can be left out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(1, 8, 3, stride=2), nn.Linear(8, 10)
        self.blocks = nn.Sequential(Block(), Block())

    def forward(self, x: Tensor) -> Tensor:
        """Ten logits for grey images of 8 px."""
        found: Tensor = self.head(self.blocks(torch.relu(self.stem(x))).mean((2, 3)))
        return found


def residual_supernet() -> Supernet:
    """The same weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = elasticise(Residual().eval(), (2, 1, 8, 8), dims=("hidden", "depth"), divisor=2)
        assert any(dim.kind == "present" for dim in made.plan.dims.values())
        return made


@dataclass(frozen=True)
class ByTurns:
    """The largest, then the smallest, and so on."""

    def lessons(self, context: Context) -> list[Lesson]:
        """One of them."""
        space = context.space
        return [Lesson(space.smallest() if context.step % 2 else space.largest())]


def parameters(net: nn.Module) -> dict[str, Tensor]:
    """A copy of them."""
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


def trained(options: TrainOptions, net: Supernet | None = None) -> dict[str, Tensor]:
    """The weights after so many steps as epochs."""
    net = net or residual_supernet()
    Trainer(net, few_images(), options).run()
    return parameters(net)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lamb", "lion"])
def test_a_block_that_no_lesson_used_is_neither_decayed_nor_moved_by_momentum(optimizer: str) -> None:
    net, seen = residual_supernet(), []
    options = replace(OPTIONS, epochs=4, optimizer=optimizer, weight_decay=0.5, clip_norm=0.5, lr=0.01)
    seen.append(parameters(net))
    Trainer(net, few_images(), options, strategy=ByTurns()).run(lambda *_: seen.append(parameters(net)))
    block = [name for name in seen[0] if ".blocks.1." in name]
    for step, (before, after) in enumerate(pairwise(seen)):
        moved = [not torch.equal(before[name], after[name]) for name in before if name in block]
        assert moved == [step % 2 == 0] * 4
        assert not torch.equal(before["largest.stem.weight"], after["largest.stem.weight"])


@pytest.mark.parametrize("strategy", ["sandwich", "multi"])
def test_accumulated_gradients_are_those_of_the_whole_batch(strategy: str) -> None:
    options = replace(OPTIONS, strategy=strategy, distil_after=0.0, distil_weight=0.5)
    whole, parts = trained(options), trained(replace(options, accumulate=4))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value)
    assert any(not torch.equal(parts[name], whole[name]) for name in whole)


def test_the_losses_of_micro_batches_are_told_as_one() -> None:
    losses = [
        Trainer(residual_supernet(), few_images(), replace(OPTIONS, accumulate=n)).run()[-1].losses
        for n in (1, 2)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize(
    ("accumulate", "batch", "says"),
    [(3, 16, r"a batch of 16 .* 1 x 3 .*a multiple of 3"), (32, 32, "holds 16 examples.* 32 micro-batches")],
)
def test_micro_batches_that_do_not_come_out_even_are_refused(accumulate: int, batch: int, says: str) -> None:
    options = replace(OPTIONS, batch_size=batch, accumulate=accumulate)
    with pytest.raises(ConfigError, match=says):
        Trainer(residual_supernet(), few_images(), options)


def gradient(options: TrainOptions) -> tuple[Tensor, Tensor]:
    """Of a step without momentum and decay at a learning rate of 1: what was asked of it, what was done."""
    net = nn.Linear(3, 2)
    stepper = Stepper(net, replace(options, lr=1.0, momentum=0.0, weight_decay=0.0), 4)
    before = net.weight.detach().clone()
    stepper.begin(0)
    x = torch.tensor([[1.0, -3.0, 5.0]])
    stepper.backward(net(x).sum())
    stepper.step()
    return torch.cat([x, x]), before - net.weight.detach()


@pytest.mark.parametrize("amp", ["none", "fp16"])
def test_a_gradient_is_clipped_by_its_norm_or_by_its_entries(amp: str) -> None:
    options = replace(OPTIONS, amp=amp)
    asked, done = gradient(replace(options, clip_value=2.0))
    torch.testing.assert_close(done, asked.clamp(-2, 2))
    asked, done = gradient(replace(options, clip_norm=1.0))
    norm = (asked.square().sum() + 2).sqrt()  # the bias has two ones
    torch.testing.assert_close(done, asked / norm)
    asked, done = gradient(options)
    torch.testing.assert_close(done, asked)


def test_autocast_reaches_the_network_and_nothing_else() -> None:
    net, seen = residual_supernet(), set()
    net.largest.get_submodule("head").register_forward_hook(
        lambda *args: seen.add((args[0].training, args[2].dtype))
    )
    Trainer(net, few_images(), replace(OPTIONS, epochs=1, amp="bf16")).run()
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}  # in training, and when it is judged
    assert all(value.dtype == torch.float32 for value in net.state_dict().values())
    for options in (replace(OPTIONS, amp="bf16"), replace(OPTIONS, amp="fp16")):
        for ours, plain in zip(trained(options).values(), trained(OPTIONS).values()):
            # eight bits of mantissa, over six steps
            torch.testing.assert_close(ours, plain, atol=2e-2, rtol=5e-2)


def test_a_scale_that_was_too_large_skips_the_step_and_halves() -> None:
    net = nn.Linear(3, 2)
    stepper = Stepper(net, replace(OPTIONS, amp="fp16"), 4)
    before = parameters(net)
    stepper.begin(0)
    stepper.backward(net(torch.full((1, 3), 1e38)).sum())
    stepper.step()
    assert all(torch.equal(before[name], value) for name, value in parameters(net).items())
    assert stepper.tensors()["scaler/scale"].item() == 2**15


def test_the_average_is_what_is_evaluated_and_what_is_there_in_the_end(tmp_path: Path) -> None:
    options, kept = replace(OPTIONS, epochs=3, ema=0.5), []
    net = small_supernet()
    trainer = Trainer(net, few_images(), options, tmp_path)
    kept.append({name: value.clone() for name, value in net.state_dict().items()})
    history = trainer.run(
        lambda *_: kept.append({name: value.clone() for name, value in net.state_dict().items()})
    )
    expected = kept[0]
    for step, now in enumerate(kept[1:]):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = {
            name: decay * value + (1 - decay) * now[name] if value.is_floating_point() else now[name]
            for name, value in expected.items()
        }
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    look = Evaluator(net, few_images(), examples=16, calibration_examples=16)
    assert look(net.space.largest()).value == history[-1].largest
    again = small_supernet()
    Trainer(again, few_images(), options, tmp_path).run()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in net.state_dict().items())


def test_without_an_average_nothing_more_is_kept() -> None:
    stepper = Stepper(small_supernet(), OPTIONS, 1)
    stepper.begin(0)
    assert not stepper.tensors()


RECIPES: Mapping[str, TrainOptions] = {
    "bf16": replace(OPTIONS, amp="bf16"),
    "fp16": replace(OPTIONS, amp="fp16", lr=5.0, clip_norm=1.0),
    "accumulate": replace(OPTIONS, accumulate=4),
    "ema": replace(OPTIONS, ema=0.9),
    "lamb": replace(OPTIONS, optimizer="lamb", clip_value=0.1),
    "all": replace(OPTIONS, amp="fp16", accumulate=2, ema=0.9, optimizer="adamw", clip_norm=1.0, lr=0.01),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_goes_on_bit_for_bit_after_any_interruption(recipe: str, tmp_path: Path) -> None:
    options = RECIPES[recipe]
    Trainer(small_supernet(), few_images(), options, tmp_path / "whole").run()
    for stop in (2, 5):
        with pytest.raises(KeyboardInterrupt):
            Trainer(small_supernet(), few_images(), options, tmp_path / "parts").run(interrupted(stop))
    Trainer(small_supernet(), few_images(), options, tmp_path / "parts").run()
    whole, parts = ((tmp_path / name / CHECKPOINT).read_bytes() for name in ("whole", "parts"))
    assert whole == parts


@pytest.mark.parametrize(
    "name",
    ["adafactor", "adamw", "adopt", "lamb", "lion", "madgrad", "nadamw", "radam", "rmsproptf", "sgdw"],
)
def test_what_an_optimizer_keeps_is_read_back_whole(name: str) -> None:
    options = replace(OPTIONS, optimizer=name, lr=0.01)

    def steps(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for _ in range(3):
            optimizer.zero_grad()
            net(torch.ones(2, 4)).square().sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    optimizer = optimizer_of(net, options)
    steps(net, optimizer)
    other = deepcopy(net)
    restored = optimizer_of(other, options)
    kept = {name: value.clone() for name, value in optimizer_tensors(net, optimizer).items()}
    restore_optimizer(other, restored, kept)
    steps(net, optimizer)
    steps(other, restored)
    assert torch.equal(net.weight, other.weight) and torch.equal(net.bias, other.bias)


def test_layers_near_the_input_learn_more_slowly() -> None:
    options = replace(OPTIONS, layer_decay=0.5)
    net = timm.create_model("test_vit", img_size=32)
    stepper = Stepper(net, options, 4)
    stepper.begin(0)
    rates = {id(p): group["lr"] for group in stepper.optimizer.param_groups for p in group["params"]}
    by_name = {name: rates[id(parameter)] for name, parameter in net.named_parameters()}
    names = ("patch_embed.proj.weight", "blocks.0.norm1.weight", "blocks.1.norm1.weight", "head.weight")
    found = [by_name[name] / by_name["head.weight"] for name in names]
    assert found == sorted(found) and len(set(found)) == 4
    assert stepper.lr == pytest.approx(options.lr * (0.01 if options.warmup else 1))


def test_dropout_can_be_left_to_the_largest() -> None:
    all_drop, largest_drops = (
        trained(replace(OPTIONS, epochs=1, regularise=which, distil_after=1.0), small_supernet())
        for which in ("all", "largest")
    )
    assert not torch.equal(all_drop["largest.head.weight"], largest_drops["largest.head.weight"])


def test_unknown_words_name_the_nearest() -> None:
    with pytest.raises(ConfigError, match="amp is 'bf17'; did you mean 'bf16'"):
        TrainOptions(amp="bf17")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="regularise is 'larges'; did you mean 'largest'"):
        TrainOptions(regularise="larges")  # type: ignore[arg-type]
    with pytest.raises(SupernetError, match="no execution is called 'compile'; did you mean 'compiled'"):
        Trainer(small_supernet(), few_images(), replace(OPTIONS, execution="compile"))


@pytest.mark.slow
def test_compiled_lessons_teach_what_plain_ones_do() -> None:
    options = replace(OPTIONS, epochs=2, execution="compiled")
    net = residual_supernet()
    # the graphs are those of any backend; this one runs them as they are
    net.__dict__["_compiled"] = torch.compile(net.forward, dynamic=True, backend="eager")
    compiled = trained(options, net)
    for name, value in trained(replace(options, execution="plain")).items():
        torch.testing.assert_close(compiled[name], value)


def test_a_count_of_steps_stays_where_no_gpu_is_waited_for() -> None:
    network = nn.Linear(2, 3, device="meta")
    optimizer = torch.optim.Adam(network.parameters())
    kept = {"weight:step": torch.tensor(3.0), "weight:exp_avg": torch.zeros(3, 2)}
    restore_optimizer(network, optimizer, kept)
    found = optimizer.state[network.weight]
    assert found["step"].device.type == "cpu" and found["step"] == 3
    assert found["exp_avg"].device.type == "meta"


class Order(TorchDispatchMode):
    """What is called, in order, both passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_no_number_is_read_before_all_lessons_of_a_step_are_under_way() -> None:
    trainer = Trainer(small_supernet(), few_images(), OPTIONS)
    trainer._learn()
    with Order() as order:
        trainer._learn()
    assert order.found.count("convolution_backward") == 6
    assert "_local_scalar_dense" in order.found[order.found.index("convolution_backward") :]
    lessons = order.found[: len(order.found) - order.found[::-1].index("convolution_backward")]
    assert "_local_scalar_dense" not in lessons, "a GPU would be waited for"
