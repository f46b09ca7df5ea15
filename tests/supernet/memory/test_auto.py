"""The fastest modes within a number of bytes: a plan that fits, and weights that are those of the plain training."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from supernet.checkpoint import read_document
from supernet.data import ImageDataset
from supernet.elastic.subnet import Subnet
from supernet.elastic.supernet import Supernet
from supernet.errors import ConfigError, StateError
from supernet.memory.auto import CLOSE, TRIES, Plan, Subject, _floor, _modelled, _search, measured, plan
from supernet.memory.measuring import Cost, peak_bytes
from supernet.memory.modes import Execution, install
from supernet.memory.sizes import bytes_of, words_of
from supernet.options import DataOptions, TrainOptions
from supernet.sources import load_data
from supernet.trainer import CHECKPOINT, Trainer
from tests.supernet.differentiable.test_methods import CHAIN
from tests.supernet.memory.examples import Calls, convolutions, images, network_of, streams
from tests.supernet.strategies.course import few_images, interrupted, small_supernet
from tests.tiny import tiny_supernet

OPTIONS = TrainOptions(
    epochs=2, batch_size=16, lr=0.05, warmup=0.0, evaluate_every=9, watched=0, evaluate_examples=16,
    calibration_examples=16, checkpoint_seconds=0.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GiB", 2 * 1024**3),
        ("512 MiB", 512 * 1024**2),
        ("1.5GB", 1_500_000_000),
        ("700", 700),
        ("3kb", 3000),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["much", "0", "-1GiB", "2GiBs", "GiB"])
def test_what_is_no_size_says_what_is_one(text: str) -> None:
    with pytest.raises(ConfigError, match=f"memory is '{text}'; .* such as 2GiB"):
        TrainOptions(memory=text)


def test_bytes_beside_another_execution_are_refused() -> None:
    with pytest.raises(ConfigError, match="leave execution at plain"):
        TrainOptions(memory="2GiB", execution="fused")


def test_sizes_are_told_in_the_unit_that_fits() -> None:
    assert (words_of(700), words_of(3 * 1024**2), words_of(2.5 * 1024**3)) == ("700 B", "3 MiB", "2.5 GiB")


TABLE = {
    "one": {"plain": Cost(50, 60, 1.0), "fused": Cost(20, 40, 1.1), "checkpoint": Cost(5, 60, 1.4)},
    "two": {"plain": Cost(50, 60, 1.0), "fused": Cost(30, 40, 1.3), "checkpoint": Cost(5, 60, 1.4)},
    "three": {"plain": Cost(10, 20, 0.1), "checkpoint": Cost(5, 20, 0.2)},
}


def brute(allowed: int) -> float | None:
    """Seconds of the fastest of all plans."""
    plans = (
        dict(zip(TABLE, (one, two, three)))
        for one in TABLE["one"]
        for two in TABLE["two"]
        for three in TABLE["three"]
    )
    return min(
        (
            sum(TABLE[p][m].seconds for p, m in found.items())
            for found in plans
            if _modelled(TABLE, found) <= allowed
        ),
        default=None,
    )


@pytest.mark.parametrize("allowed", [*range(55, 130, 5)])
def test_the_search_finds_the_fastest_plan_there_is(allowed: int) -> None:
    found = _search(TABLE, allowed)
    if found is None:
        assert brute(allowed) is None
    else:
        seconds = sum(modes[found.get(path, "plain")].seconds for path, modes in TABLE.items())
        assert seconds == pytest.approx(brute(allowed))
        assert _modelled(TABLE, found) <= allowed


def test_the_floor_is_the_least_that_any_plan_needs() -> None:
    floor = _floor(TABLE)
    assert brute(floor) is not None and brute(floor - 1) is None


class Paper:
    """A network that exists on paper: its pieces, and bytes that no sum over pieces knows of."""

    def __init__(self, beside: Callable[[Mapping[str, str]], int]) -> None:
        self.table = {
            f"piece{i}": {
                "plain": Cost(9 * wide, 10 * wide, 1.0 * wide),
                "fused": Cost(5 * wide, 8 * wide, 1.1 * wide),
                "checkpoint": Cost(wide, 9 * wide, 1.3 * wide),
                "checkpoint_fused": Cost(wide, 6 * wide, 1.4 * wide),
            }
            for i, wide in enumerate((40, 40, 31, 31, 31, 17, 17, 17, 17, 12, 12, 12))
        }
        self.beside, self.tried, self.slower = beside, 0, 0.1

    def peak(self, execution: Mapping[str, str] | str) -> int:
        """As if it were measured."""
        choice = {} if isinstance(execution, str) else execution
        self.tried += 1
        around = choice.get("", "plain")
        modes = {path: choice.get(path, around) for path in self.table}
        return _modelled(self.table, modes) + self.beside(choice)

    def seconds(self, executions: Sequence[Mapping[str, str]]) -> list[float]:
        """As if a network that is fused as a whole were slower, or faster."""
        return [1.0 + self.slower * ("" in execution) for execution in executions]


@pytest.mark.parametrize(
    "beside",
    [
        lambda choice: 100,
        lambda choice: 25 * len(choice),
        lambda choice: 400 - 25 * len(choice),
        lambda choice: 60 * sum(mode == "fused" for mode in choice.values()),
    ],
)
@pytest.mark.parametrize("share", [0.334, 0.4, 0.5, 0.6, 0.75, 0.9])
def test_a_plan_uses_nearly_all_of_its_bytes_whatever_lies_beside_the_pieces(
    share: float, beside: Callable[[Mapping[str, str]], int]
) -> None:
    paper = Paper(beside)
    budget = int(share * paper.peak("plain"))
    found = plan(cast(Subject[object], paper), budget, paper.table)
    assert found.peak == paper.peak(found.execution) <= budget
    assert found.peak >= CLOSE * budget and paper.tried < 4 * TRIES


@pytest.mark.parametrize(("slower", "is_whole"), [(-0.1, True), (-0.01, False), (0.1, False)])
def test_of_two_plans_that_fit_the_clearly_faster_one_is_taken(slower: float, is_whole: bool) -> None:
    paper = Paper(lambda choice: 100 - 40 * ("" in choice))
    paper.slower = slower
    found = plan(cast(Subject[object], paper), int(0.45 * paper.peak("plain")), paper.table)
    assert found.execution.get("") == ("fused" if is_whole else None)
    assert found.peak == paper.peak(found.execution) <= found.budget
    assert ("the others in fused" in str(found)) == is_whole


def subject(network_maker: Callable[[], nn.Module] = convolutions) -> Subject[nn.Module]:
    """A step of a small network."""
    network, x = network_of(network_maker), images(batch=16)

    def make(execution: Execution) -> nn.Module:
        """A copy in an execution."""
        made = deepcopy(network)
        install(made, {"": execution} if isinstance(execution, str) else execution)
        return made

    def step(made: nn.Module) -> None:
        """Both passes."""
        torch.autograd.grad(made(x).square().mean(), list(made.parameters()))

    return Subject(make, lambda made: made(x), step, torch.device("cpu"), lambda made: made)


def test_blocks_that_are_run_again_inside_a_fused_network_are_run_again_once() -> None:
    found, calls = subject(), {}
    both = {"": "fused", "blocks.0": "checkpoint", "blocks.1": "checkpoint_fused"}
    for name, execution in (("plain", "plain"), ("both", both)):
        with Calls() as counted:
            found.step(found.make(execution))
        calls[name] = counted.found["convolution"]
    assert calls["plain"] == 1 + 3 * 3
    assert calls["both"] == calls["plain"] + 2 * 3 + 1, "the blocks, and the stem"
    assert found.peak(both) < found.peak("fused")


def test_a_plan_is_within_its_budget_and_uses_it() -> None:
    found = subject()
    whole = found.peak("plain")
    chosen = plan(found, whole * 3 // 4)
    assert found.peak(chosen.execution) == chosen.peak <= chosen.budget < whole
    assert set(chosen.execution.values()) <= {"fused", "checkpoint", "checkpoint_fused"}
    assert plan(found, whole) == Plan({}, whole, whole, 1.0)
    with pytest.raises(ConfigError, match=r"memory is 1000 B; .* needs at least .* MiB"):
        plan(found, 1000)


@cache
def coloured() -> ImageDataset:
    """Sixteen digits of 32 px and three channels."""
    found = load_data(DataOptions(resolution=32, channels=3))
    assert isinstance(found, ImageDataset)
    return replace(found, train=found.train.take(torch.arange(16)))


def test_a_training_within_a_budget_ends_at_the_weights_of_the_plain_one(tmp_path: Path) -> None:
    plain = Trainer(tiny_supernet(), coloured(), OPTIONS)
    plain.run()
    roomy = Trainer(tiny_supernet(), coloured(), replace(OPTIONS, epochs=1, memory="1TB"))
    roomy.run()
    assert roomy.memory is not None and roomy.memory.execution == {}
    options = replace(OPTIONS, memory=str(roomy.memory.peak * 3 // 4))
    trainer = Trainer(tiny_supernet(), coloured(), options, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(interrupted(1))
    assert trainer.memory is not None and trainer.memory.peak <= trainer.memory.budget
    assert trainer.lessons.execution == trainer.memory.execution != {}
    kept = read_document(tmp_path / CHECKPOINT)["memory"]
    assert kept == trainer.memory.to_json()
    again = Trainer(tiny_supernet(), coloured(), options, tmp_path)
    again.run()
    assert again.memory == trainer.memory
    for (name, ours), theirs in zip(
        again.supernet.state_dict().items(), plain.supernet.state_dict().values()
    ):
        assert torch.equal(ours, theirs), name


def test_lessons_run_in_the_modes_that_were_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, bound, net = [], Supernet.subnet, small_supernet()
    chosen = {next(name for name, _ in net.largest.named_children()): "checkpoint"}

    def subnet(self: Supernet, arch: Any, statistics: Any = None, execution: Any = "plain") -> Subnet:
        seen.append(execution)
        return bound(self, arch, statistics, execution)

    monkeypatch.setattr("supernet.trainer.planned", lambda *given: Plan(chosen, 1000, 900, 1.0))
    monkeypatch.setattr(Supernet, "subnet", subnet)
    with pytest.raises(KeyboardInterrupt):
        Trainer(net, few_images(), replace(OPTIONS, memory="1000B")).run(interrupted(1))
    assert chosen in seen and "plain" not in seen


def test_a_training_goes_on_in_another_mode_where_both_are_exact(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Trainer(small_supernet(), few_images(), OPTIONS, tmp_path).run(interrupted(1))
    Trainer(small_supernet(), few_images(), replace(OPTIONS, execution="fused"), tmp_path)
    Trainer(small_supernet(), few_images(), replace(OPTIONS, memory="1MiB"), tmp_path)
    with pytest.raises(StateError, match="its execution is 'plain', now 'compiled' is asked"):
        Trainer(small_supernet(), few_images(), replace(OPTIONS, execution="compiled"), tmp_path)


def test_a_plan_is_for_all_candidates_of_a_choice_and_not_only_for_those_of_the_largest() -> None:
    supernet = CHAIN.supernet().train()
    largest, x = supernet.space.largest(), torch.randn(16, 3, 32, 32)

    def step(subnet: Subnet) -> None:
        """Both passes."""
        torch.autograd.grad(subnet(x).square().mean(), list(supernet.parameters()), allow_unused=True)

    found = Subject(
        lambda execution: supernet.subnet(largest, execution=execution),
        lambda subnet: subnet(x),
        step,
        torch.device("cpu"),
        lambda subnet: subnet.network,
    )
    assert {"blocks.1.0", "blocks.1.1"} <= measured(found).keys()
    chosen = plan(found, int(0.75 * found.peak("plain")))
    assert chosen.execution
    for genes in product(range(2), range(3)):
        subnet = supernet.subnet(supernet.space.architecture([*genes]), execution=chosen.execution)
        # other candidates hold a percent or two more than those of the largest; in plain it would be a third
        assert peak_bytes(partial(step, subnet), torch.device("cpu")) <= 1.05 * chosen.budget


def test_streams_are_undone_where_bytes_are_few() -> None:
    found = subject(streams)
    table = measured(found)
    assert table["stage"].keys() == {"plain", "reversible"}
    assert table["stage"]["reversible"].held < table["stage"]["plain"].held


@pytest.mark.parametrize(
    ("mode", "share"), [("fused", 0.75), ("checkpoint", 0.75), ("checkpoint_fused", 0.7)]
)
def test_modes_hold_less(mode: str, share: float) -> None:
    found = subject()
    assert found.peak(mode) < share * found.peak("plain")


def test_measuring_says_nothing_on_its_own() -> None:
    program = (
        "import torch; from supernet.memory.measuring import peak_bytes; "
        "print(peak_bytes(lambda: torch.ones(1000, dtype=torch.float64), torch.device('cpu')))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("8000\n", "")
