"""On a GPU everything is what it is on the CPU: answers, gradients, budgets, trainings and what is made of them.

Kernels are asked to be deterministic, so that what is exact can be compared to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import onnxruntime
import pytest
import timm
import torch
from torch import Tensor, nn

import supernet.trainer as trainer_module
from benchmarks.memory_peaks import exact_kernels
from hardware.export import export_onnx
from supernet.budget import _subject
from supernet.data import ImageDataset
from supernet.differentiable import DifferentiableOptions, DifferentiableTrainer, methods
from supernet.elastic.elasticise import elasticise
from supernet.elastic.reorder import reorder
from supernet.elastic.supernet import Supernet
from supernet.errors import StateError
from supernet.evaluate import Evaluator
from supernet.memory.measuring import peak_bytes
from supernet.memory.modes import install
from supernet.options import DataOptions, TrainOptions
from supernet.presets import NASBench201, presets
from supernet.presets.mobile import Mobile
from supernet.ranks import Together
from supernet.reversible import ReversibleStage
from supernet.sensitivity import sensitivity
from supernet.sources import load_data
from supernet.space import Architecture
from supernet.splitting import split
from supernet.strategies import strategies
from supernet.tasks.task import moved
from supernet.trainer import CHECKPOINT, Trainer
from tests.supernet.differentiable.sizes import sized
from tests.supernet.differentiable.test_running import few_digits
from tests.supernet.memory.examples import images, network_of
from tests.supernet.memory.test_modes_contract import CASES, Make, both, check_same, learnt
from tests.supernet.presets.test_preset import SHORT
from tests.supernet.reversible.branches import conv_branch
from tests.supernet.strategies.course import few_images, interrupted, small_network, small_supernet
from tests.supernet.test_stepping import OPTIONS, residual_supernet
from tests.tiny import tiny_images, tiny_supernet

DEVICE = "cuda"
"""To try these tests without a GPU, say "cpu" here."""
pytestmark = pytest.mark.skipif(
    DEVICE == "cuda" and not torch.cuda.is_available(), reason="there is no GPU that PyTorch can use"
)
CLOSE = 1e-12
"""Relative, in float64."""
HERE = replace(OPTIONS, epochs=2, device=DEVICE)


@pytest.fixture(autouse=True)
def _exact_kernels() -> Iterator[None]:
    """Deterministic ones where there are some, in all of float32."""
    with exact_kernels():
        yield


def error(found: Tensor, expected: Tensor) -> float:
    """Relative L2 distance, wherever both are."""
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def far(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The same of all tensors together."""
    assert found.keys() == expected.keys()
    rows = [
        torch.cat([of[name].detach().cpu().double().flatten() for name in expected])
        for of in (found, expected)
    ]
    return error(*rows)


def mobile() -> tuple[Supernet, Tensor]:
    return Mobile(resolution=8, widths=(8, 8, 12), depths=(1, 2), features=32).supernet(), torch.randn(
        4, 1, 8, 8
    )


def vision_transformer() -> tuple[Supernet, Tensor]:
    made = presets["autoformer_tiny"](classes=3, channels=3, **SHORT["autoformer_tiny"]).supernet()
    return made, torch.randn(2, 3, 64, 64)


def of_timm() -> tuple[Supernet, Tensor]:
    x = torch.randn(2, 3, 32, 32)
    return elasticise(timm.create_model("test_efficientnet", num_classes=3).eval(), x), x


def step(net: Supernet, arch: Architecture, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """An answer in evaluation, and the gradients of a loss in training."""
    net.zero_grad(set_to_none=True)
    answer = net.eval()(x, arch)
    net.train()(x, arch).square().mean().backward()
    return answer, {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("make", [mobile, vision_transformer, of_timm])
def test_subnets_answer_and_learn_as_on_the_cpu(make: Callable[[], tuple[Supernet, Tensor]]) -> None:
    close = 1e-6 if make is mobile else 1e-10  # PyTorch's hardswish takes a sixth in float32 on a GPU
    torch.manual_seed(0)
    net, x = make()
    net, x = net.double(), x.double()
    there = deepcopy(net).to(DEVICE)
    for arch in (net.space.largest(), net.space.smallest(), net.space.sample(Random(0))):
        (answer, gradients), (ours, found) = step(net, arch, x), step(there, arch, x.to(DEVICE))
        assert error(ours, answer) < close
        assert far(found, gradients) < 10 * close
    assert all(tensor.device.type == DEVICE for tensor in (*there.parameters(), *there.buffers()))


@pytest.mark.parametrize(("mode", "make"), CASES, ids=[f"{m}-{make.__name__}" for m, make in CASES])
@pytest.mark.parametrize("cast", [None, torch.bfloat16], ids=["float64", "bf16"])
def test_a_mode_learns_what_plain_learns(mode: str, make: Make, cast: torch.dtype | None) -> None:
    dtype = torch.float64 if cast is None else torch.float32
    plain, other = both(mode, network_of(make, dtype).to(DEVICE))
    x, found = images(dtype).to(DEVICE), []
    for network in (plain, other):
        with torch.autocast(DEVICE, cast or torch.bfloat16, enabled=cast is not None):
            torch.manual_seed(3)
            out = network(x)
        out.float().square().mean().backward()
        found.append({name: p.grad for name, p in network.named_parameters() if p.grad is not None})
    check_same(mode, found[1], found[0])
    for (name, ours), theirs in zip(other.named_buffers(), plain.buffers()):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize(("mode", "make"), CASES, ids=[f"{m}-{make.__name__}" for m, make in CASES])
def test_generators_go_on_as_in_plain(mode: str, make: Make) -> None:
    drawn = []
    for network in both(mode, network_of(make).to(DEVICE)):
        learnt(network, images().to(DEVICE))
        drawn.append(torch.rand(4, device=DEVICE))
    assert torch.equal(*drawn)


class Weighed(nn.Module):
    """A branch whose answer is weighed by something that all branches are given."""

    def __init__(self, channels: int, drop: float) -> None:
        super().__init__()
        self.branch = conv_branch(channels, drop=drop)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """As large as what came in."""
        found: Tensor = self.branch(x) * weight
        return found


@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_streams_are_undone_with_and_without_overlap(drop: float) -> None:
    torch.manual_seed(0)
    plain = ReversibleStage.of([[Weighed(16, drop), Weighed(16, drop)] for _ in range(6)])
    plain = plain.to(DEVICE, torch.float64).train()
    given = [torch.randn(8, 16, 32, 32, dtype=torch.float64, device=DEVICE) for _ in range(2)]

    def gradients(stage: ReversibleStage) -> dict[str, Tensor]:
        """Of parameters, streams, and of what all branches are given."""
        stage.zero_grad(set_to_none=True)
        leaves = [
            x.clone().requires_grad_() for x in (*given, torch.ones(1, dtype=torch.float64, device=DEVICE))
        ]
        torch.manual_seed(1)
        sum(out.square().mean() for out in stage(*leaves[:2], extra=leaves[2:])).backward()  # type: ignore[union-attr]
        own = {name: p.grad for name, p in stage.named_parameters() if p.grad is not None}
        return own | {str(i): leaf.grad for i, leaf in enumerate(leaves) if leaf.grad is not None}

    free, overlapped = deepcopy(plain), deepcopy(plain)
    install(free, {"": "reversible"})
    install(overlapped, {"": "reversible"})
    overlapped.overlap = True
    expected, found = gradients(plain), gradients(free)
    assert far(found, expected) < CLOSE
    for _ in range(5):
        assert far(gradients(overlapped), found) < CLOSE


def trained(make: Callable[[], Supernet], folder: Path | None = None, **words: Any) -> Trainer:
    trainer = Trainer(make(), few_images(), replace(HERE, **words), folder)
    trainer.run()
    return trainer


def sums(net: nn.Module) -> dict[str, Tensor]:
    """Its weights by name, on the CPU."""
    return {name: value.detach().cpu() for name, value in net.named_parameters()}


@pytest.mark.parametrize("name", list(strategies))
def test_every_strategy_trains_as_on_the_cpu(name: str) -> None:
    one, other = (trained(residual_supernet, strategy=name, device=device) for device in (DEVICE, "cpu"))
    assert next(one.supernet.parameters()).device.type == DEVICE
    before = sums(residual_supernet())
    assert far(sums(other.supernet), before) > 1e-3
    assert far(sums(one.supernet), sums(other.supernet)) < 1e-4


@pytest.mark.parametrize(
    "words",
    [
        {"ema": 0.9},
        {"accumulate": 4},
        {"clip_norm": 0.1},
        {"optimizer": "adamw", "lr": 1e-3},
        {"partial_channels": 0.5},
        {"reorder": "taylor"},
        {"teacher": "finetuned"},
        {"execution": "fused"},
        {"execution": "checkpoint"},
    ],
    ids=str,
)
def test_every_recipe_trains_as_on_the_cpu(words: dict[str, Any]) -> None:
    one, other = (trained(residual_supernet, **{**words, "device": device}) for device in (DEVICE, "cpu"))
    assert far(sums(one.supernet), sums(other.supernet)) < 1e-4


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
@pytest.mark.parametrize("execution", ["plain", "fused", "checkpoint"])
def test_reduced_precision_learns(amp: str, execution: str) -> None:
    trainer = trained(small_supernet, amp=amp, epochs=4, execution=execution)
    losses = [loss for epoch in trainer.history for loss in epoch.losses.values()]
    assert losses and all(torch.tensor(losses).isfinite())
    assert all(value.isfinite().all() for value in sums(trainer.supernet).values())
    assert far(sums(trainer.supernet), sums(trained(small_supernet, epochs=4).supernet)) < 0.1


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"optimizer": "adamw", "ema": 0.9},
        {"amp": "fp16"},
        {"execution": "checkpoint"},
        {"clip_norm": 0.1},
    ],
    ids=str,
)
def test_an_interrupted_training_ends_at_the_same_bytes(tmp_path: Path, words: dict[str, Any]) -> None:
    words = {**words, "epochs": 4}
    trained(small_supernet, tmp_path / "whole", **words)
    for stop in (1, 3):
        with pytest.raises(KeyboardInterrupt):
            options = replace(HERE, **words)
            Trainer(small_supernet(), few_images(), options, tmp_path / "parts").run(interrupted(stop))
    again = trained(small_supernet, tmp_path / "parts", **words)
    kept = [state["step"] for state in again.stepper.optimizer.state.values() if "step" in state]
    assert all(count.device.type == "cpu" for count in kept if isinstance(count, Tensor))
    whole, parts = ((tmp_path / name / CHECKPOINT).read_bytes() for name in ("whole", "parts"))
    assert whole == parts


def test_a_training_keeps_to_its_bytes() -> None:
    found = load_data(DataOptions(resolution=32, channels=3))
    assert isinstance(found, ImageDataset)
    data = replace(found, train=found.train.take(torch.arange(256)))
    options = replace(HERE, epochs=1, batch_size=256, memory="1TB")
    roomy = Trainer(tiny_supernet(), data, options)
    roomy.run()
    assert roomy.memory is not None and roomy.memory.execution == {}
    trainer = Trainer(tiny_supernet(), data, replace(options, memory=str(int(0.75 * roomy.memory.peak))))
    trainer.run()
    assert trainer.memory is not None and trainer.memory.execution != {}
    assert trainer.memory.peak <= trainer.memory.budget
    trainer.supernet.train().to(memory_format=trainer.layout)
    subject = _subject(trainer.lessons, moved(data.batch(0, 256, 0), trainer.device), 0)
    subnet = subject.make(trainer.memory.execution)
    subject.step(subnet)
    assert peak_bytes(lambda: subject.step(subnet), trainer.device) <= trainer.memory.budget
    assert far(sums(trainer.supernet), sums(roomy.supernet)) < 1e-4


def judged(net: Supernet) -> tuple[Evaluator, list[Architecture]]:
    space = net.space
    archs = [space.largest(), space.smallest(), space.sample(Random(0))]
    return Evaluator(net, few_images(), examples=128, calibration_examples=16), archs


def test_a_subnet_is_judged_as_on_the_cpu() -> None:
    net = trained(small_supernet, epochs=4).supernet
    (here, archs), (there, _) = judged(net), judged(deepcopy(net).cpu())
    for arch in archs:
        assert far(here.statistics(arch), there.statistics(arch)) < 1e-5
        ours, theirs = here(arch), there(arch)
        assert ours.value == pytest.approx(theirs.value, abs=100 / 128)
        assert ours["log loss"] == pytest.approx(theirs["log loss"], rel=1e-4)


def test_a_study_and_a_split_are_those_of_the_cpu() -> None:
    net = trained(small_supernet).supernet
    other = deepcopy(net).cpu()
    ours, theirs = (sensitivity(judged(one)[0]) for one in (net, other))
    assert [cut.loss for cut in ours] == pytest.approx([cut.loss for cut in theirs], rel=1e-4)
    for by in ("gradients", "lid"):
        one, two = (split(each, few_images(), by, 2, paths=2, examples=16) for each in (net, other))
        assert (one.choice, one.agreement) == (two.choice, pytest.approx(two.agreement, rel=1e-3))


@pytest.mark.parametrize("by", ["l1", "taylor"])
def test_units_are_sorted_as_on_the_cpu(by: str) -> None:
    nets = [tiny_supernet().double(), tiny_supernet().double().to(DEVICE)]
    labels = torch.arange(2)
    for net, device in zip(nets, ("cpu", DEVICE)):
        x = tiny_images().double().to(device)
        before = net(x, net.space.largest())
        reorder(net, by, batches=[(x, labels.to(device))])
        assert error(net(x, net.space.largest()), before) < CLOSE
    assert far(sums(nets[1]), sums(nets[0])) == 0


def test_networks_are_made_elastic_where_they_are() -> None:
    torch.manual_seed(0)
    network = timm.create_model("test_vit", num_classes=3).eval()
    here, there = (
        elasticise(deepcopy(network).to(device), torch.randn(2, 3, 160, 160, device=device))
        for device in ("cpu", DEVICE)
    )
    assert here.space == there.space and here.plan.to_json() == there.plan.to_json()


def search(method: str, device: str, **words: Any) -> DifferentiableTrainer:
    """Two steps."""
    options = TrainOptions(epochs=2, batch_size=8, lr=0.05, warmup=0.0, device=device)
    wanted = DifferentiableOptions(method=method, warmup=0.0, lr=0.1, **words)
    if method in ("single_path_nas", "tas"):
        net = sized(classes=10, channels=1)
    else:
        net = NASBench201(cells=1, widths=(4, 8), channels=1, classes=10, resolution=16).supernet()
    found = DifferentiableTrainer(net, few_digits(), options, wanted)
    found.run()
    return found


@pytest.mark.parametrize("method", list(methods))
def test_every_differentiable_method_learns(method: str) -> None:
    found = search(method, DEVICE)
    weights, logits = sums(found.supernet), sums(found.logits)
    assert found.history and all(value.isfinite().all() for value in (*weights.values(), *logits.values()))
    assert all(logit.device.type == DEVICE for logit in found.logits.parameters())


@pytest.mark.parametrize(
    ("method", "order"), [("darts", "second"), ("pc_darts", "first"), ("rc_darts", "first")]
)
def test_logits_that_are_not_drawn_are_those_of_the_cpu(method: str, order: str) -> None:
    one, other = (search(method, device, order=order) for device in (DEVICE, "cpu"))
    assert far(sums(one.logits), sums(other.logits)) < 1e-2


def test_ranks_add_up_what_lies_on_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = "nccl" if DEVICE == "cuda" else "gloo"
    for kind in ("NCCL", "GLOO"):
        monkeypatch.setenv(f"{kind}_SOCKET_IFNAME", "lo")
    store = f"file://{tmp_path}/store"
    alone = trained(residual_supernet, clip_norm=0.1)
    torch.distributed.init_process_group(backend, init_method=store, rank=0, world_size=1)
    try:
        ranks = Together()
        tensors = [torch.ones(3, device=DEVICE), torch.full((2, 2), 2, device=DEVICE)]
        ranks.add_up(tensors)
        ranks.spread(tensors)
        assert [tensor.sum().item() for tensor in tensors] == [3, 8]
        assert ranks.totals([1.5, 2.0]) == [1.5, 2.0] and ranks.told(lambda: {"a": 1}) == {"a": 1}
        assert ranks.device(torch.device(DEVICE)).type == DEVICE
        monkeypatch.setattr(trainer_module, "joined", lambda: ranks)
        assert far(sums(trained(residual_supernet, clip_norm=0.1).supernet), sums(alone.supernet)) == 0
    finally:
        torch.distributed.destroy_process_group()


def test_what_was_trained_is_exported_as_it_answers(tmp_path: Path) -> None:
    net = trained(small_supernet, epochs=4).supernet
    (judge, archs) = judged(net)
    x = few_images().batch(0, 4, 0)[0]
    for i, arch in enumerate(archs):
        statistics = judge.statistics(arch)
        subnet = net.extract(arch, statistics).cpu().eval()
        path = tmp_path / f"{i}.onnx"
        export_onnx(subnet, x, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (said,) = session.run(None, {"input": x.numpy()})
        with torch.no_grad():
            assert error(torch.from_numpy(said), subnet(x)) < 1e-5
            assert error(net.eval()(x.to(DEVICE), arch, statistics), subnet(x)) < 1e-5


def test_a_folder_is_read_back_where_it_is_wanted(tmp_path: Path) -> None:
    net = trained(small_supernet, tmp_path / "run").supernet
    again = Supernet.load(net.save(tmp_path / "net"), small_network()).to(DEVICE)
    x, arch = few_images().batch(0, 4, 0)[0].to(DEVICE), net.space.sample(Random(1))
    assert torch.equal(again(x, arch), net(x, arch))
    with pytest.raises(StateError, match="lr"):
        trained(small_supernet, tmp_path / "run", lr=0.5)
