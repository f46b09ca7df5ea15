"""Eight bits on a front only where they were measured to be faster than the same network in float."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hardware.measurement import Measurement, RepeatError
from predictors import Estimate
from search.archive import Archive
from search.objective import Objective, Values
from search.options import SearchOptions
from supernet.precision import BITS, Precision
from supernet.space import Architecture, Choice, Genes, SearchSpace
from zoo.cli.precision_printing import document
from zoo.pipeline import comparing, searching
from zoo.pipeline.comparing import Found, compare
from zoo.pipeline.faster import Compared, faster_than_float
from zoo.pipeline.mixed import MixedWorkspace
from zoo.pipeline.profiling import Profiled
from zoo.pipeline.searching import archive_of, known_front

STAGES = ("stem", "body")
SPACE = SearchSpace((Choice("width", (8, 16, 24)), *(Choice(f"{stage}.bits", BITS) for stage in STAGES)))
PRECISION = Precision(SimpleNamespace(space=SPACE), STAGES)  # type: ignore[arg-type]

Ms = Callable[[Genes], Values]
"""What a device takes."""


def half_the_time(genes: Genes) -> Values:
    """As the predictor believes: every stage takes half as long in eight bits."""
    return np.asarray((1.0 + genes[:, 0]) * (1 - PRECISION.eight(genes) / 2).mean(axis=1))


def slower(genes: Genes) -> Values:
    """In eight bits everything takes longer."""
    return np.asarray((1.0 + genes[:, 0]) * (1 + PRECISION.eight(genes)).mean(axis=1))


def slower_body(genes: Genes) -> Values:
    """In eight bits the stem is faster, and the body slower."""
    return np.asarray((1.0 + genes[:, 0]) * (1 + PRECISION.eight(genes) * [-0.4, 1.5]).mean(axis=1))


def accuracy(genes: Genes) -> Values:
    """Eight bits happen to be better, so that nothing but what they take can keep them off a front."""
    return np.asarray(50 + 10 * genes[:, 0] + 0.1 * PRECISION.eight(genes).sum(axis=1), dtype=np.float64)


def measured(arch: Architecture, ms: float, ci: float = 0.02) -> Measurement:
    return Measurement(arch.id, arch.genes, "here", ms, ms, ms, 1.0, ci, 1, 1, "2026-01-01", 0.0)


def device() -> Profiled:
    class Believes:
        """What was learned of the device."""

        def predict(self, genes: Genes) -> Estimate:
            ms = half_the_time(genes)
            return Estimate(ms, 0.9 * ms, 1.1 * ms, 0.05 * ms, "ms", 0.9)

    profile = SimpleNamespace(repeat=RepeatError(0.02, 0.03, 6))
    return Profiled(profile, Believes(), Believes)  # type: ignore[arg-type]


def goals(workspace: Any, known: Sequence[Profiled], *, candidates: bool = False) -> tuple[Objective, ...]:
    latency = (
        Objective(d.latency, "ms", "min", lambda g, d=d: d.estimate(g).mean, source="predicted")
        for d in known
    )
    return (
        *latency,
        *faster_than_float(workspace, known, candidates),
        Objective("accuracy", "%", "max", accuracy),
    )


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MixedWorkspace:
    """A run whose search has evaluated every network in eight bits, and of those in float the largest alone."""
    for module in (searching, comparing):
        monkeypatch.setattr(module, "objectives", goals)
    run = SimpleNamespace(search=tmp_path, options=SimpleNamespace(search=SearchOptions()))
    made = MixedWorkspace(run, SimpleNamespace(space=SPACE), precision=PRECISION)  # type: ignore[arg-type]
    every = np.array(list(product(range(3), range(2), range(2))))
    found = every[PRECISION.is_mixed(every) | (every == [2, 1, 1]).all(axis=1)]
    with Archive(archive_of(made), SPACE, write=True) as archive:
        archive.record(goals(made, [])[-1], found, accuracy(found))
    return made


def compared_on(ms: Ms, workspace: Any, monkeypatch: pytest.MonkeyPatch) -> Found:
    """What becomes of that search on a device that takes so long."""
    files: list[Path] = []

    def exported(workspace: Any, archs: Iterable[Architecture], tell: object) -> dict[Architecture, Path]:
        made = {arch: workspace.run.search / f"{arch.id}.onnx" for arch in archs}
        for path in made.values():
            path.touch()
        files.extend(made.values())
        return made

    def time_files(workspace: Any, known: Profiled, files: Mapping[Architecture, Path], *rest: object) -> Any:
        rows = zip(files, ms(SPACE.matrix(files)).tolist())
        return SimpleNamespace(measurements=[measured(arch, one) for arch, one in rows])

    def learn_more(workspace: Any, known: Profiled, found: Any) -> Profiled:
        return replace(known, verified={**known.verified, **{m.arch: m for m in found.measurements}})

    for name, fake in (("exported", exported), ("time_files", time_files), ("learn_more", learn_more)):
        monkeypatch.setattr(comparing, name, fake)
    before = known_front(workspace, [device()], candidates=True)
    assert any(PRECISION.stages_in_eight(point.arch) for point in before.result.front)
    found = compare(workspace, [device()], before)
    seen = [list(each.result.evaluations.genes) for each in (before, found.searched)]
    assert np.array_equal(seen[0], seen[1][: len(seen[0])])  # what came later stands behind
    assert files and not any(path.exists() for path in files)
    return found


def test_where_eight_bits_are_slower_none_are_on_the_front_and_the_same_networks_in_float_are(
    workspace: MixedWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = compared_on(slower, workspace, monkeypatch)
    front = [point.arch for point in found.searched.result.front]
    assert front and not any(PRECISION.stages_in_eight(arch) for arch in front)
    replaced = found.replaced[""]
    assert replaced and not any(pair.faster for pair in replaced)
    evaluated = {e.arch.id for e in found.searched.result.evaluations}
    assert {pair.twin.arch for pair in replaced} <= evaluated
    assert found.eight[""] == {"stem": 0.0, "body": 0.0} and found.left[""] == 0
    told = document(found)["precision"][""]["replaced"]
    assert [row["by"] for row in told] == [pair.twin.arch for pair in replaced]
    # and a later command, which knows what was measured, offers none either
    later = known_front(workspace, found.known).result.front
    assert [point.arch for point in later] == front


@pytest.mark.parametrize(("ms", "eight"), [(half_the_time, (1.0, 1.0)), (slower_body, (1.0, 0.0))])
def test_what_is_in_eight_bits_on_a_front_was_measured_to_be_faster(
    ms: Ms, eight: tuple[float, float], workspace: MixedWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = compared_on(ms, workspace, monkeypatch)
    (known,) = found.known
    mixed = [p.arch for p in found.searched.result.front if PRECISION.stages_in_eight(p.arch)]
    assert mixed
    for arch in mixed:
        both = known.verified[arch.id], known.verified[PRECISION.twin(arch).id]
        assert both[0].median_ms < both[1].median_ms
    shares = found.eight[""]
    assert all((share > 0) == (wanted > 0) for share, wanted in zip(shares.values(), eight))


def test_nobody_is_handed_eight_bits_that_were_not_compared(workspace: MixedWorkspace) -> None:
    front = known_front(workspace, [device()]).result.front
    assert [point.arch for point in front] == [SPACE.largest()]


@pytest.mark.parametrize(
    ("mixed_ms", "ci", "faster"), [(0.9, 0.02, True), (0.97, 0.02, False), (0.9, 0.06, False), (1.1, 0.02, False),
                                   (0.1, float("inf"), False), (0.1, float("nan"), False)],
)  # fmt: skip
def test_faster_is_what_is_so_by_more_than_both_are_unsure(mixed_ms: float, ci: float, faster: bool) -> None:
    arch = SPACE.smallest()
    pair = Compared(measured(arch, mixed_ms, ci), measured(PRECISION.twin(arch), 1.0, ci))
    assert pair.faster == faster
