"""What every registered training strategy keeps to."""

from __future__ import annotations

from random import Random

import pytest

from supernet.config import decode
from supernet.errors import ConfigError, SupernetError
from supernet.space import Choice, SearchSpace
from supernet.strategies import Lesson, Sandwich, SinglePath, Standalone, strategies

SPACE = SearchSpace(
    (
        Choice("depth", (1, 2)),
        Choice("kernel", (3, 5, 7), ("depth", (2,))),
        Choice("width", (8, 16, 24, 32)),
    )
)
every_strategy = pytest.mark.parametrize("name", sorted(strategies))


@every_strategy
def test_lessons_are_of_the_space_and_teachers_come_first(name: str) -> None:
    for step in range(20):
        lessons = strategies[name]().lessons(SPACE, step, Random(step))
        assert lessons
        for i, lesson in enumerate(lessons):
            assert lesson.arch in SPACE and lesson.weight > 0
            assert lesson.teacher is None or 0 <= lesson.teacher < i


@every_strategy
def test_lessons_follow_step_and_generator_alone(name: str) -> None:
    strategy = strategies[name]()
    first = [strategy.lessons(SPACE, step, Random(step)) for step in range(5)]
    again = [strategies[name]().lessons(SPACE, step, Random(step)) for step in reversed(range(5))]
    assert first == again[::-1]


@every_strategy
def test_its_options_are_read_strictly(name: str) -> None:
    assert decode({}, strategies[name]) == strategies[name]()
    with pytest.raises(ConfigError, match="unknown key 'betwen'"):
        decode({"betwen": 1}, strategies[name])


def test_an_unknown_strategy_names_the_nearest() -> None:
    with pytest.raises(
        SupernetError, match=r"no training strategy is called 'sandwhich'; did you mean 'sandwich'\?"
    ):
        strategies["sandwhich"]


def test_the_sandwich_is_largest_some_between_and_smallest() -> None:
    lessons = Sandwich(between=3).lessons(SPACE, 0, Random(0))
    assert lessons[0] == Lesson(SPACE.largest()) and lessons[-1] == Lesson(SPACE.smallest(), teacher=0)
    assert len(lessons) == 5 and all(lesson.teacher == 0 for lesson in lessons[1:])


def test_a_single_path_visits_every_value_equally_often() -> None:
    widths = [SinglePath().lessons(SPACE, s, Random(s))[0].arch.genes[2] for s in range(2000)]
    assert all(abs(widths.count(gene) / 2000 - 0.25) < 0.04 for gene in range(4))


def test_alone_is_always_the_one_asked_for() -> None:
    assert Standalone().lessons(SPACE, 3, Random(0)) == [Lesson(SPACE.largest())]
    assert Standalone((0, 0, 2)).lessons(SPACE, 3, Random(0)) == [
        Lesson(SPACE.encode({"depth": 1, "width": 24}))
    ]


@pytest.mark.parametrize(("kind", "options"), [(Sandwich, {"between": -1}), (SinglePath, {"paths": 0})])
def test_a_number_of_lessons_that_makes_no_sense_is_refused(kind: type, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="it can be"):
        kind(**options)
