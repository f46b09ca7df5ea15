from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from search import guided
from search.engine import search
from search.growth import growth_of
from search.live import search_name
from search.options import SearchOptions
from search.searcher import Guess
from supernet.curves import LOG
from tests.search import synthetic

SPACE = synthetic.space()
TWO = synthetic.objectives()[:2]
QUICK = SearchOptions(evaluations=25)


def events(folder: Path) -> EventAccumulator:
    (only,) = (folder / LOG).iterdir()
    return EventAccumulator(str(only)).Reload()


def test_the_curve_is_the_hypervolume_after_every_network_also_of_a_search_in_parts(tmp_path: Path) -> None:
    for evaluations in (12, 27, 40):  # before there is a box, and after
        options = SearchOptions(searcher="random", evaluations=evaluations)
        found = search(SPACE, TWO, options, tmp_path / "a", curves=tmp_path)
    drawn = events(tmp_path).Scalars("hypervolume")
    assert [event.step for event in drawn] == list(range(1, 41))
    shares = growth_of(found.evaluations, TWO).shares[:, 0]
    np.testing.assert_allclose([event.value for event in drawn], shares, rtol=1e-6)


def test_what_the_model_was_off_is_drawn_with_the_fronts_and_the_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Guess] = []
    expect = guided.Guess

    def heard(*args: object) -> Guess:
        told.append(expect(*args))  # type: ignore[arg-type]
        return told[-1]

    monkeypatch.setattr(guided, "Guess", heard)
    found = search(SPACE, TWO, QUICK, tmp_path / "a", curves=tmp_path)
    (guess,) = told
    off = np.abs(guess.values[:, 0] - found.evaluations.values[20:, 0])
    seen = events(tmp_path)
    (error,) = seen.Scalars("model_error/accuracy_(%)")
    assert (error.step, error.value) == (25, pytest.approx(off.mean(), rel=1e-5))
    (pace,) = seen.Scalars("candidates_per_second")
    assert (pace.step, pace.value) == (20, pytest.approx(guess.looked_at / guess.seconds, rel=1e-5))
    assert seen.Scalars("front")[-1].value == len(found.front)
    assert seen.Scalars("evaluations_per_second")[-1].step == 25
    assert len(seen.Images("front")) == 1


def test_what_is_told_of_a_search_changes_nothing_in_it(tmp_path: Path) -> None:
    silent = search(SPACE, TWO, QUICK, tmp_path / "a")
    loud = search(SPACE, TWO, QUICK, tmp_path / "b", curves=tmp_path)
    assert loud.evaluations == silent.evaluations


def test_other_limits_and_devices_have_curves_of_their_own() -> None:
    devices = [replace(TWO[1], name=f"latency_{name}", front=name) for name in ("one", "two")]
    assert search_name(TWO) == "search"
    assert search_name([TWO[0], *devices]) == "one+two"
    limited = replace(devices[0], limit=2.5)
    assert search_name([TWO[0], limited, devices[1]]) == "one+two,latency_one-2.5"


def test_a_searcher_may_say_nothing(tmp_path: Path) -> None:
    options = replace(QUICK, searcher="random")
    search(SPACE, TWO, options, tmp_path / "a", curves=tmp_path)
    tags = events(tmp_path).Tags()["scalars"]
    assert "hypervolume" in tags and not any(tag.startswith("model_error") for tag in tags)
