"""Several workers: one trajectory, whoever is done first; nobody waits; what goes wrong costs one trial."""

from __future__ import annotations

import heapq
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from search.archive import Archive
from search.dispatch import Dispatch
from search.engine import SearchResult, search, walk
from search.live import Live
from search.objective import ShapeError
from search.options import SearchOptions
from search.searcher import Terrain, searchers
from search.trials import Trials
from search.workers import Answer, Job, evaluated, workers
from supernet.errors import ConfigError, SupernetError
from tests.search import synthetic, uneven

SPACE = synthetic.space()
TWO = tuple(synthetic.objectives()[:2])
OPTIONS = SearchOptions(searcher="nsga2", evaluations=120, population=20)


class Imagined:
    """Workers whose evaluations take time by a clock that nobody has to wait for."""

    rows = 1

    def __init__(self, count: int, takes: Callable[[Job], float]) -> None:
        self.count, self.takes = count, takes
        self.now = self.worked = 0.0
        self._running: list[tuple[float, int, Job]] = []

    def give(self, worker: int, job: Job) -> None:
        self.worked += self.takes(job)
        heapq.heappush(self._running, (self.now + self.takes(job), worker, job))

    def wait(self, seconds: float | None) -> list[tuple[int, Answer]]:
        self.now, worker, job = heapq.heappop(self._running)
        return [(worker, evaluated(uneven.plain(), job))]

    def replace(self, worker: int) -> None:
        raise AssertionError("nobody was lost")

    def close(self) -> None:
        pass


def walked(path: Path, imagined: Imagined, options: SearchOptions) -> list[tuple[int, ...]]:
    """The networks in the order in which they were learned of."""
    with Archive(path, SPACE, write=True) as archive:
        trials = Trials(archive, TWO, options)
        terrain = Terrain(SPACE, TWO, options, SPACE.matrix([]))
        with Live(trials, None) as live:
            walk(searchers[options.searcher], terrain, trials, Dispatch(imagined), live)
        return [one.arch.genes for one in trials.evaluations()]


def by_genes(job: Job) -> float:
    return uneven.spent(job.genes[0])


def by_place(job: Job) -> float:
    return float(job.genes[0].sum() % 3) ** 4


def test_the_trajectory_is_the_same_whoever_is_done_first(tmp_path: Path) -> None:
    options = replace(OPTIONS, ahead=12)
    paths = [
        walked(tmp_path / f"{i}", Imagined(count, takes), options)
        for i, (count, takes) in enumerate([(1, by_genes), (3, by_genes), (3, by_place), (8, by_place)])
    ]
    assert len(paths[0]) == 120
    assert paths[0] == paths[1] == paths[2] == paths[3]
    assert paths[0] != walked(tmp_path / "none", Imagined(1, by_genes), replace(OPTIONS, ahead=0))


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("searcher", ["random", "nsga2"])
def test_nine_tenths_of_the_time_of_uneven_workers_is_used(count: int, searcher: str, tmp_path: Path) -> None:
    imagined = Imagined(count, by_genes)
    options = replace(OPTIONS, searcher=searcher, workers=count, evaluations=300)
    walked(tmp_path / "a", imagined, options)
    assert imagined.worked / (count * imagined.now) > 0.9


def test_without_networks_ahead_workers_wait(tmp_path: Path) -> None:
    imagined = Imagined(4, by_genes)
    options = replace(OPTIONS, searcher="local", workers=4, ahead=0, population=4)
    walked(tmp_path / "a", imagined, options)
    assert imagined.worked / (4 * imagined.now) < 0.8


def test_a_proposal_says_how_much_was_known(tmp_path: Path) -> None:
    walked(tmp_path / "a", Imagined(3, by_genes), replace(OPTIONS, ahead=12, evaluations=60))
    with sqlite3.connect(tmp_path / "a") as db:
        rows = db.execute("SELECT known, length(genes) FROM proposals ORDER BY step").fetchall()
    before = 0
    for known, size in rows:
        assert known == max(before - 12, 0)
        before += size // (2 * len(SPACE))


def test_a_search_that_ends_anywhere_and_goes_on_takes_the_same_way(tmp_path: Path) -> None:
    options = replace(OPTIONS, ahead=12)
    whole = walked(tmp_path / "whole", Imagined(4, by_genes), options)

    class Enough(Exception):
        """The process ends here."""

    for i in range(15):  # each goes a little further, with other workers, and leaves a gap behind
        left = 9

        def takes(job: Job) -> float:
            nonlocal left
            left -= 1
            if left == 0:
                raise Enough
            return by_place(job)

        try:
            walked(tmp_path / "parts", Imagined(1 + i % 5, takes), options)
        except Enough:
            continue
        break
    assert walked(tmp_path / "parts", Imagined(2, by_genes), options) == whole


def run(make: Callable[[], object], path: Path, options: SearchOptions) -> SearchResult:
    return search(SPACE, TWO, options, path, make=make)  # type: ignore[arg-type]


def test_processes_find_what_this_process_finds_and_lost_ones_cost_one_trial(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    options = replace(OPTIONS, evaluations=60, workers=2, trial_seconds=1.0, ahead=10)
    found = run(partial(uneven.troubled, notes, 30.0), tmp_path / "a", options)
    with Archive(tmp_path / "a", SPACE) as archive:
        failures = {arch.genes: note for arch, note in archive.failures(TWO[0])}
    kinds = {genes: uneven.trouble(np.array(genes)) for genes in failures}
    said = {
        "raises": "RuntimeError: out of memory",
        "is no number": "the value is nan",
        "is lost": "the worker was lost (exit code -9, SIGKILL)",
        "hangs": "it took longer than 1 s",
    }
    assert set(kinds.values()) == set(said)
    assert all(note == said[kinds[genes]] for genes, note in failures.items())
    assert found.failed == len(failures) and found.paid == 60 - found.failed
    asked = {tuple(map(int, file.stem.split("-"))): file for file in notes.iterdir()}
    assert len(asked) == 60 and any(file.suffix == ".is lost once" for file in asked.values())
    for genes, file in asked.items():  # one more try for whatever fails, and for nothing else
        assert len(file.read_text()) == 1 + (file.suffix not in (".is well",)), genes
    with sqlite3.connect(tmp_path / "a") as db:
        by = {name for (name,) in db.execute("SELECT DISTINCT worker FROM results WHERE status = 'done'")}
    assert len(by) >= 2 and not any(name.endswith(f"/{os.getpid()}") for name in by)


def test_workers_that_can_not_begin_end_the_search_with_the_reason(tmp_path: Path) -> None:
    options = replace(OPTIONS, pool="processes", batch=1)
    with pytest.raises(
        SupernetError, match=r"none of the first 1 network.* could not begin: OSError: the images"
    ):
        run(uneven.broken, tmp_path / "a", options)


def test_a_score_of_the_wrong_shape_is_refused_by_workers_too(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="answered with shape"):
        run(uneven.shapeless, tmp_path / "a", replace(OPTIONS, pool="processes"))


def test_scores_that_can_not_be_sent_are_refused_before_anything_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"can not be sent to workers.*give `make`"):
        run(lambda: uneven.plain(), tmp_path / "a", replace(OPTIONS, workers=2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pool": "here", "workers": 2}, "one worker"),
        ({"pool": "here", "trial_seconds": 3.0}, "workers that can be stopped"),
        ({"workers": 0}, "workers is 0"),
        ({"ahead": -1}, "ahead is -1"),
        ({"trial_seconds": 0.0}, "trial_seconds is 0"),
    ],
)
def test_workers_that_can_not_be_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        replace(OPTIONS, **options)  # type: ignore[arg-type]


def test_a_way_to_evaluate_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        SupernetError, match=r"no way to evaluate is called 'process'; did you mean 'processes'"
    ):
        search(SPACE, TWO, replace(OPTIONS, pool="process"), tmp_path / "a")
    assert {"here", "processes", "ray"} <= set(workers)


def used(path: Path, count: int) -> float:
    """The share of the time of a search in which its workers evaluated."""
    with sqlite3.connect(path) as db:
        rows = np.array(db.execute("SELECT date, seconds FROM results").fetchall())
    span = rows[:, 0].max() - (rows[:, 0] - rows[:, 1]).min()
    return float(rows[:, 1].sum() / (count * span))


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["processes", "ray"])
def test_nine_tenths_of_the_time_of_a_real_pool_is_used(pool: str, tmp_path: Path) -> None:
    if pool == "ray":
        pytest.importorskip("ray")
    options = replace(OPTIONS, workers=4, pool=pool, evaluations=160)
    found = run(partial(uneven.sleeping, 0.25), tmp_path / "a", options)
    assert found.paid == 160
    assert used(tmp_path / "a", 4) > 0.9


@pytest.mark.slow
def test_ray_finds_what_this_process_finds_and_lost_workers_cost_one_trial(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    found = []
    for pool in ("processes", "ray"):
        notes = tmp_path / f"notes of {pool}"
        notes.mkdir()
        options = replace(OPTIONS, evaluations=60, workers=2, pool=pool, trial_seconds=2.0)
        found.append(run(partial(uneven.troubled, notes, 30.0), tmp_path / pool, options))
    assert [e.arch for e in found[0].evaluations] == [e.arch for e in found[1].evaluations]
    assert found[0].failed == found[1].failed > 0
