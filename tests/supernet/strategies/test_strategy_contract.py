"""What every registered training strategy keeps to, in any space."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from supernet.config import decode
from supernet.errors import ConfigError, SupernetError
from supernet.options import TrainOptions
from supernet.space import Architecture, Choice, Genes, SearchSpace
from supernet.strategies import Context, Lesson, Observer, strategies
from supernet.trainer import CHECKPOINT, Trainer
from tests.supernet.strategies.course import few_images, interrupted, small_supernet

SPACES = {
    "conditional": SearchSpace(
        (
            Choice("depth", (1, 2)),
            Choice("kernel", (3, 5, 7), ("depth", (2,))),
            Choice("width", (8, 16, 24, 32)),
        )
    ),
    "one choice": SearchSpace((Choice("width", (8, 16, 24)),)),
    "no choice": SearchSpace((Choice("width", (8,)),)),
    "resolution": SearchSpace((Choice("resolution", (16, 24, 32)), Choice("block", ("none", "a", "b")))),
}
STEPS = 24
every_strategy = pytest.mark.parametrize("name", sorted(strategies))
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


def course(space: SearchSpace, step: int, state: dict[str, Any] | None = None) -> Context:
    """One step of a training that never was: costs and losses grow and fall with the genes."""

    def macs(genes: Genes) -> Genes:
        return 100 + genes @ np.arange(1, len(space) + 1) ** 2

    def loss(arch: Architecture) -> float:
        return 2.0 - sum(arch.genes) / 100 - step / STEPS

    rng = Random(step)
    kinds = {"kernel": frozenset({"kernel"}), "depth": frozenset({"present"})}
    kept = {} if state is None else state
    return Context(space, step, STEPS, rng, 6, kinds, kept, macs, loss, lambda arch: float(sum(arch.genes)))


def take(strategy: Any, context: Context) -> list[Lesson]:
    """The lessons of a step, and what the strategy makes of their losses."""
    lessons: list[Lesson] = strategy.lessons(context)
    if isinstance(strategy, Observer):
        strategy.observe(context, lessons, [context.loss(lesson.arch) for lesson in lessons])
    return lessons


@every_space
@every_strategy
def test_lessons_are_of_the_space_and_teachers_come_first(name: str, space: SearchSpace) -> None:
    strategy, state = strategies[name](), dict[str, Any]()
    for step in range(STEPS):
        lessons = take(strategy, course(space, step, state))
        assert lessons
        for i, lesson in enumerate(lessons):
            part, parts = lesson.part
            assert lesson.arch in space and lesson.weight > 0 and 0 <= part < parts
            if lesson.teacher is not None:
                assert 0 <= lesson.teacher < i and lessons[lesson.teacher].part == lesson.part
        assert json.loads(json.dumps(state)) == state


@every_strategy
def test_lessons_follow_step_generator_and_state_alone(name: str) -> None:
    space, before = SPACES["conditional"], dict[str, Any]()
    strategy = strategies[name]()
    for step in range(STEPS):
        kept = json.dumps(before)
        lessons = take(strategy, course(space, step, before))
        after = json.loads(kept)
        assert take(strategies[name](), course(space, step, after)) == lessons and after == before


@every_strategy
def test_its_options_are_read_strictly(name: str) -> None:
    assert decode({}, strategies[name]) == strategies[name]()
    with pytest.raises(ConfigError, match="unknown key 'betwen'"):
        decode({"betwen": 1}, strategies[name])


@every_strategy
def test_a_training_interrupted_after_any_step_ends_at_the_same_bytes(name: str, tmp_path: Path) -> None:
    options = TrainOptions(
        epochs=4, batch_size=16, strategy=name, checkpoint_seconds=0.0, distil_after=0.2, distil_weight=0.5,
        evaluate_every=4, evaluate_examples=16, calibration_examples=16,
    )  # fmt: skip
    whole = Trainer(small_supernet(), few_images(), options, tmp_path / "whole")
    whole.run()
    for step in range(1, whole.steps):
        with pytest.raises(KeyboardInterrupt):
            Trainer(small_supernet(), few_images(), options, tmp_path / "parts").run(interrupted(step))
    resumed = Trainer(small_supernet(), few_images(), options, tmp_path / "parts")
    assert resumed.step == whole.steps - 1
    resumed.run()
    assert resumed.state == whole.state
    ours, theirs = ((tmp_path / run / CHECKPOINT).read_bytes() for run in ("whole", "parts"))
    assert ours == theirs


@every_strategy
def test_it_is_in_the_table_of_the_docs(name: str) -> None:
    page = (Path(__file__).parents[3] / "docs" / "strategies.md").read_text(encoding="utf-8")
    assert name == "elsewhere" or f"\n| `{name}` |" in page


def test_an_unknown_strategy_names_the_nearest() -> None:
    with pytest.raises(
        SupernetError, match=r"no training strategy is called 'sandwhich'; did you mean 'sandwich'\?"
    ):
        strategies["sandwhich"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sandwich", {"between": -1}, "between is -1; it can be at least 0"),
        ("single_path", {"paths": 0}, "paths is 0; it can be at least 1"),
        ("attentive", {"select": "bst"}, "did you mean 'best'"),
        ("alpha", {"clp": 1.0}, "unknown key 'clp'; did you mean 'clip'"),
        ("alpha", {"low": 0.5}, "low is 0.5; it can be -10 to -0.01"),
        ("nested", {"per_step": 5}, "per_step is 5; it can be 1 to 4"),
        ("preferred", {"kept": 9}, "kept is 9; it can be 1 to 8"),
        ("instatune", {"apart": 2.0}, "apart is 2; it can be 0 to 1"),
        ("shrinking", {"phases": ["kernels"]}, "no phase is called 'kernels'; did you mean 'kernel'"),
        ("shrinking", {"phases": ["depth:0"]}, "write it like 'depth:2'"),
        ("shrinking", {"epochs": [1, 2]}, "epochs has 2 entries for 6 phases"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decode(options, strategies[name])
    assert message in str(caught.value)


def test_a_state_that_json_would_change_is_refused(tmp_path: Path) -> None:
    trainer = Trainer(small_supernet(), few_images(), replace(TrainOptions(), batch_size=16), tmp_path)
    trainer.state[1] = 2  # type: ignore[index]
    with pytest.raises(
        SupernetError, match="Sandwich keeps a state that JSON changes; use lists, strings as keys"
    ):
        trainer.run(interrupted(1))
